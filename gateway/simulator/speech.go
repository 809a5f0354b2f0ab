package simulator

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/http"
)

// speech is what a request wants to have read aloud.
type speech struct {
	model, input, format string
	stream               bool // as server-sent events, not as bytes
}

func (q speech) named() string { return q.model }

// soundKinds are the media types of the formats. Only wav and pcm are what they say; in the others nobody will find a sound.
func soundKinds() map[string]string {
	return map[string]string{"mp3": "audio/mpeg", "opus": "audio/ogg", "aac": "audio/aac", "flac": "audio/flac",
		"wav": "audio/wav", "pcm": "audio/pcm"}
}

const (
	maxSpoken   = 4096   // characters, OpenAI's limit, and tokens: 4 MB of noise
	soundRate   = 24_000 // samples a second, of 16 bits, one channel
	tokenRepeat = 30     // times 32 bytes: 20 ms of noise a token
)

// readAloud answers POST /v1/audio/speech: noise that depends on the text alone.
func (s *Simulator) readAloud(w http.ResponseWriter, r *http.Request) error {
	q, g, err := accept(s, w, r, decodeSpeech)
	if err != nil {
		return err
	}
	tokens, _ := question{echo: q.input, limit: maxSpoken}.speak(g.tokens)
	if q.stream {
		used, n := len(tokenize(q.input)), len(tokens)
		return g.stream(w, r, play{
			tokens: tokens,
			part: func(_ int, token string) frame {
				sound := base64.StdEncoding.EncodeToString(noise(nil, token))
				return frame{data: encode(object{"type": "speech.audio.delta", "audio": sound})}
			},
			closing: []frame{{data: encode(object{"type": "speech.audio.done",
				"usage": object{"input_tokens": used, "output_tokens": n, "total_tokens": used + n}})}},
		})
	}
	sound := make([]byte, 0, wavHead+len(tokens)*tokenRepeat*sha256.Size)
	if q.format == "wav" {
		sound = appendWAVHead(sound, len(tokens)*tokenRepeat*sha256.Size)
	}
	for _, token := range tokens {
		sound = noise(sound, token)
	}
	return g.replyBody(w, soundKinds()[q.format], sound)
}

func noise(dst []byte, token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return append(dst, bytes.Repeat(sum[:], tokenRepeat)...)
}

const wavHead = 44 // bytes

// appendWAVHead announces so many bytes of samples (RIFF, format 1).
func appendWAVHead(dst []byte, samples int) []byte {
	const sampleBytes = 2
	le := binary.LittleEndian
	dst = le.AppendUint32(append(dst, "RIFF"...), uint32(wavHead-8+samples))
	dst = le.AppendUint32(append(dst, "WAVEfmt "...), 16)
	dst = le.AppendUint16(le.AppendUint16(dst, 1), 1)
	dst = le.AppendUint32(le.AppendUint32(dst, soundRate), soundRate*sampleBytes)
	dst = le.AppendUint16(le.AppendUint16(dst, sampleBytes), 8*sampleBytes)
	return le.AppendUint32(append(dst, "data"...), uint32(samples))
}

func decodeSpeech(body []byte) (speech, error) {
	m, err := readModelRequest(body)
	if err != nil {
		return speech{}, err
	}
	q := speech{model: m.model(), format: "mp3"}
	input, ok, err := member[string](m, "input", "a string")
	switch {
	case err != nil:
		return q, err
	case !ok || input == "":
		return q, missing("input")
	case len([]rune(input)) > maxSpoken:
		return q, wrongValue("input", "at most 4096 characters")
	}
	q.input = input
	if len(m["voice"]) == 0 { // a name, or an object with an id
		return q, missing("voice")
	}
	format, ok, err := member[string](m, "response_format", "a string")
	switch {
	case err != nil:
		return q, err
	case ok && soundKinds()[format] == "":
		return q, wrongValue("response_format", "mp3, opus, aac, flac, wav or pcm")
	case ok:
		q.format = format
	}
	form, ok, err := member[string](m, "stream_format", "a string")
	switch {
	case err != nil:
		return q, err
	case ok && form != "audio" && form != "sse":
		return q, wrongValue("stream_format", "audio or sse")
	}
	q.stream = form == "sse"
	return q, nil
}

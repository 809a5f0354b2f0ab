package simulator

import (
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// maxUpload bounds a body with a file, in bytes; OpenAI's limit for the file.
const maxUpload = 25 << 20

// upload is a transcription's or translation's form.
type upload struct {
	model, format, name string
	size                int64 // of the file; -1: there is none
	stream              bool
}

// transcribe answers POST /v1/audio/transcriptions and translations: multipart forms, their fields in any order. No sound is
// listened to; the text tells the file's name and size.
func (s *Simulator) transcribe(w http.ResponseWriter, r *http.Request) error {
	r.Body = http.MaxBytesReader(w, r.Body, maxUpload)
	u, err := decodeUpload(r.MultipartReader())
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil { // what is behind the form; see readBody
		return formFault(err)
	}
	g, err := s.work(r, u.model, nil)
	if err != nil {
		return err
	}
	q := question{echo: u.name + ", " + strconv.Itoa(int(u.size)) + " bytes", prompt: int(u.size/1000) + 1}
	tokens, _ := q.speak(g.tokens)
	text := strings.Join(tokens, "")
	used := object{"type": "tokens", "input_tokens": q.prompt, "output_tokens": len(tokens), "total_tokens": q.prompt + len(tokens),
		"input_token_details": object{"audio_tokens": q.prompt, "text_tokens": 0}}
	switch {
	case u.stream:
		return g.stream(w, r, transcript(tokens, object{"type": "transcript.text.done", "text": text, "usage": used}))
	case u.format == "verbose_json":
		task := "transcribe"
		if strings.HasSuffix(r.URL.Path, "/translations") {
			task = "translate"
		}
		return g.replyWhole(w, object{"task": task,
			"language": "english", "duration": 1, "text": text, "segments": []object{}, "model": g.model, "usage": used})
	case u.format == "text":
		return g.replyText(w, text+"\n")
	case u.format == "srt":
		return g.replyText(w, "1\n00:00:00,000 --> 00:00:01,000\n"+text+"\n\n")
	case u.format == "vtt":
		return g.replyText(w, "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n"+text+"\n\n")
	}
	return g.replyWhole(w, object{"text": text, "usage": used})
}

func transcript(tokens []string, done object) play {
	return play{
		tokens: tokens,
		part: func(_ int, token string) frame {
			return frame{data: encode(object{"type": "transcript.text.delta", "delta": token})}
		},
		closing: []frame{{data: encode(done)}, {data: []byte("[DONE]")}},
	}
}

// decodeUpload reads a form to its end. The file is counted, not kept.
func decodeUpload(form *multipart.Reader, err error) (upload, error) {
	u := upload{size: -1, format: "json"}
	if err != nil {
		return u, &fault{status: http.StatusBadRequest, code: "invalid_form", message: "The body must be multipart/form-data with a boundary."}
	}
	for {
		part, err := form.NextRawPart() // NextPart would decode a transfer coding (RFC 7578 §4.7: deprecated)
		if err == io.EOF {              // bare: wrapped, it is a form without its last boundary
			break
		}
		if err == nil {
			err = u.take(part)
		}
		if err != nil {
			return u, formFault(err)
		}
	}
	switch {
	case u.size < 0:
		return u, missing("file")
	case u.model == "":
		return u, missing("model")
	case !slices.Contains([]string{"json", "text", "srt", "verbose_json", "vtt"}, u.format):
		return u, wrongValue("response_format", "json, text, srt, verbose_json or vtt")
	case u.stream && u.format != "json":
		return u, wrongValue("response_format", "json when 'stream' is enabled")
	}
	return u, nil
}

func formFault(err error) error {
	if _, ok := errors.AsType[*fault](err); ok {
		return err
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &fault{status: http.StatusRequestEntityTooLarge, code: "body_too_large", message: "The body is larger than 25 MiB."}
	}
	return &fault{status: http.StatusBadRequest, code: "invalid_form", message: "The form is malformed or broke off."}
}

func (u *upload) take(part *multipart.Part) error {
	name := part.FormName()
	if name == "file" {
		u.name = part.FileName()
		size, err := io.Copy(io.Discard, part)
		u.size = size
		return err
	}
	const most = 4096
	value, err := io.ReadAll(io.LimitReader(part, most))
	if err != nil {
		return err
	}
	switch name {
	case "model":
		u.model = string(value)
	case "response_format":
		u.format = string(value)
	case "stream":
		switch strings.ToLower(string(value)) {
		case "true", "1":
			u.stream = true
		case "false", "0", "":
		default:
			return wrongType("stream", "a boolean")
		}
	}
	return nil
}

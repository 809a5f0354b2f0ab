package simulator

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"net/http"
)

const (
	defaultDimensions = 256
	maxDimensions     = 3072    // OpenAI's largest model
	maxInputs         = 2048    // OpenAI's limit
	maxFloats         = 1 << 20 // of all vectors of one answer together: about 12 MB of JSON
)

// texts is what an embeddings request asks for.
type texts struct {
	model      string
	inputs     []input
	dimensions int
	encoding   string // "float" or "base64"
}

func (t texts) named() string { return t.model }

func (s *Simulator) embeddings(w http.ResponseWriter, r *http.Request) error {
	t, g, err := accept(s, w, r, decodeEmbeddings)
	if err != nil {
		return err
	}
	return g.replyWhole(w, t.embed(g.model))
}

func decodeEmbeddings(body []byte) (texts, error) {
	t := texts{dimensions: defaultDimensions, encoding: "float"}
	m, err := readModelRequest(body)
	if err != nil {
		return t, err
	}
	t.model = m.model()
	if t.inputs, err = readInputs(m, "input"); err != nil {
		return t, err
	}
	dimensions, ok, err := member[int](m, "dimensions", "an integer")
	switch {
	case err != nil:
		return t, err
	case ok && (dimensions < 1 || dimensions > maxDimensions):
		return t, wrongValue("dimensions", "an integer from 1 to 3072")
	case ok:
		t.dimensions = dimensions
	}
	if len(t.inputs) > maxInputs || len(t.inputs)*t.dimensions > maxFloats {
		return t, wrongValue("input", "at most 2048 inputs and, times the dimensions, 1048576 numbers in the answer")
	}
	encoding, ok, err := member[string](m, "encoding_format", "a string")
	switch {
	case err != nil:
		return t, err
	case ok && encoding != "float" && encoding != "base64":
		return t, wrongValue("encoding_format", "float or base64")
	case ok:
		t.encoding = encoding
	}
	return t, nil
}

type embedding struct {
	Object string `json:"object"`
	Index  int    `json:"index"`
	Vector any    `json:"embedding"` // []float32 or a base64 string
}

type embeddingList struct {
	Object string      `json:"object"`
	Data   []embedding `json:"data"`
	Model  string      `json:"model"`
	Usage  struct {
		PromptTokens int `json:"prompt_tokens"`
		TotalTokens  int `json:"total_tokens"`
	} `json:"usage"`
}

func (t texts) embed(model string) embeddingList {
	list := embeddingList{Object: "list", Model: model, Data: make([]embedding, len(t.inputs))}
	for i, one := range t.inputs {
		e := embedding{Object: "embedding", Index: i}
		if v := vector(one.text, t.dimensions); t.encoding == "base64" {
			e.Vector = packed(v)
		} else {
			e.Vector = v
		}
		list.Data[i] = e
		list.Usage.PromptTokens += one.tokens
	}
	list.Usage.TotalTokens = list.Usage.PromptTokens
	return list
}

// vector is a point on the unit sphere that depends on the text alone: normal coordinates have no favoured direction.
func vector(text string, dimensions int) []float32 {
	rng := rand.New(rand.NewChaCha8(sha256.Sum256([]byte(text))))
	exact := make([]float64, dimensions)
	var squares float64
	for i := range exact {
		exact[i] = rng.NormFloat64()
		squares += exact[i] * exact[i]
	}
	length := math.Sqrt(squares)
	v := make([]float32, dimensions)
	for i, x := range exact {
		v[i] = float32(x / length)
	}
	return v
}

// packed is what the OpenAI SDKs ask for by default: base64 of little-endian 32-bit floats.
func packed(v []float32) string {
	b := make([]byte, 0, 4*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return base64.StdEncoding.EncodeToString(b)
}

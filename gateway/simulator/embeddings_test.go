package simulator

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math"
	"slices"
	"testing"
)

// embed asks for vectors and checks the shape around them.
func embed(s *scene, members string, tokens int) [][]float32 {
	s.t.Helper()
	var got struct {
		Object, Model string
		Data          []struct {
			Object    string
			Index     int
			Embedding json.RawMessage
		}
		Usage map[string]int
	}
	body := s.read(s.ask("POST /v1/embeddings", `{"model":"m",`+members+`}`))
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		s.t.Fatalf("%s: %v in %s", members, err, body)
	}
	if got.Object != "list" || got.Model != "sim-test" || got.Usage["prompt_tokens"] != tokens || got.Usage["total_tokens"] != tokens {
		s.t.Errorf("%s: %s %s %v, want %d tokens", members, got.Object, got.Model, got.Usage, tokens)
	}
	var vectors [][]float32
	for i, d := range got.Data {
		if d.Object != "embedding" || d.Index != i {
			s.t.Errorf("%s: data[%d] is %s %d", members, i, d.Object, d.Index)
		}
		vectors = append(vectors, unpack(s, d.Embedding))
	}
	return vectors
}

// unpack reads either encoding as the OpenAI SDKs do.
func unpack(s *scene, raw json.RawMessage) []float32 {
	s.t.Helper()
	var v []float32
	if raw[0] == '[' {
		if err := json.Unmarshal(raw, &v); err != nil {
			s.t.Fatal(err)
		}
		return v
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		s.t.Fatal(err)
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(b)%4 != 0 {
		s.t.Fatalf("%d bytes, %v", len(b), err)
	}
	for len(b) > 0 {
		v = append(v, math.Float32frombits(binary.LittleEndian.Uint32(b)))
		b = b[4:]
	}
	return v
}

func TestEmbeddings(t *testing.T) {
	s := onLoopback(t, instant())
	one := embed(s, `"input":"one"`, 1)[0]
	if len(one) != 256 {
		t.Errorf("%d dimensions, want 256", len(one))
	}
	f := func(members string, tokens, which int, same bool) {
		t.Helper()
		vectors := embed(s, members, tokens)
		if which >= len(vectors) {
			t.Fatalf("%s: %d vectors", members, len(vectors))
		}
		if got := slices.Equal(vectors[which], one); got != same {
			t.Errorf("%s: equal to the vector of \"one\": %v, want %v", members, got, same)
		}
	}
	f(`"input":"one"`, 1, 0, true)
	f(`"input":"one","encoding_format":"float"`, 1, 0, true)
	f(`"input":"one","encoding_format":"base64"`, 1, 0, true)
	f(`"input":["two three","one"]`, 3, 1, true)
	f(`"input":["two three","one"]`, 3, 0, false)
	f(`"input":[1,2,3]`, 3, 0, false)
	f(`"input":[[1,2,3],[4]]`, 4, 1, false)
	f(`"input":"One"`, 1, 0, false)
}

func TestVectorsAreUnits(t *testing.T) {
	for _, n := range []int{1, 2, 256, maxDimensions} {
		var squares, sum float64
		for _, x := range vector("some text", n) {
			squares += float64(x) * float64(x)
			sum += float64(x)
		}
		if math.Abs(squares-1) > 1e-5 {
			t.Errorf("%d dimensions: squared length %v, want 1", n, squares)
		}
		if n > 2 && math.Abs(sum) > 4 { // the sum of unit coordinates has a deviation of 1
			t.Errorf("%d dimensions: the vector leans, sum %v", n, sum)
		}
	}
}

func TestDimensions(t *testing.T) {
	s := onLoopback(t, instant())
	if v := embed(s, `"input":"one","dimensions":3,"encoding_format":"base64"`, 1); len(v) != 1 || len(v[0]) != 3 {
		t.Errorf("got %v, want one vector of 3", v)
	}
}

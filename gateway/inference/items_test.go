package inference

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestItems(t *testing.T) {
	f := func(input string, want ...string) {
		t.Helper()
		var c Canon
		if r := c.Read([]byte(`{"input":` + input + `,"model":"m"}`)); r != Accepted {
			t.Fatalf("%s: %s", input, r)
		}
		items, ok := c.Items(nil)
		var got []string
		for _, item := range items {
			got = append(got, string(item))
		}
		if ok != (want != nil) || ok && strings.Join(got, "|") != strings.Join(want, "|") {
			t.Errorf("%s has %q (%t), want %q", input, got, ok, want)
		}
	}
	f(`"a"`, `"a"`)
	f(`""`, `""`)
	f(`["a"]`, `"a"`)
	f(`[ "a" , "b\"," ]`, `"a"`, `"b\","`)
	f(`[1,2,3]`, `[1,2,3]`)
	f(`[ 1, 2 ]`, `[ 1, 2 ]`)
	f(`[[1,2],[3]]`, `[1,2]`, `[3]`)
	f(`[]`)
	f(`[[]]`)
	f(`{}`)
	f(`null`)
	f(`7`)
	f(`["a",1]`)
	f(`["a",["b"]]`)
	f(`[1,"a"]`)
	f(`[1.5]`)
	f(`[-1]`)
	f(`[[1],["a"]]`)
	f(`[{"text":"a"}]`)
	f(`[null]`)
	f(`["a"` + strings.Repeat(`,"a"`, MaxItems) + `]`)
}

// An input is told apart by itself and by all that else is asked, however it is written.
func TestSumItem(t *testing.T) {
	sum := func(body string) (sums [][32]byte) {
		var c Canon
		if c.Read([]byte(body)) != Accepted {
			t.Fatal(body)
		}
		items, ok := c.Items(nil)
		if !ok {
			t.Fatal(body)
		}
		rest := c.Sum(Embeddings, "input")
		for _, item := range items {
			sums = append(sums, c.SumItem(rest, item))
		}
		return sums
	}
	one := sum(`{"model":"m","input":"a"}`)[0]
	for _, same := range []string{`{"input":["b","a"],"model":"m"}`, ` { "input" : [ "c" , "a" ] , "model":"m"}`} {
		if sum(same)[1] != one {
			t.Errorf("%s asks for another", same)
		}
	}
	for _, other := range []string{`{"model":"n","input":"a"}`, `{"model":"m","input":"a","dimensions":3}`, `{"model":"m","input":"a","encoding_format":"base64"}`,
		`{"model":"m","input":"a","user":"u"}`, `{"model":"m","input":"A"}`, `{"model":"m","input":"\u0061"}`} {
		if sum(other)[0] == one {
			t.Errorf("%s asks for the same", other)
		}
	}
	if sum(`{"input":[1, 2]}`)[0] != sum(`{"input":[[3],[1,2]]}`)[1] || sum(`{"input":[12]}`)[0] == sum(`{"input":[1,2]}`)[0] || sum(`{"input":"[1,2]"}`)[0] == sum(`{"input":[1,2]}`)[0] {
		t.Error("tokens are not told apart")
	}
}

func TestAppendWithItems(t *testing.T) {
	f := func(body []byte, want string, items ...string) {
		t.Helper()
		var c Canon
		c.Read(body)
		var raw [][]byte
		for _, item := range items {
			raw = append(raw, []byte(item))
		}
		body, from, to := c.AppendWithItems([]byte("x"), raw)
		if got := string(body[1:]); got != want || !json.Valid([]byte(got)) {
			t.Errorf("%s is %s, want %s", body, got, want)
		} else if from >= 0 && got[from:to] != `"m"` {
			t.Errorf("the model of %s is said to be %s", got, got[from:to])
		}
	}
	f([]byte(`{"input":"a"}`), `{"input":["b"]}`, `"b"`)
	f([]byte(`{"user":"u","input":["a","b"], "model": "m"}`), `{"model":"m","user":"u","input":["b",[1,2]]}`, `"b"`, `[1,2]`)
}

func TestReadVectors(t *testing.T) {
	f := func(n int, answer string, want ...string) {
		t.Helper()
		v, ok := ReadVectors([]byte(answer), n)
		if ok != (want != nil) {
			t.Fatalf("%s: %t", answer, ok)
		}
		for i, w := range want {
			if string(v.ByIndex[i]) != w {
				t.Errorf("%s: %d is %s, want %s", answer, i, v.ByIndex[i], w)
			}
		}
	}
	f(1, `{"object":"list","data":[{"object":"embedding","index":0,"embedding":[1,2]}],"model":"m","usage":{"prompt_tokens":3}}`, `[1,2]`)
	f(2, `{"data":[{"embedding":"BB","index":1},{"index":0,"embedding":"AA"}]}`, `"AA"`, `"BB"`)
	f(1, `{"model":"tiny","object":"list","usage":{"prompt_tokens":2},"data":[{"embedding":"AA","index":0,"object":"embedding","encoding_format":"base64"}]}`, `"AA"`)
	f(2, `{"data":[{"embedding":[1],"index":1}]}`)
	f(2, `{"data":[{"embedding":[1],"index":1},{"embedding":[1],"index":1}]}`)
	f(2, `{"data":[{"embedding":[1],"index":1},{"embedding":[1],"index":2}]}`)
	f(1, `{"data":[{"embedding":[1],"index":0},{"embedding":[1],"index":1}]}`)
	f(1, `{"data":[{"embedding":[1]}]}`)
	f(1, `{"data":[{"index":0}]}`)
	f(1, `{"data":[{"index":0,"embedding":[]}]}`)
	f(1, `{"data":[{"index":0,"embedding":null}]}`)
	f(1, `{"data":[{"index":0,"embedding":{"int8":[1]}}]}`)
	f(1, `{"data":[{"index":0,"embedding":[1],"text":"a"}]}`)
	f(1, `{"data":[{"index":-1,"embedding":[1]}]}`)
	f(1, `{"error":{}}`)
	f(1, `{"data":[{"index":0,"embedding":[1]}]`)
	b := AppendVectorsBegin(nil)
	b = AppendVector(b, 0, Embedding(`[1]`))
	b = AppendVector(b, 1, Embedding(`"AA"`))
	if got, want := string(AppendVectorsEnd(b, []byte(`"m"`), 7)), `{"object":"list","data":[{"object":"embedding","index":0,"embedding":[1]},{"object":"embedding","index":1,"embedding":"AA"}],"model":"m","usage":{"prompt_tokens":7,"total_tokens":7}}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

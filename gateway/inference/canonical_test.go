package inference

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// canonicalOf is the canonical text of a body, or why it has none.
func canonicalOf(body string, d Dialect) (string, Refusal) {
	var c Canon
	if r := c.Read([]byte(body)); r != Accepted {
		return "", r
	}
	return string(c.AppendTo(nil, d, "")), Accepted
}

func TestCanonical(t *testing.T) {
	f := func(body, want string) {
		t.Helper()
		if got, r := canonicalOf(body, Chat); got != want || r != Accepted {
			t.Errorf("%s is %s (%s), want %s", body, got, r, want)
		}
	}
	f(`{}`, `{}`)
	f(" {\n} ", `{}`)
	f(`{"b":1,"a":2}`, `{"a":2,"b":1}`)
	f("{ \"b\" : [ 1 , 2.50, {\"y\": \"a b\\\" \", \"x\" :null } ] ,\r\n\t\"a\" : { } }", `{"a":{},"b":[1,2.50,{"y":"a b\" ","x":null}]}`)
	f(`{"messages":[{"role":"user","content":"x"}],"user":"u","metadata":{"a":1},"service_tier":"flex"}`, `{"messages":[{"role":"user","content":"x"}]}`)
	f(`{"User":"u","x":{"user":"v"}}`, `{"User":"u","x":{"user":"v"}}`)
	f(`{"x":[1, 2, 3,4 ,5,6,7, 8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25]}`, `{"x":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25]}`)
	f(`{"x":1.0,"y":1e0,"z":"\u0041"}`, `{"x":1.0,"y":1e0,"z":"\u0041"}`)
	f(`{"user":1}`, `{}`)
	f(`{"":1,"a":2}`, `{"":1,"a":2}`)
	f(`{"b":1,"B_":2,"ba":3}`, `{"b":1,"B_":2,"ba":3}`)
}

func TestNoCanonicalForm(t *testing.T) {
	f := func(body string, want Refusal) {
		t.Helper()
		if got, r := canonicalOf(body, Chat); r != want {
			t.Errorf("%s is %s (%s), want %s", body, got, r, want)
		}
	}
	f(``, NotObject)
	f(`[]`, NotObject)
	f("\ufeff{}", NotObject)
	f(`{"a":1,"a":1}`, Duplicate)
	f(`{"seed":1,"x":2,"Seed":1}`, Duplicate)
	f(`{"user":"a","User":"b"}`, Duplicate)
	f(`{"se\u0065d":1}`, OddName)
	f(`{"ſeed":1}`, OddName)
	f("{\"a\":\"\xff\"}", NotUTF8)
	f("{\"a\xc3\":1}", NotUTF8)
	f(`{"a":1 2}`, Malformed)
	f(`{"a":[1 2]}`, Malformed)
	f(`{"a":[1,]}`, Malformed)
	f(`{"a":[,1]}`, Malformed)
	f(`{"a":{"b"}}`, Malformed)
	f(`{"a":{"b":1,}}`, Malformed)
	f(`{"a":[}`, Malformed)
	f(`{"a":{]}`, Malformed)
	f(`{"a":1,}`, Malformed)
	f(`{"a":1 "b":2}`, Malformed)
	f(`{"a" 1}`, Malformed)
	f(`{a:1}`, Malformed)
	f(`{"a":}`, Malformed)
	f(`{"a":1`, Cut)
	f(`{"a":"x`, Cut)
	f(`{"a":[1,2`, Cut)
	f(`{"a"`, Cut)
	f(`{`, Cut)
	f(`{"a":1}x`, Trailing)
	f(`{} {}`, Trailing)
	f(`{"a":`+strings.Repeat("[", maxDepth+1)+strings.Repeat("]", maxDepth+1)+`}`, TooDeep)
	many := `{"x":0`
	for i := range maxCanonical {
		many += fmt.Sprintf(`,"x%d":0`, i)
	}
	f(many+`}`, TooManyMembers)
}

// randomSpace is white space, or none.
func randomSpace(r *rand.Rand) string {
	return strings.Repeat(string(" \n\r\t"[r.IntN(4)]), max(0, r.IntN(4)-1))
}

// spaced is a value with other white space between its tokens.
func spaced(r *rand.Rand, value []byte) string {
	var b strings.Builder
	quoted, escaped := false, false
	for _, c := range value {
		switch {
		case quoted:
			b.WriteByte(c)
			quoted = escaped || c != '"'
			escaped = !escaped && c == '\\'
			continue
		case bytes.IndexByte([]byte("[]{},:"), c) >= 0:
			b.WriteString(randomSpace(r) + string(c) + randomSpace(r))
			continue
		case c == '"':
			quoted = true
		}
		if !isSpace(c) {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// randomMembers are those of a request: names of schemas, values of all kinds.
func randomMembers(r *rand.Rand) (names []string, values [][]byte) {
	all := slices.Concat(schemas[Chat], schemas[Responses], schemas[Messages])
	for range 1 + r.IntN(12) {
		if name := all[r.IntN(len(all))]; !slices.Contains(names, name) {
			names = append(names, name)
			values = append(values, randomValue(r, 0))
		}
	}
	return names, values
}

func randomValue(r *rand.Rand, depth int) []byte {
	switch n := r.IntN(8); {
	case n == 0 && depth < 4, n == 1 && depth < 4:
		open, shut := "[", "]"
		if n == 1 {
			open, shut = "{", "}"
		}
		b := []byte(open)
		for i := range r.IntN(5) {
			if i > 0 {
				b = append(b, ',')
			}
			if n == 1 {
				b = fmt.Appendf(b, "%q:", string(rune('a'+i)))
			}
			b = append(b, randomValue(r, depth+1)...)
		}
		return append(b, shut...)
	case n == 2:
		return fmt.Appendf(nil, "%d", r.IntN(3000)-50)
	case n == 3:
		return fmt.Appendf(nil, "%v", r.Float64())
	case n == 4:
		return []byte([]string{"null", "true", "false"}[r.IntN(3)])
	}
	texts := []string{`""`, `" a  b "`, `"\""`, `"\\"`, `"x\\\" : , {}"`, `"é \u00e9"`, `"user"`}
	return []byte(texts[r.IntN(len(texts))])
}

func joined(r *rand.Rand, names []string, values [][]byte) string {
	b := randomSpace(r) + "{"
	for i, at := range r.Perm(len(names)) {
		if i > 0 {
			b += ","
		}
		b += randomSpace(r) + `"` + names[at] + `"` + randomSpace(r) + ":" + randomSpace(r) + spaced(r, values[at]) + randomSpace(r)
	}
	return b + "}" + randomSpace(r)
}

// What differs in white space and the order of the members is one request; what differs in anything else is another one.
func TestCanonicalIsOfTheRequest(t *testing.T) {
	r := rand.New(rand.NewPCG(18, 7))
	for range 5000 {
		names, values := randomMembers(r)
		body := joined(r, names, values)
		want, why := canonicalOf(body, Responses)
		if again := joined(r, names, values); why != Accepted {
			t.Fatalf("%s: %s", body, why)
		} else if got, _ := canonicalOf(again, Responses); got != want {
			t.Fatalf("%s\nand\n%s\nare\n%s\nand\n%s", body, again, want, got)
		}
		if !json.Valid([]byte(want)) {
			t.Fatalf("%s is no JSON", want)
		}
		// one byte of a value, a member more, a member less
		i := r.IntN(len(names))
		other := slices.Clone(values)
		for bytes.Equal(other[i], values[i]) {
			other[i] = randomValue(r, 2)
		}
		for _, changed := range []string{
			joined(r, names, other),
			joined(r, append(slices.Clone(names), "another"), append(slices.Clone(values), []byte("0"))),
			joined(r, slices.Delete(slices.Clone(names), i, i+1), slices.Delete(slices.Clone(values), i, i+1)),
		} {
			if got, _ := canonicalOf(changed, Responses); got == want {
				t.Fatalf("%s\nand\n%s\nare both\n%s", body, changed, got)
			}
		}
	}
}

// schemas are the fields of requests: those of the providers and of engines beside them.
var schemas = map[Dialect][]string{
	Chat: {
		"model", "messages", "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs", "max_completion_tokens",
		"max_tokens", "metadata", "modalities", "n", "parallel_tool_calls", "prediction", "presence_penalty", "prompt_cache_key",
		"prompt_cache_retention", "reasoning_effort", "response_format", "safety_identifier", "seed", "service_tier", "stop", "store", "stream", "stream_options",
		"temperature", "tool_choice", "tools", "top_logprobs", "top_p", "user", "verbosity", "web_search_options",
		// vLLM
		"best_of", "use_beam_search", "top_k", "min_p", "repetition_penalty", "length_penalty", "stop_token_ids", "include_stop_str_in_output", "ignore_eos",
		"min_tokens", "skip_special_tokens", "spaces_between_special_tokens", "truncate_prompt_tokens", "prompt_logprobs", "allowed_token_ids",
		"bad_words", "echo", "add_generation_prompt", "continue_final_message", "add_special_tokens", "documents", "chat_template", "chat_template_kwargs",
		"media_io_kwargs", "mm_processor_kwargs", "guided_json", "guided_regex", "guided_choice", "guided_grammar", "structural_tag", "guided_decoding_backend",
		"guided_whitespace_pattern", "structured_outputs", "priority", "request_id", "logits_processors", "return_tokens_as_token_ids", "return_token_ids", "cache_salt",
		"kv_transfer_params", "vllm_xargs", "include_reasoning", "thinking_token_budget",
	},
	Completions: {
		"model", "prompt", "best_of", "echo", "frequency_penalty", "logit_bias", "logprobs", "max_tokens", "n", "presence_penalty", "seed", "stop", "stream",
		"stream_options", "suffix", "temperature", "top_p", "user", "prompt_embeds", "response_format", "lora_request",
	},
	Embeddings: {"model", "input", "encoding_format", "dimensions", "user", "truncate_prompt_tokens", "add_special_tokens", "priority", "embed_dtype", "endianness", "normalize", "metadata", "service_tier"},
	Rerank:     {"model", "query", "documents", "top_n", "truncate_prompt_tokens", "return_documents", "user", "metadata"},
	Score:      {"model", "text_1", "text_2", "queries", "items", "user"},
	Responses: {
		"background", "conversation", "include", "input", "instructions", "max_output_tokens", "max_tool_calls", "metadata", "model",
		"parallel_tool_calls", "previous_response_id", "prompt", "prompt_cache_key", "reasoning", "safety_identifier", "service_tier", "store", "stream",
		"stream_options", "temperature", "text", "tool_choice", "tools", "top_logprobs", "top_p", "truncation", "user", "context_management",
	},
	Messages: {
		"model", "messages", "max_tokens", "container", "context_management", "mcp_servers", "metadata", "service_tier", "stop_sequences", "stream", "system",
		"temperature", "thinking", "tool_choice", "tools", "top_k", "top_p", "output_config", "betas", "user", "speed", "inference_geo",
	},
}

// Each field of each schema is part of the key, there or not, with each of its values, but for those that are listed.
func TestEachFieldCounts(t *testing.T) {
	omitted := map[string]bool{"user": true, "metadata": true, "service_tier": true}
	for d, names := range schemas {
		for _, name := range append([]string{"nobody_knows"}, names...) {
			seen := map[[sha256.Size]byte]string{}
			var c Canon
			for _, member := range []string{"", `,"%s":null`, `,"%s":0`, `,"%s":1`, `,"%s":"1"`, `,"%s":true`, `,"%s":[]`, `,"%s":{}`, `,"%s":[1]`, `,"%s":{"a":1}`} {
				if member != "" {
					member = fmt.Sprintf(member, name)
				}
				body := `{"the_rest":1` + member + `}`
				if r := c.Read([]byte(body)); r != Accepted {
					t.Fatalf("%s: %s", body, r)
				}
				sum := c.Sum(d, "")
				if sum != sha256.Sum256(c.AppendTo(nil, d, "")) {
					t.Fatalf("%s: not the sum of its text", body)
				}
				seen[sum] = body
			}
			want := 10
			if omitted[name] && (d == Chat || d == Completions || d == Messages) {
				want = 1
			}
			if len(seen) != want {
				t.Errorf("%s: %s makes %d keys, want %d", d, name, len(seen), want)
			}
		}
	}
}

// FuzzCanonical compares with encoding/json: what has a canonical form is the same object, and has it once.
func FuzzCanonical(f *testing.F) {
	for _, seed := range []string{`{}`, `{"b": [1, 2, {"x" : "y"}], "a":null}`, `{"a":1,"A":2}`, `{"x":"\"\\"}`, `{"x":[1,2,3,4,5,6,7,8,9,10,11,12, 13]}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var c Canon
		r := c.Read(body)
		valid := json.Valid(body)
		if r == NotObject || r == Malformed || r == Cut || r == Trailing {
			if trimmed := bytes.TrimLeft(body, " \n\r\t"); valid && trimmed[0] == '{' {
				t.Fatalf("%q is refused as %s", body, r)
			}
		}
		if r != Accepted {
			return
		}
		text := string(c.AppendTo(nil, Responses, ""))
		if again, r := canonicalOf(text, Responses); again != text || r != Accepted {
			t.Fatalf("%q has the text %q, and that %q (%s)", body, text, again, r)
		}
		if !valid {
			return
		}
		var was, is map[string]json.RawMessage
		if json.Unmarshal(body, &was) != nil || json.Unmarshal([]byte(text), &is) != nil || len(was) != len(is) {
			t.Fatalf("%q has the text %q", body, text)
		}
		for name, v := range was {
			var compact bytes.Buffer
			_ = json.Compact(&compact, v)
			if compact.String() != string(is[name]) {
				t.Fatalf("%q: %s is %q, want %q", body, name, is[name], compact.String())
			}
		}
	})
}

// chatBody is a request of a client's library, of about that many bytes.
func chatBody(size int) []byte {
	var b strings.Builder
	b.WriteString(`{"messages":[{"role":"system","content":"You are a helpful assistant."}`)
	for b.Len() < size-300 {
		b.WriteString(`,{"role":"user","content":"`)
		b.WriteString(strings.Repeat("What is \\\"it\\\" that we see here? ", min(20, (size-b.Len())/34)))
		b.WriteString(`"}`)
	}
	b.WriteString(`],"model":"llama-8b","temperature":0,"max_tokens":256,"stream":true,"stream_options":{"include_usage":true}}`)
	return []byte(b.String())
}

func TestCanonicalAllocatesNothing(t *testing.T) {
	var c Canon
	scratch := make([]byte, 0, 64<<10)
	for _, body := range [][]byte{chatBody(3000), []byte(`{ "b" : [1, 2], "a" : {"x": 1} }`)} {
		if n := testing.AllocsPerRun(100, func() {
			if c.Read(body) != Accepted {
				t.Fatal("refused")
			}
			scratch = c.AppendTo(scratch[:0], Chat, "input")
			_ = c.Sum(Chat, "")
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
}

func BenchmarkCanonical(b *testing.B) {
	for _, size := range []int{3 << 10, 100 << 10} {
		body := chatBody(size)
		run := func(name string, f func()) {
			b.Run(fmt.Sprintf("size=%d/impl=%s", size, name), func(b *testing.B) {
				b.SetBytes(int64(len(body)))
				b.ReportAllocs()
				for b.Loop() {
					f()
				}
			})
		}
		var c Canon
		scratch := make([]byte, 0, 200<<10)
		run("canonical", func() {
			c.Read(body)
			scratch = c.AppendTo(scratch[:0], Chat, "")
		})
		run("key", func() {
			c.Read(body)
			c.Sum(Chat, "")
		})
		run("sha256", func() { sha256.Sum256(body) })
		run("json-valid", func() { json.Valid(body) })
		run("json-unmarshal-marshal", func() {
			var v map[string]any
			_ = json.Unmarshal(body, &v)
			_, _ = json.Marshal(v)
		})
	}
}

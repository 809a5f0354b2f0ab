package telemetry

import "testing"

// An answer tells its tokens in each dialect, in pieces of any size.
func TestAnswer(t *testing.T) {
	f := func(name, text string, input, output, cached int64) {
		t.Helper()
		for size := 1; size <= len(text); size += 1 + size/3 {
			var a Answer
			a.Reset()
			for at := 0; at < len(text); at += size {
				a.Pass([]byte(text[at:min(at+size, len(text))]))
			}
			i, o, c, told := a.Tokens()
			if told != (input >= 0) || told && (i != input || o != output || c != cached) {
				t.Fatalf("%s by %d: %d, %d, %d, %v", name, size, i, o, c, told)
			}
		}
	}
	f("chat", `{"model":"m","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":3}}}`, 7, 5, 3)
	f("before the choices", `{"usage":{"prompt_tokens_details":{"audio":{"cached_tokens":9},"cached_tokens":3},"prompt_tokens":7,"completion_tokens":5},"choices":[{"usage":{"prompt_tokens":1}}]}`, 7, 5, 3)
	f("a stream", "data: {\"choices\":[{}],\"usage\":null}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":5}}\n\ndata: [DONE]\n\n", 7, 5, 0)
	f("messages", "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":4,\"cache_read_input_tokens\":10,\"cache_creation_input_tokens\":6,\"output_tokens\":1}}}\n\n"+
		"event: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":9}}\n\n", 20, 9, 10)
	f("responses", "data: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":4,\"output_tokens\":2,\"input_tokens_details\":{\"cached_tokens\":1}}}}\n\n", 4, 2, 1)
	f("embeddings", `{"data":[{"embedding":[1,2]}],"usage":{"prompt_tokens":8,"total_tokens":8}}`, 8, 0, 0)
	f("nothing is told", `{"choices":[{"message":{"content":"\"usage\":{\"prompt_tokens\":7}"}}]}`, -1, 0, 0)
	f("more cached than read", `{"usage":{"prompt_tokens":7,"prompt_tokens_details":{"cached_tokens":30}}}`, 7, 0, 7)
	f("a count that is none", `{"usage":{"prompt_tokens":-7,"completion_tokens":1e9}}`, -1, 0, 0)
}

func BenchmarkAnswer(b *testing.B) {
	event := []byte(`data: {"id":"chatcmpl-123","object":"chat.completion.chunk","created":1694268190,"model":"gpt-4o-mini","system_fingerprint":"fp_44709d6fcb","choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}],"usage":null}` + "\n\n")
	b.SetBytes(int64(len(event)))
	b.ReportAllocs()
	var a Answer
	a.Reset()
	for b.Loop() {
		a.Pass(event)
	}
}

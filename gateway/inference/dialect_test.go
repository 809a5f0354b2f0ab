package inference

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestDialectOf(t *testing.T) {
	f := func(path string, want Dialect) {
		t.Helper()
		if d := DialectOf([]byte(path)); d != want {
			t.Errorf("%s: %s", path, d)
		}
	}
	f("/v1/chat/completions", Chat)
	f("/v1/completions", Completions)
	f("/v1/embeddings", Embeddings)
	f("/v1/rerank", Rerank)
	f("/rerank", Rerank)
	f("/score", Score)
	f("/v1/responses", Responses)
	f("/v1/messages", Messages)
	f("/v1/messages/count_tokens", CountTokens)
	f("/v1/audio/transcriptions", Audio)
	f("/v1/realtime", Realtime)
	f("/detokenize", Tokenize)
	f("/v1/models/a/b", Models)
	f("/v1/files", Other)
	f("/infer", Other)
	f("/openai/v1/chat/completions", Chat)
	f("/v10/chat/completions", Other)
	if !Chat.Streams() || !Chat.Generates() || Embeddings.Generates() || Embeddings.Streams() || !Audio.Forms() || Tokenize.Counts() || !Embeddings.Counts() || Models.NamesModel() {
		t.Error("traits")
	}
}

func TestAppendError(t *testing.T) {
	f := func(d Dialect, e Error, want string) {
		t.Helper()
		got := string(d.AppendError(nil, e))
		if got != want || !json.Valid([]byte(got)) {
			t.Errorf("%s: %s", d, got)
		}
	}
	f(Chat, NoSuchModel, `{"error":{"message":"the model does not exist, or you have no access to it","type":"invalid_request_error","param":"model","code":"model_not_found"}}`)
	f(Messages, NoSuchModel, `{"type":"error","error":{"type":"not_found_error","message":"the model does not exist, or you have no access to it"}}`)
	f(Chat, Error{Status: 429, Code: "rate_limit_exceeded", Message: "a \"b\"\n\xff"}, `{"error":{"message":"a \"b\"\u000a`+"\ufffd"+`","type":"rate_limit_error","param":null,"code":"rate_limit_exceeded"}}`)
	f(Messages, Error{Status: 429, Code: "rate_limit_exceeded", Message: "x"}, `{"type":"error","error":{"type":"rate_limit_error","message":"x","code":"rate_limit_exceeded"}}`)
	f(Other, ErrorOf(Duplicate, ModelMember), `{"error":{"message":"a field that decides about the request is stated twice","type":"invalid_request_error","param":"model","code":"duplicate_field"}}`)
	for r := NotObject; r < refusals; r++ {
		if r.String() == "" || r.Message() == "" || ErrorOf(r, NoMember).Status != 400 {
			t.Errorf("refusal %d says nothing", r)
		}
	}
	cut := string(Chat.AppendCut(nil, "upstream_cut", "the upstream broke off"))
	if cut != `data: {"error":{"message":"the upstream broke off","type":"upstream_error","code":"upstream_cut"}}`+"\n\n" {
		t.Error(cut)
	}
	cut = string(Messages.AppendCut(nil, "upstream_cut", "the upstream broke off"))
	if !strings.HasPrefix(cut, "event: error\ndata: {\"type\":\"error\",") || !strings.HasSuffix(cut, "}}\n\n") {
		t.Error(cut)
	}
	var buf [512]byte
	if n := testing.AllocsPerRun(100, func() { Messages.AppendError(buf[:0], NoSuchModel) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// The events are those of vLLM and llama-server, shortened, and of the providers' documentation.
func TestContent(t *testing.T) {
	f := func(d Dialect, data string, want bool) {
		t.Helper()
		if got := d.Content([]byte(data)); got != want {
			t.Errorf("%s: %s: content %t", d, data, got)
		}
	}
	f(Chat, `{"id":"a","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}`, false)
	f(Chat, `{"choices":[{"finish_reason":null,"index":0,"delta":{"role":"assistant","content":null}}]}`, false)
	f(Chat, `{"choices":[{"index":0,"delta":{"content":"con"},"logprobs":null}]}`, true)
	f(Chat, `{"choices" : [ {"delta":{"reasoning_content":"hm"}} ] }`, true)
	f(Chat, `{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"name":"f"}}]}}]}`, true)
	f(Chat, `{"choices":[{"delta":{"tool_calls":[]}}]}`, false)
	f(Chat, `{"choices":[{"delta":{}},{"delta":{"content":"second"}}]}`, true)
	f(Chat, `{"choices":[],"usage":{"prompt_tokens":15}}`, false)
	f(Chat, `[DONE]`, false)
	f(Chat, `{"error":{"message":"x"}}`, false)
	f(Chat, `{"choices":[{"delta":{"content":"cut`, false)
	f(Completions, `{"choices":[{"text":"a","index":0}]}`, true)
	f(Completions, `{"choices":[{"text":"","index":0}]}`, false)
	f(Messages, `{"type":"message_start","message":{"content":[]}}`, false)
	f(Messages, `{"type":"ping"}`, false)
	f(Messages, `{"type":"content_block_start","content_block":{"type":"text","text":""},"index":0}`, false)
	f(Messages, `{"type":"content_block_delta","delta":{"type":"text_delta","text":"are"},"index":0}`, true)
	f(Messages, `{"delta":{"type":"thinking_delta","thinking":"a"},"type":"content_block_delta"}`, true)
	f(Messages, `{"type":"content_block_delta","delta":{"type":"input_json_delta","partial_json":"{\"a"}}`, true)
	f(Messages, `{"type":"content_block_delta","delta":{"type":"text_delta","text":""}}`, false)
	f(Responses, `{"type":"response.created","response":{}}`, false)
	f(Responses, `{"content_index":0,"delta":"rite","item_id":"m","type":"response.output_text.delta"}`, true)
	f(Responses, `{"type":"response.function_call_arguments.delta","delta":"{"}`, true)
	f(Responses, `{"type":"response.content_part.added","part":{"type":"output_text","text":""}}`, false)
	f(Embeddings, `{"choices":[{"delta":{"content":"a"}}]}`, false)

	event := []byte(`{"id":"a","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"con"}}]}`)
	if n := testing.AllocsPerRun(100, func() { Chat.Content(event) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestEnds(t *testing.T) {
	f := func(d Dialect, data string, ends, fails bool) {
		t.Helper()
		if d.Ends([]byte(data)) != ends || d.Fails([]byte(data)) != fails {
			t.Errorf("%s: %s: ends %t, fails %t", d, data, d.Ends([]byte(data)), d.Fails([]byte(data)))
		}
	}
	f(Chat, "[DONE]", true, false)
	f(Chat, ` [DONE]`, true, false)
	f(Chat, `{"choices":[{"delta":{"content":"[DONE]"}}],"error":null}`, false, false)
	f(Chat, `{"error":{"message":"x"}}`, false, true)
	f(Messages, `{"type":"message_stop"}`, true, false)
	f(Messages, `{"type":"message_delta","delta":{}}`, false, false)
	f(Messages, `{"type":"error","error":{"type":"overloaded_error"}}`, false, true)
	f(Responses, `{"response":{"id":"a","output":[{"type":"message"}]},"type":"response.completed"}`, true, false)
	f(Responses, `{"type":"response.incomplete","response":{}}`, true, false)
	f(Responses, `{"type":"response.failed","response":{}}`, true, true)
	f(Responses, `[DONE]`, false, false)
}

func TestUsage(t *testing.T) {
	f := func(d Dialect, input, output, cached int64, events ...string) {
		t.Helper()
		var u Usage
		read := false
		for _, e := range events {
			read = u.Read(d, []byte(e)) || read
		}
		if read != (input+output > 0) || u.Input != input || u.Output != output || u.Cached != cached {
			t.Errorf("%s: %q: %+v, %t", d, events, u, read)
		}
	}
	f(Chat, 15, 4, 14, `{"choices":[{"message":{"content":"\"usage\":{\"prompt_tokens\":1}"}}],"usage":{"completion_tokens":4,"prompt_tokens":15,"total_tokens":19,"prompt_tokens_details":{"cached_tokens":14}}}`)
	f(Chat, 15, 4, 0, `{"choices":[],"usage":null}`, `{"choices":[],"usage":{"prompt_tokens":15,"total_tokens":19,"completion_tokens":4,"prompt_tokens_details":null}}`, `[DONE]`)
	f(Chat, 0, 0, 0, `{"choices":[{"delta":{"content":"a"}}],"usage":null}`, `{"usage":{}}`, `{"usage":{"prompt_tokens":-1}}`)
	f(Embeddings, 7, 0, 0, `{"data":[],"usage":{"prompt_tokens":7,"total_tokens":7}}`)
	f(Messages, 15, 4, 14, `{"type":"message_start","message":{"usage":{"cache_read_input_tokens":14,"input_tokens":1,"output_tokens":0}}}`, `{"type":"message_delta","delta":{},"usage":{"output_tokens":4}}`)
	f(Messages, 21, 4, 14, `{"type":"message_start","message":{"usage":{"cache_read_input_tokens":14,"cache_creation_input_tokens":6,"input_tokens":1}}}`, `{"type":"message_delta","usage":{"input_tokens":1,"output_tokens":4}}`)
	f(Messages, 15, 4, 0, `{"type":"message","usage":{"input_tokens":15,"output_tokens":4}}`)
	f(Responses, 15, 4, 14, `{"type":"response.created","response":{"usage":null}}`, `{"type":"response.completed","response":{"usage":{"input_tokens":15,"output_tokens":4,"input_tokens_details":{"cached_tokens":14}}}}`)
	f(Realtime, 9, 3, 2, `{"type":"response.done","response":{"usage":{"input_tokens":9,"output_tokens":3,"input_token_details":{"cached_tokens":2}}}}`)
}

func TestContextExceeded(t *testing.T) {
	f := func(answer string, want bool) {
		t.Helper()
		if ContextExceeded([]byte(answer)) != want {
			t.Errorf("%s: %t", answer, !want)
		}
	}
	f(`{"error":{"message":"This model's maximum context length is 8192 tokens.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}`, true)
	f(`{"error":{"message":"max_tokens=100000 cannot be greater than max_model_len=4096.","type":"BadRequestError","param":"max_tokens","code":400}}`, true)
	f(`{"object":"error","message":"This model's maximum context length is 4096 tokens.","type":"BadRequestError","param":null,"code":400}`, true)
	f(`{"error":{"code":400,"message":"the request exceeds the available context size","type":"exceed_context_size_error","n_ctx":4096}}`, true)
	f(`{"error":{"message":"temperature must be non-negative","type":"BadRequestError","param":null,"code":400}}`, false)
	f(`{"error":{"message":"maximum context length","type":"invalid_request_error","code":null}}`, false)
	f(`{"error":"context_length_exceeded"}`, false)
	f(``, false)
}

// FuzzWalk: nothing that an upstream sends is read beyond its end.
func FuzzWalk(f *testing.F) {
	f.Add([]byte(`{"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":1}}`))
	f.Add([]byte(`{"type":"x","response":{"usage":{"input_tokens":1}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		for d := Other; d < dialects; d++ {
			var u Usage
			u.Read(d, data)
			if d.Content(data) && d.Ends(data) {
				t.Errorf("%s: %q is content and the end", d, data)
			}
			d.Fails(data)
		}
		ContextExceeded(data)
		if names, ok := ParseCatalogue(data); ok && !json.Valid(data) {
			t.Errorf("%q: %q", data, names)
		}
	})
}

package behaviour

import (
	"fmt"
	"strings"
	"testing"

	"aigateway/gateway/testkit"
)

// Wherever a usage stands at the top level of an answer it is counted, in the dialect of Messages too, and what is nested
// deeper is none. The answer passes as it is.
func TestUsageIsCountedWhereverItStands(t *testing.T) {
	long := strings.Repeat(`long \"text\" {in} [it] `, 20_000)
	document := func(body string) string { return "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + body }
	stream := func(body string) string { return "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + body }
	answers := map[string]string{
		"first":   document(`{"model":"small","usage":{"prompt_tokens":1,"completion_tokens":2},"choices":[{"message":{"content":"` + long + `"}}]}`),
		"behind":  document(`{"model":"small","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":20},"x":"` + long[:9000] + `"}`),
		"nested":  document(`{"model":"small","choices":[{"usage":{"prompt_tokens":5},"message":{"tool_calls":[{"function":{"arguments":"{\"usage\":{\"prompt_tokens\":5}}"}}]}}]}`),
		"message": document(`{"type":"message","content":[{"type":"text","text":"x"}],"model":"small","usage":{"cache_read_input_tokens":60,"input_tokens":40,"output_tokens":200}}`),
		"events": stream("event: message_start\n" + `data: {"type":"message_start","message":{"model":"small","usage":{"input_tokens":1000,"output_tokens":0}}}` + "\n\n" +
			strings.Repeat("event: content_block_delta\n"+`data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"V"}}`+"\n\n", 500) +
			"event: message_delta\n" + `data: {"type":"message_delta","delta":{},"usage":{"output_tokens":2000}}` + "\n\nevent: message_stop\n" + `data: {"type":"message_stop"}` + "\n\n"),
	}
	answers["rerank"] = document(`{"model":"small","usage":{"prompt_tokens":7,"total_tokens":7},"results":[{"index":0,"relevance_score":0.5}]}`)
	answers["score"] = document(`{"object":"list","model":"small","data":[{"index":0,"object":"score","score":0.5}],"usage":{"prompt_tokens":8,"completion_tokens":0}}`)
	answers["audio"] = document(`{"text":"hello","usage":{"type":"tokens","input_tokens":14,"output_tokens":45,"total_tokens":59}}`)
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		if r := c.ReadRequest(); r.Err == nil {
			c.Send("%s", answers[r.Body])
		}
	})
	g := startGateway(t, "LLM_SERVICE_URL="+up.URL, "GENAI_MODELS=small")
	ask := func(path, name string) {
		t.Helper()
		_, want, _ := strings.Cut(answers[name], "\r\n\r\n")
		if got := g.Do(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", path, len(name), name)).Body; got != want {
			t.Errorf("%s: %d bytes became %d", name, len(want), len(got))
		}
	}
	ask("/v1/chat/completions", "first")
	ask("/v1/chat/completions", "behind")
	ask("/v1/chat/completions", "nested")
	ask("/v1/messages", "message")
	ask("/v1/messages", "events")
	ask("/v1/rerank", "rerank")
	ask("/rerank", "rerank")
	ask("/v1/score", "score")
	ask("/v1/audio/transcriptions", "audio")
	testkit.Eventually(t, "nothing is under way", g.idle)
	of := func(operation, model string) string {
		return `gen_ai_operation_name="` + operation + `",gen_ai_provider_name="openai",gen_ai_response_model="` + model + `"`
	}
	chat := `gen_ai_operation_name="chat",gen_ai_provider_name="openai",gen_ai_response_model="small"`
	s := g.series()
	for series, want := range map[string]float64{
		`gen_ai_client_token_usage_sum{` + chat + `,gen_ai_token_type="input"}`:    1111,
		`gen_ai_client_token_usage_sum{` + chat + `,gen_ai_token_type="output"}`:   2222,
		`gen_ai_client_token_usage_count{` + chat + `,gen_ai_token_type="output"}`: 4,
		`gen_ai_server_request_duration_count{` + chat + `}`:                       5,
		`gen_ai_server_time_to_first_token_count{` + chat + `}`:                    1,

		`gen_ai_client_token_usage_sum{` + of("rerank", "small") + `,gen_ai_token_type="input"}`:    14,
		`gen_ai_client_token_usage_count{` + of("rerank", "small") + `,gen_ai_token_type="output"}`: 0,
		`gen_ai_server_request_duration_count{` + of("rerank", "small") + `}`:                       2,
		`gen_ai_client_token_usage_sum{` + of("score", "small") + `,gen_ai_token_type="input"}`:     8,
		`gen_ai_client_token_usage_sum{` + of("audio", "other") + `,gen_ai_token_type="output"}`:    45, // it does not say its model
	} {
		if got := s[series]; got != want {
			t.Errorf("%s is %v, want %v", series, got, want)
		}
	}
}

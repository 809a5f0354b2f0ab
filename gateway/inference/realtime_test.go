package inference

import "testing"

func TestReadRealtime(t *testing.T) {
	f := func(event string, want RealtimeEvent, usage Usage) {
		t.Helper()
		var u Usage
		if got := u.ReadRealtime([]byte(event)); got != want || u.Input != usage.Input || u.Output != usage.Output || u.Cached != usage.Cached {
			t.Errorf("%s: %v, %+v", event, got, u)
		}
	}
	f(`{"type":"response.done","response":{"status":"completed","usage":{"total_tokens":9,"input_tokens":5,"output_tokens":4,`+
		`"input_token_details":{"text_tokens":1,"cached_tokens":2}}}}`, UsageTold, Usage{Input: 5, Output: 4, Cached: 2})
	f(` {"response":{"output":[{"usage":{"input_tokens":7}}],"usage":{"input_tokens":5}},"type":"response.done"}`+"\n", UsageTold, Usage{Input: 5})
	f(`{"type":"response.done","response":{"usage":{"input_tokens":5,"input_token_details":{"cached_tokens":20}}}}`, UsageTold, Usage{Input: 5, Cached: 5})
	f(`{"type":"response.done","response":{"status":"failed","usage":null}}`, AnswerFailed, Usage{})
	f(`{"type":"response.done","response":{"status":"cancelled","usage":null}}`, AnswerStopped, Usage{})
	f(`{"type":"response.done","response":{"status":"completed"}}`, UsageUntold, Usage{})
	f(`{"type":"response.done","response":{"status":"completed","usage":{"input_tokens":-5,"output_tokens":1e9}}}`, UsageUntold, Usage{})
	f(`{"type":"response.done"}`, UsageUntold, Usage{})
	f(`{"type":"response.output_text.delta","delta":"response.done"}`, ContentUsed, Usage{})
	f(`{"type":"response.output_audio.delta","delta":"AAAA"}`, ContentUsed, Usage{})
	f(`{"type":"response.output_text.delta","delta":""}`, NothingUsed, Usage{})
	f(`{"type":"conversation.item.input_audio_transcription.delta","delta":"a"}`, NothingUsed, Usage{})
	for _, other := range []string{"", "[]", `{`, `"response.done"`, `{"type":"session.created","response":{"usage":{"input_tokens":5}}}`,
		`{"type":["response.done"],"response":{"usage":{"input_tokens":5}}}`, `{"x":{"type":"response.done"}}`} {
		f(other, NothingUsed, Usage{})
	}
	for begin, want := range map[string]bool{
		`{"type":"response.done","resp`: true, `{"response":{"output":[`: true, `{"type":"response.output_audio.delta","delta":"AAA`: false, ``: true,
	} {
		if got := MayEndRealtime([]byte(begin)); got != want {
			t.Errorf("%s: %v", begin, got)
		}
	}
}

package behaviour

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"aigateway/gateway/server"
	"aigateway/gateway/testkit"
)

// A counter is an upstream that answers chats, whole or as a stream, and keeps the last request.
type counter struct {
	*testkit.Upstream
	last  atomic.Value  // the body of the last request
	head  atomic.Value  // and its head
	wait  chan struct{} // not nil: streams stop before their last events until it is closed
	usage string        // of answers
}

func startCounter(t *testing.T, usage string) *counter {
	u := &counter{usage: usage}
	u.Upstream = testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		for {
			r := c.ReadRequest()
			if r.Err != nil {
				return
			}
			u.last.Store(r.Body)
			u.head.Store(strings.ToLower(r.Head))
			switch body := r.Body; {
			case strings.Contains(body, `"fail"`):
				c.Send("HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\n{}")
			case strings.Contains(body, `"stream":true`):
				chunk := `data: {"choices":[{"delta":{"content":"a"}}]}` + "\n\n"
				c.Send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nX-RateLimit-Limit-Requests: 7\r\n\r\n")
				c.Send("%x\r\n%s\r\n", len(chunk), chunk)
				if u.wait != nil {
					<-u.wait
				}
				const stop = `data: {"choices":[{"delta":{},"finish_reason":"stop"}]}` + "\n\n"
				c.Send("%x\r\n%s\r\n", len(stop), stop)
				end := "data: [DONE]\n\n"
				if strings.Contains(body, "include_usage") {
					end = `data: {"choices":[],"usage":` + u.usage + "}\n\n" + end
				}
				c.Send("%x\r\n%s\r\n0\r\n\r\n", len(end), end)
			default:
				c.Send("%s", testkit.Answer(`{"choices":[{"message":{"content":"x"}}],"usage":`+u.usage+`}`))
			}
		}
	})
	return u
}

func usageOf(in, out int) string {
	return fmt.Sprintf(`{"prompt_tokens":%d,"completion_tokens":%d}`, in, out)
}

func chatWith(key, body string) string {
	return fmt.Sprintf("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n%s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", withKey(key), len(body), body)
}

// budgeted is a gateway with keys in front of such an upstream.
func budgeted(t *testing.T, up *counter, keys, file string) *testGateway {
	return serve(t, keyed(t, keys, file, "LLM_SERVICE_URL="+up.URL, "RATE_LIMIT_ENABLED=false", "ADMIN_TOKEN=the-operators", "CACHE_ENABLED=true"), server.Options{})
}

// left is what a response says remains of a limit.
func left(r testkit.Message, of string) string { return r.Field("x-ratelimit-remaining-" + of) }

// Tokens are reserved by an estimate and settled by what the upstream counts; what fails costs nothing; a refusal names the bucket.
func TestTokensAreSettledByUsage(t *testing.T) {
	up := startCounter(t, usageOf(100, 50))
	g := budgeted(t, up, keyFile("sk-a , limits: {tpm: 1000}", "sk-b , limits: {tpm: 1000, rpm: 2}", "sk-c , limits: {tpm: 600}"), "")
	r := g.Do(chatWith("sk-a", `{"model":"m","max_tokens":60}`))
	if r.Status() != 200 || r.Field("x-ratelimit-limit-tokens") != "1000" {
		t.Fatalf("%s", r.Head)
	}
	testkit.Eventually(t, "nothing is under way", g.idle)
	if r = g.Do(chatWith("sk-a", `{"model":"m","max_tokens":60}`)); left(r, "tokens") < "780" || left(r, "tokens") > "800" { // 1000 - 150 - about 68 - what has come in
		t.Errorf("%s of 1000 are left", left(r, "tokens"))
	}
	testkit.Eventually(t, "nothing is under way", g.idle)
	g.Do(chatWith("sk-c", `{"model":"m","max_tokens":60}`))
	testkit.Eventually(t, "nothing is under way", g.idle)
	if r = g.Do(chatWith("sk-c", `{"fail":1,"max_tokens":600}`)); r.Status() != 429 {
		t.Errorf("600 of 450: %d", r.Status())
	} else if r.Field("RateLimit-Scope") != "key-tpm" || r.Field("Retry-After") == "" || !strings.Contains(r.Body, `"rate_limit_exceeded"`) {
		t.Errorf("%s%s", r.Head, r.Body)
	}
	for range 3 {
		if r = g.Do(chatWith("sk-a", `{"fail":1,"max_tokens":600}`)); r.Status() != 400 {
			t.Errorf("what fails costs: %d", r.Status())
		}
		testkit.Eventually(t, "nothing is under way", g.idle)
	}
	if r = g.Do(chatWith("sk-a", `{"model":"m","max_tokens":1001}`)); r.Status() != 400 || !strings.Contains(r.Body, "tokens_exceed_limit") {
		t.Errorf("more than the bucket: %d %s", r.Status(), r.Body)
	}
	for i, want := range []int{200, 200, 429} {
		if r = g.Do(chatWith("sk-b", `{"model":"m","max_tokens":1}`)); r.Status() != want {
			t.Errorf("request %d: %d", i, r.Status())
		}
	}
	if r.Field("RateLimit-Scope") != "key-rpm" {
		t.Errorf("%s", r.Head)
	}
	testkit.Eventually(t, "nothing is under way", g.idle) // what has its reply is counted a moment later
	operator := func(path string) string {
		return g.Do("GET " + path + " HTTP/1.1\r\nHost: a\r\n" + withKey("the-operators") + "\r\n\r\n").Body
	}
	if text := operator("/metrics"); !strings.Contains(text, `gateway_tokens_total{key="a",model="other",kind="input"} 200`) ||
		!strings.Contains(text, `gateway_budget_refused_total{limit="key-rpm"} 1`) || !strings.Contains(text, `gateway_budget_used_ratio{limit="key-rpm",key="b"} 1`) {
		t.Errorf("no series of tokens:\n%s", text)
	}
	want := `{"key":"b","model":"","total":{"requests":2,"tokens_in":200,"tokens_out":100,"tokens_cached":0,"tokens_saved":0},"minute":{"requests":2,`
	if text := operator("/usagez"); !strings.Contains(text, want) {
		t.Errorf("%s", text)
	}
}

// A stream that would not tell its usage is asked to, and what was asked for is taken out again, byte for byte.
func TestUsageIsInjected(t *testing.T) {
	up := startCounter(t, usageOf(100, 400))
	g := budgeted(t, up, keyFile("sk-a , limits: {tpm: 3000}", "sk-free", "sk-long , limits: {tpm: 1000000}"), "")
	const plain = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n" +
		"data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"
	r := g.Do("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n" + withKey("sk-a") + "\r\nContent-Length: 30\r\n\r\n" + `{"stream":true,"max_tokens":9}`)
	if r.Body != plain {
		t.Errorf("the client gets %q", r.Body)
	}
	if r.Field("X-RateLimit-Limit-Requests") != "" {
		t.Error("an upstream's limits go on")
	}
	if got := up.last.Load(); got != `{"stream":true,"stream_options":{"include_usage":true},"max_tokens":9}` {
		t.Errorf("the upstream gets %s", got)
	}
	if head := up.head.Load().(string); !strings.Contains(head, "accept-encoding: identity\r\n") || strings.Contains(head, "gzip") {
		t.Errorf("the upstream gets %s", head)
	}
	testkit.Eventually(t, "nothing is under way", g.idle)
	if r = g.Do(chatWith("sk-a", `{"max_tokens":1}`)); left(r, "tokens") > "2520" || left(r, "tokens") < "2400" {
		t.Errorf("%s are left after 500 of 3000", left(r, "tokens"))
	}
	// Where it stands does not matter: behind a long prompt, as SDKs write it, in one that lies in several pieces, between them.
	const asked = `"stream_options":{"include_usage":true}`
	for _, n := range []int{10, 1<<16 - 120, 1<<16 - 80, 150_000, 1<<18 - 60, 900_000} {
		prompt := `{"messages":[{"role":"user","content":"` + strings.Repeat("a", n) + `"}],"max_tokens":1,`
		for rest, want := range map[string]string{
			`"stream":true}`:                                             `"stream":true,` + asked + `}`,
			`"stream":"true","tools":[1]}`:                               `"stream":"true",` + asked + `,"tools":[1]}`,
			`"stream":true,"stream_options":null,"tools":[1]}`:           `"stream":true,` + asked + `,"tools":[1]}`,
			`"stream":true,"stream_options":{"include_usage":false}}`:    `"stream":true,` + asked,
			`"stream_options":{"include_usage":false,"a":1},"stream":1}`: `"stream_options":{"a":1,"include_usage":true}`,
		} {
			r = g.Do(chatWith("sk-long", prompt+rest))
			got, _ := up.last.Load().(string)
			if !strings.HasPrefix(got, prompt) || !strings.HasPrefix(got[len(prompt):], want) || !json.Valid([]byte(got)) {
				t.Errorf("behind %d bytes of %s the upstream gets %.100s", n, rest, got[min(len(got), len(prompt)):])
			}
			if strings.Contains(rest, `"stream":true`) && r.Body != plain {
				t.Errorf("behind %d bytes of %s the client gets %q", n, rest, r.Body)
			}
		}
	}
	// Who asked for usage gets it, and who has no limit is not touched.
	r = g.Do(chatWith("sk-a", `{"stream":true,"stream_options":{"include_usage":true},"max_tokens":1}`))
	if !strings.Contains(r.Body, `"usage":{"prompt_tokens":100`) {
		t.Errorf("%q", r.Body)
	}
	g.Do(chatWith("sk-free", `{"stream":true}`))
	if got := up.last.Load(); got != `{"stream":true}` {
		t.Errorf("the upstream gets %s", got)
	}
}

// A coded answer cannot be read: it costs what was estimated, and not the events that seem to be in it, whether it is whole or cut.
func TestCodedAnswersCostTheEstimate(t *testing.T) {
	cut := false
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		for r := c.ReadRequest(); r.Err == nil; r = c.ReadRequest() {
			c.Send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n")
			if cut {
				return
			}
			c.Send("0\r\n\r\n")
		}
	})
	g := budgeted(t, &counter{Upstream: up}, keyFile("sk-a , limits: {tpm: 3000}", "sk-b , limits: {tpm: 3000}"), "")
	for _, key := range []string{"sk-a", "sk-b"} {
		cut = key == "sk-b"
		g.Do(chatWith(key, `{"stream":true,"stream_options":{"include_usage":true},"max_tokens":400}`))
		testkit.Eventually(t, "nothing is under way", g.idle)
		r := g.Do("GET /v1/models HTTP/1.1\r\nHost: a\r\n" + withKey(key) + "\r\n\r\n")
		if n := left(r, "tokens"); n < "2500" || n > "2620" {
			t.Errorf("%s: %s of 3000 are left after about 420", key, n)
		}
	}
}

// What a stream for several is read by, and what is taken out of it, is settled by its head, which is gone when more has come: also for who
// reads on in another's place, and for the end of a stream without an empty line.
func TestUsageIsTakenOutToTheEnd(t *testing.T) {
	const usage = `data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}` + "\n\n"
	more := make(chan struct{})
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		c.ReadRequest()
		c.Send("%s", sseHead+chunk(word("a")))
		for range 3 {
			<-more
			c.Send("%s", chunk(word("b")+usage))
		}
		<-more
		c.Send("%s", chunk("data: [DONE]")+"0\r\n\r\n")
	})
	file := "pools: {p: {upstreams: [{url: \"" + up.URL + "\"}]}}\nroutes: [{path: \"/v1/*\", pool: p, cache: {post: true, ttl: 60s}}]\n"
	g := budgeted(t, &counter{Upstream: up}, keyFile("sk-a , limits: {tpm: 10000}"), file)
	var all []*testkit.Peer
	for range 2 {
		c := g.client(false)
		c.Send("%s", chatWith("sk-a", `{"model":"m","messages":[],"stream":true,"temperature":0}`))
		c.ReadHead()
		all = append(all, c)
	}
	for range 4 {
		more <- struct{}{}
	}
	want := word("a") + strings.Repeat(word("b"), 3) + "data: [DONE]"
	for i, c := range all {
		if text, err := c.ReadChunks(); err != nil || string(text) != want {
			t.Errorf("client %d: %q, %v", i, text, err)
		}
		c.Abort()
	}
}

// Where a route writes a path of the API, or leads all paths to engines, tokens are counted as there.
func TestTokensAreCountedOnByways(t *testing.T) {
	up := startCounter(t, usageOf(100, 400))
	engines := "pools: {p: {upstreams: [{url: \"" + up.URL + "\"}]}, q: {upstreams: [{url: \"" + up.URL + "\"}]}}\nmodels: [{name: m, pool: p}]\n"
	for path, routes := range map[string]string{
		"/openai/chat/completions":  `[{path: "/openai/*", pool: p, rewrite: "/v1/*"}]`,
		"/v1/team/chat/completions": `[{path: "/v1/team/*", pool: p, rewrite: "/v1/*"}]`,
		"/ask":                      `[{path: /ask, pool: p, rewrite: /v1/chat/completions}]`,
		"/e/v1/chat/completions":    `[{path: "/e/*", pool: p}]`,
	} {
		g := serve(t, keyed(t, keyFile("sk-a , limits: {tpm: 3000}"), engines+"routes: "+routes+"\n", "RATE_LIMIT_ENABLED=false"), server.Options{})
		ask := func(path, body string) testkit.Message {
			defer testkit.Eventually(t, "nothing is under way", g.idle)
			return g.Do(strings.Replace(chatWith("sk-a", body), "/v1/chat/completions", path, 1))
		}
		if r := ask(path, `{"model":"else","stream":true,"max_tokens":9}`); r.Status() != 200 || strings.Contains(r.Body, "usage") {
			t.Errorf("%s: %s%s", path, r.Head, r.Body)
		}
		if r := ask(path, `{"model":"else","max_tokens":1}`); left(r, "tokens") > "2520" || left(r, "tokens") < "2400" {
			t.Errorf("%s: %s are left after 500 of 3000", path, left(r, "tokens"))
		}
		for range 3 {
			ask(path, `{"model":"else"}`)
		}
		if r := ask(path, `{"model":"else"}`); r.Status() != 429 {
			t.Errorf("%s: 500 of 500 that are left: %s", path, r.First)
		}
		if strings.HasSuffix(path, "/completions") {
			odd := strings.Replace(path, "chat/c", "chat%2FC", 1)
			if r := ask(odd, `{"model":"else"}`); r.Status() != 400 {
				t.Errorf("%s: %s", odd, r.First)
			}
		}
	}
}

// Where nobody has a limit of tokens, what answers tell is counted all the same, and what they do not tell is estimated by the body's length.
func TestTokensAreCountedWithoutLimits(t *testing.T) {
	up := startCounter(t, usageOf(100, 50))
	g := serve(t, testkit.Settings(t, `
pools: {p: {upstreams: [{url: "`+up.URL+`"}]}}
models: [{name: m, pool: p}, {name: n, pool: p}]
rate_limit_enabled: false
`, nil), server.Options{})
	ask := func(body string) {
		t.Helper()
		if r := g.Do(fmt.Sprintf("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(body), body)); r.Status() != 200 {
			t.Errorf("%s", r.Head)
		}
		testkit.Eventually(t, "nothing is under way", g.idle)
	}
	ask(`{"model":"m","max_tokens":60}`)
	ask(`{"messages":[{"role":"user","content":"` + strings.Repeat("a", 4000-69) + `"}],"model":"n","stream":true}`) // 4000 bytes, of which 0.27 are a token; three events
	text := g.Do("GET /usagez HTTP/1.1\r\nHost: a\r\n\r\n").Body
	for _, want := range []string{
		`"model":"m","total":{"requests":1,"tokens_in":100,"tokens_out":50,`,
		`"model":"n","total":{"requests":1,"tokens_in":1080,"tokens_out":3,`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
	if text = g.Do("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").Body; !strings.Contains(text, "gateway_usage_unknown_total 1\n") {
		t.Errorf("the answer that told nothing is not counted")
	}
}

// Who leaves pays for what has passed, and the permit is free again.
func TestPermitsComeBack(t *testing.T) {
	up := startCounter(t, usageOf(10, 10))
	up.wait = make(chan struct{})
	g := budgeted(t, up, keyFile("sk-a , limits: {concurrency: 1, tpm: 10000}"), "")
	c := g.client(false)
	c.Send("%s", chatWith("sk-a", `{"stream":true,"max_tokens":5000}`))
	testkit.Eventually(t, "the stream is under way", func() bool { return up.last.Load() != nil })
	if r := g.Do(chatWith("sk-a", `{"max_tokens":1}`)); r.Status() != 429 || r.Field("RateLimit-Scope") != "key-concurrency" {
		t.Errorf("a second one: %s", r.Head)
	}
	c.Abort()
	testkit.Eventually(t, "the permit is back", func() bool { return g.Do(chatWith("sk-a", `{"max_tokens":1}`)).Status() == 200 })
	testkit.Eventually(t, "nothing is under way", g.idle)
	if r := g.Do(chatWith("sk-a", `{"max_tokens":1}`)); len(left(r, "tokens")) != 4 || left(r, "tokens") < "9500" {
		t.Errorf("%s are left of 10000 after a stream that was cut", left(r, "tokens"))
	}
	close(up.wait)
}

// Limits of a model and of all hold for whoever asks.
// Tokens count by their weights, those that the engine had in its cache by theirs; and nobody is expected to read more than the model's
// context holds.
func TestWeightsOfTokens(t *testing.T) {
	t.Parallel()
	up := startCounter(t, `{"prompt_tokens":100,"completion_tokens":50,"prompt_tokens_details":{"cached_tokens":40}}`)
	g := budgeted(t, up, keyFile("sk-a , limits: {tpd: 1000}"), "tokens: {input: 0.5, output: 2, cached: 0}\nmodels: [{name: m, pool: llm, context_max: 50}]\n")
	const expected, used = 50*0.5 + 10*2, (100-40)*0.5 + 40*0 + 50*2
	for i, want := range []int{1000 - expected, 1000 - used - expected} {
		if r := g.Do(chatWith("sk-a", `{"model":"m","max_tokens":10,"messages":"`+strings.Repeat("x", 8000)+`"}`)); left(r, "tokens") != itoa(want) {
			t.Errorf("request %d: %s of %s are left, want %d", i, left(r, "tokens"), r.Field("x-ratelimit-limit-tokens"), want)
		}
		testkit.Eventually(t, "nothing is under way", g.idle)
	}
}

func TestLimitsOfModels(t *testing.T) {
	up := startCounter(t, usageOf(1, 1))
	g := serve(t, testkit.Settings(t, `
pools: {p: {upstreams: [{url: "`+up.URL+`"}]}}
models: [{name: small, pool: p, limits: {rpm: 1}}, {name: big, pool: p, limits: {tpm: 500}}]
global_tpm: 2000
rate_limit_enabled: false
`, nil), server.Options{})
	ask := func(body string) testkit.Message {
		return g.Do(fmt.Sprintf("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
	}
	for _, c := range []struct {
		body   string
		status int
		scope  string
	}{
		{`{"model":"small","max_tokens":1}`, 200, ""}, {`{"model":"small","max_tokens":1}`, 429, "model-rpm"},
		{`{"model":"big","max_tokens":501}`, 400, ""}, {`{"model":"big","max_tokens":400}`, 200, ""},
	} {
		r := ask(c.body)
		if r.Status() != c.status || r.Field("RateLimit-Scope") != c.scope {
			t.Errorf("%s: %d %s", c.body, r.Status(), r.Field("RateLimit-Scope"))
		}
		testkit.Eventually(t, "nothing is under way", g.idle)
	}
}

// What the cache has, and what another request fetches, costs a request and no tokens; who leads pays, also after leaving.
func TestHitsAndFollowersCostNoTokens(t *testing.T) {
	up := startCounter(t, usageOf(100, 400))
	up.wait = make(chan struct{})
	file := "pools: {p: {upstreams: [{url: \"" + up.URL + "\"}]}}\nroutes: [{path: \"/v1/*\", pool: p, cache: {post: true, ttl: 60s}}]\n"
	g := budgeted(t, up, keyFile("sk-a , limits: {tpm: 10000, rpm: 100, concurrency: 2}"), file)
	tokens := func() int {
		var n int
		r := g.Do(chatWith("sk-a", `{"temperature":1,"max_tokens":1,"fail":1}`))
		fmt.Sscan(left(r, "tokens"), &n)
		testkit.Eventually(t, "nothing is under way", g.idle)
		return n
	}
	const body = `{"model":"m","messages":[],"stream":true,"temperature":0,"max_tokens":9}`
	var all []*testkit.Peer
	for range 4 { // one of them leads; there are permits for two
		c := g.client(false)
		c.Send("%s", chatWith("sk-a", body))
		all = append(all, c)
		testkit.Eventually(t, "the first one is asked for", func() bool { return up.last.Load() != nil })
		c.ReadHead()
	}
	all[0].Abort()
	close(up.wait)
	for i, c := range all[1:] {
		if text, err := c.ReadChunks(); err != nil || !strings.HasSuffix(string(text), "data: [DONE]\n\n") || strings.Contains(string(text), "usage") {
			t.Errorf("follower %d: %q, %v", i+1, text, err)
		}
		c.Abort()
	}
	if n := up.Connections(); n != 1 {
		t.Errorf("%d requests upstream", n)
	}
	testkit.Eventually(t, "nothing is under way", g.idle)
	before := tokens()
	if before > 9600 || before < 9400 {
		t.Errorf("%d of 10000 tokens are left after one generation of 500", before)
	}
	for range 3 {
		if r := g.Do(chatWith("sk-a", body)); r.Field("X-Cache") != "HIT" {
			t.Fatalf("%s", r.Head)
		}
	}
	if after := tokens(); after < before-50 {
		t.Errorf("%d tokens are left of %d after three hits", after, before)
	}
	if r := g.Do(chatWith("sk-a", body)); left(r, "requests") > "93" || left(r, "requests") < "85" {
		t.Errorf("%s of 100 requests are left", left(r, "requests"))
	}
}

// A stream that breaks costs what has passed, whether it goes through the cache or not.
func TestBrokenStreamsCostWhatHasPassed(t *testing.T) {
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		if c.ReadRequest().Err == nil {
			const event = `data: {"choices":[{"delta":{"content":"a"}}]}` + "\n\n"
			c.Send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", 50*len(event), strings.Repeat(event, 50))
		}
	})
	file := "pools: {p: {upstreams: [{url: \"" + up.URL + "\"}]}}\nroutes: [{path: \"/v1/*\", pool: p, retry: never, cache: {post: true, ttl: 60s}}]\n"
	g := serve(t, keyed(t, keyFile("sk-a , limits: {tpd: 10000}"), file, "RATE_LIMIT_ENABLED=false", "CACHE_ENABLED=true"), server.Options{})
	before := 10000
	for i, body := range []string{`{"model":"m","stream":true,"temperature":1}`, `{"model":"m","stream":true,"temperature":0}`} {
		c := g.client(false)
		c.Send("%s", chatWith("sk-a", body))
		c.ReadHead()
		if text, _ := c.ReadChunks(); strings.Count(string(text), `"content"`) != 50 {
			t.Errorf("%d: %q", i, text)
		}
		testkit.Eventually(t, "nothing is under way", g.idle)
		r := g.Do("GET /v1/models HTTP/1.1\r\nHost: a\r\n" + withKey("sk-a") + "\r\n\r\n")
		var after int
		if fmt.Sscan(left(r, "tokens"), &after); before-after < 50 || before-after > 200 {
			t.Errorf("%s: %d tokens, then %d: %s", body, before, after, r.Head)
		}
		before = after
	}
}

// A path that is a generation's only to those behind, who decode it, remove dots or take any case, would be one that nobody counts.
func TestNoGenerationInDisguise(t *testing.T) {
	up := startCounter(t, usageOf(100, 50))
	g := budgeted(t, up, keyFile("sk-a , limits: {tpm: 1000}", "sk-free"), "")
	ask := func(key, path string) int {
		const body = `{"model":"m"}`
		return g.Do(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: a\r\n%s\r\nContent-Length: %d\r\n\r\n%s", path, withKey(key), len(body), body)).Status()
	}
	for _, path := range []string{
		"/v1/chat/%63ompletions", "/v1/chat%2fcompletions", "/v1//chat/completions", "/v1/./chat/completions", "/v1/x/../completions", "/v1/x/%2e%2e/completions",
		"/v1/models/..%2Fchat/completions", "/v1/audio/../completions", "/v1/x//../completions", "/v1/completions/", "/v1/Chat/completions", "/v1/%43ompletions%2F", "/v1/complet%69ons?model=m",
	} {
		if status := ask("sk-a", path); status != 400 {
			t.Errorf("%s: %d", path, status)
		}
		if status := ask("sk-free", path); status != 200 {
			t.Errorf("%s without a limit of tokens: %d", path, status)
		}
	}
	for _, path := range []string{"/v1/files/a%20b", "/v1/models/a%2Fb", "/v1/audio/%73peech", "/v1/Files/", "/v1/chat/completions?a=%2e%2e/"} {
		if status := ask("sk-a", path); status != 200 {
			t.Errorf("%s: %d", path, status)
		}
	}
}

// Who waits for a fetch that others were to make, and had no tokens for, spends its own.
func TestOthersBudgetsRefuseNobody(t *testing.T) {
	fail, over := make(chan struct{}), make(chan struct{})
	var asked atomic.Int32
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		for r := c.ReadRequest(); r.Err == nil; r = c.ReadRequest() {
			switch {
			case strings.Contains(r.Body, `"first"`):
				<-over
				return
			case asked.Add(1) == 1:
				<-fail
				return
			}
			c.Send("%s", testkit.Answer(`{"choices":[{"message":{"content":"x"},"finish_reason":"stop"}]}`))
		}
	})
	file := "pools: {p: {upstreams: [{url: \"" + up.URL + "\"}]}}\n" +
		"routes: [{path: \"/v1/*\", pool: p, retry: never, cache: {post: true, ttl: 60s, scope: shared}}]\n"
	g := serve(t, keyed(t, keyFile("sk-rich", "sk-poor , limits: {tpm: 600}"), file, "RATE_LIMIT_ENABLED=false", "CACHE_ENABLED=true"), server.Options{})
	var all []*testkit.Peer
	begin := func(key, body string) *testkit.Peer {
		before := g.missed()
		c := g.client(false)
		all = append(all, c)
		c.Send("%s", chatWith(key, body))
		testkit.Eventually(t, "it has missed", func() bool { return g.missed() > before })
		return c
	}
	const body = `{"model":"m","messages":[],"temperature":0,"max_tokens":500}`
	begin("sk-poor", `{"model":"first","messages":[],"temperature":0,"max_tokens":500}`) // has nearly all there is
	begin("sk-rich", body)
	c := begin("sk-rich", body)
	begin("sk-poor", body)
	begin("sk-poor", body)
	close(fail)
	if r := c.ReadResponse(); r.Status() != 200 {
		t.Errorf("%s%s", r.Head, r.Body)
	}
	close(over)
	for _, c := range all {
		c.Abort()
	}
}

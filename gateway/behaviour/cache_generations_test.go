package behaviour

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"aigateway/gateway/server"
	"aigateway/gateway/testkit"
)

// What models answer to POST is kept where a route says so.

// startKeeping starts a gateway whose route of /v1/* keeps models' answers, with more that the route says of it.
func startKeeping(t *testing.T, url, more string, environ ...string) *testGateway {
	t.Helper()
	file := "pools: {p: {upstreams: [{url: \"" + url + "\"}]}}\nroutes: [{path: \"/v1/*\", pool: p, cache: {post: true, ttl: 1h" + more + "}}]\n"
	return startGatewayFile(t, file, append([]string{"CACHE_ENABLED=true", "PY_SERVICE_URL=" + url}, environ...)...)
}

// askModel is a request to a model at a path of the API.
func askModel(path, body string, lines ...string) string {
	return fmt.Sprintf("POST /v1/%s HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s", path, joined(lines), len(body), body)
}

const (
	chatPath = "chat/completions"
	asked0   = `{"model":"m","messages":[{"role":"user","content":"hi"}],"temperature":0}`
	asked0s  = `{"model":"m","messages":[{"role":"user","content":"hi"}],"temperature":0,"stream":true}`
)

// chatAnswer is a whole answer with that text.
func chatAnswer(text string, lines ...string) string {
	return with(fmt.Sprintf(`{"choices":[{"index":0,"message":{"role":"assistant","content":%q},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":4}}`, text),
		append(lines, "Content-Type: application/json")...)
}

// chatEvents are the events of an answer of n words.
func chatEvents(n int) (events []string) {
	for i := range n {
		events = append(events, fmt.Sprintf("data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"w%d \"},\"finish_reason\":null}]}\n\n", i))
	}
	return append(events, "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
		"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}\n\n", "data: [DONE]\n\n")
}

const eventStream = "Content-Type: text/event-stream"

func TestGenerationIsKept(t *testing.T) {
	t.Parallel()
	o := startOrigin(t, func(r testkit.Message, n int) string {
		if strings.Contains(r.Body, `"stream":true`) {
			return chunkedOf(chatEvents(5), eventStream, "Cache-Control: no-cache", "X-Own: 1", "Set-Cookie: a=b", "x-ratelimit-remaining-tokens: 7")
		}
		return chatAnswer(fmt.Sprint("answer ", n), "X-Own: 1", "Set-Cookie: a=b", "x-ratelimit-remaining-tokens: 7")
	})
	g := startKeeping(t, o.URL, "")
	for i, body := range []string{asked0, asked0s} {
		m := g.Do(askModel(chatPath, body))
		if m.Field("X-Cache") != "MISS" || m.Status() != 200 || m.Field("Set-Cookie") != "a=b" || m.Field("x-ratelimit-remaining-tokens") != "7" || m.Err != nil {
			t.Errorf("%s %s %v", m.First, m.Head, m.Err)
		}
		if status := m.Field("Cache-Status"); !strings.Contains(status, "fwd=uri-miss") || strings.Contains(status, "stored") != (i == 0) {
			t.Errorf("Cache-Status %q", status)
		}
		// The same, written in another way.
		spaced := strings.NewReplacer(`,"temperature":0`, ``, `{"model":"m",`, "{ \"temperature\" : 0 ,\r\n \"user\": \"u\", \"model\" : \"m\" ,").Replace(body)
		for _, again := range []string{body, spaced} {
			k := g.Do(askModel(chatPath, again, "User-Agent: x", "Accept-Encoding: gzip"))
			wantCached(t, k, "HIT", 200, m.Body)
			if k.Field("Set-Cookie") != "" || k.Field("x-ratelimit-remaining-tokens") != "" || k.Field("X-Own") != "1" || k.Field("Age") == "" ||
				!strings.Contains(k.Field("Cache-Status"), "hit") || k.Field("Content-Type") != m.Field("Content-Type") {
				t.Errorf("%s", k.Head)
			}
		}
	}
	if n := len(o.asked()); n != 2 {
		t.Errorf("the upstream was asked %d times", n)
	}
	if n := g.Parts().Metrics.Cache().SavedTotal(); n != 4*7 {
		t.Errorf("%d tokens are saved", n)
	}
	// Request directives, as for GET.
	wantCached(t, g.Do(askModel(chatPath, asked0, "Cache-Control: no-cache")), "MISS", 200, bodyOf(chatAnswer("answer 2")))
	wantCached(t, g.Do(askModel(chatPath, asked0)), "HIT", 200, bodyOf(chatAnswer("answer 2")))
	if m := g.Do(askModel(chatPath, asked0+" ", "Cache-Control: no-store")); m.Field("X-Cache") != "BYPASS" {
		t.Errorf("%s", m.Head)
	}
	if m := g.Do(askModel(chatPath, `{"seed":5}`, "Cache-Control: only-if-cached")); m.Status() != 504 {
		t.Errorf("%s", m.First)
	}
	if r := o.asked()[0]; r.Field("Accept-Encoding") != "identity" || r.Body != asked0 {
		t.Errorf("the upstream got %s%s", r.Head, r.Body)
	}
}

// bodyOf is the body of an answer as it is sent.
func bodyOf(answer string) string { _, body, _ := strings.Cut(answer, "\r\n\r\n"); return body }

// What must not be kept is not, with a reason.
func TestGenerationIsNotKept(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	answer := ""
	o := startOrigin(t, func(testkit.Message, int) string {
		mu.Lock()
		defer mu.Unlock()
		return answer
	})
	g := startKeeping(t, o.URL, "", "CACHE_MAX_BODY_BYTES=3000")
	n := 0
	f := func(outcome, reason, request, says string) {
		t.Helper()
		mu.Lock()
		answer = says
		mu.Unlock()
		before := len(o.asked())
		for range 2 {
			m := g.Do(request)
			if m.Field("X-Cache") != outcome || m.Err != nil || m.Status() == 0 {
				t.Errorf("%.300s\n%s %s %v", request, m.First, m.Head, m.Err)
			}
			if !strings.Contains(m.Field("Cache-Status"), "detail="+reason) && !strings.Contains(reason, "unseen") {
				t.Errorf("%.300s\nCache-Status %q, want %s", request, m.Field("Cache-Status"), reason)
			}
		}
		if got := len(o.asked()) - before; got != 2 {
			t.Errorf("%.300s\nthe upstream was asked %d times", request, got)
		}
	}
	fresh := func() string { n++; return fmt.Sprintf(`{"model":"m","temperature":0,"messages":[%d]}`, n) }
	good := chatAnswer("x")
	// requests
	f("BYPASS", "sampled", askModel(chatPath, `{"model":"m"}`), good)
	f("BYPASS", "choices", askModel(chatPath, `{"seed":1,"n":2}`), good)
	f("BYPASS", "no_canonical_form", askModel(chatPath, `{"seed":1,"x":1,"X":2}`), good)
	f("BYPASS", "no_canonical_form", askModel(chatPath, "{\"seed\":1,\"x\":\"\xff\"}"), good)
	f("BYPASS", "no_canonical_form", askModel(chatPath, `{"seed":1`), good)
	f("BYPASS", "body", strings.Replace(askModel(chatPath, `{"seed":1}`), "application/json", "text/plain", 1), good)
	f("BYPASS", "body", askModel(chatPath, `{"seed":1}`, "Content-Encoding: gzip"), good)
	f("BYPASS", "dialect", askModel("audio/speech", `{"seed":1}`), good)
	f("BYPASS", "dialect", askModel("whatever", `{"seed":1}`), good)
	f("BYPASS", "stateful", askModel("responses", `{"seed":1}`), good)
	f("BYPASS", "origin_condition", askModel(chatPath, `{"seed":1}`, "If-Match: x"), good)
	f("BYPASS", "unkeyed_field", askModel(chatPath, `{"seed":1}`, "X-Forwarded-Prefix: /x"), good)
	// answers
	f("MISS", "status", askModel(chatPath, fresh()), "HTTP/1.1 400 Bad\r\nContent-Length: 2\r\n\r\n{}")
	f("MISS", "status", askModel(chatPath, fresh()), "HTTP/1.1 429 Slow\r\nContent-Length: 2\r\n\r\n{}")
	f("MISS", "coding", askModel(chatPath, fresh()), with("{}", "Content-Encoding: gzip"))
	f("MISS", "no_store", askModel(chatPath, fresh()), chatAnswer("x", "Cache-Control: no-store"))
	f("MISS", "private", askModel(chatPath, fresh()), chatAnswer("x", "Cache-Control: private"))
	f("MISS", "vary_any", askModel(chatPath, fresh()), chatAnswer("x", "Vary: *"))
	f("MISS", "too_large", askModel(chatPath, fresh()), chatAnswer(strings.Repeat("x", 4000)))
	f("MISS", "failing", askModel(chatPath, fresh()), with(`{"error":{"message":"x"}}`))
	f("MISS", "unfinished", askModel(chatPath, fresh()), with(`{"choices":[{"finish_reason":"abort"}]}`))
	f("MISS", "tool_call", askModel(chatPath, fresh()), with(`{"choices":[{"message":{"tool_calls":[{}]},"finish_reason":"tool_calls"}]}`))
	f("MISS", "shape", askModel(chatPath, fresh()), with(`oops`))
	f("MISS", "not_whole", askModel(chatPath, fresh()), with(`{"choices":[`))
	events := chatEvents(3)
	stream := func(events ...string) string { return chunkedOf(events, eventStream) }
	f("MISS", "unseen", askModel(chatPath, fresh()), stream(events[:len(events)-1]...))
	f("MISS", "unseen", askModel(chatPath, fresh()), stream("data: {\"error\":{\"message\":\"x\"}}\n\n", events[3], events[len(events)-1]))
	f("MISS", "unseen", askModel(chatPath, fresh()), stream("data: {\"choices\":[{\"delta\":{\"tool_calls\":[{}]}}]}\n\n", events[3], events[len(events)-1]))
	f("MISS", "unseen", askModel(chatPath, fresh()), stream(strings.Repeat(": ping\n\n", 500), events[3], events[len(events)-1]))
	f("MISS", "unseen", askModel("embeddings", `{"input":{}}`), with(`{"data":[]}`))
}

func TestGenerationWhen(t *testing.T) {
	t.Parallel()
	o := startOrigin(t, func(testkit.Message, int) string {
		return with(`{"choices":[{"message":{"tool_calls":[{}]},"finish_reason":"tool_calls"}]}`)
	})
	f := func(more, outcome, body string, lines ...string) {
		t.Helper()
		g := startKeeping(t, o.URL, more)
		g.Do(askModel(chatPath, body, lines...))
		if m := g.Do(askModel(chatPath, body, lines...)); m.Field("X-Cache") != outcome {
			t.Errorf("%s, %s: %s", more, body, m.Head)
		}
	}
	f(", tools: true", "HIT", asked0)
	f(", tools: true, when: always", "HIT", `{"n":3}`)
	f(", tools: true, when: header", "BYPASS", asked0)
	f(", tools: true, when: header", "HIT", `{"n":3}`, "X-Cache-POST: on")
}

// Nothing that was made for one crosses to another, wherever they say who they are, unless the route says that it may.
func TestGenerationTenants(t *testing.T) {
	t.Parallel()
	o := startOrigin(t, func(r testkit.Message, n int) string { return chatAnswer(fmt.Sprint("secret ", n)) })
	apart, together := startKeeping(t, o.URL, ""), startKeeping(t, o.URL, ", scope: shared")
	who := []string{"Authorization: Bearer ", "Authorization: Basic ", "Cookie: session=", "x-api-key: ", "api-key: ", "X-Goog-Api-Key: ", "X-Auth-Request-User: ",
		"X-Forwarded-User: ", "X-Amzn-Oidc-Identity: ", "X-Access-Token: ", "apikey: "}
	for i, line := range who {
		body := fmt.Sprintf(`{"seed":%d}`, i)
		seen := map[string]string{}
		for _, value := range []string{"", "a", "b", "A", "a ", "ab"} {
			lines := []string{line + value}
			if value == "" {
				lines = nil
			}
			m := apart.Do(askModel(chatPath, body, lines...))
			if value == "a " { // white space around a value is none of it
				wantCached(t, m, "HIT", 200, seen["a"])
				continue
			}
			for other, got := range seen {
				if m.Body == got {
					t.Errorf("%s%q got what was made for %q", line, value, other)
				}
			}
			wantCached(t, m, "MISS", 200, m.Body)
			seen[value] = m.Body
			wantCached(t, apart.Do(askModel(chatPath, body, lines...)), "HIT", 200, m.Body)
		}
		m := together.Do(askModel(chatPath, body, line+"a"))
		wantCached(t, together.Do(askModel(chatPath, body, line+"b")), "HIT", 200, m.Body)
		wantCached(t, together.Do(askModel(chatPath, body)), "HIT", 200, m.Body)
	}
	// Other fields that may matter, hosts, paths and queries are apart even there.
	first := together.Do(askModel(chatPath, asked0))
	for _, other := range []string{
		askModel(chatPath, asked0, "OpenAI-Organization: o"), askModel(chatPath, asked0, "anthropic-beta: x"), askModel(chatPath+"?x=1", asked0),
		askModel("completions", asked0), strings.Replace(askModel(chatPath, asked0), "Host: a", "Host: b", 1),
	} {
		if m := together.Do(other); m.Field("X-Cache") != "MISS" || m.Body == first.Body && !strings.Contains(other, "Host: b") {
			t.Errorf("%s\n%s", other, m.Head)
		}
	}
}

// Any number of equal requests at once are one generation, of which all get the same bytes.
func TestGenerationOneForAll(t *testing.T) {
	t.Parallel()
	size := crowdSize()
	var generations atomic.Int32
	next := make(chan int)
	events := chatEvents(12)
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		for c.ReadRequest().Err == nil {
			generations.Add(1)
			for i := range next {
				if i == 0 {
					c.Send("HTTP/1.1 200 OK\r\n%s\r\nTransfer-Encoding: chunked\r\n\r\n", eventStream)
				}
				c.Send("%x\r\n%s\r\n", len(events[i]), events[i])
			}
			c.Send("0\r\n\r\n")
		}
	})
	end := sync.OnceFunc(func() { close(next) })
	t.Cleanup(end) // before the upstream is waited for
	g := startKeeping(t, up.URL, "")
	clients := g.crowd(size, same(askModel(chatPath, asked0s)))
	for i := range 4 {
		next <- i
	}
	// Who comes late gets what there is at once, while the generation goes on.
	late := g.Dial()
	late.Send("%s", askModel(chatPath, asked0s))
	late.ReadHead()
	if chunk, err := late.ReadChunk(); !strings.HasPrefix(chunk, events[0]) || err != nil {
		t.Errorf("who is late reads %q, %v", chunk, err)
	}
	for i := 4; i < len(events); i++ {
		next <- i
	}
	end()
	want := strings.Join(events, "")
	all(clients, func(i int, m testkit.Message) { wantCached(t, m, "MISS", 200, want) })
	if n := generations.Load(); n != 1 {
		t.Errorf("there were %d generations", n)
	}
	wantCached(t, g.Do(askModel(chatPath, asked0s)), "HIT", 200, want)
	if n := g.Parts().Metrics.Cache().SavedTotal(); n < uint64(7*size) {
		t.Errorf("%d tokens are saved", n)
	}
}

// Whenever the client of who leads leaves, the others get the whole stream, and it is the same generation.
func TestGenerationLeaderLeaves(t *testing.T) {
	t.Parallel()
	events := chatEvents(5)
	for at := range len(events) + 1 {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			t.Parallel()
			var generations atomic.Int32
			next := make(chan int, len(events))
			up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
				for c.ReadRequest().Err == nil {
					generations.Add(1)
					c.Send("HTTP/1.1 200 OK\r\n%s\r\nTransfer-Encoding: chunked\r\n\r\n", eventStream)
					for i := range next {
						c.Send("%x\r\n%s\r\n", len(events[i]), events[i])
					}
					c.Send("0\r\n\r\n")
				}
			})
			g := startKeeping(t, up.URL, "")
			leader := g.crowd(1, same(askModel(chatPath, asked0s)))[0]
			others := g.crowd(3, same(askModel(chatPath, asked0s)))
			for i := range at {
				next <- i
				if i == 0 {
					leader.ReadHead()
				}
				if chunk, err := leader.ReadChunk(); chunk != events[i] || err != nil {
					t.Errorf("event %d is %q, %v", i, chunk, err)
				}
			}
			leader.Abort()
			for i := at; i < len(events); i++ {
				if i == at+1 {
					time.Sleep(150 * time.Millisecond) // the gateway looks for clients that leave every tenth of a second
				}
				next <- i
			}
			close(next)
			all(others, func(_ int, m testkit.Message) { wantCached(t, m, "MISS", 200, strings.Join(events, "")) })
			if n := generations.Load(); n != 1 {
				t.Errorf("there were %d generations", n)
			}
		})
	}
}

// Who leaves last ends the generation.
func TestGenerationLastToLeave(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{})
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		if c.ReadRequest().Err != nil {
			return
		}
		c.Send("HTTP/1.1 200 OK\r\n%s\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n: hi\n\r\n", eventStream)
		c.Closed()
		close(ended)
	})
	g := startKeeping(t, up.URL, "")
	clients := g.crowd(3, same(askModel(chatPath, asked0s)))
	for _, c := range clients {
		c.ReadHead()
		_, _ = c.ReadChunk()
		c.Abort()
	}
	select {
	case <-ended:
	case <-time.After(testkit.Patience):
		t.Error("the generation goes on for nobody")
	}
}

// A cut that the upstream makes is one for all, who are told so if it is between two events, and nothing of it is kept.
func TestGenerationCut(t *testing.T) {
	t.Parallel()
	f := func(path, sent, end string) {
		t.Helper()
		var generations atomic.Int32
		cut := make(chan struct{})
		up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
			if c.ReadRequest().Err != nil {
				return
			}
			generations.Add(1)
			c.Send("HTTP/1.1 200 OK\r\n%s\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", eventStream, len(sent), sent)
			<-cut
		})
		g := startKeeping(t, up.URL, "")
		clients := g.crowd(3, same(askModel(path, asked0s)))
		close(cut)
		var wg sync.WaitGroup
		for _, c := range clients {
			wg.Go(func() {
				head := c.ReadHead()
				got, err := "", error(nil)
				for err == nil {
					var piece string
					if piece, err = c.ReadChunk(); piece == "" && err == nil {
						t.Errorf("%s %q looks whole", head.First, got)
						return
					}
					got += piece
				}
				if !strings.HasPrefix(got, sent) || !strings.Contains(got[len(sent):], end) || end == "" && got != sent {
					t.Errorf("%q, want %q and %q", got, sent, end)
				}
			})
		}
		wg.Wait()
		if n := generations.Load(); n != 1 {
			t.Errorf("there were %d generations", n)
		}
		if m := g.Do(askModel(path, asked0s, "Cache-Control: only-if-cached")); m.Status() != 504 {
			t.Errorf("it is kept: %s", m.First)
		}
	}
	f(chatPath, chatEvents(2)[0], `"code":"upstream_cut"`)
	f(chatPath, chatEvents(2)[0]+"data: {\"choi", "")
	f("messages", "event: message_start\r\ndata: {\"type\":\"message_start\"}\r\n\r\n", "event: error\n")
}

// Silence in a stream that is read for several ends it after the time of streams, not of other bodies.
func TestGenerationSilent(t *testing.T) {
	t.Parallel()
	over := make(chan struct{})
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		c.ReadRequest()
		c.Send("%s%s", sseHead, chunk(word("a")))
		<-over
	})
	t.Cleanup(func() { close(over) })
	g := startGatewayFile(t, fmt.Sprintf("pools: {p: {upstreams: [{url: %q}], timeouts: {inter_token: 200ms}}}\nroutes: [{path: \"/v1/*\", pool: p, cache: {post: true, ttl: 60s}}]\n", up.URL), "CACHE_ENABLED=true")
	r := g.Do(askModel(chatPath, asked0s))
	if r.Field("X-Cache") != "MISS" || !strings.HasPrefix(r.Body, word("a")) || !strings.Contains(r.Body, `"code":"timeout_inter_token"`) || r.Err == nil {
		t.Errorf("got %s %q, %v", r.Head, r.Body, r.Err)
	}
}

// A paced stream comes about as it came, and byte for byte.
func TestGenerationPaced(t *testing.T) {
	t.Parallel()
	events := chatEvents(6)
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		for c.ReadRequest().Err == nil {
			c.Send("HTTP/1.1 200 OK\r\n%s\r\nTransfer-Encoding: chunked\r\n\r\n", eventStream)
			for _, event := range events {
				time.Sleep(40 * time.Millisecond)
				c.Send("%x\r\n%s\r\n", len(event), event)
			}
			c.Send("0\r\n\r\n")
		}
	})
	g := startKeeping(t, up.URL, ", replay: paced")
	want := strings.Join(events, "")
	wantCached(t, g.Do(askModel(chatPath, asked0s)), "MISS", 200, want)
	began := time.Now()
	wantCached(t, g.Do(askModel(chatPath, asked0s)), "HIT", 200, want)
	// On a machine that stops, several of them may have come as one piece.
	if took, least := time.Since(began), 2*20*time.Millisecond; took < least {
		t.Errorf("it came within %s, want %s at least", took, least)
	}
	// Who leaves meanwhile is noticed.
	c := g.Dial()
	c.Send("%s", askModel(chatPath, asked0s))
	c.ReadHead()
	c.Abort()
	testkit.Eventually(t, "nothing is under way", g.idle)
}

// What a model has answered can be dropped by the model's name, whatever clients call it.
func TestGenerationPurge(t *testing.T) {
	t.Parallel()
	o := startOrigin(t, func(testkit.Message, int) string { return chatAnswer("x") })
	file := "pools: {p: {upstreams: [{url: \"" + o.URL + "\"}]}}\nroutes: [{path: \"/v1/*\", pool: p, cache: {post: true}}]\n" +
		"models: [{name: one, pool: p, aliases: [uno], upstream_model: big/one}, {name: two, pool: p}]\n"
	g := startGatewayFile(t, file, "CACHE_ENABLED=true", "PY_SERVICE_URL="+o.URL, "ADMIN_TOKEN=secret")
	question := func(model string) string {
		return askModel(chatPath, `{"temperature":0,"messages":[],"model":"`+model+`"}`)
	}
	for _, model := range []string{"one", "uno", "two"} {
		for _, outcome := range []string{"MISS", "HIT"} {
			m := g.Do(question(model))
			wantCached(t, m, outcome, 200, bodyOf(chatAnswer("x")))
			if got := m.Field("X-Upstream-Model"); got != "big/one" && model != "two" {
				t.Errorf("%s is upstream model %q", model, got)
			}
		}
	}
	if r := o.asked()[0]; !strings.Contains(r.Body, `"model":"big/one"`) {
		t.Errorf("the upstream got %s", r.Body)
	}
	purge := func(query string) string {
		return g.Do("DELETE /cachez" + query + " HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer secret\r\n\r\n").Body
	}
	if body := purge("?model=three&key_id=one"); !strings.Contains(body, `"purged":0}`) {
		t.Errorf("of nothing: %s", body)
	}
	if body := purge("?model=one"); !strings.Contains(body, `"purged":2}`) {
		t.Errorf("of one: %s", body)
	}
	wantCached(t, g.Do(question("two")), "HIT", 200, bodyOf(chatAnswer("x")))
	wantCached(t, g.Do(question("uno")), "MISS", 200, bodyOf(chatAnswer("x")))
	if body := purge("?prefix=/v1/chat"); !strings.Contains(body, `"purged":2}`) {
		t.Errorf("of the path: %s", body)
	}
}

// With keys the tenant is whose key it is, wherever that is shown; whoever is answered from the cache may ask the model.
func TestGenerationOfAKey(t *testing.T) {
	t.Parallel()
	o := startOrigin(t, func(r testkit.Message, n int) string {
		if strings.HasPrefix(r.First, "GET") {
			return with("x", fresh)
		}
		return chatAnswer(fmt.Sprint("secret ", n))
	})
	file := func(more string) string {
		return "pools: {p: {upstreams: [{url: \"" + o.URL + "\"}]}}\nroutes: [{path: \"/v1/*\", pool: p, cache: {post: true" + more + "}}]\nmodels: [{name: m, pool: p}]\n"
	}
	start := func(more string) *testGateway {
		return serve(t, keyed(t, keyFile("sk-a", "sk-b", "sk-c , models: [other]"), file(more), "CACHE_ENABLED=true", "PY_SERVICE_URL="+o.URL, "ADMIN_TOKEN=secret"), server.Options{})
	}
	g := start("")
	text := func(n int) string { return bodyOf(chatAnswer(fmt.Sprint("secret ", n))) }
	wantCached(t, g.Do(askModel(chatPath, asked0, withKey("sk-a"))), "MISS", 200, text(0))
	wantCached(t, g.Do(askModel(chatPath, asked0, withKey("sk-b"))), "MISS", 200, text(1))
	for _, line := range []string{withKey("sk-a"), "x-api-key: sk-a", "api-key: sk-a"} {
		wantCached(t, g.Do(askModel(chatPath, asked0, line)), "HIT", 200, text(0))
	}
	wantCached(t, g.Do(askModel(chatPath, asked0, withKey("sk-a"), "Cookie: s=1")), "MISS", 200, text(2))
	for _, line := range []string{withKey("sk-c"), withKey("sk-d"), "X: y"} {
		if m := g.Do(askModel(chatPath, asked0, line)); m.Status() != 403 && m.Status() != 401 || strings.Contains(m.Body, "secret") {
			t.Errorf("%s: %s %s", line, m.First, m.Body)
		}
	}
	if m := g.Do("DELETE /cachez?key_id=b HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer secret\r\n\r\n"); !strings.Contains(m.Body, `"purged":1}`) {
		t.Errorf("%s %s", m.First, m.Body)
	}
	wantCached(t, g.Do(askModel(chatPath, asked0, withKey("sk-a"))), "HIT", 200, text(0))
	wantCached(t, g.Do(askModel(chatPath, asked0, withKey("sk-b"))), "MISS", 200, text(3))

	together := start(", scope: shared")
	wantCached(t, together.Do(askModel(chatPath, asked0, withKey("sk-a"))), "MISS", 200, text(4))
	wantCached(t, together.Do(askModel(chatPath, asked0, withKey("sk-b"))), "HIT", 200, text(4))
	if m := together.Do(askModel(chatPath, asked0, withKey("sk-c"))); m.Status() != 403 {
		t.Errorf("%s %s", m.First, m.Body)
	}
}

// With Redis a generation is made once for all gateways, outlives them, and is gone everywhere when one of them purges it.
func TestGenerationInRedis(t *testing.T) {
	t.Parallel()
	o := startOrigin(t, func(r testkit.Message, n int) string {
		if strings.Contains(r.Body, `"input"`) {
			return with(`{"data":[{"index":0,"embedding":[1]}],"model":"m","usage":{"prompt_tokens":1}}`)
		}
		return chunkedOf(chatEvents(5), eventStream)
	})
	r := testkit.StartRedis(t)
	start := func() *testGateway {
		g := startKeeping(t, o.URL, "", "CACHE_BACKEND=redis", "REDIS_ADDR="+r.Addr, "ADMIN_TOKEN=secret")
		testkit.Eventually(t, "the cache has found Redis", func() bool {
			return strings.Contains(g.Do("GET /cachez HTTP/1.1\r\nHost: a\r\n\r\n").Body, `"memory_trusted":true`)
		})
		return g
	}
	one, two := start(), start()
	generation, embed := askModel(chatPath, asked0s), askModel("embeddings", `{"input":"a","model":"m"}`)
	stream, vectors := strings.Join(chatEvents(5), ""), `{"object":"list","data":[{"object":"embedding","index":0,"embedding":[1]}],"model":"m","usage":{"prompt_tokens":0,"total_tokens":0}}`
	only := func(request string) string {
		return strings.Replace(request, "Host: a\r\n", "Host: a\r\nCache-Control: only-if-cached\r\n", 1)
	}
	// A gateway that has not heard of Redis for a moment, as on a machine that stands still, trusts nothing that is stored and stores nothing.
	has := func(g *testGateway, request, body string) bool {
		m := g.Do(only(request))
		if m.Status() != 504 {
			wantCached(t, m, "HIT", 200, body)
		}
		return m.Status() == 200
	}
	misses := 0
	for request, body := range map[string]string{generation: stream, embed: vectors} {
		testkit.Eventually(t, "the other gateway has it", func() bool {
			if m := one.Do(request); m.Field("X-Cache") != "MISS" {
				wantCached(t, m, "HIT", 200, body)
			} else {
				misses++
				wantCached(t, m, "MISS", 200, strings.ReplaceAll(body, `_tokens":0`, `_tokens":1`)) // what was asked upstream
			}
			return has(two, request, body)
		})
	}
	again := start() // which has nothing in its memory
	for request, body := range map[string]string{generation: stream, embed: vectors} {
		testkit.Eventually(t, "who starts has it", func() bool { return has(again, request, body) })
		testkit.Eventually(t, "the other gateway has it still", func() bool { return has(two, request, body) })
	}
	if n := len(o.asked()); n != misses || n < 2 {
		t.Errorf("the upstream was asked %d times, for %d misses", n, misses)
	}
	incomplete := -1
	testkit.Eventually(t, "all is purged", func() bool {
		incomplete++
		m := again.Do("DELETE /cachez?model=m HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer secret\r\n\r\n")
		if m.Status() != 503 && !strings.Contains(m.Body, `"purged":2}`) && incomplete == 0 {
			t.Errorf("%s %s", m.First, m.Body)
		}
		return m.Status() == 200
	})
	for _, g := range []*testGateway{one, two, again} {
		for _, request := range []string{generation, embed} {
			testkit.Eventually(t, "it is gone", func() bool { return g.Do(only(request)).Status() == 504 })
		}
	}
}

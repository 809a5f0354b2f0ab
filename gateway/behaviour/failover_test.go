package behaviour

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"aigateway/gateway/server"
	"aigateway/gateway/testkit"
)

// The law of failover, on the wire: what is sent again after which answer, and what never.

const (
	sseHead = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
	role    = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n"
	done    = "data: [DONE]\n\n"
)

func word(w string) string {
	return fmt.Sprintf("data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":%q}}]}\n\n", w)
}

func chunk(s string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(s), s) }

// generate asks for a stream.
func generate(name string) string {
	body := `{"messages":[],"model":"m","stream":true}`
	return fmt.Sprintf("POST /v1/chat/completions?%s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", name, len(body), body)
}

// behindPair is a gateway in front of two upstreams that never speak but by script: a pool and its fallback. more are lines of the pool a.
func behindPair(t *testing.T, policy, more string, first, second *testkit.Upstream) *testGateway {
	t.Helper()
	g := startGatewayFile(t, fmt.Sprintf("pools:\n  a: {upstreams: [{url: %q}], fallback: b, discover: false%s}\n  b: {upstreams: [{url: %q}], discover: false}\n"+
		"routes: [{path: \"/v1/*\", pool: a, retry: %s}]\n", first.URL, more, second.URL, policy))
	testkit.Eventually(t, "both are well", func() bool { return strings.Count(g.Log.String(), "upstream is healthy") >= 2 })
	return g
}

// say starts an upstream that answers everything with these bytes.
func say(t *testing.T, answer string) (*testkit.Upstream, *testkit.Tally) {
	t.Helper()
	seen := &testkit.Tally{}
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		for r := c.ReadRequest(); r.Err == nil; r = c.ReadRequest() {
			seen.Add(r.Name())
			if c.Send("%s", answer); strings.Contains(answer, "closes") {
				return
			}
		}
	})
	return up, seen
}

// What the client of a POST is told after each answer of its pool, with a fallback that is well.
func TestFailoverByPolicy(t *testing.T) {
	t.Parallel()
	const served = `"fallback"`
	status := func(n int, more string) string {
		return fmt.Sprintf("HTTP/1.1 %d No\r\n%sContent-Length: 5\r\n\r\nfirst", n, more)
	}
	for _, c := range []struct {
		name, answer string
		never        string
		safe         string
		reattempt    string
		reason       string
	}{
		{"429", status(429, ""), "429", served, served, "refused"},
		{"429 in a while", status(429, "Retry-After: 60\r\n"), "429", served, served, "refused"},
		{"503", status(503, ""), "503", served, served, "refused"},
		{"500", status(500, ""), "500", "500", served, "unavailable"},
		{"502", status(502, ""), "502", "502", served, "unavailable"},
		{"504", status(504, ""), "504", "504", served, "unavailable"},
		{"501", status(501, ""), "501", "501", "501", ""},
		{"400", status(400, ""), "400", "400", "400", ""},
		{"200", status(200, ""), "200", "200", "200", ""},
		{"garbage", "closes\r\n\r\n", "502", "502", served, "broken"},
		{"half a head", "HTTP/1.1 200 OK\r\nX: closes", "502", "502", served, "broken"},
	} {
		for policy, want := range map[string]string{"never": c.never, "safe": c.safe, "reattempt": c.reattempt} {
			t.Run(c.name+"/"+policy, func(t *testing.T) {
				first, seen := say(t, c.answer)
				second, seenBehind := say(t, testkit.Answer(served))
				g := behindPair(t, policy, "", first, second)
				r := g.Do(testkit.AskAt("/v1/chat/completions", "POST", "x"))
				attempts, behind := "", 0
				got := itoa(r.Status())
				if want == served {
					got, attempts, behind = r.Body, "2", 1
				}
				if got != want || r.Field("X-Upstream-Attempts") != attempts || seen.Of("x") != 1 || seenBehind.Of("x") != behind {
					t.Errorf("got %q %q after %q attempts, want %s; asked %d and %d times", r.First, r.Body, r.Field("X-Upstream-Attempts"), want, seen.Of("x"), seenBehind.Of("x"))
				}
				if page := g.Do("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").Body; behind == 1 && !strings.Contains(page, `upstream_retries_total{reason="`+c.reason+`"} 1`) {
					t.Error("not counted as " + c.reason)
				}
			})
		}
	}
}

// A 429 says nothing to others where clients show who they are to the upstream, which has a limit for each; where the gateway's keys stand
// for that it does, and the upstream rests.
func TestWhoRestsAfter429(t *testing.T) {
	t.Parallel()
	first, seen := say(t, "HTTP/1.1 429 No\r\nRetry-After: 25\r\nContent-Length: 0\r\n\r\n")
	second, _ := say(t, testkit.Answer("served"))
	file := fmt.Sprintf("pools: {p: {upstreams: [{url: %q}, {url: %q}], balance: round_robin, discover: false}}\nroutes: [{path: \"/v1/*\", pool: p}]\n", first.URL, second.URL)
	for name, mostly := range map[string]bool{"keys": false, "none": true} {
		s := testkit.Settings(t, file, nil)
		if name == "keys" {
			s = keyed(t, keyFile("sk-a"), file, "RATE_LIMIT_ENABLED=false")
		}
		g := serve(t, s, server.Options{})
		testkit.Eventually(t, "both are well", func() bool { return strings.Count(g.Log.String(), "upstream is healthy") >= 2 })
		for range 10 {
			ask := testkit.AskAt("/v1/chat/completions", "POST", name)
			if r := g.Do(strings.Replace(ask, "\r\n", "\r\n"+withKey("sk-a")+"\r\n", 1)); r.Status() != 200 {
				t.Errorf("%s: %s", name, r.First)
			}
		}
		if n := seen.Of(name); n == 0 || (n > 1) != mostly {
			t.Errorf("%s: asked %d times of 10", name, n)
		}
	}
}

// A status is a refusal only where the pool says so.
func TestRefusalsAreThePools(t *testing.T) {
	t.Parallel()
	first, _ := say(t, "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
	second, _ := say(t, testkit.Answer("fallback"))
	g := behindPair(t, "safe", ", refusals: [429]", first, second)
	if r := g.Do(testkit.AskAt("/v1/chat/completions", "POST", "x")); r.Status() != 503 {
		t.Errorf("got %q", r.First)
	}
	if r := g.Do(testkit.AskAt("/v1/models", "GET", "x")); r.Body != "fallback" {
		t.Errorf("a GET got %q %q", r.First, r.Body)
	}
}

// Retry-After is obeyed where nobody else can be asked, once, up to 2 s; a client that leaves meanwhile is noticed.
func TestRetryAfterIsObeyed(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		for {
			r := c.ReadRequest()
			if r.Err != nil {
				return
			}
			switch n := asked.Add(1); {
			case r.Name() == "ok" && n%2 == 0:
				c.Send("%s", testkit.Answer(r.Body))
			case r.Name() == "long":
				c.Send("HTTP/1.1 429 No\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n")
			default:
				c.Send("HTTP/1.1 429 No\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")
			}
		}
	})
	g := startGatewayFile(t, fmt.Sprintf("pools: {a: {upstreams: [{url: %q}], discover: false}}\nroutes: [{path: \"/v1/*\", pool: a}]\n", up.URL))
	const ask = "POST /v1/completions?%s HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
	begun := time.Now()
	if r := g.Do(fmt.Sprintf(ask, "ok")); r.Body != "body" || r.Field("X-Upstream-Attempts") != "2" || time.Since(begun) < time.Second {
		t.Errorf("got %q %q after %v", r.First, r.Body, time.Since(begun))
	}
	asked.Store(0)
	if r := g.Do(fmt.Sprintf(ask, "twice")); r.Status() != 429 || r.Field("Retry-After") != "1" || asked.Load() != 2 {
		t.Errorf("refused twice: got %q, asked %d times", r.First, asked.Load())
	}
	asked.Store(0)
	if r := g.Do(fmt.Sprintf(ask, "long")); r.Status() != 429 || r.Field("Retry-After") != "3" || asked.Load() != 1 {
		t.Errorf("in 3 s: got %q, asked %d times", r.First, asked.Load())
	}
	asked.Store(0)
	c := g.Dial()
	c.Send(ask, "leaves")
	testkit.Eventually(t, "it was refused", func() bool { return asked.Load() == 1 })
	c.Close()
	testkit.Eventually(t, "its end is noticed", g.idle)
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times for a client that left", n)
	}
}

// A stream without content in time goes to the fallback, and the client sees one stream. Content in time is never touched.
func TestFirstContentInTime(t *testing.T) {
	t.Parallel()
	second, _ := say(t, sseHead+chunk(role)+chunk(word("rescued")+done)+"0\r\n\r\n")
	for name, want := range map[string]struct {
		first  string // after it the upstream is silent
		wanted string
	}{
		"no head":            {"", role + word("rescued") + done},
		"a head":             {sseHead, role + word("rescued") + done},
		"pings and a role":   {sseHead + chunk(": ping\n\n") + chunk(role) + chunk(": ping\r\n\r\n"), role + word("rescued") + done},
		"half an event":      {sseHead + chunk(role+word("cut")[:30]), role + word("rescued") + done},
		"content":            {sseHead + chunk(role+word("own")) + "0\r\n\r\n", role + word("own")},
		"an end, no content": {sseHead + chunk(role+done) + "0\r\n\r\n", role + done},
		"content in pieces":  {sseHead + chunk(role+word("own")[:20]) + chunk(word("own")[20:]) + "0\r\n\r\n", role + word("own")},
		"content in lines":   {sseHead + chunk("data: {\"choices\":[{\"delta\":\r\ndata: {\"content\":\"x\"}}]}\r\n\r\n") + "0\r\n\r\n", "data: {\"choices\":[{\"delta\":\r\ndata: {\"content\":\"x\"}}]}\r\n\r\n"},
		"more than is held":  {sseHead + chunk(": "+strings.Repeat("x", 17<<10)+"\n\n") + "0\r\n\r\n", ": " + strings.Repeat("x", 17<<10) + "\n\n"},
		"with a length":      {"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: " + itoa(len(word("own"))) + "\r\n\r\n" + word("own"), word("own")},
	} {
		t.Run(name, func(t *testing.T) {
			closed := make(chan bool, 1)
			first := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
				c.ReadRequest()
				c.Send("%s", want.first)
				closed <- c.Closed()
			})
			g := behindPair(t, "safe", ", timeouts: {first_token: 600ms}", first, second)
			c := g.Dial()
			c.Send("%s", generate("x"))
			r := c.ReadResponse()
			if r.Err != nil || r.Body != want.wanted {
				t.Errorf("got %q %q, %v", r.First, r.Body, r.Err)
			}
			if strings.Contains(r.Body, "rescued") && !<-closed {
				t.Error("the first upstream does not know that it is not wanted")
			}
		})
	}
}

// Without anybody else to ask, nothing is held back and no content is late.
func TestContentIsNotHeldForNobody(t *testing.T) {
	t.Parallel()
	next := make(chan struct{})
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		c.ReadRequest()
		c.Send("%s", sseHead+chunk(role))
		<-next
		c.Send("%s", chunk(word("late")+done)+"0\r\n\r\n")
	})
	g := startGatewayFile(t, fmt.Sprintf("pools:\n  a: {upstreams: [{url: %q}], fallback: b, discover: false, timeouts: {first_token: 50ms}}\n"+
		"  b: {upstreams: [{url: %q}], discover: false}\nroutes: [{path: \"/v1/*\", pool: a}]\n", up.URL, testkit.Refusing(t)))
	testkit.Eventually(t, "both were probed", func() bool {
		return strings.Contains(g.Log.String(), "upstream is healthy") && strings.Contains(g.Log.String(), "upstream is not healthy")
	})
	c := g.Dial()
	c.Send("%s", generate("x"))
	r := c.ReadHead()
	if s, err := c.ReadChunk(); s != role {
		t.Errorf("got %q, %v", s, err)
	}
	time.Sleep(100 * time.Millisecond)
	close(next)
	if r = c.ReadBody(r, true); r.Body != word("late")+done || r.Err != nil {
		t.Errorf("got %q, %v", r.Body, r.Err)
	}
}

// Who could be asked is not well when the request comes, and is when its upstream has been silent for long enough, for the second time or so.
func TestSilenceEndsWhenAnotherIsWell(t *testing.T) {
	t.Parallel()
	other := strings.TrimPrefix(testkit.Refusing(t), "http://")
	silent := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		if !strings.HasPrefix(c.ReadRequest().First, "POST ") {
			return
		}
		ln, err := net.Listen("tcp", other)
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { ln.Close() })
		go func() {
			for conn, err := ln.Accept(); err == nil; conn, err = ln.Accept() {
				go func() {
					p := testkit.NewPeer(t, conn)
					defer p.Close()
					if strings.HasPrefix(p.ReadRequest().First, "POST ") {
						p.Send("%s%s0\r\n\r\n", sseHead, chunk(word("rescued")+done))
					} else {
						p.Send("%s", testkit.Answer(`"well"`))
					}
				}()
			}
		}()
		c.Closed()
	})
	g := startGatewayFile(t, fmt.Sprintf("pools:\n  a: {upstreams: [{url: %q}], fallback: b, discover: false, timeouts: {first_token: 50ms}}\n"+
		"  b: {upstreams: [{url: \"http://%s\"}], discover: false, health: {interval: 100ms}}\nroutes: [{path: \"/v1/*\", pool: a, retry: safe}]\n", silent.URL, other))
	testkit.Eventually(t, "both were probed", func() bool {
		return strings.Contains(g.Log.String(), "upstream is healthy") && strings.Contains(g.Log.String(), "upstream is not healthy")
	})
	c := g.Dial()
	c.Send("%s", generate("x"))
	if r := c.ReadResponse(); r.Body != word("rescued")+done || r.Err != nil {
		t.Errorf("got %q, %v", r.Body, r.Err)
	}
}

// An answer that has ended without content is one, however long its connection stays open: it is not made a second time.
func TestEmptyAnswerIsOne(t *testing.T) {
	t.Parallel()
	over := make(chan struct{})
	first := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		c.ReadRequest()
		c.Send("%s%s", sseHead, chunk(role+done))
		<-over
	})
	t.Cleanup(func() { close(over) })
	second, seen := say(t, testkit.Answer(`"fallback"`))
	g := behindPair(t, "safe", ", timeouts: {first_token: 500ms, inter_token: 1500ms}", first, second)
	r := g.Do(generate("x"))
	if !strings.HasPrefix(r.Body, role+done) || seen.Of("x") > 0 {
		t.Errorf("got %q, %v; the fallback was asked %d times", r.Body, r.Err, seen.Of("x"))
	}
}

// What is held back may outgrow the buffer that its head came in, which others have then: each client gets its own head.
func TestHeldHeadsStayTheirOwn(t *testing.T) {
	t.Parallel()
	second, _ := say(t, testkit.Answer(`"fallback"`))
	events := strings.Repeat(chunk(role), 15600/len(role)) // not as much as is held at most, and more than a small buffer has room for
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		for r := c.ReadRequest(); r.Err == nil; r = c.ReadRequest() {
			c.Send("%s%s", strings.Replace(sseHead, "\r\n", "\r\nX-Mark: "+strings.Repeat(r.Name(), 20)+"\r\n", 1), events)
			c.Send("%s0\r\n\r\n", chunk(word(r.Name())))
		}
	})
	g := behindPair(t, "safe", ", timeouts: {first_token: 20s}", up, second)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			c := g.Dial()
			for k := range 10 {
				name := fmt.Sprintf("n%dx%d", i, k)
				c.Send("%s", generate(name))
				if r := c.ReadResponse(); r.Field("X-Mark") != strings.Repeat(name, 20) || !strings.HasSuffix(r.Body, word(name)) {
					t.Errorf("%s: %q %v", name, r.Head, r.Err)
					return
				}
			}
		})
	}
	all.Wait()
}

// A stream that breaks at the end of an event tells why in its dialect and is reset, inside an event it is reset at once; never does
// it end as if it were whole.
func TestCutsAreTold(t *testing.T) {
	t.Parallel()
	const (
		cutEvent   = "data: {\"error\":{\"message\":\"the upstream broke off in the middle of this answer, which is not complete\",\"type\":\"upstream_error\",\"code\":\"upstream_cut\"}}\n\n"
		stallEvent = "data: {\"error\":{\"message\":\"the upstream fell silent in the middle of this answer, which is not complete\",\"type\":\"upstream_error\",\"code\":\"timeout_inter_token\"}}\n\n"
		anthropic  = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"the upstream broke off in the middle of this answer, which is not complete\"}}\n\n"
	)
	for name, c := range map[string]struct {
		path, head, rest, want string
		stalls                 bool
	}{
		"at an event":         {"chat/completions", sseHead, chunk(word("a")), word("a") + cutEvent, false},
		"at CRLF":             {"chat/completions", sseHead, chunk("data: {}\r\n\r\n"), "data: {}\r\n\r\n" + cutEvent, false},
		"at a ping":           {"completions", sseHead, chunk(": ping\n\n"), ": ping\n\n" + cutEvent, false},
		"behind the head":     {"completions", sseHead, "", cutEvent, false},
		"inside an event":     {"chat/completions", sseHead, chunk(word("a") + "data: {"), word("a") + "data: {", false},
		"inside a chunk":      {"chat/completions", sseHead, "fff\r\n" + word("a"), word("a") + cutEvent, false},
		"at a broken chunk":   {"chat/completions", sseHead, chunk(word("a")) + chunk(": x\n\n") + "zz\r\n", word("a") + ": x\n\n" + cutEvent, false},
		"silence":             {"chat/completions", sseHead, chunk(word("a")), word("a") + stallEvent, true},
		"silence in an event": {"chat/completions", sseHead, chunk(word("a") + "data"), word("a") + "data", true},
		"messages":            {"messages", sseHead, chunk(word("a")), word("a") + anthropic, false},
		"with a length":       {"chat/completions", "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 9999\r\n\r\n", word("a"), word("a"), false},
		"coded":               {"chat/completions", strings.Replace(sseHead, "\r\n", "\r\nContent-Encoding: gzip\r\n", 1), chunk(word("a")), word("a"), false},
		"no events":           {"chat/completions", strings.Replace(sseHead, "event-stream", "plain", 1), chunk("a\n\n"), "a\n\n", false},
		"no dialect":          {"files", sseHead, chunk(word("a")), word("a"), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seen, over := make(chan struct{}), make(chan struct{})
			up := testkit.StartUpstream(t, func(_ int, p *testkit.Peer) {
				p.ReadRequest()
				p.Send("%s", c.head)
				<-seen
				if p.Send("%s", c.rest); c.stalls {
					<-over
				}
			})
			silence := "20s" // which nobody keeps who goes on
			if c.stalls {
				silence = "200ms"
			}
			g := startGatewayFile(t, fmt.Sprintf("pools: {a: {upstreams: [{url: %q}], discover: false, timeouts: {inter_token: %s}}}\nroutes: [{path: \"/v1/*\", pool: a}]\n", up.URL, silence))
			p := g.Dial()
			p.Send("%s", testkit.AskAt("/v1/"+c.path, "POST", "x"))
			r := p.ReadHead()
			close(seen)
			r = p.ReadBody(r, true)
			if r.Err == nil || r.Body != c.want {
				t.Errorf("got %q, %v; want %q, and a reset", r.Body, r.Err, c.want)
			}
			close(over)
			p.Close()
			g.End(testkit.Patience)
		})
	}
}

// A request that does not fit goes to a model with a larger context, and no further than there is one.
func TestLargerContext(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer string
		larger bool
	}{
		"OpenAI":         {`{"error":{"message":"m","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}`, true},
		"vLLM":           {`{"error":{"message":"This model's maximum context length is 8192 tokens.","type":"BadRequestError","param":null,"code":400}}`, true},
		"llama.cpp":      {`{"error":{"code":400,"message":"the request exceeds the available context size","type":"exceed_context_size_error"}}`, true},
		"something else": {`{"error":{"message":"no","type":"invalid_request_error","param":null,"code":"bad"}}`, false},
	} {
		for _, chunked := range []bool{false, true} {
			t.Run(fmt.Sprint(name, chunked), func(t *testing.T) {
				answer := fmt.Sprintf("HTTP/1.1 400 No\r\nContent-Length: %d\r\n\r\n%s", len(c.answer), c.answer)
				if chunked {
					answer = "HTTP/1.1 400 No\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(c.answer[:9]) + chunk(c.answer[9:]) + "0\r\n\r\n"
				}
				first, _ := say(t, answer)
				second, _ := say(t, testkit.Answer("larger"))
				third, seen := say(t, testkit.Answer("smaller"))
				g := startGatewayFile(t, fmt.Sprintf("pools:\n  a: {upstreams: [{url: %q}], discover: false}\n  b: {upstreams: [{url: %q}], discover: false}\n  c: {upstreams: [{url: %q}], discover: false}\n"+
					"models:\n  - {name: m, pool: a, context_max: 8192, fallback: [s, l]}\n  - {name: s, pool: c, context_max: 4096}\n  - {name: l, pool: b, context_max: 32768}\n"+
					"routes: [{path: \"/v1/*\", pool: a}]\n", first.URL, second.URL, third.URL))
				testkit.Eventually(t, "all are well", func() bool { return strings.Count(g.Log.String(), "upstream is healthy") >= 3 })
				r := g.Do(generate("x"))
				want := c.answer
				if c.larger {
					want = "larger"
				}
				if r.Body != want || r.Err != nil || seen.Of("x") > 0 {
					t.Errorf("got %q %q, %v; the smaller one was asked %d times", r.First, r.Body, r.Err, seen.Of("x"))
				}
			})
		}
	}
}

// What upstreams say of upstreams and caches of their own goes no further.
func TestUpstreamsFieldsAreDropped(t *testing.T) {
	t.Parallel()
	up, _ := say(t, "HTTP/1.1 200 OK\r\nX-Upstream-Attempts: 9\r\nx-upstream-model: z\r\nX-Cache: HIT\r\nCache-Status: other; hit\r\nX-Upstreams: stays\r\nX-Cache-Hits: stays\r\nContent-Length: 0\r\n\r\n")
	g := startGatewayFile(t, fmt.Sprintf("pools: {a: {upstreams: [{url: %q}], discover: false}}\nroutes: [{path: \"/v1/*\", pool: a}]\n", up.URL))
	r := g.Do(testkit.AskAt("/v1/completions", "POST", "x"))
	for _, name := range []string{"X-Upstream-Attempts", "X-Upstream-Model"} {
		if r.Field(name) != "" {
			t.Errorf("%s: %s has passed", name, r.Field(name))
		}
	}
	if strings.Contains(r.Head, "HIT") || strings.Contains(r.Head, "other;") || r.Field("X-Upstreams") != "stays" || r.Field("X-Cache-Hits") != "stays" {
		t.Errorf("got %q", r.Head)
	}
}

// An error of the gateway's own tells how many attempts it took, too; and there is no third one where nobody is left.
func TestAttemptsOfAFault(t *testing.T) {
	t.Parallel()
	first, _ := say(t, "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
	second, seen := say(t, "closes\r\n\r\n")
	g := behindPair(t, "reattempt", "", first, second)
	r := g.Do(testkit.AskAt("/v1/chat/completions", "POST", "x"))
	testkit.WantFault(t, r, 502, "bad_upstream_response", true)
	if r.Field("X-Upstream-Attempts") != "2" || seen.Of("x") != 1 {
		t.Errorf("%q attempts; the fallback was asked %d times", r.Field("X-Upstream-Attempts"), seen.Of("x"))
	}
}

// What is sent again is all of it, as long as it is held; what is not held is sent once.
func TestBodiesOfSecondAttempts(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 10, 60_000, 100_000, 900_000, 1_200_000} {
		t.Run(itoa(n), func(t *testing.T) {
			body := pattern(n)
			refusing := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
				c.ReadRequest()
				c.Send("HTTP/1.1 429 No\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")
			})
			second := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
				for r := c.ReadRequest(); r.Err == nil; r = c.ReadRequest() {
					c.Send("%s", testkit.Answer(digest(r.Body)))
				}
			})
			ask := fmt.Sprintf("POST /v1/files?x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", n, body)
			r := behindPair(t, "safe", "", refusing, second).Do(ask)
			if held := n <= 1<<20; held && r.Body != digest(body) || !held && r.Status() != 429 {
				t.Errorf("%q %q, want %q", r.First, r.Body, digest(body))
			}
			var asked atomic.Int64
			alone := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
				r := c.ReadRequest()
				if asked.Add(1); r.Err != nil || r.Body != body {
					t.Errorf("got %d bytes, %v", len(r.Body), r.Err)
				}
				c.Send("HTTP/1.1 429 No\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")
			})
			g := startGatewayFile(t, fmt.Sprintf("pools: {a: {upstreams: [{url: %q}], discover: false}}\nroutes: [{path: \"/v1/*\", pool: a}]\n", alone.URL))
			want := int64(1)
			if n <= 64<<10 {
				want = 2
			}
			if r := g.Do(ask); r.Status() != 429 || asked.Load() != want {
				t.Errorf("alone: %q, asked %d times", r.First, asked.Load())
			}
		})
	}
}

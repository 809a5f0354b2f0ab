package behaviour

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"aigateway/gateway/testkit"
)

const chunkedPost = "POST /infer/python HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

// Malformed chunks are a 400, the connection ends, and no upstream gets a whole request, nor what is behind.
func TestClientMalformedChunks(t *testing.T) {
	up := testkit.StartRecorder(t)
	g := startGateway(t, "PY_SERVICE_URL="+up.URL, "LLM_SERVICE_URL="+up.URL)
	const behind = "GET /infer/python?smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
	long := fmt.Sprintf("%x\r\n%s\r\n", 100<<10, strings.Repeat("x", 100<<10)) // streams
	for _, c := range []struct{ name, first, then string }{
		{"no digits", "\r\n", ""},
		{"0x", "0x3\r\nabc\r\n0\r\n\r\n", ""},
		{"plus", "+3\r\nabc\r\n0\r\n\r\n", ""},
		{"minus", "-3\r\nabc\r\n0\r\n\r\n", ""},
		{"underscore", "3_0\r\nabc\r\n0\r\n\r\n", ""},
		{"blank first", " 3\r\nabc\r\n0\r\n\r\n", ""},
		{"2^63", "8000000000000000\r\nabc", ""},
		{"2^64+3", "10000000000000003\r\nabc\r\n0\r\n\r\n", ""},
		{"many zeros", strings.Repeat("0", 40) + "3\r\nabc\r\n0\r\n\r\n", ""},
		{"letter", "g\r\n", ""},
		{"bare LF behind the size", "3\nabc\r\n0\r\n\r\n", ""},
		{"bare CR behind the size", "3\rabc\r\n0\r\n\r\n", ""},
		{"bare LF in an extension", "3;a\nabc\r\n0\r\n\r\n", ""},
		{"NUL in an extension", "3;a\x00\r\nabc\r\n0\r\n\r\n", ""},
		{"data too long", "3\r\nabcd\r\n0\r\n\r\n", ""},
		{"data too short", "3\r\nab\r\n0\r\n\r\n", ""},
		{"X for CRLF", "3\r\nabcX0\r\n\r\n", ""},
		{"LF for CRLF", "3\r\nabc\n0\r\n\r\n", ""},
		{"CR for CRLF", "3\r\nabc\r0\r\n\r\n", ""},
		{"LF at the very end", "0\r\n\n", ""},
		{"CR X at the very end", "0\r\n\rX", ""},
		{"CR X at the very end, in two packets", "0\r\n\r", "X"},
		{"CR and a request at the very end, in two packets", "0\r\n\r", ""},
		{"LF in a trailer", "0\r\nA: b\n\r\n", ""},
		{"CR in a trailer", "0\r\nA: b\rc\r\n\r\n", ""},
		{"huge extension", "3;" + strings.Repeat("x", 20<<10) + "\r\nabc\r\n0\r\n\r\n", ""},
		{"many extensions", strings.Repeat("1;"+strings.Repeat("x", 99)+"\r\na\r\n", 1000) + "0\r\n\r\n", ""},
		{"huge trailer", "0\r\nA: " + strings.Repeat("x", 20<<10) + "\r\n\r\n", ""},
		{"many trailers", "0\r\n" + strings.Repeat("A: b\r\n", 5000) + "\r\n", ""},
		{"behind a streamed part", long + "Z\r\n", ""},
		{"behind a streamed part, data too long", long + "3\r\nabcd\r\n0\r\n\r\n", ""},
		{"behind a streamed part, at the very end", long + "0\r\n\r", "X"},
	} {
		t.Run(c.name, func(t *testing.T) {
			up.Reset()
			client := g.Dial()
			if c.first == "0\r\n\r" {
				client.Send("%s", chunkedPost+c.first)
				time.Sleep(5 * time.Millisecond) // so that it is read alone, as a rule
				client.Send("%s", c.then+behind)
			} else {
				client.Send("%s", chunkedPost+c.first+c.then+behind)
			}
			client.Refused(t, c.name, 400)
			g.Do("GET /infer/python?done HTTP/1.1\r\nHost: a\r\n\r\n")
			if seen := up.Whole(); len(seen) != 1 {
				t.Errorf("the upstream saw %q", testkit.Firsts(seen))
			}
		})
	}
}

// A malformed chunk right behind the part that is held whole is noticed at once, not when the upstream's
// time is up.
func TestClientMalformedChunkIsNoticedAtOnce(t *testing.T) {
	t.Parallel()
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) { _, _ = c.Rest() })
	g := startGateway(t, "PY_SERVICE_URL="+up.URL, "RESPONSE_TIMEOUT=30s", unheld)
	request := chunkedPost + "10000\r\n" + strings.Repeat("x", 64<<10) + "\r\nZ\r\n"
	for i := range 150 {
		begin := time.Now()
		m := g.Do(request)
		if m.Status() != 400 {
			t.Fatalf("round %d: %q %v", i, m.First, m.Err)
		}
		if took := time.Since(begin); took > 15*time.Second {
			t.Fatalf("round %d: the refusal took %v", i, took)
		}
	}
}

// Bodies over the limit are a 413, whether they announce it or not, and no upstream gets a whole request.
func TestClientBodyLimit(t *testing.T) {
	up := testkit.StartRecorder(t)
	g := startGateway(t, "PY_SERVICE_URL="+up.URL, "MAX_BODY_BYTES=200000")
	chunks := func(n int) string {
		var b strings.Builder
		for n > 0 {
			k := min(n, 5000)
			fmt.Fprintf(&b, "%x\r\n%s\r\n", k, strings.Repeat("x", k))
			n -= k
		}
		return chunkedPost + b.String() + "0\r\n\r\n"
	}
	t.Run("of the limit", func(t *testing.T) {
		for _, request := range []string{"POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n" + strings.Repeat("x", 200000), chunks(200000)} {
			if m := g.Do(request); m.Status() != 200 {
				t.Errorf("%q %v", m.First, m.Err)
			}
		}
		if seen := up.Whole(); len(seen) != 2 || len(seen[0].Body) != 200000 || len(seen[1].Body) != 200000 {
			t.Errorf("the upstream saw %q", testkit.Firsts(seen))
		}
	})
	t.Run("announced", func(t *testing.T) {
		up.Reset()
		c := g.Dial()
		c.Send("POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: 200001\r\n\r\n") // and not a byte of it
		c.Refused(t, "announced", 413)
		if seen := append(up.Whole(), up.Broken()...); len(seen) > 0 {
			t.Errorf("the upstream saw %q", testkit.Firsts(seen))
		}
	})
	t.Run("in chunks", func(t *testing.T) {
		for _, n := range []int{200001, 300000, 1 << 20} {
			up.Reset()
			c := g.Dial()
			go c.Send("%s", chunks(n))
			m := c.ReadResponse()
			if m.Status() != 413 {
				t.Errorf("%d bytes: %q %v", n, m.First, m.Err)
			}
			// Only where the end of the body has been seen may another request follow.
			if m.Field("Connection") == "close" {
				if !c.Closed() {
					t.Errorf("%d bytes: the connection stays open", n)
				}
			} else if c.Send("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"); c.ReadResponse().Status() != 200 {
				t.Errorf("%d bytes: neither closed nor kept alive", n)
			}
			if seen := up.Whole(); len(seen) > 0 {
				t.Errorf("the upstream saw %q", testkit.Firsts(seen))
			}
		}
	})
	t.Run("an endless one", func(t *testing.T) {
		up.Reset()
		c := g.Dial()
		var wg sync.WaitGroup
		wg.Add(1)
		go func() {
			defer wg.Done()
			c.Send("%s", chunkedPost)
			for {
				if _, err := c.Write([]byte("400\r\n" + strings.Repeat("x", 1024) + "\r\n")); err != nil {
					return
				}
			}
		}()
		m := c.ReadResponse()
		if m.Status() != 413 {
			t.Errorf("%q %v: the refusal must be readable while the client sends", m.First, m.Err)
		}
		c.Close() // the gateway would read on for a while
		wg.Wait()
		if seen := up.Whole(); len(seen) > 0 {
			t.Errorf("the upstream saw %q", testkit.Firsts(seen))
		}
	})
}

// Under a small limit as well, an answer that does not say close is followed by the next one.
func TestClientSmallBodyLimit(t *testing.T) {
	up := testkit.StartRecorder(t)
	g := startGateway(t, "PY_SERVICE_URL="+up.URL, "MAX_BODY_BYTES=10")
	for _, request := range []string{
		"POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n01234567890123456789",
		"POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n01234567890123456789",
		"GET /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n01234567890123456789",
		chunkedPost + "14\r\n01234567890123456789\r\n0\r\n\r\n",
		chunkedPost + "5\r\n01234\r\n6\r\n567890\r\n0\r\n\r\n",
		chunkedPost + "1;" + strings.Repeat("x", 10000) + "\r\na\r\n0\r\n\r\n",
	} {
		c := g.Dial()
		c.Send("%sGET /livez HTTP/1.1\r\nHost: a\r\n\r\n", request)
		m := c.ReadResponse()
		if m.Status() == 0 {
			t.Errorf("%.60q: %v", request, m.Err)
			continue
		}
		if m.Field("Connection") == "close" {
			if !c.Closed() {
				t.Errorf("%.60q: stays open after close", request)
			}
			continue
		}
		if next := c.ReadResponse(); next.Status() != 200 {
			t.Errorf("%.60q: %d without close, and then %q %v", request, m.Status(), next.First, next.Err)
		}
	}
}

// A client that leaves in the middle of its upload never completes a request.
func TestClientCutUploads(t *testing.T) {
	big := strings.Repeat("x", 100<<10)
	for _, c := range []struct{ name, sent string }{
		{"length, nothing", "POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"},
		{"length, short", "POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n123456789"},
		{"length, long", "POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n" + big},
		{"chunks, nothing", chunkedPost},
		{"chunks, in a size", chunkedPost + "5"},
		{"chunks, in data", chunkedPost + "5\r\nab"},
		{"chunks, at a boundary", chunkedPost + "5\r\nabcde\r\n"},
		{"chunks, in the last", chunkedPost + "5\r\nabcde\r\n0\r\n"},
		{"chunks, in a trailer", chunkedPost + "5\r\nabcde\r\n0\r\nA: b\r\n"},
		{"chunks, before the last LF", chunkedPost + "5\r\nabcde\r\n0\r\n\r"},
		{"long chunks, at a boundary", chunkedPost + "19000\r\n" + big + "\r\n"},
		{"long chunks, in data", chunkedPost + "19001\r\n" + big},
		{"long chunks, in the last", chunkedPost + "19000\r\n" + big + "\r\n0\r\n"},
		{"head", "POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n"},
	} {
		for _, how := range []string{"FIN", "RST"} {
			t.Run(c.name+" "+how, func(t *testing.T) {
				t.Parallel()
				up := testkit.StartRecorder(t)
				g := startGateway(t, "PY_SERVICE_URL="+up.URL, unheld)
				g.Do("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n") // it serves
				client := g.Dial()
				client.Send("%s", c.sent)
				if strings.HasPrefix(c.name, "long") || c.name == "length, long" {
					testkit.Eventually(t, "the upload begins", func() bool { return up.Connections() > 0 })
				}
				if how == "FIN" {
					client.CloseWrite()
					s, _ := client.Rest()
					if strings.HasPrefix(s, "HTTP/1.1 2") {
						t.Errorf("the client got %q", s)
					}
				}
				testkit.Linger0(client)
				client.Close()
				g.End(testkit.Patience) // what was under way has ended then
				if seen := up.Whole(); len(seen) > 0 {
					t.Errorf("the upstream saw a whole request: %q, %d bytes", seen[0].First, len(seen[0].Body))
				}
			})
		}
	}
}

// A request whose upload ends in the middle reaches a chatty upstream that answers early: the client gets
// that answer, and the connection ends.
func TestClientEarlyAnswer(t *testing.T) {
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		if m := c.ReadHead(); m.Err != nil {
			t.Error(m.Err)
		}
		c.Send("%s", testkit.Answer("no, thanks"))
		_, _ = c.Rest()
	})
	g := startGateway(t, "PY_SERVICE_URL="+up.URL, unheld)
	for _, head := range []string{"Content-Length: 1000000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\nF4240\r\n"} {
		c := g.Dial()
		c.Send("POST /infer/python HTTP/1.1\r\nHost: a\r\n%s%s", head, strings.Repeat("x", 100<<10))
		m := c.ReadResponse()
		if m.Body != "no, thanks" || m.Field("Connection") != "close" {
			t.Errorf("%q: body %q, Connection %q, %v", m.First, m.Body, m.Field("Connection"), m.Err)
		}
		if !c.Closed() {
			t.Error("the connection stays open")
		}
	}
}

// Announcing is free: connections that announce megabytes and send nothing hold little memory.
func TestClientAnnouncedBodiesCostNothing(t *testing.T) {
	up := testkit.StartRecorder(t)
	const n = 300
	for _, head := range []string{"Content-Length: 16777216", "Content-Length: 65536", "Transfer-Encoding: chunked"} {
		t.Run(head, func(t *testing.T) {
			g := startGateway(t, "PY_SERVICE_URL="+up.URL)
			clients := make([]*testkit.Peer, n)
			for i := range clients {
				clients[i] = g.Dial()
			}
			before := heap()
			for _, c := range clients {
				c.Send("POST /infer/python HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n", head)
			}
			testkit.Eventually(t, "all requests are open", func() bool { return g.Parts().Open == n })
			time.Sleep(20 * time.Millisecond) // until the last of them waits for its body
			if per := (heap() - before) / n; per > 64<<10 {
				t.Errorf("a request that announced a body holds %d bytes, want at most 64 KB", per)
			}
			for _, c := range clients {
				c.Close()
			}
		})
	}
}

// heap is the memory in use after a collection, without what pools keep.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A body that stops arriving is a 408 and the end of the connection; one that is slow but alive passes.
func TestClientSlowBodies(t *testing.T) {
	t.Parallel()
	up := testkit.StartRecorder(t)
	g := startGateway(t, "PY_SERVICE_URL="+up.URL, "IDLE_TIMEOUT=500ms", unheld)
	long := strings.Repeat("x", 100<<10)
	for _, c := range []struct{ name, sent string }{
		{"length, nothing", "POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"},
		{"length, some", "POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc"},
		{"length, long", "POST /infer/python HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n" + long},
		{"chunks", chunkedPost + "5\r\nab"},
		{"long chunks", chunkedPost + "19000\r\n" + long + "\r\n"},
		{"100-continue", "POST /infer/python HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n"},
	} {
		client := g.Dial()
		client.Send("%s", c.sent)
		client.Refused(t, c.name, 408)
	}
	if seen := up.Whole(); len(seen) > 0 {
		t.Errorf("the upstream saw %q", testkit.Firsts(seen))
	}
	slowly := func(head string) testkit.Message {
		client := g.Dial()
		client.Send("POST /infer/python HTTP/1.1\r\nHost: a\r\n%s", head)
		for i := range 12 { // more than the idle time in all
			time.Sleep(60 * time.Millisecond)
			client.Send("%x", i)
		}
		if strings.HasPrefix(head, "Transfer") {
			client.Send("\r\n0\r\n\r\n")
		}
		return client.ReadResponse()
	}
	for round, head := range []string{"Content-Length: 12\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\nc\r\n"} {
		m := slowly(head)
		for chance := 1; m.Status() == 408 && chance < 5; chance++ { // a machine that stands still is no honest client
			m = slowly(head)
		}
		if m.Status() != 200 {
			t.Errorf("an honest slow upload, %d: %q %v", round, m.First, m.Err)
		}
	}
	if seen := up.Whole(); len(seen) != 2 || seen[0].Body != "0123456789ab" || seen[1].Body != "0123456789ab" {
		t.Errorf("the upstream saw %q", testkit.Firsts(seen))
	}
}

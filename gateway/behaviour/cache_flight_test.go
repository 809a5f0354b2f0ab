package behaviour

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"aigateway/gateway/testkit"
)

// Many clients ask for one thing at once.

const fresh = "Cache-Control: max-age=60"

// crowdSize is how many clients ask at once where their number is the point.
func crowdSize() int {
	switch {
	case testkit.Soak:
		return 1000
	case testkit.Race || testing.Short():
		return 100
	}
	return 300
}

// crowd connects n clients, which all send their request, and waits until each has missed the cache.
func (g *testGateway) crowd(n int, request func(i int) string) []*testkit.Peer {
	g.T.Helper()
	g.T.Cleanup(g.settle)
	before := g.missed()
	clients := make([]*testkit.Peer, n)
	for i := range clients {
		clients[i] = g.Dial()
	}
	for i, c := range clients {
		c.Send("%s", request(i))
	}
	testkit.Eventually(g.T, "everybody has missed the cache", func() bool { return g.missed() >= before+uint64(n) })
	return clients
}

func (g *testGateway) missed() uint64 {
	_, misses := g.Parts().Metrics.Cache().Totals()
	return misses
}

// all reads the answers of all clients at once.
func all(clients []*testkit.Peer, check func(i int, m testkit.Message)) {
	var wg sync.WaitGroup
	for i, c := range clients {
		wg.Go(func() { check(i, c.ReadResponse()) })
	}
	wg.Wait()
}

func getOf(target string, lines ...string) string {
	return "GET " + target + " HTTP/1.1\r\nHost: a\r\n" + joined(lines) + "\r\n"
}

func same(request string) func(int) string { return func(int) string { return request } }

// chunked is an answer of 200 in chunks of these pieces.
func chunkedOf(pieces []string, lines ...string) string {
	s := "HTTP/1.1 200 OK\r\n" + joined(lines) + "Transfer-Encoding: chunked\r\n\r\n"
	for _, p := range pieces {
		s += fmt.Sprintf("%x\r\n%s\r\n", len(p), p)
	}
	return s + "0\r\n\r\n"
}

// A gate holds requests at the upstream back until it is opened.
type gate struct {
	*origin
	open chan struct{}
}

// startGate starts an origin that holds every request back until the gate opens.
func startGate(t *testing.T, reply func(r testkit.Message, n int) string) *gate {
	t.Helper()
	g := &gate{open: make(chan struct{})}
	g.origin = startOrigin(t, func(r testkit.Message, n int) string {
		select {
		case <-g.open:
		case <-time.After(testkit.Patience):
		}
		return reply(r, n)
	})
	return g
}

func TestFlightOneFetchForAll(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("0123456789", 20<<10)
	f := func(name, body, answer string) {
		t.Run(name, func(t *testing.T) {
			o := startGate(t, func(testkit.Message, int) string { return answer })
			g := startCached(t, o.origin)
			clients := g.crowd(crowdSize(), same(getOf("/a")))
			close(o.open)
			var collapsed atomic.Int32
			all(clients, func(i int, m testkit.Message) {
				wantCached(t, m, "MISS", 200, body)
				if strings.Contains(m.Field("Cache-Status"), "collapsed") {
					collapsed.Add(1)
				}
			})
			// Who has missed the cache is not in the flight yet: on a busy machine one may come to it when it is over, and then has what is not
			// to be used again without asking fetched anew.
			fetches, most := len(o.asked()), 1
			if strings.Contains(answer, "no-cache") {
				most = 3
			}
			if fetches < 1 || fetches > most {
				t.Errorf("the upstream was asked %d times", fetches)
			}
			if n := collapsed.Load(); int(n) != len(clients)-fetches || g.Parts().Metrics.Cache().CoalescedTotal() != uint64(n) {
				t.Errorf("%d of %d are collapsed, %d are counted", n, len(clients), g.Parts().Metrics.Cache().CoalescedTotal())
			}
			outcome := "HIT"
			if strings.Contains(answer, "no-cache") { // for all who waited; who comes then has it validated
				outcome = "MISS"
			}
			wantCached(t, g.get("/a"), outcome, 200, body)
		})
	}
	f("length", "body", with("body", fresh))
	f("no body", "", with("", fresh))
	f("200 KB", large, with(large, fresh))
	f("chunked", "abcdef", chunkedOf([]string{"abc", "def"}, fresh))
	f("chunked 200 KB", large, chunkedOf([]string{large[:70<<10], large[70<<10:]}, fresh))
	f("no-cache", "body", with("body", "Cache-Control: no-cache, max-age=60", `ETag: "a"`))
}

// Rounds of requests that arrive as the fetch ends find its answer one way or the other.
func TestFlightNoSecondFetchAtItsEnd(t *testing.T) {
	t.Parallel()
	o := startOrigin(t, func(r testkit.Message, n int) string { return with("x", fresh) })
	g := startCached(t, o)
	const clients, rounds = 16, 60
	var conns []*testkit.Peer
	for range clients {
		conns = append(conns, g.Dial())
	}
	for round := range rounds {
		var wg sync.WaitGroup
		for _, c := range conns {
			wg.Go(func() {
				c.Send("%s", getOf(fmt.Sprint("/", round)))
				if m := c.ReadResponse(); m.Body != "x" {
					t.Errorf("%s %v", m.First, m.Err)
				}
			})
		}
		wg.Wait()
	}
	if n := len(o.asked()); n != rounds {
		t.Errorf("the upstream was asked %d times for %d things", n, rounds)
	}
}

// A stream reaches all while it goes on, whoever fetches it.
func TestFlightStreamAsItComes(t *testing.T) {
	var asked atomic.Int32
	next, begin := make(chan struct{}), make(chan struct{})
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		if c.ReadRequest().Err != nil {
			return
		}
		asked.Add(1)
		<-begin
		c.Send("HTTP/1.1 200 OK\r\n%s\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n", fresh)
		for i := range 3 {
			c.Send("8\r\ndata: %d\n\r\n", i)
			<-next
		}
		c.Send("0\r\n\r\n")
	})
	g := startCached(t, &origin{Upstream: up})
	clients := g.crowd(30, same(getOf("/a")))
	close(begin)
	for i := range 3 {
		var wg sync.WaitGroup
		for _, c := range clients {
			wg.Go(func() {
				if i == 0 {
					if m := c.ReadHead(); m.Status() != 200 {
						t.Errorf("%s %v", m.First, m.Err)
					}
				}
				if event, err := c.ReadChunk(); event != fmt.Sprintf("data: %d\n", i) {
					t.Errorf("event %d: %q %v", i, event, err)
				}
			})
		}
		wg.Wait()   // all have seen it before there is another
		if i == 1 { // one who comes now gets it from its beginning
			late := g.Dial()
			late.Send("%s", getOf("/a"))
			late.ReadHead()
			if event, err := late.ReadChunk(); event != "data: 0\ndata: 1\n" {
				t.Errorf("%q %v", event, err)
			}
		}
		next <- struct{}{}
	}
	for _, c := range clients {
		if end, err := c.ReadChunk(); end != "" || err != nil {
			t.Errorf("%q %v", end, err)
		}
	}
	wantCached(t, g.get("/a"), "HIT", 200, "data: 0\ndata: 1\ndata: 2\n")
	if n := asked.Load(); n != 1 {
		t.Errorf("the upstream was asked %d times", n)
	}
}

// What is for one client only is fetched by each for itself, all at once.
func TestFlightNotShareable(t *testing.T) {
	t.Parallel()
	f := func(name string, lines ...string) {
		t.Run(name, func(t *testing.T) {
			const n = 60
			var under atomic.Int32
			together := make(chan struct{})
			padding := ""
			if name == "too large" {
				padding = strings.Repeat("x", 2000)
			}
			o := startGate(t, func(r testkit.Message, k int) string {
				if k > 0 {
					if under.Add(1) == n-1 {
						close(together)
					}
					select {
					case <-together:
					case <-time.After(testkit.Patience / 2):
						t.Error("the others wait for each other")
					}
				}
				return with(fmt.Sprint(k, " ")+padding, lines...)
			})
			g := startCached(t, o.origin, "CACHE_MAX_BODY_BYTES=1000")
			clients := g.crowd(n, same(getOf("/a")))
			close(o.open)
			var mu sync.Mutex
			bodies := map[string]bool{}
			all(clients, func(i int, m testkit.Message) {
				mu.Lock()
				defer mu.Unlock()
				if m.Status() != 200 || m.Err != nil || bodies[m.Body] {
					t.Errorf("%s %v: body %.20q is somebody else's", m.First, m.Err, m.Body)
				}
				bodies[m.Body] = true
			})
			if got := len(o.asked()); got != n {
				t.Errorf("the upstream was asked %d times", got)
			}
		})
	}
	f("no-store", "Cache-Control: no-store")
	f("private", "Cache-Control: private, max-age=60")
	f("Set-Cookie", fresh, "Set-Cookie: a=b")
	f("nothing said")
	f("too large", fresh)
}

// A failing upstream is asked three times at most, and everybody learns of it.
func TestFlightFails(t *testing.T) {
	t.Parallel()
	f := func(name, answer string, most int, statuses ...int) {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int32
			begin := make(chan struct{})
			up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
				if c.ReadRequest().Err == nil {
					asked.Add(1)
					<-begin
					c.Send("%s", answer)
				}
			})
			g := startCached(t, &origin{Upstream: up})
			began := time.Now()
			clients := g.crowd(crowdSize()/2, same(getOf("/a")))
			close(begin)
			all(clients, func(i int, m testkit.Message) {
				ok := len(statuses) == 0 && m.Err != nil // a cut that can be seen
				for _, s := range statuses {
					ok = ok || m.Err == nil && m.Status() == s && m.Body != ""
				}
				if !ok {
					t.Errorf("%s %q %v", m.First, m.Body, m.Err)
				}
			})
			testkit.WantQuick(t, "it", began, testkit.Patience/2)
			if n := int(asked.Load()); n > most || n == 0 {
				t.Errorf("the upstream was asked %d times", n)
			}
			if m := g.get("/a", "Cache-Control: only-if-cached"); m.Status() != 504 {
				t.Errorf("it is stored: %s", m.First)
			}
		})
	}
	f("500", "HTTP/1.1 500 Oops\r\nConnection: close\r\nContent-Length: 4\r\n\r\noops", 3, 500, 503)
	f("503", "HTTP/1.1 503 Busy\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbusy", 3, 503)
	f("hang-up", "", 3, 502)
	f("no answer but bytes", "nonsense\r\n\r\n", 3, 502)
	f("cut short body", "HTTP/1.1 200 OK\r\n"+fresh+"\r\nContent-Length: 10\r\n\r\n01234", 3, 502)
	f("cut long body", "HTTP/1.1 200 OK\r\n"+fresh+"\r\nContent-Length: 100000\r\n\r\n01234", 3)
	f("cut chunks", "HTTP/1.1 200 OK\r\n"+fresh+"\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n", 3)

	g := startCached(t, &origin{Upstream: &testkit.Upstream{URL: testkit.Refusing(t)}})
	all(g.crowd(100, same(getOf("/a"))), func(i int, m testkit.Message) {
		if m.Status() != 503 || !strings.Contains(m.Body, `"code":`) {
			t.Errorf("%s %q %v", m.First, m.Body, m.Err)
		}
	})
}

// The second to ask may have more luck than the first; then all have.
func TestFlightHandsOver(t *testing.T) {
	o := startGate(t, func(r testkit.Message, n int) string {
		if n == 0 {
			return "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"
		}
		return with("body", fresh)
	})
	g := startCached(t, o.origin)
	clients := g.crowd(50, same(getOf("/a")))
	close(o.open)
	var failed atomic.Int32
	all(clients, func(i int, m testkit.Message) {
		if m.Status() == 503 {
			failed.Add(1)
		} else {
			wantCached(t, m, "MISS", 200, "body")
		}
	})
	if n := len(o.asked()); n != 2 || failed.Load() != 1 {
		t.Errorf("the upstream was asked %d times, %d clients were told of its failure", n, failed.Load())
	}
}

// A fetch goes on for those who wait when the client that began it leaves.
func TestFlightLeaderLeaves(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"FIN", "RST"} {
		for _, when := range []string{"before the head", "in the body"} {
			t.Run(how+" "+when, func(t *testing.T) {
				begin, end := make(chan struct{}), make(chan struct{})
				var asked atomic.Int32
				up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
					if c.ReadRequest().Err != nil {
						return
					}
					asked.Add(1)
					<-begin
					c.Send("HTTP/1.1 200 OK\r\n%s\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", fresh)
					<-end
					c.Send("3\r\ndef\r\n0\r\n\r\n")
				})
				g := startCached(t, &origin{Upstream: up})
				leader := g.crowd(1, same(getOf("/a")))[0]
				testkit.Eventually(t, "it is fetched", func() bool { return asked.Load() == 1 })
				followers := g.crowd(10, same(getOf("/a")))
				leave := func() {
					if how == "RST" {
						leader.Abort()
					} else {
						leader.Close()
					}
					testkit.Eventually(t, "the gateway has noticed", func() bool { return g.Parts().Open == 10 })
				}
				if when == "before the head" {
					leader.Close()
					time.Sleep(300 * time.Millisecond) // for the watch; there is nothing to be seen
					close(begin)
				} else {
					close(begin)
					leader.ReadHead()
					leave()
				}
				close(end)
				all(followers, func(i int, m testkit.Message) { wantCached(t, m, "MISS", 200, "abcdef") })
				if n := asked.Load(); n != 1 {
					t.Errorf("the upstream was asked %d times", n)
				}
				wantCached(t, g.get("/a"), "HIT", 200, "abcdef")
			})
		}
	}
}

// When all have left, the upstream need not go on.
func TestFlightAllLeave(t *testing.T) {
	t.Parallel()
	for _, when := range []string{"before the head", "in the body"} {
		t.Run(when, func(t *testing.T) {
			ended := make(chan time.Time, 1)
			begun := make(chan struct{})
			up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
				if c.ReadRequest().Err != nil {
					return
				}
				if when == "in the body" {
					c.Send("HTTP/1.1 200 OK\r\n%s\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", fresh)
				}
				close(begun)
				_, _ = c.Rest()
				ended <- time.Now()
			})
			g := startCached(t, &origin{Upstream: up})
			leader := g.crowd(1, same(getOf("/a")))[0]
			<-begun
			followers := g.crowd(20, same(getOf("/a")))
			leader.Close()
			for i, c := range followers {
				if i%2 == 0 {
					c.Abort()
				} else {
					c.Close()
				}
			}
			left := time.Now()
			select {
			case at := <-ended:
				if d := at.Sub(left); d > 3*time.Second { // a second, on a machine that is not busy
					t.Errorf("the upstream's request ended after %v", d)
				}
			case <-time.After(testkit.Patience):
				t.Fatal("the upstream's request goes on")
			}
			testkit.Eventually(t, "nothing is under way", func() bool { return g.idle() && g.Parts().Caching.Idle() })
		})
	}
}

// A follower that leaves is noticed by nobody.
func TestFlightFollowerLeaves(t *testing.T) {
	t.Parallel()
	o := startGate(t, func(testkit.Message, int) string { return with("body", fresh) })
	g := startCached(t, o.origin)
	clients := g.crowd(10, same(getOf("/a")))
	for i, c := range clients[5:] {
		if i%2 == 0 {
			c.Abort()
		} else {
			c.Close()
		}
	}
	testkit.Eventually(t, "the gateway has noticed", func() bool { return g.Parts().Open <= 6 }) // the leader may be among them
	close(o.open)
	all(clients[:5], func(i int, m testkit.Message) { wantCached(t, m, "MISS", 200, "body") })
	if n := len(o.asked()); n != 1 {
		t.Errorf("the upstream was asked %d times", n)
	}
	// The leader may be among those that left, and its answer had begun.
	testkit.Eventually(t, "their leaving is counted", func() bool {
		got := g.series()
		return got[`client_cancel_total{phase="waiting"}`]+got[`client_cancel_total{phase="answer"}`] == 5 &&
			got[`client_cancel_total{phase="waiting"}`] >= 4
	})
}

// Who waits for another one's fetch has a deadline of its own.
func TestFlightFollowersDeadline(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		if c.ReadRequest().Err == nil {
			asked.Add(1)
			_, _ = c.Rest()
		}
	})
	g := startCached(t, &origin{Upstream: up}, "CONNECT_TIMEOUT=1s", "RESPONSE_TIMEOUT=700ms")
	began := time.Now()
	all(g.crowd(20, same(getOf("/a"))), func(i int, m testkit.Message) { testkit.WantFault(t, m, 504, "timeout_response", false) })
	testkit.WantQuick(t, "it", began, testkit.Patience/2)
	if n := asked.Load(); n > 3 {
		t.Errorf("the upstream was asked %d times", n)
	}
}

// Who does not read holds nobody up, be it the one that fetches or one that waits.
func TestFlightStalledReader(t *testing.T) {
	t.Parallel()
	body := strings.Repeat("0123456789", 90_000)
	for _, stalled := range []string{"leader", "follower"} {
		t.Run(stalled, func(t *testing.T) {
			o := startGate(t, func(testkit.Message, int) string { return with(body, fresh) })
			g := startCached(t, o.origin)
			g.T.Cleanup(g.settle)
			ask := func() *testkit.Peer {
				c := g.DialNarrow(4096)
				before := g.missed()
				c.Send("%s", getOf("/a"))
				testkit.Eventually(t, "it has missed", func() bool { return g.missed() > before })
				return c
			}
			var slow *testkit.Peer
			if stalled == "leader" {
				slow = ask()
				testkit.Eventually(t, "it is fetched", func() bool { return len(o.asked()) == 1 })
			}
			others := g.crowd(5, same(getOf("/a")))
			if stalled == "follower" {
				slow = ask()
			}
			close(o.open)
			all(others, func(i int, m testkit.Message) { wantCached(t, m, "MISS", 200, body) })
			wantCached(t, g.get("/a"), "HIT", 200, body)
			wantCached(t, slow.ReadResponse(), "MISS", 200, body) // and it gets it all when it reads
			if n := len(o.asked()); n != 1 {
				t.Errorf("the upstream was asked %d times", n)
			}
		})
	}
}

// Each client gets its own variant, and each variant is fetched once.
func TestFlightVariants(t *testing.T) {
	f := func(name, vary string, values []string) {
		t.Run(name, func(t *testing.T) {
			// Who looked just before the list of variants came may fetch once more. On a busy machine those may be more, but not
			// every time.
			n := 0
			for range 10 {
				o := startGate(t, func(r testkit.Message, n int) string { return with("for "+r.Field(vary), fresh, "Vary: "+vary) })
				g := startCached(t, o.origin)
				request := func(i int) string { return getOf("/a", vary+": "+values[i%len(values)]) }
				clients := g.crowd(20*len(values), request)
				close(o.open)
				all(clients, func(i int, m testkit.Message) {
					wantCached(t, m, "MISS", 200, "for "+values[i%len(values)])
				})
				n = len(o.asked())
				for i, v := range values {
					wantCached(t, g.Do(request(i)), "HIT", 200, "for "+v)
				}
				if n >= len(values) && n <= len(values)+2 {
					return
				}
				if n < len(values) {
					break
				}
			}
			t.Errorf("the upstream was asked %d times for %d variants", n, len(values))
		})
	}
	f("language", "Accept-Language", []string{"de", "fr", "en", "", "de, fr"})
	f("encoding", "Accept-Encoding", []string{"gzip", "br", "identity", "gzip, br"})
}

// Requests with credentials neither wait for others nor have others wait for them.
func TestFlightCredentials(t *testing.T) {
	credentials := []string{"Authorization: Bearer %d", "Cookie: session=%d", "X-Api-Key: %d"}
	whose := func(r testkit.Message) string {
		return r.Field("Authorization") + r.Field("Cookie") + r.Field("X-Api-Key")
	}
	f := func(name string, lines ...string) {
		t.Run(name, func(t *testing.T) {
			o := startGate(t, func(r testkit.Message, n int) string { return with("for "+whose(r), lines...) })
			file := "pools: {p: {upstreams: [{url: \"" + o.URL + "\"}]}}\nroutes: [{path: \"/*\", pool: p, cache: {ttl: 60s}}]\n"
			g := startGatewayFile(t, file, "CACHE_ENABLED=true")
			line := func(i int) string {
				if i%4 == 3 {
					return ""
				}
				return fmt.Sprintf(credentials[i%4], i)
			}
			clients := g.crowd(40, func(i int) string {
				if line(i) == "" {
					return getOf("/a")
				}
				return getOf("/a", line(i))
			})
			close(o.open)
			all(clients, func(i int, m testkit.Message) {
				_, value, _ := strings.Cut(line(i), ": ")
				if m.Body != "for "+value || m.Status() != 200 || m.Err != nil {
					t.Errorf("%q got %s %q %v", line(i), m.First, m.Body, m.Err)
				}
			})
			wantCached(t, g.get("/a"), "HIT", 200, "for ") // and what is stored is nobody's
			if n := len(o.asked()); n != 31 {
				t.Errorf("the upstream was asked %d times", n)
			}
		})
	}
	f("the route's time")
}

// HEAD and ranges of what is not there pass as they are, and nobody waits for them.
func TestFlightHeadAndRangeAlone(t *testing.T) {
	o := startGate(t, func(r testkit.Message, n int) string {
		switch {
		case strings.HasPrefix(r.First, "HEAD"):
			return "HTTP/1.1 200 OK\r\n" + fresh + "\r\nContent-Length: 10\r\n\r\n"
		case r.Field("Range") != "":
			return "HTTP/1.1 206 Partial Content\r\n" + fresh + "\r\nContent-Range: bytes 2-4/10\r\nContent-Length: 3\r\n\r\n234"
		}
		return with("0123456789", fresh)
	})
	g := startCached(t, o.origin)
	clients := g.crowd(30, func(i int) string {
		switch i % 3 {
		case 0:
			return "HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n"
		case 1:
			return getOf("/a", "Range: bytes=2-4")
		}
		return getOf("/a")
	})
	close(o.open)
	var wg sync.WaitGroup
	for i, c := range clients {
		wg.Go(func() {
			m := c.ReadResponse(i%3 == 0)
			switch i % 3 {
			case 0:
				wantCached(t, m, "MISS", 200, "")
			case 1:
				wantCached(t, m, "MISS", 206, "234")
			case 2:
				wantCached(t, m, "MISS", 200, "0123456789")
			}
		})
	}
	wg.Wait()
	if n := len(o.asked()); n != 21 {
		t.Errorf("the upstream was asked %d times", n)
	}
}

// Clients of HTTP/1.0 wait with the others; for them a stream ends with the connection.
func TestFlightHTTP10(t *testing.T) {
	o := startGate(t, func(r testkit.Message, n int) string { return chunkedOf([]string{"abc", "def"}, fresh) })
	g := startCached(t, o.origin)
	clients := g.crowd(10, func(i int) string {
		if i%2 == 0 {
			return "GET /a HTTP/1.0\r\nHost: a\r\n\r\n"
		}
		return getOf("/a")
	})
	close(o.open)
	all(clients, func(i int, m testkit.Message) {
		if i%2 == 0 && (m.Field("Transfer-Encoding") != "" || !m.Closed && m.Field("Content-Length") == "") {
			t.Errorf("%s %s", m.First, m.Head)
		}
		wantCached(t, m, "MISS", 200, "abcdef")
	})
	if n := len(o.asked()); n != 1 {
		t.Errorf("the upstream was asked %d times", n)
	}
}

// For a client of HTTP/1.0 a stream that is cut ends with a reset: a plain end would look whole.
func TestFlightHTTP10Cut(t *testing.T) {
	begin, cut := make(chan struct{}), make(chan struct{})
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		if c.ReadRequest().Err == nil {
			<-begin
			c.Send("HTTP/1.1 200 OK\r\n%s\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", fresh)
			<-cut
		}
	})
	g := startCached(t, &origin{Upstream: up})
	clients := g.crowd(6, same("GET /a HTTP/1.0\r\nHost: a\r\n\r\n"))
	close(begin)
	for _, c := range clients {
		c.ReadHead()
	}
	close(cut)
	for _, c := range clients {
		if !c.HasReset() {
			t.Error("a cut stream ends in order")
		}
	}
}

// Requests of one connection are answered in their order, and a POST between them counts.
func TestFlightPipelined(t *testing.T) {
	t.Parallel()
	o := startOrigin(t, func(r testkit.Message, n int) string {
		return with(r.First[:4]+fmt.Sprint(n), fresh)
	})
	g := startCached(t, o)
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			c := g.Dial()
			post := "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"
			c.Send("%s", getOf("/a")+getOf("/a")+getOf("/b")+post+getOf("/a")+"HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n"+getOf("/b"))
			var got []string
			for i := range 7 {
				m := c.ReadResponse(i == 5)
				if m.Err != nil || m.Status() != 200 {
					t.Errorf("answer %d: %s %v", i, m.First, m.Err)
				}
				got = append(got, m.Body[:min(4, len(m.Body))])
			}
			if s := strings.Join(got, ","); s != "GET ,GET ,GET ,POST,GET ,,GET " {
				t.Error(s)
			}
		})
	}
	wg.Wait()
}

// A stream that is under way gets its time when the gateway shuts down; those who wait for what does not come are told.
func TestFlightShutdown(t *testing.T) {
	t.Parallel()
	begin, end := make(chan struct{}), make(chan struct{})
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		r := c.ReadRequest()
		if r.Err != nil {
			return
		}
		<-begin
		c.Send("HTTP/1.1 200 OK\r\n%s\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", fresh)
		<-end
		c.Send("3\r\ndef\r\n0\r\n\r\n")
	})
	g := startCached(t, &origin{Upstream: up})
	clients := g.crowd(10, same(getOf("/a")))
	close(begin)
	for _, c := range clients {
		c.ReadHead()
		_, _ = c.ReadChunk()
	}
	done := make(chan int)
	go func() { done <- g.End(testkit.Patience) }()
	testkit.Eventually(t, "it drains", func() bool { return g.Parts().Draining })
	close(end)
	for _, c := range clients {
		if piece, err := c.ReadChunk(); piece != "def" {
			t.Errorf("%q %v", piece, err)
		}
		_, _ = c.ReadChunk()
		if !c.Closed() {
			t.Error("the connection stays open")
		}
	}
	if cut := <-done; cut != 0 {
		t.Errorf("%d connections were cut", cut)
	}
}

func TestFlightShutdownCuts(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		if r := c.ReadRequest(); r.Err == nil && strings.Contains(r.First, "/stream") {
			c.Send("HTTP/1.1 200 OK\r\n%s\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", fresh)
		}
		<-hold
	})
	defer close(hold)
	g := startCached(t, &origin{Upstream: up})
	waiting := g.crowd(10, same(getOf("/a")))
	streams := g.crowd(10, same(getOf("/stream")))
	for _, c := range streams {
		c.ReadHead()
		_, _ = c.ReadChunk()
	}
	began := time.Now()
	g.End(200 * time.Millisecond)
	testkit.WantQuick(t, "the shutdown", began, testkit.Patience/2)
	for _, c := range append(waiting, streams...) {
		if m := c.ReadResponse(); m.Err == nil {
			t.Errorf("%s", m.First)
		}
	}
	if !g.Parts().Caching.Idle() {
		t.Error("a fetch is still under way")
	}
}

// A client may leave while the turn to fetch comes to it.
func TestFlightLeavingWhileHandedOver(t *testing.T) {
	var wait atomic.Int32
	o := startOrigin(t, func(r testkit.Message, n int) string {
		wait.Add(1)
		time.Sleep(time.Millisecond)
		return "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"
	})
	g := startCached(t, o)
	g.T.Cleanup(g.settle)
	var wg sync.WaitGroup
	for i := range 200 {
		conn, err := net.Dial("tcp", g.Addr)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			c := testkit.NewPeer(t, conn)
			defer conn.Close()
			c.Send("%s", getOf(fmt.Sprint("/", i%5)))
			if i%3 == 0 {
				time.Sleep(time.Duration(i%7) * time.Millisecond)
				c.Abort()
				return
			}
			if m := c.ReadResponse(); m.Status() != 503 || m.Err != nil {
				t.Errorf("%s %v", m.First, m.Err)
			}
		})
	}
	wg.Wait()
	testkit.Eventually(t, "nothing is under way", func() bool { return g.idle() && g.Parts().Caching.Idle() })
}

// What turns out to be too large to be kept reaches all who had begun to read it, at the pace of the slowest, and one
// that leaves holds nobody up any longer.
func TestFlightTooLargeOnTheWay(t *testing.T) {
	piece := strings.Repeat("0123456789", 3000)
	var pieces []string
	for range 60 {
		pieces = append(pieces, piece)
	}
	whole := strings.Repeat(piece, len(pieces))
	o := startGate(t, func(testkit.Message, int) string { return chunkedOf(pieces, fresh) })
	g := startCached(t, o.origin, "CACHE_MAX_BODY_BYTES=200000")
	leaving := g.DialNarrow(4096)
	leaving.Send("%s", getOf("/a"))
	clients := g.crowd(8, same(getOf("/a")))
	close(o.open)
	leaving.ReadHead()
	leaving.Abort()
	all(clients, func(i int, m testkit.Message) { wantCached(t, m, "MISS", 200, whole) })
	if n := len(o.asked()); n != 1 {
		t.Errorf("the upstream was asked %d times", n)
	}
	if m := g.get("/a", "Cache-Control: only-if-cached"); m.Status() != 504 {
		t.Errorf("it is stored: %s", m.First)
	}
}

// A client that does not read an answer too large to be kept does not hold up the others.
func TestFlightTooLargeWithAClientThatDoesNotRead(t *testing.T) {
	t.Parallel()
	piece := strings.Repeat("0123456789", 3000)
	var pieces []string
	for range 400 { // more than all buffers on the way to it hold
		pieces = append(pieces, piece)
	}
	whole := strings.Repeat(piece, len(pieces))
	o := startGate(t, func(testkit.Message, int) string { return chunkedOf(pieces, fresh) })
	g := startCached(t, o.origin, "CACHE_MAX_BODY_BYTES=200000", "IDLE_TIMEOUT=10m")
	idle := g.DialNarrow(4096)
	idle.Send("%s", getOf("/a"))
	clients := g.crowd(4, same(getOf("/a")))
	close(o.open)
	all(clients, func(i int, m testkit.Message) { wantCached(t, m, "MISS", 200, whole) })
	wantCached(t, g.get("/a"), "MISS", 200, whole) // and who comes now goes alone
	idle.Abort()
}

// However many get a stale answer, it is renewed once.
func TestFlightOneRefresh(t *testing.T) {
	begin := make(chan struct{})
	o := startOrigin(t, func(r testkit.Message, n int) string {
		if n == 0 {
			return with("old", "Cache-Control: max-age=60, stale-while-revalidate=600", "Age: 100")
		}
		<-begin
		return with("new", fresh)
	})
	g := startCached(t, o, "ADMIN_TOKEN=secret")
	wantCached(t, g.get("/a"), "MISS", 200, "old")
	var wg sync.WaitGroup
	for range 50 {
		c := g.Dial()
		wg.Go(func() {
			for range 5 {
				c.Send("%s", getOf("/a"))
				wantCached(t, c.ReadResponse(), "STALE", 200, "old")
			}
		})
	}
	wg.Wait()
	testkit.Eventually(t, "it is being renewed", func() bool { return len(o.asked()) == 2 })
	close(begin)
	testkit.Eventually(t, "it is renewed", func() bool { return g.get("/a").Body == "new" })
	if n := len(o.asked()); n != 2 {
		t.Errorf("the upstream was asked %d times", n)
	}
}

// A renewal that a purge overtakes is not stored.
func TestFlightRefreshOvertaken(t *testing.T) {
	begin := make(chan struct{})
	o := startOrigin(t, func(r testkit.Message, n int) string {
		switch n {
		case 0:
			return with("first", "Cache-Control: max-age=60, stale-while-revalidate=600", "Age: 100", `ETag: "a"`)
		case 1:
			<-begin
			return "HTTP/1.1 304 Not Modified\r\n" + fresh + "\r\nETag: \"a\"\r\n\r\n"
		}
		return with("last", fresh)
	})
	g := startCached(t, o, "ADMIN_TOKEN=secret")
	g.get("/a")
	wantCached(t, g.get("/a"), "STALE", 200, "first")
	testkit.Eventually(t, "it is being renewed", func() bool { return len(o.asked()) == 2 })
	g.Do("DELETE /cachez HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer secret\r\n\r\n")
	close(begin)
	testkit.Eventually(t, "nothing is under way", g.Parts().Caching.Idle)
	if m := g.get("/a"); m.Body != "last" {
		t.Errorf("%q\n%s", m.Body, m.Head)
	}
}

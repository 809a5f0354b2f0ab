package server

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Many clients ask for one thing at once.

const fresh = "Cache-Control: max-age=60"

// crowdSize is how many clients ask at once where their number is the point.
func crowdSize() int {
	if raceEnabled || testing.Short() {
		return 150
	}
	return 1000
}

// crowd connects n clients, which all send their request, and waits until each has missed the cache.
func (g *testGateway) crowd(n int, request func(i int) string) []*peer {
	g.t.Helper()
	g.t.Cleanup(g.settle)
	before := g.missed()
	clients := make([]*peer, n)
	for i := range clients {
		clients[i] = g.dial()
	}
	for i, c := range clients {
		c.send("%s", request(i))
	}
	eventually(g.t, "everybody has missed the cache", func() bool { return g.missed() >= before+uint64(n) })
	return clients
}

func (g *testGateway) missed() uint64 {
	_, misses := g.metrics.Cache().Totals()
	return misses
}

// all reads the answers of all clients at once.
func all(clients []*peer, check func(i int, m message)) {
	var wg sync.WaitGroup
	for i, c := range clients {
		wg.Go(func() { check(i, c.readResponse()) })
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
func startGate(t *testing.T, reply func(r message, n int) string) *gate {
	t.Helper()
	g := &gate{open: make(chan struct{})}
	g.origin = startOrigin(t, func(r message, n int) string {
		select {
		case <-g.open:
		case <-time.After(patience):
		}
		return reply(r, n)
	})
	return g
}

func TestFlightOneFetchForAll(t *testing.T) {
	large := strings.Repeat("0123456789", 20<<10)
	f := func(name, body, answer string) {
		t.Run(name, func(t *testing.T) {
			o := startGate(t, func(message, int) string { return answer })
			g := startCached(t, o.origin)
			clients := g.crowd(crowdSize(), same(getOf("/a")))
			close(o.open)
			var collapsed atomic.Int32
			all(clients, func(i int, m message) {
				wantCached(t, m, "MISS", 200, body)
				if strings.Contains(m.field("Cache-Status"), "collapsed") {
					collapsed.Add(1)
				}
			})
			if n := len(o.asked()); n != 1 {
				t.Errorf("the upstream was asked %d times", n)
			}
			if n := collapsed.Load(); int(n) != len(clients)-1 || g.metrics.Cache().CoalescedTotal() != uint64(n) {
				t.Errorf("%d of %d are collapsed, %d are counted", n, len(clients), g.metrics.Cache().CoalescedTotal())
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
	o := startOrigin(t, func(r message, n int) string { return with("x", fresh) })
	g := startCached(t, o)
	const clients, rounds = 16, 60
	var conns []*peer
	for range clients {
		conns = append(conns, g.dial())
	}
	for round := range rounds {
		var wg sync.WaitGroup
		for _, c := range conns {
			wg.Go(func() {
				c.send("%s", getOf(fmt.Sprint("/", round)))
				if m := c.readResponse(); m.body != "x" {
					t.Errorf("%s %v", m.first, m.err)
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
	up := startUpstream(t, func(_ int, c *peer) {
		if c.readRequest().err != nil {
			return
		}
		asked.Add(1)
		<-begin
		c.send("HTTP/1.1 200 OK\r\n%s\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n", fresh)
		for i := range 3 {
			c.send("8\r\ndata: %d\n\r\n", i)
			<-next
		}
		c.send("0\r\n\r\n")
	})
	g := startCached(t, &origin{scripted: up})
	clients := g.crowd(30, same(getOf("/a")))
	close(begin)
	for i := range 3 {
		var wg sync.WaitGroup
		for _, c := range clients {
			wg.Go(func() {
				if i == 0 {
					if m := c.readHead(); m.status() != 200 {
						t.Errorf("%s %v", m.first, m.err)
					}
				}
				if event, err := c.readChunk(); event != fmt.Sprintf("data: %d\n", i) {
					t.Errorf("event %d: %q %v", i, event, err)
				}
			})
		}
		wg.Wait()   // all have seen it before there is another
		if i == 1 { // one who comes now gets it from its beginning
			late := g.dial()
			late.send("%s", getOf("/a"))
			late.readHead()
			if event, err := late.readChunk(); event != "data: 0\ndata: 1\n" {
				t.Errorf("%q %v", event, err)
			}
		}
		next <- struct{}{}
	}
	for _, c := range clients {
		if end, err := c.readChunk(); end != "" || err != nil {
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
	f := func(name string, lines ...string) {
		t.Run(name, func(t *testing.T) {
			const n = 60
			var under atomic.Int32
			together := make(chan struct{})
			padding := ""
			if name == "too large" {
				padding = strings.Repeat("x", 2000)
			}
			o := startGate(t, func(r message, k int) string {
				if k > 0 {
					if under.Add(1) == n-1 {
						close(together)
					}
					select {
					case <-together:
					case <-time.After(patience / 2):
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
			all(clients, func(i int, m message) {
				mu.Lock()
				defer mu.Unlock()
				if m.status() != 200 || m.err != nil || bodies[m.body] {
					t.Errorf("%s %v: body %.20q is somebody else's", m.first, m.err, m.body)
				}
				bodies[m.body] = true
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
	f := func(name, answer string, most int, statuses ...int) {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int32
			begin := make(chan struct{})
			up := startUpstream(t, func(_ int, c *peer) {
				if c.readRequest().err == nil {
					asked.Add(1)
					<-begin
					c.send("%s", answer)
				}
			})
			g := startCached(t, &origin{scripted: up})
			began := time.Now()
			clients := g.crowd(crowdSize()/2, same(getOf("/a")))
			close(begin)
			all(clients, func(i int, m message) {
				ok := len(statuses) == 0 && m.err != nil // a cut that can be seen
				for _, s := range statuses {
					ok = ok || m.err == nil && m.status() == s && m.body != ""
				}
				if !ok {
					t.Errorf("%s %q %v", m.first, m.body, m.err)
				}
			})
			wantQuick(t, "it", began, patience/2)
			if n := int(asked.Load()); n > most || n == 0 {
				t.Errorf("the upstream was asked %d times", n)
			}
			if m := g.get("/a", "Cache-Control: only-if-cached"); m.status() != 504 {
				t.Errorf("it is stored: %s", m.first)
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

	g := startCached(t, &origin{scripted: &scripted{URL: refusing(t)}})
	all(g.crowd(100, same(getOf("/a"))), func(i int, m message) {
		if m.status() != 503 || !strings.Contains(m.body, `"code":`) {
			t.Errorf("%s %q %v", m.first, m.body, m.err)
		}
	})
}

// The second to ask may have more luck than the first; then all have.
func TestFlightHandsOver(t *testing.T) {
	o := startGate(t, func(r message, n int) string {
		if n == 0 {
			return "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"
		}
		return with("body", fresh)
	})
	g := startCached(t, o.origin)
	clients := g.crowd(50, same(getOf("/a")))
	close(o.open)
	var failed atomic.Int32
	all(clients, func(i int, m message) {
		if m.status() == 503 {
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
	for _, how := range []string{"FIN", "RST"} {
		for _, when := range []string{"before the head", "in the body"} {
			t.Run(how+" "+when, func(t *testing.T) {
				begin, end := make(chan struct{}), make(chan struct{})
				var asked atomic.Int32
				up := startUpstream(t, func(_ int, c *peer) {
					if c.readRequest().err != nil {
						return
					}
					asked.Add(1)
					<-begin
					c.send("HTTP/1.1 200 OK\r\n%s\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", fresh)
					<-end
					c.send("3\r\ndef\r\n0\r\n\r\n")
				})
				g := startCached(t, &origin{scripted: up})
				leader := g.crowd(1, same(getOf("/a")))[0]
				eventually(t, "it is fetched", func() bool { return asked.Load() == 1 })
				followers := g.crowd(10, same(getOf("/a")))
				leave := func() {
					if how == "RST" {
						leader.abort()
					} else {
						leader.Close()
					}
					eventually(t, "the gateway has noticed", func() bool { return g.open[0].Load() == 10 })
				}
				if when == "before the head" {
					leader.Close()
					time.Sleep(300 * time.Millisecond) // for the watch; there is nothing to be seen
					close(begin)
				} else {
					close(begin)
					leader.readHead()
					leave()
				}
				close(end)
				all(followers, func(i int, m message) { wantCached(t, m, "MISS", 200, "abcdef") })
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
	for _, when := range []string{"before the head", "in the body"} {
		t.Run(when, func(t *testing.T) {
			ended := make(chan time.Time, 1)
			begun := make(chan struct{})
			up := startUpstream(t, func(_ int, c *peer) {
				if c.readRequest().err != nil {
					return
				}
				if when == "in the body" {
					c.send("HTTP/1.1 200 OK\r\n%s\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", fresh)
				}
				close(begun)
				_, _ = c.rest()
				ended <- time.Now()
			})
			g := startCached(t, &origin{scripted: up})
			leader := g.crowd(1, same(getOf("/a")))[0]
			<-begun
			followers := g.crowd(20, same(getOf("/a")))
			leader.Close()
			for i, c := range followers {
				if i%2 == 0 {
					c.abort()
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
			case <-time.After(patience):
				t.Fatal("the upstream's request goes on")
			}
			eventually(t, "nothing is under way", func() bool { return g.idle() && g.caching.Idle() })
		})
	}
}

// A follower that leaves is noticed by nobody.
func TestFlightFollowerLeaves(t *testing.T) {
	o := startGate(t, func(message, int) string { return with("body", fresh) })
	g := startCached(t, o.origin)
	clients := g.crowd(10, same(getOf("/a")))
	for i, c := range clients[5:] {
		if i%2 == 0 {
			c.abort()
		} else {
			c.Close()
		}
	}
	eventually(t, "the gateway has noticed", func() bool { return g.open[0].Load() <= 6 }) // the leader may be among them
	close(o.open)
	all(clients[:5], func(i int, m message) { wantCached(t, m, "MISS", 200, "body") })
	if n := len(o.asked()); n != 1 {
		t.Errorf("the upstream was asked %d times", n)
	}
	// The leader may be among those that left, and its answer had begun.
	eventually(t, "their leaving is counted", func() bool {
		got := g.series()
		return got[`client_cancel_total{phase="waiting"}`]+got[`client_cancel_total{phase="answer"}`] == 5 &&
			got[`client_cancel_total{phase="waiting"}`] >= 4
	})
}

// Who waits for another one's fetch has a deadline of its own.
func TestFlightFollowersDeadline(t *testing.T) {
	var asked atomic.Int32
	up := startUpstream(t, func(_ int, c *peer) {
		if c.readRequest().err == nil {
			asked.Add(1)
			_, _ = c.rest()
		}
	})
	g := startCached(t, &origin{scripted: up}, "CONNECT_TIMEOUT=100ms", "RESPONSE_TIMEOUT=700ms")
	began := time.Now()
	all(g.crowd(20, same(getOf("/a"))), func(i int, m message) { wantFault(t, m, 504, "timeout_response", false) })
	wantQuick(t, "it", began, patience/2)
	if n := asked.Load(); n > 3 {
		t.Errorf("the upstream was asked %d times", n)
	}
}

// Who does not read holds nobody up, be it the one that fetches or one that waits.
func TestFlightStalledReader(t *testing.T) {
	body := strings.Repeat("0123456789", 90_000)
	for _, stalled := range []string{"leader", "follower"} {
		t.Run(stalled, func(t *testing.T) {
			o := startGate(t, func(message, int) string { return with(body, fresh) })
			g := startCached(t, o.origin)
			g.t.Cleanup(g.settle)
			ask := func() *peer {
				c := g.dialNarrow(4096)
				before := g.missed()
				c.send("%s", getOf("/a"))
				eventually(t, "it has missed", func() bool { return g.missed() > before })
				return c
			}
			var slow *peer
			if stalled == "leader" {
				slow = ask()
				eventually(t, "it is fetched", func() bool { return len(o.asked()) == 1 })
			}
			others := g.crowd(5, same(getOf("/a")))
			if stalled == "follower" {
				slow = ask()
			}
			close(o.open)
			all(others, func(i int, m message) { wantCached(t, m, "MISS", 200, body) })
			wantCached(t, g.get("/a"), "HIT", 200, body)
			wantCached(t, slow.readResponse(), "MISS", 200, body) // and it gets it all when it reads
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
			o := startGate(t, func(r message, n int) string { return with("for "+r.field(vary), fresh, "Vary: "+vary) })
			g := startCached(t, o.origin)
			request := func(i int) string { return getOf("/a", vary+": "+values[i%len(values)]) }
			clients := g.crowd(20*len(values), request)
			close(o.open)
			all(clients, func(i int, m message) {
				wantCached(t, m, "MISS", 200, "for "+values[i%len(values)])
			})
			if n := len(o.asked()); n < len(values) || n > len(values)+2 { // who looked just before the list of variants came may fetch once more
				t.Errorf("the upstream was asked %d times for %d variants", n, len(values))
			}
			for i, v := range values {
				wantCached(t, g.do(request(i)), "HIT", 200, "for "+v)
			}
		})
	}
	f("language", "Accept-Language", []string{"de", "fr", "en", "", "de, fr"})
	f("encoding", "Accept-Encoding", []string{"gzip", "br", "identity", "gzip, br"})
}

// Requests with credentials neither wait for others nor have others wait for them.
func TestFlightCredentials(t *testing.T) {
	credentials := []string{"Authorization: Bearer %d", "Cookie: session=%d", "X-Api-Key: %d"}
	whose := func(r message) string {
		return r.field("Authorization") + r.field("Cookie") + r.field("X-Api-Key")
	}
	f := func(name string, lines ...string) {
		t.Run(name, func(t *testing.T) {
			o := startGate(t, func(r message, n int) string { return with("for "+whose(r), lines...) })
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
			all(clients, func(i int, m message) {
				_, value, _ := strings.Cut(line(i), ": ")
				if m.body != "for "+value || m.status() != 200 || m.err != nil {
					t.Errorf("%q got %s %q %v", line(i), m.first, m.body, m.err)
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
	o := startGate(t, func(r message, n int) string {
		switch {
		case strings.HasPrefix(r.first, "HEAD"):
			return "HTTP/1.1 200 OK\r\n" + fresh + "\r\nContent-Length: 10\r\n\r\n"
		case r.field("Range") != "":
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
			m := c.readResponse(i%3 == 0)
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
	o := startGate(t, func(r message, n int) string { return chunkedOf([]string{"abc", "def"}, fresh) })
	g := startCached(t, o.origin)
	clients := g.crowd(10, func(i int) string {
		if i%2 == 0 {
			return "GET /a HTTP/1.0\r\nHost: a\r\n\r\n"
		}
		return getOf("/a")
	})
	close(o.open)
	all(clients, func(i int, m message) {
		if i%2 == 0 && (m.field("Transfer-Encoding") != "" || !m.closed && m.field("Content-Length") == "") {
			t.Errorf("%s %s", m.first, m.head)
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
	up := startUpstream(t, func(_ int, c *peer) {
		if c.readRequest().err == nil {
			<-begin
			c.send("HTTP/1.1 200 OK\r\n%s\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", fresh)
			<-cut
		}
	})
	g := startCached(t, &origin{scripted: up})
	clients := g.crowd(6, same("GET /a HTTP/1.0\r\nHost: a\r\n\r\n"))
	close(begin)
	for _, c := range clients {
		c.readHead()
	}
	close(cut)
	for _, c := range clients {
		if !c.hasReset() {
			t.Error("a cut stream ends in order")
		}
	}
}

// Requests of one connection are answered in their order, and a POST between them counts.
func TestFlightPipelined(t *testing.T) {
	o := startOrigin(t, func(r message, n int) string {
		return with(r.first[:4]+fmt.Sprint(n), fresh)
	})
	g := startCached(t, o)
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			c := g.dial()
			post := "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"
			c.send("%s", getOf("/a")+getOf("/a")+getOf("/b")+post+getOf("/a")+"HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n"+getOf("/b"))
			var got []string
			for i := range 7 {
				m := c.readResponse(i == 5)
				if m.err != nil || m.status() != 200 {
					t.Errorf("answer %d: %s %v", i, m.first, m.err)
				}
				got = append(got, m.body[:min(4, len(m.body))])
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
	begin, end := make(chan struct{}), make(chan struct{})
	up := startUpstream(t, func(_ int, c *peer) {
		r := c.readRequest()
		if r.err != nil {
			return
		}
		<-begin
		c.send("HTTP/1.1 200 OK\r\n%s\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", fresh)
		<-end
		c.send("3\r\ndef\r\n0\r\n\r\n")
	})
	g := startCached(t, &origin{scripted: up})
	clients := g.crowd(10, same(getOf("/a")))
	close(begin)
	for _, c := range clients {
		c.readHead()
		_, _ = c.readChunk()
	}
	done := make(chan int)
	go func() { done <- g.shutdown(patience) }()
	eventually(t, "it drains", g.draining.Load)
	close(end)
	for _, c := range clients {
		if piece, err := c.readChunk(); piece != "def" {
			t.Errorf("%q %v", piece, err)
		}
		_, _ = c.readChunk()
		if !c.closed() {
			t.Error("the connection stays open")
		}
	}
	if cut := <-done; cut != 0 {
		t.Errorf("%d connections were cut", cut)
	}
}

func TestFlightShutdownCuts(t *testing.T) {
	hold := make(chan struct{})
	up := startUpstream(t, func(_ int, c *peer) {
		if r := c.readRequest(); r.err == nil && strings.Contains(r.first, "/stream") {
			c.send("HTTP/1.1 200 OK\r\n%s\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", fresh)
		}
		<-hold
	})
	defer close(hold)
	g := startCached(t, &origin{scripted: up})
	waiting := g.crowd(10, same(getOf("/a")))
	streams := g.crowd(10, same(getOf("/stream")))
	for _, c := range streams {
		c.readHead()
		_, _ = c.readChunk()
	}
	began := time.Now()
	g.shutdown(200 * time.Millisecond)
	wantQuick(t, "the shutdown", began, patience/2)
	for _, c := range append(waiting, streams...) {
		if m := c.readResponse(); m.err == nil {
			t.Errorf("%s", m.first)
		}
	}
	if !g.caching.Idle() {
		t.Error("a fetch is still under way")
	}
}

// A panic of the one that fetches costs its own request.
func TestFlightPanic(t *testing.T) {
	f := func(name string, panics int32, failed int32) {
		t.Run(name, func(t *testing.T) {
			o := startOrigin(t, func(message, int) string { return "" })
			file := "pools: {p: {upstreams: [{url: \"" + o.URL + "\"}]}}\nroutes: [{path: \"/*\", pool: p, cache: {ttl: 60s}}]\n"
			begin := make(chan struct{})
			var calls atomic.Int32
			change := func(g *Gateway) {
				r := g.plan.Load().match([]byte("/a"))
				r.caching.Local = func() []byte {
					<-begin
					if calls.Add(1) <= panics {
						panic("on purpose")
					}
					return []byte("body")
				}
			}
			g := serve(t, loadSettings(t, file, []string{"CACHE_ENABLED=true"}), Options{}, change)
			clients := g.crowd(20, same(getOf("/a")))
			close(begin)
			var faults atomic.Int32
			all(clients, func(i int, m message) {
				if m.status() == 500 {
					checkFault(t, name, m, false)
					faults.Add(1)
				} else {
					wantCached(t, m, "MISS", 200, "body")
				}
			})
			if n := faults.Load(); n != failed {
				t.Errorf("%d clients were told of an error, want %d", n, failed)
			}
			if !g.caching.Idle() {
				t.Error("the flight is not over")
			}
		})
	}
	f("of the first", 1, 1)
	f("of three", 3, 20)
}

// A client may leave while the turn to fetch comes to it.
func TestFlightLeavingWhileHandedOver(t *testing.T) {
	var wait atomic.Int32
	o := startOrigin(t, func(r message, n int) string {
		wait.Add(1)
		time.Sleep(time.Millisecond)
		return "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"
	})
	g := startCached(t, o)
	g.t.Cleanup(g.settle)
	var wg sync.WaitGroup
	for i := range 200 {
		conn, err := net.Dial("tcp", g.addr)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			c := newPeer(t, conn)
			defer conn.Close()
			c.send("%s", getOf(fmt.Sprint("/", i%5)))
			if i%3 == 0 {
				time.Sleep(time.Duration(i%7) * time.Millisecond)
				c.abort()
				return
			}
			if m := c.readResponse(); m.status() != 503 || m.err != nil {
				t.Errorf("%s %v", m.first, m.err)
			}
		})
	}
	wg.Wait()
	eventually(t, "nothing is under way", func() bool { return g.idle() && g.caching.Idle() })
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
	o := startGate(t, func(message, int) string { return chunkedOf(pieces, fresh) })
	g := startCached(t, o.origin, "CACHE_MAX_BODY_BYTES=200000")
	leaving := g.dialNarrow(4096)
	leaving.send("%s", getOf("/a"))
	clients := g.crowd(8, same(getOf("/a")))
	close(o.open)
	leaving.readHead()
	leaving.abort()
	all(clients, func(i int, m message) { wantCached(t, m, "MISS", 200, whole) })
	if n := len(o.asked()); n != 1 {
		t.Errorf("the upstream was asked %d times", n)
	}
	if m := g.get("/a", "Cache-Control: only-if-cached"); m.status() != 504 {
		t.Errorf("it is stored: %s", m.first)
	}
}

// A client that does not read an answer too large to be kept does not hold up the others.
func TestFlightTooLargeWithAClientThatDoesNotRead(t *testing.T) {
	piece := strings.Repeat("0123456789", 3000)
	var pieces []string
	for range 400 { // more than all buffers on the way to it hold
		pieces = append(pieces, piece)
	}
	whole := strings.Repeat(piece, len(pieces))
	o := startGate(t, func(message, int) string { return chunkedOf(pieces, fresh) })
	g := startCached(t, o.origin, "CACHE_MAX_BODY_BYTES=200000", "IDLE_TIMEOUT=10m")
	idle := g.dialNarrow(4096)
	idle.send("%s", getOf("/a"))
	clients := g.crowd(4, same(getOf("/a")))
	close(o.open)
	all(clients, func(i int, m message) { wantCached(t, m, "MISS", 200, whole) })
	wantCached(t, g.get("/a"), "MISS", 200, whole) // and who comes now goes alone
	idle.abort()
}

// However many get a stale answer, it is renewed once.
func TestFlightOneRefresh(t *testing.T) {
	begin := make(chan struct{})
	o := startOrigin(t, func(r message, n int) string {
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
		c := g.dial()
		wg.Go(func() {
			for range 5 {
				c.send("%s", getOf("/a"))
				wantCached(t, c.readResponse(), "STALE", 200, "old")
			}
		})
	}
	wg.Wait()
	eventually(t, "it is being renewed", func() bool { return len(o.asked()) == 2 })
	close(begin)
	eventually(t, "it is renewed", func() bool { return g.get("/a").body == "new" })
	if n := len(o.asked()); n != 2 {
		t.Errorf("the upstream was asked %d times", n)
	}
}

// A renewal that a purge overtakes is not stored.
func TestFlightRefreshOvertaken(t *testing.T) {
	begin := make(chan struct{})
	o := startOrigin(t, func(r message, n int) string {
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
	eventually(t, "it is being renewed", func() bool { return len(o.asked()) == 2 })
	g.do("DELETE /cachez HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer secret\r\n\r\n")
	close(begin)
	eventually(t, "nothing is under way", g.caching.Idle)
	if m := g.get("/a"); m.body != "last" {
		t.Errorf("%q\n%s", m.body, m.head)
	}
}

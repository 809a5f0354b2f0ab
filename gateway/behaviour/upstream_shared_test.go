package behaviour

import (
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"aigateway/gateway/testkit"
)

// A verdict on an upstream is shared by all clients, so it must not be writable by one.

// startPoisonable starts an upstream that streams to requests named "own…" for as long as they read, one event for each value of
// more, answers all others with their names, and those named "poison" as the poison says. Its page is well.
func startPoisonable(t *testing.T, poison func(c *testkit.Peer)) (*testkit.Upstream, *testkit.Tally) {
	t.Helper()
	return startNaming(t, func(c *testkit.Peer, r testkit.Message) bool {
		switch {
		case r.Name() == "poison":
			poison(c)
			return true
		case strings.HasPrefix(r.Name(), "stream"):
			c.Send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n8\r\ndata: 1\n\r\n")
			c.R.ReadByte() // until the test is over
			return true
		}
		return false
	})
}

var poisons = map[string]func(c *testkit.Peer){
	"closes":   func(c *testkit.Peer) { c.Close() },
	"resets":   func(c *testkit.Peer) { c.Abort() },
	"503":      func(c *testkit.Peer) { c.Send("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n") },
	"502":      func(c *testkit.Peer) { c.Send("HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n") },
	"garbage":  func(c *testkit.Peer) { c.Send("garbage\r\n\r\n"); c.Close() },
	"cuts":     func(c *testkit.Peer) { c.Send("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nx"); c.Close() },
	"time-out": func(c *testkit.Peer) { c.Closed() },
}

// One client sends requests on which the upstream fails, as many as it likes and nothing but those in its window, while others
// read streams: nobody else notices, with one upstream and with several, however they are balanced.
func TestOnePoisonsNobodyElse(t *testing.T) {
	for name, poison := range poisons {
		for _, n := range []int{1, 3} {
			for _, balance := range []string{"p2c", "hash"} {
				t.Run(fmt.Sprintf("%s/%d/%s", name, n, balance), func(t *testing.T) {
					t.Parallel()
					var urls []string
					for range n {
						up, _ := startPoisonable(t, poison)
						urls = append(urls, up.URL)
					}
					more, rounds := "    balance: "+balance, 8
					if name == "time-out" {
						more, rounds = more+"\n    timeouts: {response: 1s}", 3
					}
					if balance == "hash" {
						more += "\n    hash: {by: query, name: k}" // the poison always goes to the same
					}
					g := startGatewayFile(t, fileOfPool(more, urls...))
					testkit.Eventually(t, "all were probed", func() bool { return strings.Count(g.Log.String(), "upstream is healthy") >= n })
					for i := range 4 { // their heads are there, their ends are not
						c := g.Dial()
						c.Send("%s", testkit.Ask("POST", fmt.Sprint("stream", i)))
						if r := c.ReadHead(); r.Status() != 200 {
							t.Fatalf("a stream got %q", r.First)
						}
					}
					var own atomic.Int64
					for range rounds {
						inParallel(5, func(i int) { _ = g.Do(testkit.Ask([]string{"POST", "GET"}[i%2], "poison")) })
						for range 3 {
							if r := g.Do(testkit.Ask("POST", fmt.Sprint("own", own.Add(1)))); r.Status() != 200 {
								t.Fatalf("another client got %q %q\n%s", r.First, r.Body, g.Do("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").Body)
							}
						}
					}
					if n == 1 && strings.Contains(g.Log.String(), "not healthy") {
						t.Error("a lone upstream whose page answers is sick")
					}
				})
			}
		}
	}
}

// A poisonous request is not walked over all upstreams of its pool: at most once more, where a used connection broke.
func TestPoisonIsNotWalked(t *testing.T) {
	var seen []*testkit.Tally
	var urls []string
	for range 4 {
		up, s := startPoisonable(t, func(c *testkit.Peer) { c.Close() })
		urls, seen = append(urls, up.URL), append(seen, s)
	}
	g := startGatewayFile(t, fileOfPool("    balance: round_robin", urls...))
	testkit.Eventually(t, "all were probed", func() bool { return strings.Count(g.Log.String(), "upstream is healthy") >= 4 })
	before := 0
	for i := range 8 {
		for range 4 {
			g.Do(testkit.Ask("GET", "warm")) // each has an idle connection
		}
		method := "GET"
		if i%2 == 1 {
			method = "POST"
		}
		g.Do(testkit.Ask(method, "poison"))
		now := 0
		for _, s := range seen {
			now += s.Of("poison")
		}
		if now-before > 2 || method == "POST" && now-before > 1 {
			t.Errorf("%s was sent %d times", method, now-before)
		}
		before = now
	}
}

// An upstream that is gone is left out within a second, whatever it is like to be gone, and back as soon as it answers.
func TestTheDeadAreLeftOut(t *testing.T) {
	f := func(name string, dead func(t testing.TB) string) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			well, _ := startNaming(t, nil)
			g := startGatewayFile(t, fileOfPool("    balance: round_robin\n    timeouts: {connect: 300ms}", dead(t), well.URL))
			asked := func() bool { // whether a request got to the dead one
				begun := time.Now()
				r := g.Do(testkit.Ask("GET", "x"))
				if r.Status() != 200 {
					t.Errorf("got %q", r.First)
				}
				return time.Since(begun) > 250*time.Millisecond
			}
			testkit.Eventually(t, "it is left out", func() bool {
				return g.Parts().Proxy.Pool("p").Upstreams[1].Healthy() && !asked() && !asked() && !asked()
			})
			_ = g.Do(testkit.Ask("POST", "x"))
		})
	}
	f("refuses", testkit.Refusing)
	f("swallows", blackHole)
}

// One that accepts and never answers, its page neither, is set aside while others are well, long before a request times out.
func TestTheHungAreLeftOut(t *testing.T) {
	t.Parallel()
	var hung atomic.Bool
	hangs := startHanging(t, &hung)
	well, _ := startNaming(t, nil)
	g := startGatewayFile(t, fileOfPool("    balance: round_robin", hangs, well.URL))
	testkit.Eventually(t, "both were probed", func() bool { return strings.Count(g.Log.String(), "upstream is healthy") >= 2 })
	hung.Store(true)
	begun := time.Now()
	var stuck []*testkit.Peer
	for range 2 { // one of them gets there
		c := g.Dial()
		c.Send("%s", testkit.Ask("POST", "x"))
		stuck = append(stuck, c)
	}
	testkit.Eventually(t, "it is left out", func() bool { return !g.Parts().Proxy.Pool("p").Upstreams[0].Healthy() })
	t.Logf("left out after %v", time.Since(begun))
	testkit.Eventually(t, "it says why", func() bool { return strings.Contains(g.Log.String(), `"reason":"probe: timeout_response"`) })
	for i := range 20 {
		if r := g.Do(testkit.Ask("POST", fmt.Sprint("n", i))); r.Status() != 200 {
			t.Fatalf("got %q", r.First)
		}
	}
	hung.Store(false)
	testkit.Eventually(t, "it is back", func() bool { return g.Parts().Proxy.Pool("p").Upstreams[0].Healthy() })
	for _, c := range stuck {
		c.Close()
	}
}

// startHanging starts an upstream that answers nobody, its page neither, while it hangs.
func startHanging(t *testing.T, hung *atomic.Bool) (url string) {
	t.Helper()
	return startPlain(t, func(p *testkit.Peer) {
		for {
			r := p.ReadRequest()
			if r.Err == nil && hung.Load() {
				p.Closed()
			}
			if r.Err != nil || hung.Load() {
				return
			}
			p.Send("%s", testkit.Answer(r.Name()))
		}
	})
}

func listenLoopback(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// The head of an answer counts as soon as it is there, however long its stream is: with as many streams open as requests
// fail, and one more, there is no reason to ask for the page.
func TestHeadsCountWhenTheyAreThere(t *testing.T) {
	t.Parallel()
	var pages atomic.Int64
	up := startPlain(t, func(p *testkit.Peer) {
		for {
			r := p.ReadRequest()
			switch {
			case r.Err != nil:
				return
			case strings.Contains(r.First, "/healthz"):
				pages.Add(1)
				p.Send("%s", testkit.Answer("ok"))
			case r.Name() == "poison":
				p.Send("HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n")
			default:
				p.Send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
				p.R.ReadByte() // until the test is over
				return
			}
		}
	})
	g := startGatewayFile(t, fileOfPool("    health: {interval: 1h}", up))
	testkit.Eventually(t, "it was probed", g.Parts().Proxy.Pool("p").Healthy)
	begun := time.Now()
	for i := range 12 {
		c := g.Dial()
		c.Send("%s", testkit.Ask("POST", fmt.Sprint("stream", i)))
		if r := c.ReadHead(); r.Status() != 200 {
			t.Fatalf("a stream got %q", r.First)
		}
	}
	c := g.Dial()
	poison := func(n int) {
		for range n {
			c.Send("%s", testkit.Ask("POST", "poison"))
			c.ReadResponse()
		}
	}
	poison(11)
	asked := pages.Load()
	if poison(5); time.Since(begun) > 5*time.Second {
		t.Skip("the machine is too slow for a window of ten seconds")
	}
	testkit.Eventually(t, "the page is asked for", func() bool { return pages.Load() > 1 })
	if asked != 1 {
		t.Errorf("the page was asked for %d times while most were answered", asked)
	}
}

package server

import (
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A verdict on an upstream is shared by all clients, so it must not be writable by one.

// startPoisonable starts an upstream that streams to requests named "own…" for as long as they read, one event for each value of
// more, answers all others with their names, and those named "poison" as the poison says. Its page is well.
func startPoisonable(t *testing.T, poison func(c *peer)) (*scripted, *tally) {
	t.Helper()
	return startNaming(t, func(c *peer, r message) bool {
		switch {
		case r.name() == "poison":
			poison(c)
			return true
		case strings.HasPrefix(r.name(), "stream"):
			c.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n8\r\ndata: 1\n\r\n")
			c.r.ReadByte() // until the test is over
			return true
		}
		return false
	})
}

var poisons = map[string]func(c *peer){
	"closes":   func(c *peer) { c.Close() },
	"resets":   func(c *peer) { c.abort() },
	"503":      func(c *peer) { c.send("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n") },
	"502":      func(c *peer) { c.send("HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n") },
	"garbage":  func(c *peer) { c.send("garbage\r\n\r\n"); c.Close() },
	"cuts":     func(c *peer) { c.send("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nx"); c.Close() },
	"time-out": func(c *peer) { c.closed() },
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
					eventually(t, "all were probed", func() bool { return strings.Count(g.log.String(), "upstream is healthy") >= n })
					for i := range 4 { // their heads are there, their ends are not
						c := g.dial()
						c.send("%s", ask("POST", fmt.Sprint("stream", i)))
						if r := c.readHead(); r.status() != 200 {
							t.Fatalf("a stream got %q", r.first)
						}
					}
					var own atomic.Int64
					for range rounds {
						inParallel(5, func(i int) { _ = g.do(ask([]string{"POST", "GET"}[i%2], "poison")) })
						for range 3 {
							if r := g.do(ask("POST", fmt.Sprint("own", own.Add(1)))); r.status() != 200 {
								t.Fatalf("another client got %q %q\n%s", r.first, r.body, g.do("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").body)
							}
						}
					}
					if n == 1 && strings.Contains(g.log.String(), "not healthy") {
						t.Error("a lone upstream whose page answers is sick")
					}
				})
			}
		}
	}
}

// A poisonous request is not walked over all upstreams of its pool: at most once more, where a used connection broke.
func TestPoisonIsNotWalked(t *testing.T) {
	var seen []*tally
	var urls []string
	for range 4 {
		up, s := startPoisonable(t, func(c *peer) { c.Close() })
		urls, seen = append(urls, up.URL), append(seen, s)
	}
	g := startGatewayFile(t, fileOfPool("    balance: round_robin", urls...))
	eventually(t, "all were probed", func() bool { return strings.Count(g.log.String(), "upstream is healthy") >= 4 })
	before := 0
	for i := range 8 {
		for range 4 {
			g.do(ask("GET", "warm")) // each has an idle connection
		}
		method := "GET"
		if i%2 == 1 {
			method = "POST"
		}
		g.do(ask(method, "poison"))
		now := 0
		for _, s := range seen {
			now += s.of("poison")
		}
		if now-before > 2 || method == "POST" && now-before > 1 {
			t.Errorf("%s was sent %d times", method, now-before)
		}
		before = now
	}
}

// An upstream that is gone is left out within a second, whatever it is like to be gone, and back as soon as it answers.
func TestTheDeadAreLeftOut(t *testing.T) {
	f := func(name string, dead func(t *testing.T) string) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			well, _ := startNaming(t, nil)
			g := startGatewayFile(t, fileOfPool("    balance: round_robin\n    timeouts: {connect: 300ms}", dead(t), well.URL))
			asked := func() bool { // whether a request got to the dead one
				begun := time.Now()
				r := g.do(ask("GET", "x"))
				if r.status() != 200 {
					t.Errorf("got %q", r.first)
				}
				return time.Since(begun) > 250*time.Millisecond
			}
			eventually(t, "it is left out", func() bool { return g.proxy.Pool("p").Upstreams[1].Healthy() && !asked() && !asked() && !asked() })
			_ = g.do(ask("POST", "x"))
		})
	}
	f("refuses", refusing)
	f("swallows", blackHole)
}

// One that accepts and never answers, its page neither, is set aside while others are well, long before a request times out.
func TestTheHungAreLeftOut(t *testing.T) {
	var hung atomic.Bool
	hangs := startHanging(t, &hung)
	well, _ := startNaming(t, nil)
	g := startGatewayFile(t, fileOfPool("    balance: round_robin", hangs, well.URL))
	eventually(t, "both were probed", func() bool { return strings.Count(g.log.String(), "upstream is healthy") >= 2 })
	hung.Store(true)
	begun := time.Now()
	var stuck []*peer
	for range 2 { // one of them gets there
		c := g.dial()
		c.send("%s", ask("POST", "x"))
		stuck = append(stuck, c)
	}
	eventually(t, "it is left out", func() bool { return !g.proxy.Pool("p").Upstreams[0].Healthy() })
	t.Logf("left out after %v", time.Since(begun))
	if !strings.Contains(g.log.String(), `"reason":"probe: timeout_response"`) {
		t.Errorf("it does not say why:\n%s", g.log)
	}
	for i := range 20 {
		if r := g.do(ask("POST", fmt.Sprint("n", i))); r.status() != 200 {
			t.Fatalf("got %q", r.first)
		}
	}
	hung.Store(false)
	eventually(t, "it is back", func() bool { return g.proxy.Pool("p").Upstreams[0].Healthy() })
	for _, c := range stuck {
		c.Close()
	}
}

// startHanging starts an upstream that answers nobody, its page neither, while it hangs.
func startHanging(t *testing.T, hung *atomic.Bool) (url string) {
	t.Helper()
	return startPlain(t, func(p *peer) {
		for {
			r := p.readRequest()
			if r.err == nil && hung.Load() {
				p.closed()
			}
			if r.err != nil || hung.Load() {
				return
			}
			p.send("%s", answer(r.name()))
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
	var pages atomic.Int64
	up := startPlain(t, func(p *peer) {
		for {
			r := p.readRequest()
			switch {
			case r.err != nil:
				return
			case strings.Contains(r.first, "/healthz"):
				pages.Add(1)
				p.send("%s", answer("ok"))
			case r.name() == "poison":
				p.send("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
			default:
				p.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
				p.r.ReadByte() // until the test is over
				return
			}
		}
	})
	g := startGatewayFile(t, fileOfPool("    health: {interval: 1h}", up))
	eventually(t, "it was probed", g.proxy.Pool("p").Healthy)
	for i := range 12 {
		c := g.dial()
		c.send("%s", ask("POST", fmt.Sprint("stream", i)))
		if r := c.readHead(); r.status() != 200 {
			t.Fatalf("a stream got %q", r.first)
		}
	}
	c := g.dial()
	poison := func(n int) {
		for range n {
			c.send("%s", ask("POST", "poison"))
			c.readResponse()
		}
	}
	begun := time.Now()
	poison(11)
	asked := pages.Load()
	if poison(5); time.Since(begun) > 5*time.Second {
		t.Skip("the machine is too slow for a window of ten seconds")
	}
	eventually(t, "the page is asked for", func() bool { return pages.Load() > 1 })
	if asked != 1 {
		t.Errorf("the page was asked for %d times while most were answered", asked)
	}
}

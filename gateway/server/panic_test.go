package server

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"aigateway/gateway/routing"
	"aigateway/gateway/testkit"
)

func prefix(path string) routing.Route { return routing.Route{Path: path + "*", Prefix: path} }

// A panic costs the request it happens in, and its connection; all others go on.
func TestPanicCostsOneRequest(t *testing.T) {
	up, _ := testkit.StartOdd(t, nil)
	g := startGateway(t, func(g *Gateway) {
		p := g.plan.Load()
		for _, r := range []*route{
			{Route: prefix("/panic/"), reply: func(*exchange) { panic("FOREIGN bug") }},
			{Route: prefix("/later/"), reply: func(x *exchange) {
				_ = x.conn.Send([]byte("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"))
				panic("FOREIGN bug")
			}},
			{Route: prefix("/v1/panic/"), openAI: true, reply: func(*exchange) { panic("FOREIGN bug") }},
		} {
			p.add(r)
		}
	}, "", "PY_SERVICE_URL="+up.URL)
	other := g.client(t, true)
	panics := int64(0)
	testkit.EachWay(t, func(t *testing.T, method string, second bool) {
		for _, path := range []string{"/panic/a", "/v1/panic/a"} {
			c := g.client(t, second)
			c.Send("%s", testkit.AskAt(path, method, "x")+testkit.Ask(method, "behind"))
			r := c.ReadResponse()
			testkit.WantFault(t, r, 500, "internal_error", path[1] == 'v')
			if strings.Contains(r.Body, "FOREIGN") || r.Field("Connection") != "close" {
				t.Errorf("got\n%s\n%s", r.Head, r.Body)
			}
			if rest, err := c.Rest(); rest != "" {
				t.Errorf("behind the answer came %q, %v", rest, err)
			}
			panics++
		}
		// In the middle of an answer, the client must not take it for whole.
		c := g.client(t, second)
		c.Send("%s", testkit.AskAt("/later/a", method, "x"))
		if r := c.ReadResponse(); r.Err == nil {
			t.Errorf("got a whole answer: %q %q", r.First, r.Body)
		}
		panics++
		wantOwn(t, other, method, "other")
		wantOwn(t, g.Dial(), method, "new")
	})
	testkit.Eventually(t, "the gateway is idle", func() bool { return g.open[0].Load() == 0 && g.open[1].Load() == 0 })
	if n := g.panics.Load(); n != panics {
		t.Errorf("%d panics are counted, want %d", n, panics)
	}
	if !strings.Contains(g.Log.String(), "FOREIGN bug") || !strings.Contains(g.Log.String(), "panic_test.go") {
		t.Error("the log does not tell of the panic and where it was")
	}
}

// A panic of the one that fetches costs its own request.
func TestFlightPanic(t *testing.T) {
	f := func(name string, panics int32, failed int32) {
		t.Run(name, func(t *testing.T) {
			o := testkit.StartRecorder(t)
			file := "pools: {p: {upstreams: [{url: \"" + o.URL + "\"}]}}\nroutes: [{path: \"/*\", pool: p, cache: {ttl: 60s}}]\n"
			begin := make(chan struct{})
			var calls atomic.Int32
			change := func(g *Gateway) {
				r := g.plan.Load().routes.Match([]byte("/a"))
				r.caching.Local = func() []byte {
					<-begin
					if calls.Add(1) <= panics {
						panic("on purpose")
					}
					return []byte("body")
				}
			}
			g := startGateway(t, change, file, "CACHE_ENABLED=true")
			const clients = 20
			var faults atomic.Int32
			var wait sync.WaitGroup
			for range clients {
				c := g.Dial()
				c.Send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
				wait.Go(func() {
					m := c.ReadResponse()
					switch m.Status() {
					case 500:
						testkit.CheckFault(t, name, m, false)
						faults.Add(1)
					case 200:
						if m.Body != "body" || m.Field("X-Cache") != "MISS" {
							t.Errorf("X-Cache %q, body %q", m.Field("X-Cache"), m.Body)
						}
					default:
						t.Errorf("%q, %v", m.First, m.Err)
					}
				})
			}
			testkit.Eventually(t, "everybody has missed the cache", func() bool { _, n := g.metrics.Cache().Totals(); return n >= clients })
			close(begin)
			wait.Wait()
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

// client connects a client; with second, it has had an answer already.
func (g *testGateway) client(t *testing.T, second bool) *testkit.Peer {
	c := g.Dial()
	if second {
		wantOwn(t, c, "GET", "warm")
	}
	return c
}

// wantOwn checks that a request gets its own answer.
func wantOwn(t *testing.T, c *testkit.Peer, method, name string) {
	t.Helper()
	c.Send("%s", testkit.Ask(method, name))
	if r := c.ReadResponse(); r.Err != nil || r.Status() != 200 || r.Body != name {
		t.Errorf("%s %s got %q, body %q, %v", method, name, r.First, r.Body, r.Err)
	}
}

package server

import (
	"strings"
	"testing"
)

// A panic costs the request it happens in, and its connection; all others go on.
func TestPanicCostsOneRequest(t *testing.T) {
	up, _ := startOdd(t, nil)
	g := startChanged(t, Options{}, func(g *Gateway) {
		p := g.plan.Load()
		p.prefixes = append([]*route{
			{path: "/panic/*", prefix: "/panic/", reply: func(*exchange) { panic("FOREIGN bug") }},
			{path: "/later/*", prefix: "/later/", reply: func(x *exchange) {
				_ = x.conn.Send([]byte("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"))
				panic("FOREIGN bug")
			}},
			{path: "/v1/panic/*", prefix: "/v1/panic/", openAI: true, reply: func(*exchange) { panic("FOREIGN bug") }},
		}, p.prefixes...)
	}, "PY_SERVICE_URL="+up.URL)
	other := g.client(true)
	panics := int64(0)
	eachWay(t, func(t *testing.T, method string, second bool) {
		for _, path := range []string{"/panic/a", "/v1/panic/a"} {
			c := g.client(second)
			c.send("%s", askAt(path, method, "x")+ask(method, "behind"))
			r := c.readResponse()
			wantFault(t, r, 500, "internal_error", path[1] == 'v')
			if strings.Contains(r.body, "FOREIGN") || r.field("Connection") != "close" {
				t.Errorf("got\n%s\n%s", r.head, r.body)
			}
			if rest, err := c.rest(); rest != "" {
				t.Errorf("behind the answer came %q, %v", rest, err)
			}
			panics++
		}
		// In the middle of an answer, the client must not take it for whole.
		c := g.client(second)
		c.send("%s", askAt("/later/a", method, "x"))
		if r := c.readResponse(); r.err == nil {
			t.Errorf("got a whole answer: %q %q", r.first, r.body)
		}
		panics++
		wantOwn(t, g, other, method, "other")
		wantOwn(t, g, g.dial(), method, "new")
	})
	eventually(t, "the gateway is idle", g.idle)
	if n := g.panics.Load(); n != panics {
		t.Errorf("%d panics are counted, want %d", n, panics)
	}
	if !strings.Contains(g.log.String(), "FOREIGN bug") || !strings.Contains(g.log.String(), "panic_test.go") {
		t.Error("the log does not tell of the panic and where it was")
	}
}

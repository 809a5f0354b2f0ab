package behaviour

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"aigateway/gateway/testkit"
)

// Informational answers, RFC 9110 §15.2: a client that knows them gets each as it comes, whatever follows.

const earlyHints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nx-Odd: a  b\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 1\r\n\r\n"

func TestInterim(t *testing.T) {
	long := strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 300)
	for name, f := range map[string]struct {
		minor  int
		before string // what the upstream sends first
		answer string
		want   []string
		status int
	}{
		"103":              {1, earlyHints, testkit.Answer("odd"), []string{"HTTP/1.1 103 Early Hints"}, 200},
		"102":              {1, "HTTP/1.1 102 Processing\r\n\r\n", testkit.Answer("odd"), []string{"HTTP/1.1 102 Processing"}, 200},
		"one nobody knows": {1, "HTTP/1.1 199 \r\nX: y\r\n\r\n", testkit.Answer("odd"), []string{"HTTP/1.1 199 "}, 200},
		"several": {1, "HTTP/1.1 102 A\r\n\r\n" + earlyHints + "HTTP/1.1 103 B\r\n\r\n", testkit.Answer("odd"),
			[]string{"HTTP/1.1 102 A", "HTTP/1.1 103 Early Hints", "HTTP/1.1 103 B"}, 200},
		"three hundred":        {1, long, testkit.Answer("odd"), slices.Repeat([]string{"HTTP/1.1 102 Processing"}, 300), 200},
		"before a stream":      {1, earlyHints, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nodd\r\n0\r\n\r\n", []string{"HTTP/1.1 103 Early Hints"}, 200},
		"before an error":      {1, earlyHints, "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", []string{"HTTP/1.1 103 Early Hints"}, 404},
		"before a fault":       {1, earlyHints, "garbage\r\n\r\n", []string{"HTTP/1.1 103 Early Hints"}, 502},
		"100":                  {1, "HTTP/1.1 100 Continue\r\n\r\n", testkit.Answer("odd"), nil, 200},
		"100 and 103":          {1, "HTTP/1.1 100 Continue\r\n\r\n" + earlyHints, testkit.Answer("odd"), []string{"HTTP/1.1 103 Early Hints"}, 200},
		"101 of nobody's wish": {1, earlyHints, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", []string{"HTTP/1.1 103 Early Hints"}, 502},
		"HTTP/1.0":             {0, earlyHints + "HTTP/1.1 102 A\r\n\r\n", testkit.Answer("odd"), nil, 200},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, environ := range []string{"CACHE_ENABLED=false", "CACHE_ENABLED=true"} {
				testkit.EachWay(t, func(t *testing.T, method string, second bool) {
					up, _ := testkit.StartOdd(t, func(c *testkit.Peer, _ testkit.Message) bool {
						c.Send("%s", f.before+f.answer)
						return f.status < 500
					})
					g := startGateway(t, "PY_SERVICE_URL="+up.URL, environ)
					c := g.client(second)
					c.Send("%s", strings.Replace(testkit.Ask(method, "odd"), "HTTP/1.1", fmt.Sprintf("HTTP/1.%d", f.minor), 1))
					before, m := c.ReadInterim()
					if got := testkit.Firsts(before); !slices.Equal(got, f.want) {
						t.Errorf("%s, %s: got %q", environ, method, got)
					}
					for _, b := range before {
						if b.First != "HTTP/1.1 103 Early Hints" {
							continue
						}
						if want := "Link: </a.css>; rel=preload\r\nx-Odd: a  b\r\nVia: 1.1 aigateway\r\n"; b.Head != want {
							t.Errorf("the 103 has the lines\n%s", b.Head)
						}
					}
					if m.Err != nil || m.Status() != f.status || m.Status() == 200 && m.Body != "odd" {
						t.Errorf("%s, %s: then %q, %v: %q", environ, method, m.First, m.Err, m.Body)
					}
					if f.status < 500 && f.minor > 0 {
						wantOwn(t, g, c, method, "same")
					}
				})
			}
		})
	}
}

// Each is there before the next is made.
func TestInterimAtOnce(t *testing.T) {
	for _, environ := range []string{"CACHE_ENABLED=false", "CACHE_ENABLED=true"} {
		testkit.EachWay(t, func(t *testing.T, method string, second bool) {
			next := make(chan struct{})
			up, _ := testkit.StartOdd(t, func(c *testkit.Peer, _ testkit.Message) bool {
				for i := range 9 {
					c.Send("HTTP/1.1 102 %d\r\n\r\n", i)
					<-next
				}
				c.Send("%s", testkit.Answer("odd"))
				return true
			})
			g := startGateway(t, "PY_SERVICE_URL="+up.URL, environ)
			c := g.client(second)
			c.Send("%s", testkit.Ask(method, "odd"))
			for i := range 9 {
				if m := c.ReadHead(); m.First != fmt.Sprintf("HTTP/1.1 102 %d", i) {
					t.Fatalf("%s: got %q, %v", environ, m.First, m.Err)
				}
				next <- struct{}{}
			}
			if m := c.ReadResponse(); m.Body != "odd" {
				t.Errorf("%s: then %q, %v", environ, m.First, m.Err)
			}
			if n := up.Connections(); n > 2 {
				t.Errorf("%d connections", n)
			}
			wantOwn(t, g, c, method, "same")
		})
	}
}

// Without end, they end with the bytes of a head or the time for one.
func TestInterimIsBounded(t *testing.T) {
	t.Parallel()
	up, _ := testkit.StartOdd(t, func(c *testkit.Peer, _ testkit.Message) bool {
		for {
			if _, err := c.Write([]byte(earlyHints)); err != nil {
				return false
			}
		}
	})
	g := startGateway(t, "PY_SERVICE_URL="+up.URL)
	c, begun := g.Dial(), time.Now()
	c.Send("%s", testkit.Ask("GET", "odd"))
	before, m := c.ReadInterim()
	testkit.WantFault(t, m, 502, "bad_upstream_response", false)
	testkit.WantQuick(t, "the fault", begun, 10*time.Second)
	if most := 16384 / len(earlyHints); len(before) > most {
		t.Errorf("%d interim responses, at most %d fit", len(before), most)
	}
}

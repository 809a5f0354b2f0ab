package behaviour

import (
	"fmt"
	"strings"
	"testing"

	"aigateway/gateway/testkit"
)

// An answer that its upstream has not finished is never finished by the gateway: before the client has seen a
// byte it is a 502, after that the connection is reset.
func TestCutAnswers(t *testing.T) {
	const (
		fixed   = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
		large   = "HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n"
		chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
		events  = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
		toClose = "HTTP/1.1 200 OK\r\n\r\n"
		old     = "HTTP/1.0 200 OK\r\n\r\n"
	)
	cases := []struct {
		name, head, rest string
		fault            bool // must be a 502: the client cannot have seen a byte
		whole            bool // by FIN only: this is how such an answer ends
	}{
		{"nothing", "", "", true, false},
		{"inside the status line", "HTTP/1.1 20", "", true, false},
		{"inside the head", "HTTP/1.1 200 OK\r\nContent-Length: 1", "0\r\n", true, false},
		{"before the empty line", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n", "\r", true, false},
		{"a length, no byte", fixed, "", true, false},
		{"a length, short", fixed, "12345", true, false},
		{"a length, one short", fixed, "123456789", true, false},
		{"a large length, no byte", large, "", false, false},
		{"a large length, short", large, strings.Repeat("x", 199999), false, false},
		{"chunks, none", chunked, "", false, false},
		{"chunks, at a boundary", chunked, "2\r\nab\r\n", false, false},
		{"chunks, at many boundaries", chunked, strings.Repeat("2\r\nab\r\n", 5000), false, false},
		{"chunks, inside a size line", chunked, "2\r\nab\r\n1", false, false},
		{"chunks, after a size", chunked, "2\r\nab\r\n1\r", false, false},
		{"chunks, inside data", chunked, "2\r\nab\r\n5\r\nxy", false, false},
		{"chunks, before the end of data", chunked, "2\r\nab", false, false},
		{"chunks, inside the last size", chunked, "2\r\nab\r\n0", false, false},
		{"chunks, before the trailers", chunked, "2\r\nab\r\n0\r\n", false, false},
		{"chunks, inside a trailer", chunked, "2\r\nab\r\n0\r\nX-A: 1", false, false},
		{"chunks, after a trailer", chunked, "2\r\nab\r\n0\r\nX-A: 1\r\n", false, false},
		{"chunks, inside the end", chunked, "2\r\nab\r\n0\r\n\r", false, false},
		{"events, between two", events, "9\r\ndata: a\n\n\r\n", false, false},
		{"no length, some", toClose, "abc", false, true},
		{"no length, none", toClose, "", false, true},
		{"HTTP/1.0, some", old, "abc", false, true},
	}
	for _, f := range cases {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			for _, end := range []string{"fin", "rst"} {
				for _, apart := range []bool{false, true} {
					testkit.EachWay(t, func(t *testing.T, method string, second bool) {
						for _, minor := range []int{1, 0} {
							headSeen := make(chan struct{})
							up, seen := testkit.StartOdd(t, func(c *testkit.Peer, _ testkit.Message) bool {
								if apart && !f.fault && f.rest != "" {
									c.Send("%s", f.head)
									<-headSeen
									c.Send("%s", f.rest)
								} else {
									c.Send("%s", f.head+f.rest)
									<-headSeen
								}
								if end == "rst" {
									c.Abort()
								}
								return false
							})
							g := startGateway(t, "PY_SERVICE_URL="+up.URL)
							c := g.client(second)
							c.Send("%s", strings.Replace(testkit.Ask(method, "odd"), "HTTP/1.1", fmt.Sprintf("HTTP/1.%d", minor), 1))
							var r testkit.Message
							if f.fault {
								close(headSeen)
								r = c.ReadResponse()
							} else {
								r = c.ReadHead()
								close(headSeen)
								r = c.ReadBody(r, true)
							}
							what := fmt.Sprintf("%s, apart %v, HTTP/1.%d: got %q, body of %d bytes, %v", end, apart, minor, r.First, len(r.Body), r.Err)
							switch {
							case f.fault:
								testkit.WantFault(t, r, 502, "bad_upstream_response", false)
							case f.whole && end == "fin":
								if r.Err != nil || r.Status() != 200 || r.Body != f.rest {
									t.Error(what)
								}
							case r.Err == nil:
								t.Error(what + ": the client takes it for whole")
							}
							// A GET on a used connection that breaks without a byte may be sent once more.
							if n := seen.Of("odd"); n != 1 && !(n == 2 && f.name == "nothing" && method == "GET" && second) {
								t.Errorf("sent %d times", n)
							}
							// The gateway goes on.
							if r := g.Do(testkit.Ask(method, "next")); r.Body != "next" {
								t.Errorf("the next request got %q %q, %v", r.First, r.Body, r.Err)
							}
							c.Close()
							g.settle()
							g.End(testkit.Patience)
						}
					})
				}
			}
		})
	}
}

// Chunks that are none: a 502 if they come with the head, else the answer is cut where they begin.
func TestMalformedChunks(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	for name, rest := range map[string]string{
		"X for CRLF":          "2\r\nabX0\r\n\r\n",
		"XX for CRLF":         "2\r\nabXX0\r\n\r\n",
		"LF for CRLF":         "2\r\nab\n0\r\n\r\n",
		"data too long":       "2\r\nabc\r\n0\r\n\r\n",
		"size with LF":        "2\nab\r\n0\r\n\r\n",
		"size with CR X":      "2\rXab\r\n0\r\n\r\n",
		"0x":                  "0x2\r\nab\r\n0\r\n\r\n",
		"sign":                "+2\r\nab\r\n0\r\n\r\n",
		"minus":               "-2\r\nab\r\n0\r\n\r\n",
		"space before":        " 2\r\nab\r\n0\r\n\r\n",
		"underscore":          "0_2\r\nab\r\n0\r\n\r\n",
		"empty":               "\r\nab\r\n0\r\n\r\n",
		"only an extension":   ";a=1\r\nab\r\n0\r\n\r\n",
		"no digit":            "g\r\nab\r\n0\r\n\r\n",
		"over 2^64":           "10000000000000002\r\nab\r\n0\r\n\r\n",
		"2^63":                "8000000000000002\r\nab\r\n0\r\n\r\n",
		"zeros without end":   strings.Repeat("0", 100000) + "2\r\nab\r\n0\r\n\r\n",
		"extension with LF":   "2;a\nb\r\nab\r\n0\r\n\r\n",
		"extension with NUL":  "2;a\x00\r\nab\r\n0\r\n\r\n",
		"extension endless":   "2;" + strings.Repeat("a", 1<<20) + "\r\nab\r\n0\r\n\r\n",
		"extensions many":     strings.Repeat("1;"+strings.Repeat("a", 1000)+"\r\nx\r\n", 1000) + "0\r\n\r\n",
		"trailers endless":    "2\r\nab\r\n0\r\n" + strings.Repeat("X-A: 1\r\n", 100000) + "\r\n",
		"trailer endless":     "2\r\nab\r\n0\r\nX: " + strings.Repeat("a", 1<<20) + "\r\n\r\n",
		"trailer with NUL":    "2\r\nab\r\n0\r\nX: \x00\r\n\r\n",
		"trailer with LF":     "2\r\nab\r\n0\r\nX: 1\n\r\n\r\n",
		"an answer as a size": "HTTP/1.1 200 OK\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, apart := range []bool{false, true} {
				testkit.EachWay(t, func(t *testing.T, method string, second bool) {
					headSeen := make(chan struct{})
					up, seen := testkit.StartOdd(t, func(c *testkit.Peer, _ testkit.Message) bool {
						if !apart {
							c.Send("%s", head+rest)
							return true
						}
						c.Send("%s", head+"1\r\n-\r\n")
						<-headSeen
						c.Send("%s", rest)
						return true
					})
					g := startGateway(t, "PY_SERVICE_URL="+up.URL)
					c := g.client(second)
					c.Send("%s", testkit.Ask(method, "odd"))
					r := c.ReadHead()
					close(headSeen)
					r = c.ReadBody(r, true)
					if r.Err == nil && r.Status() != 502 {
						t.Errorf("apart %v: the client takes it for whole: %q, %d bytes", apart, r.First, len(r.Body))
					}
					if apart && r.Status() == 502 || len(rest) < 1000 && !apart && r.Status() != 502 {
						t.Errorf("apart %v: got %q, %v", apart, r.First, r.Err)
					}
					if n := seen.Of("odd"); n != 1 {
						t.Errorf("sent %d times", n)
					}
					for i := range 3 {
						wantOwn(t, g, g.Dial(), method, fmt.Sprint("next-", i))
					}
				})
			}
		})
	}
}

// Chunks that are merely unusual pass.
func TestUnusualChunks(t *testing.T) {
	for name, rest := range map[string]string{
		"upper case and zeros": "000A\r\n0123456789\r\n0\r\n\r\n",
		"extension":            "a;x=\"y;z\"\r\n0123456789\r\n0;last\r\n\r\n",
		"padded size":          "a  \r\n0123456789\r\n0\r\n\r\n",
		"long last chunk":      "a\r\n0123456789\r\n00000\r\n\r\n",
		"trailers":             "a\r\n0123456789\r\n0\r\nX-A: 1\r\nSet-Cookie: evil=1\r\n\r\n",
		"byte by byte":         "1\r\n0\r\n1\r\n1\r\n1\r\n2\r\n1\r\n3\r\n1\r\n4\r\n1\r\n5\r\n1\r\n6\r\n1\r\n7\r\n1\r\n8\r\n1\r\n9\r\n0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, trickle := range []bool{false, true} {
				testkit.EachWay(t, func(t *testing.T, method string, second bool) {
					up, _ := testkit.StartOdd(t, func(c *testkit.Peer, _ testkit.Message) bool {
						all := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + rest
						for n := 1; trickle && len(all) > 0; all = all[n:] {
							c.Send("%s", all[:n])
						}
						c.Send("%s", all)
						return true
					})
					g := startGateway(t, "PY_SERVICE_URL="+up.URL)
					c := g.client(second)
					c.Send("%s", testkit.Ask(method, "odd"))
					if r := c.ReadResponse(); r.Err != nil || r.Body != "0123456789" || strings.Contains(r.Head, "Cookie") {
						t.Errorf("got %q, body %q, %v", r.First, r.Body, r.Err)
					}
					wantOwn(t, g, c, method, "next")
					if n := up.Connections(); n != 1 {
						t.Errorf("%d connections to the upstream, want one that is used again", n)
					}
				})
			}
		})
	}
}

// Below /v1, and on a request for events, a broken answer is a fault in OpenAI's shape.
func TestFaultsBelowV1(t *testing.T) {
	for name, f := range map[string]struct {
		bytes, code string
		status      int
	}{
		"closed":   {"", "bad_upstream_response", 502},
		"garbage":  {"garbage\r\n\r\n", "bad_upstream_response", 502},
		"short":    {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", "bad_upstream_response", 502},
		"long":     {"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", 20000) + "\r\n\r\n", "upstream_header_too_large", 502},
		"silent":   {"hold", "timeout_response", 504},
		"half":     {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhold", "timeout_idle", 504},
		"refusing": {"refuse", "upstream_unreachable", 503},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testkit.EachWay(t, func(t *testing.T, method string, second bool) {
				up, _ := testkit.StartOdd(t, func(c *testkit.Peer, _ testkit.Message) bool {
					b, hold := strings.CutSuffix(f.bytes, "hold")
					c.Send("%s", b)
					if hold {
						c.Closed()
					}
					return false
				})
				url := up.URL
				if f.bytes == "refuse" {
					url = testkit.Refusing(t)
				}
				environ := []string{"PY_SERVICE_URL=" + up.URL, "LLM_SERVICE_URL=" + url}
				if f.status == 504 { // the others need no haste, and have no time to lose on a slow machine
					environ = append(environ, "RESPONSE_TIMEOUT=150ms", "IDLE_TIMEOUT=150ms")
				}
				g := startGateway(t, environ...)
				c := g.client(second)
				c.Send("%s", testkit.AskAt("/v1/chat/completions", method, "odd"))
				r := c.ReadResponse()
				testkit.WantFault(t, r, f.status, f.code, true)
				if strings.Contains(r.Body, "garbage") {
					t.Errorf("the fault quotes the upstream: %s", r.Body)
				}
			})
		})
	}
}

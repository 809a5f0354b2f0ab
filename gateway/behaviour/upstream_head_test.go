package behaviour

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"aigateway/gateway/testkit"
)

// Heads that must not pass: a 502 after one attempt, at once, and nothing of them is remembered.
func TestHostileHeads(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	for name, f := range map[string]struct{ bytes, code string }{
		"lengths that differ":      {ok + "Content-Length: 2\r\nContent-Length: 3\r\n\r\nabc", ""},
		"lengths in a list":        {ok + "Content-Length: 2, 2\r\n\r\nab", ""},
		"length with a sign":       {ok + "Content-Length: +2\r\n\r\nab", ""},
		"length negative":          {ok + "Content-Length: -2\r\n\r\nab", ""},
		"length in hex":            {ok + "Content-Length: 0x2\r\n\r\nab", ""},
		"length empty":             {ok + "Content-Length:\r\n\r\nab", ""},
		"length with a space":      {ok + "Content-Length: 1 2\r\n\r\nab", ""},
		"length over 2^63":         {ok + "Content-Length: 9223372036854775808\r\n\r\nab", ""},
		"length over 2^64":         {ok + "Content-Length: 18446744073709551618\r\n\r\nab", ""},
		"length and encoding":      {ok + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", ""},
		"encoding and length":      {ok + "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nab\r\n0\r\n\r\n", ""},
		"gzip encoding":            {ok + "Transfer-Encoding: gzip\r\n\r\nab", ""},
		"gzip, chunked":            {ok + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", ""},
		"two encodings":            {ok + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ""},
		"encoding identity":        {ok + "Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nab", ""},
		"chunked by HTTP/1.0":      {"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ""},
		"folded line":              {ok + "X-A: 1\r\n  2\r\nContent-Length: 2\r\n\r\nab", ""},
		"folded encoding":          {ok + "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", ""},
		"bare LF":                  {ok + "X-A: 1\nSet-Cookie: evil=1\r\nContent-Length: 2\r\n\r\nab", ""},
		"bare LF after the status": {"HTTP/1.1 200 OK\nContent-Length: 2\r\n\r\nab", ""},
		"bare CR":                  {ok + "X-A: 1\rSet-Cookie: evil=1\r\nContent-Length: 2\r\n\r\nab", ""},
		"NUL in a value":           {ok + "X-A: a\x00b\r\nContent-Length: 2\r\n\r\nab", ""},
		"NUL in a name":            {ok + "X\x00A: 1\r\nContent-Length: 2\r\n\r\nab", ""},
		"DEL in a value":           {ok + "X-A: a\x7fb\r\nContent-Length: 2\r\n\r\nab", ""},
		"NUL in the reason":        {"HTTP/1.1 200 O\x00K\r\nContent-Length: 2\r\n\r\nab", ""},
		"CR in the reason":         {"HTTP/1.1 200 O\rK\r\nContent-Length: 2\r\n\r\nab", ""},
		"status 99":                {"HTTP/1.1 99 Low\r\nContent-Length: 2\r\n\r\nab", ""},
		"status 099":               {"HTTP/1.1 099 Low\r\nContent-Length: 2\r\n\r\nab", ""},
		"status 000":               {"HTTP/1.1 000 Low\r\nContent-Length: 2\r\n\r\nab", ""},
		"status 600":               {"HTTP/1.1 600 High\r\nContent-Length: 2\r\n\r\nab", ""},
		"status 999":               {"HTTP/1.1 999 High\r\nContent-Length: 2\r\n\r\nab", ""},
		"status 2000":              {"HTTP/1.1 2000 Long\r\nContent-Length: 2\r\n\r\nab", ""},
		"status 2x0":               {"HTTP/1.1 2x0 OK\r\nContent-Length: 2\r\n\r\nab", ""},
		"status -20":               {"HTTP/1.1 -20 OK\r\nContent-Length: 2\r\n\r\nab", ""},
		"no status":                {"HTTP/1.1\r\nContent-Length: 2\r\n\r\nab", ""},
		"two spaces":               {"HTTP/1.1  200 OK\r\nContent-Length: 2\r\n\r\nab", ""},
		"HTTP/2.0":                 {"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nab", ""},
		"HTTP/1.2":                 {"HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nab", ""},
		"HTTP/1.10":                {"HTTP/1.10 200 OK\r\nContent-Length: 2\r\n\r\nab", ""},
		"http/1.1":                 {"http/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", ""},
		"ICY":                      {"ICY 200 OK\r\n\r\nab", ""},
		"HTTP/0.9":                 {"<html>hello</html>\r\n\r\n", ""},
		"empty line first":         {"\r\n" + ok + "Content-Length: 2\r\n\r\nab", ""},
		"space in a name":          {ok + "X A: 1\r\nContent-Length: 2\r\n\r\nab", ""},
		"space before the colon":   {ok + "Content-Length : 2\r\n\r\nab", ""},
		"tab before the colon":     {ok + "Content-Length\t: 2\r\n\r\nab", ""},
		"no name":                  {ok + ": 1\r\nContent-Length: 2\r\n\r\nab", ""},
		"no colon":                 {ok + "X-A\r\nContent-Length: 2\r\n\r\nab", ""},
		"space first":              {ok + " X-A: 1\r\nContent-Length: 2\r\n\r\nab", ""},
		"a head too long":          {ok + "X-A: " + strings.Repeat("a", 17000) + "\r\nContent-Length: 2\r\n\r\nab", "upstream_header_too_large"},
		"a head of many fields":    {ok + strings.Repeat("X-A: 1\r\n", 3000) + "Content-Length: 2\r\n\r\nab", "upstream_header_too_large"},
		"a status line too long":   {"HTTP/1.1 200 " + strings.Repeat("a", 17000) + "\r\nContent-Length: 2\r\n\r\nab", "upstream_header_too_large"},
		"a head without end":       {ok + strings.Repeat("X-A: 1\r\n", 1<<17), "upstream_header_too_large"},
		"a name without end":       {ok + strings.Repeat("A", 1<<20), "upstream_header_too_large"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code := f.code
			if code == "" {
				code = "bad_upstream_response"
			}
			testkit.EachWay(t, func(t *testing.T, method string, second bool) {
				up, seen := testkit.StartOdd(t, func(c *testkit.Peer, _ testkit.Message) bool {
					c.Send("%s", f.bytes)
					return true
				})
				g := startGateway(t, "PY_SERVICE_URL="+up.URL)
				c := g.client(second)
				begun := time.Now()
				c.Send("%s", testkit.Ask(method, "odd"))
				r := c.ReadResponse()
				testkit.WantFault(t, r, 502, code, false)
				testkit.WantQuick(t, "the fault", begun, 5*time.Second)
				if strings.Contains(r.Head, "evil") {
					t.Errorf("an upstream's byte passed:\n%s", r.Head)
				}
				if n := seen.Of("odd"); n != 1 {
					t.Errorf("sent %d times", n)
				}
				wantOwn(t, g, c, method, "same")
				wantOwn(t, g, g.Dial(), method, "other")
			})
		})
	}
}

// A head that has no CRLF at all cannot become a good one: there is nothing to wait for.
func TestHeadOfBareLinesIsBrokenAtOnce(t *testing.T) {
	up, _ := testkit.StartOdd(t, func(c *testkit.Peer, _ testkit.Message) bool {
		c.Send("HTTP/1.1 200 OK\nContent-Length: 2\n\nab")
		c.Closed()
		return false
	})
	g := startGateway(t, "PY_SERVICE_URL="+up.URL, "RESPONSE_TIMEOUT=10s")
	begun := time.Now()
	testkit.WantFault(t, g.Do(testkit.Ask("GET", "odd")), 502, "bad_upstream_response", false)
	testkit.WantQuick(t, "the fault", begun, 5*time.Second)
}

// Heads at the limit pass, and those that look odd but are in order.
func TestUnusualHeads(t *testing.T) {
	for name, f := range map[string]struct{ head, want string }{
		"no reason":            {"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\n", "HTTP/1.1 200 "},
		"empty reason":         {"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\n", "HTTP/1.1 200 "},
		"status 299":           {"HTTP/1.1 299 Odd But Fine\r\nContent-Length: 2\r\n\r\n", "HTTP/1.1 299 Odd But Fine"},
		"status 599":           {"HTTP/1.1 599 x\r\nContent-Length: 2\r\n\r\n", "HTTP/1.1 599 x"},
		"reason of UTF-8":      {"HTTP/1.1 200 d'accord \xc3\xa9\r\nContent-Length: 2\r\n\r\n", "HTTP/1.1 200 d'accord \xc3\xa9"},
		"equal lengths":        {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n", "HTTP/1.1 200 OK"},
		"zeros in the length":  {"HTTP/1.1 200 OK\r\nContent-Length: 0000000002\r\n\r\n", "HTTP/1.1 200 OK"},
		"a long head":          {"HTTP/1.1 200 OK\r\nX-A: " + strings.Repeat("a", 16000) + "\r\nContent-Length: 2\r\n\r\n", "HTTP/1.1 200 OK"},
		"many fields":          {"HTTP/1.1 200 OK\r\n" + strings.Repeat("x-a: 1\r\n", 1900) + "Content-Length: 2\r\n\r\n", "HTTP/1.1 200 OK"},
		"HTTP/1.0, kept alive": {"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n", "HTTP/1.1 200 OK"},
		"HTTP/1.0":             {"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n", "HTTP/1.1 200 OK"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testkit.EachWay(t, func(t *testing.T, method string, second bool) {
				up, _ := testkit.StartOdd(t, func(c *testkit.Peer, _ testkit.Message) bool {
					c.Send("%s", f.head+"ab")
					return true
				})
				g := startGateway(t, "PY_SERVICE_URL="+up.URL)
				c := g.client(second)
				c.Send("%s", testkit.Ask(method, "odd"))
				r := c.ReadResponse()
				if r.Err != nil || r.First != f.want || r.Body != "ab" || len(r.Fields("Date")) != 1 || len(r.Fields("Content-Length")) != 1 {
					t.Errorf("got %q, body %q, %v\n%.500s", r.First, r.Body, r.Err, r.Head)
				}
				wantOwn(t, g, c, method, "same")
			})
		})
	}
}

// What an upstream announces costs nothing until it is there.
func TestAnnouncedLengthCostsNothing(t *testing.T) {
	testkit.EachWay(t, func(t *testing.T, method string, second bool) {
		for _, sse := range []string{"", "Content-Type: text/event-stream\r\n"} {
			sent := make(chan struct{})
			up, _ := testkit.StartOdd(t, func(c *testkit.Peer, _ testkit.Message) bool {
				c.Send("HTTP/1.1 200 OK\r\n%sContent-Length: 1000000000000\r\n\r\nbegin", sse)
				<-sent
				return false
			})
			g := startGateway(t, "PY_SERVICE_URL="+up.URL)
			c := g.client(second)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			c.Send("%s", testkit.Ask(method, "odd"))
			r := c.ReadHead()
			if r.Status() != 200 || r.Field("Content-Length") != "1000000000000" {
				t.Errorf("got %q, %v\n%s", r.First, r.Err, r.Head)
			}
			b := make([]byte, 5)
			if _, err := c.R.Read(b); err != nil || string(b) != "begin" {
				t.Errorf("got %q, %v", b, err)
			}
			runtime.ReadMemStats(&after)
			close(sent)
			if rest, err := c.Rest(); err == nil {
				t.Errorf("a cut answer looks whole: %q", rest)
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
				t.Errorf("%d bytes allocated", n)
			}
		}
	})
}

// The time for a head is one time for all of it, whatever its bytes do to look busy.
func TestTrickledHead(t *testing.T) {
	t.Parallel()
	const timeout = 300 * time.Millisecond
	for name, f := range map[string]struct {
		piece string
		every time.Duration
	}{
		"a byte now and then":     {"a", 20 * time.Millisecond},
		"bytes without pause":     {"a", 0},
		"interim answers, slowly": {"HTTP/1.1 103 Early Hints\r\n\r\n", 100 * time.Millisecond},
		"an interim answer's end": {"\r\nX-A: 1", 5 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			testkit.EachWay(t, func(t *testing.T, method string, second bool) {
				up, seen := testkit.StartOdd(t, func(c *testkit.Peer, _ testkit.Message) bool {
					if !strings.HasPrefix(f.piece, "HTTP/") {
						c.Send("HTTP/1.1 200 OK\r\nX-B: ")
					}
					for {
						if _, err := c.Write([]byte(f.piece)); err != nil {
							return false
						}
						if f.every > 0 {
							time.Sleep(f.every)
						}
					}
				})
				g := startGateway(t, "PY_SERVICE_URL="+up.URL, "RESPONSE_TIMEOUT="+timeout.String(), "MAX_HEADER_BYTES=1048576")
				c := g.client(second)
				begun := time.Now()
				c.Send("%s", testkit.Ask(method, "odd"))
				testkit.WantFault(t, c.ReadResponse(), 504, "timeout_response", false)
				testkit.WantQuick(t, "the time-out", begun, timeout+1500*time.Millisecond)
				if n := seen.Of("odd"); n != 1 {
					t.Errorf("sent %d times", n)
				}
				wantOwn(t, g, c, method, "next")
			})
		})
	}
}

package behaviour

import (
	"strings"
	"testing"
	"time"

	"aigateway/gateway/testkit"
)

// 100 Continue comes only once the request is let in, once, and only to who waits for it.
func TestClientExpect(t *testing.T) {
	up := testkit.StartRecorder(t)
	g := startGateway(t, "PY_SERVICE_URL="+up.URL, "MAX_BODY_BYTES=100000")
	for _, refused := range []struct {
		line   string
		status int
	}{
		{"POST /nowhere HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5", 404},
		{"POST /v1/models HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5", 404},
		{"PUT /infer/python HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5", 405},
		{"POST /infer/python HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 100001", 413},
		{"POST /infer/python HTTP/1.1\r\nExpect: 200-ok\r\nContent-Length: 5", 417},
		{"POST /nowhere HTTP/1.1\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked", 404},
		{"POST /infer/python HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\nX_Api_Key: 1", 400},
	} {
		c := g.Dial()
		c.Send("%s\r\nHost: a\r\n\r\n", refused.line)
		if m := c.ReadHead(); m.Status() != refused.status {
			t.Errorf("%q: the first answer is %q", refused.line, m.First)
		} else if m.Field("Connection") != "close" {
			t.Errorf("%q: stays open, though nobody knows whether the body comes", refused.line)
		}
	}
	if n := up.Connections(); n > 0 {
		t.Errorf("the upstream saw %q", testkit.Firsts(up.Whole()))
	}
	for _, framing := range []string{"Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"} {
		up.Reset()
		body := "hello"
		if strings.HasPrefix(framing, "T") {
			body = "5\r\nhello\r\n0\r\n\r\n"
		}
		c := g.Dial()
		for range 2 { // on one connection
			c.Send("POST /infer/python HTTP/1.1\r\nHost: a\r\nEXPECT: 100-Continue\r\n%s\r\n", framing)
			if m := c.ReadHead(); m.First != "HTTP/1.1 100 Continue" || m.Head != "" {
				t.Fatalf("the first answer is %q %q %v", m.First, m.Head, m.Err)
			}
			c.Send("%s", body)
			if m := c.ReadHead(); m.Status() != 200 {
				t.Errorf("the second answer is %q", m.First)
			} else {
				c.ReadBody(m, true)
			}
		}
		for _, m := range up.Whole() {
			if m.Body != "hello" || m.Field("Expect") != "" {
				t.Errorf("the upstream got %q, body %q", m.Head, m.Body)
			}
		}
	}
	t.Run("the body is here", func(t *testing.T) {
		c := g.Dial()
		c.Send("POST /infer/python HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello")
		if m := c.ReadHead(); m.Status() != 200 {
			t.Errorf("the first answer is %q", m.First)
		}
	})
	t.Run("no body", func(t *testing.T) {
		c := g.Dial()
		c.Send("GET /infer/python HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n")
		if m := c.ReadHead(); m.Status() != 200 {
			t.Errorf("the first answer is %q", m.First)
		}
	})
	t.Run("HTTP/1.0", func(t *testing.T) {
		c := g.Dial()
		c.Send("POST /infer/python HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
		if !c.Silent(50 * time.Millisecond) {
			t.Error("an HTTP/1.0 client, which knows no 100, gets an answer before its body is here")
		}
		c.Send("hello")
		if m := c.ReadHead(); m.Status() != 200 {
			t.Errorf("the first answer is %q", m.First)
		}
	})
}

package behaviour

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"aigateway/gateway/testkit"
)

// Who keeps the connection, and what the answer says of it, for answers of an upstream and of the gateway's own.
func TestClientKeepAlive(t *testing.T) {
	up := testkit.StartRecorder(t)
	g := startGateway(t, "PY_SERVICE_URL="+up.URL)
	for _, path := range []string{"/infer/python", "/livez", "/nowhere"} {
		for _, c := range []struct {
			version, fields string
			stays           bool
			says            string
		}{
			{"1.1", "", true, ""},
			{"1.1", "Connection: keep-alive\r\n", true, ""},
			{"1.1", "Connection: close\r\n", false, "close"},
			{"1.1", "Connection: CLOSE\r\n", false, "close"},
			{"1.1", "Connection: x, close\r\n", false, "close"},
			{"1.1", "Connection: keep-alive, close\r\n", false, "close"},
			{"1.1", "Connection: keep-alive\r\nConnection: close\r\n", false, "close"},
			{"1.1", "Connection: x\r\n", true, ""},
			{"1.0", "", false, "close"},
			{"1.0", "Connection: x\r\n", false, "close"},
			{"1.0", "Connection: keep-alive\r\n", true, "keep-alive"},
			{"1.0", "Connection: Keep-Alive\r\n", true, "keep-alive"},
			{"1.0", "Connection: x, keep-alive\r\n", true, "keep-alive"},
			{"1.0", "Connection: x\r\nConnection: keep-alive\r\n", true, "keep-alive"},
			{"1.0", "Connection: keep-alive, close\r\n", false, "close"},
		} {
			client := g.Dial()
			request := fmt.Sprintf("GET %s HTTP/%s\r\nHost: a\r\n%s\r\n", path, c.version, c.fields)
			client.Send("%s", request)
			m := client.ReadResponse()
			if m.Status() == 0 {
				t.Errorf("%q: %q %v", request, m.First, m.Err)
				continue
			}
			if !strings.HasPrefix(m.First, "HTTP/1.1 ") {
				t.Errorf("%q: answered as %q", request, m.First)
			}
			if got := m.Field("Connection"); !strings.EqualFold(got, c.says) {
				t.Errorf("%q: Connection is %q, want %q", request, got, c.says)
			}
			if !c.stays {
				if !client.Closed() {
					t.Errorf("%q: the connection stays open", request)
				}
				continue
			}
			client.Send("%s", request)
			if again := client.ReadResponse(); again.First != m.First {
				t.Errorf("%q: the second answer is %q %v", request, again.First, again.Err)
			}
		}
	}
}

// Many requests of every kind on one connection, sent ahead.
func TestClientPipelines(t *testing.T) {
	up := testkit.StartRecorder(t)
	g := startGateway(t, "PY_SERVICE_URL="+up.URL)
	c := g.Dial()
	const n = 200
	var sent strings.Builder
	for i := range n {
		switch i % 5 {
		case 0:
			fmt.Fprintf(&sent, "GET /infer/python?%d HTTP/1.1\r\nHost: a\r\n\r\n", i)
		case 1:
			fmt.Fprintf(&sent, "HEAD /infer/python?%d HTTP/1.1\r\nHost: a\r\n\r\n", i)
		case 2:
			fmt.Fprintf(&sent, "POST /infer/python?%d HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", i)
		case 3:
			fmt.Fprintf(&sent, "POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
		case 4:
			fmt.Fprintf(&sent, "HEAD /livez HTTP/1.1\r\nHost: a\r\n\r\n")
		}
	}
	go c.Send("%s", sent.String())
	for i := range n {
		m := c.ReadResponse(i%5 == 1 || i%5 == 4)
		want := 200
		if i%5 == 3 {
			want = 404
		}
		if m.Status() != want {
			t.Fatalf("answer %d: %q %v", i, m.First, m.Err)
		}
		if (i%5 == 0 || i%5 == 2) && !strings.Contains(m.Body, fmt.Sprintf("?%d ", i)) {
			t.Fatalf("answer %d is %q", i, m.Body)
		}
		if m.Field("Content-Length") == "" {
			t.Errorf("answer %d has no length", i)
		}
	}
	if !c.Silent(20 * time.Millisecond) {
		t.Error("something comes behind the last answer")
	}
}

// Requests behind one that closes are not looked at.
func TestClientNothingAfterClose(t *testing.T) {
	up := testkit.StartRecorder(t)
	g := startGateway(t, "PY_SERVICE_URL="+up.URL)
	c := g.Dial()
	c.Send("GET /infer/python?1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /infer/python?2 HTTP/1.1\r\nHost: a\r\n\r\n")
	if m := c.ReadResponse(); m.Status() != 200 {
		t.Fatalf("%q %v", m.First, m.Err)
	}
	if !c.Closed() {
		t.Error("the connection stays open")
	}
	g.Do("GET /infer/python?3 HTTP/1.1\r\nHost: a\r\n\r\n")
	if seen := up.Whole(); len(seen) != 2 {
		t.Errorf("the upstream saw %q", testkit.Firsts(seen))
	}
}

package wire

import "testing"

// What asks for WebSocket, and what only looks like it: RFC 6455 §4.1, RFC 9110 §7.8.
func TestRequestWebSocket(t *testing.T) {
	f := func(want bool, method, proto, fields string) {
		t.Helper()
		var h RequestHead
		if v := h.Scan([]byte(method), []byte("/"), []byte(proto), []byte("Host: a\r\n"+fields+"\r\n")); v != None {
			t.Errorf("%q: %v", fields, v)
		}
		if h.WebSocket != want {
			t.Errorf("%s %s %q: %v", method, proto, fields, h.WebSocket)
		}
		if kept := string(h.AppendKept(nil)); kept != "" {
			t.Errorf("%q: %q travels on", fields, kept)
		}
	}
	const both = "Connection: Upgrade\r\nUpgrade: websocket\r\n"
	f(true, "GET", "HTTP/1.1", both)
	f(true, "GET", "HTTP/1.1", "UPGRADE: WebSocket\r\nconnection: keep-alive , uPGRADE\r\n")
	f(true, "GET", "HTTP/1.1", both+"Content-Length: 0\r\n")
	f(false, "GET", "HTTP/1.0", both)
	f(false, "POST", "HTTP/1.1", both)
	f(false, "HEAD", "HTTP/1.1", both)
	f(false, "GET", "HTTP/1.1", both+"Content-Length: 1\r\n")
	f(false, "GET", "HTTP/1.1", both+"Transfer-Encoding: chunked\r\n")
	f(false, "GET", "HTTP/1.1", "Connection: Upgrade\r\n")
	f(false, "GET", "HTTP/1.1", "Upgrade: websocket\r\n")
	f(false, "GET", "HTTP/1.1", both+"Upgrade: websocket\r\n")
	f(false, "GET", "HTTP/1.1", both+"Upgrade: h2c\r\n")
	for _, value := range []string{"", "h2c", "websocket/13", "websocket,", "h2c, websocket", "websockets"} {
		f(false, "GET", "HTTP/1.1", "Connection: Upgrade\r\nUpgrade: "+value+"\r\n")
	}
}

func TestResponseWebSocket(t *testing.T) {
	f := func(want bool, head string) {
		t.Helper()
		var h ResponseHead
		if v := h.Scan([]byte(head + "\r\n")); v != None {
			t.Errorf("%q: %v", head, v)
		}
		if h.WebSocket != want {
			t.Errorf("%q: %v", head, h.WebSocket)
		}
	}
	const line = "HTTP/1.1 101 Switching Protocols\r\n"
	f(true, line+"Upgrade: websocket\r\nConnection: upgrade\r\n")
	f(true, line+"connection: keep-alive, Upgrade\r\nupgrade: WEBSOCKET\r\n")
	f(false, line+"Upgrade: websocket\r\n")
	f(false, line+"Connection: upgrade\r\n")
	f(false, line+"Upgrade: h2c\r\nConnection: upgrade\r\n")
	f(false, "HTTP/1.0 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n")
}

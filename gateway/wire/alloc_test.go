package wire

import (
	"io"
	"net"
	"testing"
	"time"
)

// What every request passes must not allocate.

// typicalRequest is what an OpenAI client sends, with what a load balancer adds.
const typicalRequest = "POST /v1/chat/completions HTTP/1.1\r\n" +
	"Host: gateway.example.com\r\n" +
	"Accept: application/json\r\n" +
	"Accept-Encoding: gzip, deflate\r\n" +
	"Authorization: Bearer sk-0123456789abcdef0123456789abcdef0123456789abcdef\r\n" +
	"Connection: keep-alive\r\n" +
	"Content-Length: 5\r\n" +
	"Content-Type: application/json\r\n" +
	"User-Agent: OpenAI/Python 1.99.9\r\n" +
	"X-Forwarded-For: 203.0.113.7\r\n" +
	"X-Request-ID: 0d6a6e1e-7a0b-4a54-8a42-0d0d5e6d5e11\r\n" +
	"X-Stainless-Lang: python\r\n" +
	"\r\n"

const typicalResponse = "HTTP/1.1 200 OK\r\n" +
	"date: Tue, 24 Nov 2026 08:00:00 GMT\r\n" +
	"server: uvicorn\r\n" +
	"content-length: 1234\r\n" +
	"content-type: application/json\r\n" +
	"cache-control: no-store\r\n" +
	"x-process-time: 0.0371\r\n" +
	"openai-processing-ms: 37\r\n" +
	"connection: keep-alive\r\n" +
	"\r\n"

// parts are the arguments of RequestHead.Scan.
type parts struct{ method, target, proto, block []byte }

var typical = parts{[]byte("POST"), []byte("/v1/chat/completions"), []byte("HTTP/1.1"), []byte(typicalRequest[len("POST /v1/chat/completions HTTP/1.1\r\n"):])}

func noAllocs(t *testing.T, what string, f func()) {
	t.Helper()
	f()
	if n := testing.AllocsPerRun(200, f); n != 0 {
		t.Errorf("%s: %v allocations", what, n)
	}
}

func TestAllocScans(t *testing.T) {
	var q RequestHead
	dst := make([]byte, 0, 4096)
	noAllocs(t, "a request head", func() {
		if v := q.Scan(typical.method, typical.target, typical.proto, typical.block); v != None {
			t.Fatal(v)
		}
		dst = q.AppendKept(dst[:0])
	})
	nominating := []byte("Host: a\r\nA: 1\r\nB: 2\r\nConnection: A, close\r\nC: 3\r\n\r\n")
	noAllocs(t, "a request head with names in Connection", func() {
		if v := q.Scan(typical.method, typical.target, typical.proto, nominating); v != None {
			t.Fatal(v)
		}
		dst = q.AppendKept(dst[:0])
	})
	var r ResponseHead
	head := []byte(typicalResponse)
	noAllocs(t, "a response head", func() {
		if v := r.Scan(head); v != None || FindHeadEnd(head, 0) != len(head) {
			t.Fatal(v)
		}
		dst = r.AppendKept(dst[:0])
	})
}

func TestAllocChunked(t *testing.T) {
	body := []byte("5;x\r\nhello\r\nb\r\nhello world\r\n0\r\nT: u\r\n\r\n")
	dst := make([]byte, 0, 64)
	noAllocs(t, "a body in chunks", func() {
		var c Chunked
		for src := body; !c.Done(); {
			data, used, v := c.Next(src)
			if v != None {
				t.Fatal(v)
			}
			dst = append(dst[:0], data...)
			src = src[used:]
		}
		dst = AppendChunkSize(dst[:0], 4711)
	})
}

func TestAllocWatch(t *testing.T) {
	w := NewWatch(time.Hour)
	defer w.Close()
	c, u := &ClientConn{socket: socket{fd: 0}}, &UpstreamConn{socket: socket{fd: -1}}
	var e Watched
	for range 2 * len(w.shards) { // every shard's slices have grown
		w.Add(&e, c, u, nil)
		w.Remove(&e)
	}
	noAllocs(t, "Add and Remove", func() {
		w.Add(&e, c, u, nil)
		if e.Gone() {
			t.Fatal("gone")
		}
		w.Remove(&e)
		e.Reset()
	})
}

// An endless client sends the same bytes at every read, and takes every answer.
type endless struct {
	scripted
	sent []byte
}

func (e *endless) Read(p []byte) (int, error)  { return copy(p, e.sent), nil }
func (e *endless) Write(p []byte) (int, error) { return len(p), nil }

func TestAllocClientConn(t *testing.T) {
	chunks := "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
	for name, sent := range map[string]string{
		"one request":             "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"one request with a body": typicalRequest + "hello",
		"chunks":                  chunks,
		"two requests at once":    typicalRequest + "hello" + chunks,
	} {
		c := Listen(nil, testOptions, nil).admit(&endless{sent: []byte(sent)})
		buf, body, answer := make([]byte, 4096), make([]byte, 4096), []byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		var h RequestHead
		noAllocs(t, name, func() {
			n, err := c.Read(buf)
			if err != nil || FindHeadEnd(buf[:n], 0) != n {
				t.Fatal(name, "not one head:", string(buf[:n]), err)
			}
			if !takeHead(c, sent[:n]) {
				t.Fatal(name, "disagrees")
			}
			scanAllocFree(t, &h, buf[:n])
			c.ExpectBody(h.ContentLength, 1<<20)
			if h.Expect {
				c.ExpectContinue()
			}
			for err == nil {
				_, err = c.ReadBody(body)
			}
			if err != io.EOF || !c.KeepsAlive() || c.Send(answer) != nil {
				t.Fatal(name, err)
			}
			if _, err := c.Write(answer); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// scanAllocFree scans a head as it lies in a buffer.
func scanAllocFree(t *testing.T, h *RequestHead, head []byte) {
	var at [3]int
	for i, n := 0, 0; n < 3; i++ {
		if head[i] == ' ' || head[i] == '\n' {
			at[n] = i
			n++
		}
	}
	if v := h.Scan(head[:at[0]], head[at[0]+1:at[1]], head[at[1]+1:at[2]-1], head[at[2]+1:]); v != None {
		t.Fatal(v)
	}
}

func TestAllocUpstreamConn(t *testing.T) {
	near, far := tcpPair(t)
	u := upstreamOf(near)
	go func() { _, _ = io.Copy(far, far) }() // echo
	defer func() { _ = far.CloseRead() }()
	message, buf := []byte("ping"), make([]byte, 64)
	noAllocs(t, "an exchange", func() {
		if u.Stale() {
			t.Fatal("stale")
		}
		if _, err := u.Send(message, time.Minute); err != nil {
			t.Fatal(err)
		}
		for n := 0; n < len(message); {
			m, err := u.Receive(buf, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			n += m
		}
	})
}

func TestAllocBuffers(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector a sync.Pool drops some of what it is given")
	}
	noAllocs(t, "a small and a large one", func() {
		a, b := GetBuffer(1), GetBuffer(LargeBuffer)
		if len(a.B) < 1 || len(b.B) < LargeBuffer {
			t.Fatal("too small")
		}
		a.Put()
		b.Put()
	})
}

var _ net.Conn = (*endless)(nil)

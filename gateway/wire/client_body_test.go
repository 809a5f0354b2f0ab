package wire

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const anyHead = "POST / HTTP/1.1\r\nHost: a\r\n\r\n"

// bodyOf is a client whose head is taken and whose body comes in pieces.
func bodyOf(t *testing.T, length, limit int64, pieces ...string) (*ClientConn, *scripted) {
	t.Helper()
	c, s := scriptedClient(append([]string{anyHead}, pieces...)...)
	mustTakeHead(t, c)
	c.ExpectBody(length, limit)
	return c, s
}

func TestClientBody(t *testing.T) {
	f := func(length, limit int64, want string, err error, pieces ...string) {
		t.Helper()
		for _, size := range []int{1, 3, 64} {
			// behind the head, and with it
			c, _ := bodyOf(t, length, limit, pieces...)
			together, _ := scriptedClient(append([]string{anyHead + pieces[0]}, pieces[1:]...)...)
			mustTakeHead(t, together)
			together.ExpectBody(length, limit)
			for _, c := range []*ClientConn{c, together} {
				got, e := readBody(c, size)
				if e != err || !strings.HasPrefix(want, got) || err == nil && got != want {
					t.Errorf("%q by %d: %q, %v; want %q, %v", pieces, size, got, e, want, err)
				}
				if c.BodyDone() != (err == nil) || err == nil && !c.KeepsAlive() {
					t.Errorf("%q by %d: done %v, keeps %v after %v", pieces, size, c.BodyDone(), c.KeepsAlive(), e)
				}
				// What failed once stays failed: the rest of a refused body is no end of it.
				if _, e := c.ReadBody(make([]byte, size)); err != nil && (e == nil || e == io.EOF) {
					t.Errorf("%q by %d: read on after %v: %v", pieces, size, err, e)
				}
			}
		}
	}
	f(0, 10, "", nil, "")
	f(5, 10, "hello", nil, "hello")
	f(5, 5, "hello", nil, "he", "llo")
	f(5, 10, "hello", nil, "helloGET /")
	f(5, 10, "hell", ErrBodyCut, "hell")
	f(5, 10, "", ErrBodyCut, "")
	f(5, 4, "hello", ErrBodyTooLarge, "hello")
	f(1<<40, 4, "hello", ErrBodyTooLarge, "hello", "hello")

	f(ChunkedBody, 10, "", nil, "0\r\n\r\n")
	f(ChunkedBody, 5, "hello", nil, "5\r\nhello\r\n0\r\n\r\n")
	f(ChunkedBody, 5, "hello", nil, each("2\r\nhe\r\n3;x\r\nllo\r\n0\r\nT: u\r\n\r\nGET /")...)
	f(ChunkedBody, 5, "hello", ErrBodyTooLarge, "6\r\nhello!\r\n0\r\n\r\n")
	f(ChunkedBody, 5, "hello", ErrBodyTooLarge, each("3\r\nhel\r\n3\r\nlo!\r\n0\r\n\r\n")...)
	f(ChunkedBody, 10, "hello", ErrBodyCut, "5\r\nhello\r\n") // at a chunk boundary
	f(ChunkedBody, 10, "hello", ErrBodyCut, "5\r\nhello\r\n0\r\n")
	f(ChunkedBody, 10, "hel", ErrBodyCut, "5\r\nhel")
	f(ChunkedBody, 10, "", ErrBodyCut, "")
	f(ChunkedBody, 10, "ab", ErrBodyMalformed, "2\r\nabX0\r\n\r\n")
	f(ChunkedBody, 10, "", ErrBodyMalformed, "0x2\r\nab\r\n0\r\n\r\n")
	f(ChunkedBody, 10, "", ErrBodyMalformed, "2\nab\n0\n\n")
	f(ChunkedBody, 10, "ab", ErrBodyMalformed, "2\r\nab\r\n0\r\n\rX")
	f(ChunkedBody, 10, "", ErrBodyMalformed, "0\r\n\rX")
	f(ChunkedBody, 10, "", ErrBodyMalformed, "0\r\nA\rB\r\n\r\n")
	f(ChunkedBody, 10, "", ErrBodyMalformed, "1;"+strings.Repeat("e", maxChunkLine))
}

// Of a body in chunks that was read no buffer stays while its request is served, but for what came behind it.
func TestClientHoldsNothingBehindChunks(t *testing.T) {
	post := "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
	for next, want := range map[string]bool{"": false, "GET / HTTP/1.1\r\n": true} {
		c, _ := scriptedClient(post, "5\r\nhello\r\n", "0\r\n\r\n"+next)
		mustTakeHead(t, c)
		c.ExpectBody(ChunkedBody, 100)
		if body, err := readBody(c, 10); string(body) != "hello" || err != nil || (c.buffer != nil) != want || string(c.rest) != next {
			t.Errorf("%q, %v, a buffer %v with %q", body, err, c.buffer != nil, c.rest)
		}
	}
}

// What is behind a malformed body is not a request.
func TestClientMalformedBodyEndsTheConnection(t *testing.T) {
	for _, body := range []string{"2\r\nabX0\r\n\r\n", "0\r\n\rX", "0\r\nT: u\r\n\rX", "0\r\n\r\r\n", "-1\r\n\r\n"} {
		for _, size := range []int{1, 2, 5, 64} {
			c, _ := bodyOf(t, ChunkedBody, 100, body+"\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n")
			if _, err := readBody(c, size); err != ErrBodyMalformed {
				t.Errorf("%q: %v", body, err)
			}
			if c.KeepsAlive() {
				t.Errorf("%q: the connection is kept", body)
			}
			if n, err := c.Read(make([]byte, 64)); n > 0 || err == nil {
				t.Errorf("%q: %d bytes of it handed out as a head", body, n)
			}
		}
	}
}

func TestClientKeepsAlive(t *testing.T) {
	f := func(length int64, expects bool, read int, want bool) {
		t.Helper()
		c, _ := scriptedClient(anyHead, strings.Repeat("1\r\nx\r\n", 10)+"0\r\n\r\n"+strings.Repeat("x", 2*maxDrain))
		mustTakeHead(t, c)
		c.ExpectBody(length, 1<<40)
		if expects {
			c.ExpectContinue()
		}
		for range read {
			if _, err := c.ReadBody(make([]byte, 1)); err != nil && err != io.EOF {
				t.Fatal(err)
			}
		}
		if got := c.KeepsAlive(); got != want {
			t.Errorf("length %d, expects %v, %d bytes read: keeps %v", length, expects, read, got)
		}
		_, err := c.Read(make([]byte, 64))
		if !want && err != io.EOF {
			t.Errorf("length %d, expects %v, %d bytes read: the next head: %v", length, expects, read, err)
		}
	}
	f(0, false, 0, true)
	f(0, true, 0, true)
	f(1, false, 0, true)
	f(maxDrain, false, 0, true)
	f(maxDrain+1, false, 0, false)
	f(maxDrain+1, false, 1, true)
	f(ChunkedBody, false, 0, false)
	f(ChunkedBody, false, 9, false)
	f(ChunkedBody, false, 11, true)
	// A client that waits for 100 Continue may never send the body, or send it: nobody knows.
	f(1, true, 0, false)
	f(2, true, 1, true)
	f(ChunkedBody, true, 0, false)
}

func TestClientSkipsBody(t *testing.T) {
	const next = "GET /next HTTP/1.1\r\nHost: a\r\n\r\n"
	f := func(length, limit int64, want error, pieces ...string) {
		t.Helper()
		c, s := bodyOf(t, length, limit, pieces...)
		head, err := readHead(c, make([]byte, 64))
		if err != want || want == nil && head != next || want != nil && head != "" {
			t.Errorf("%.60q: %q, %v; want %v", pieces, head, err, want)
		}
		if s.wrote.Len() > 0 {
			t.Errorf("wrote %q", s.wrote.String())
		}
	}
	f(5, 10, nil, "hello"+next)
	f(5, 10, nil, "he", "llo", next)
	f(5, 10, nil, "he", "llo"+next[:3], next[3:])
	f(maxDrain, maxDrain, nil, strings.Repeat("\r\n", maxDrain/2)+next)
	f(maxDrain+1, 2*maxDrain, io.EOF, strings.Repeat("x", maxDrain+1)+next)
	f(5, 10, io.EOF, "hel")
	f(ChunkedBody, 10, io.EOF, "0\r\n\r\n"+next)
}

func TestClientContinue(t *testing.T) {
	f := func(length int64, body string, together bool, want string) {
		t.Helper()
		pieces := []string{anyHead, body}
		if together {
			pieces = []string{anyHead + body}
		}
		c, s := scriptedClient(pieces...)
		mustTakeHead(t, c)
		c.ExpectBody(length, 100)
		c.ExpectContinue()
		if s.wrote.Len() > 0 {
			t.Error("100 before the body is wanted")
		}
		if _, err := readBody(c, 2); err != nil {
			t.Error(err)
		}
		if got := s.wrote.String(); got != want {
			t.Errorf("length %d, together %v: wrote %q", length, together, got)
		}
		if c.Sent() != 0 || c.Replied() {
			t.Errorf("100 Continue counts as an answer: %d, %v", c.Sent(), c.Replied())
		}
	}
	const once = "HTTP/1.1 100 Continue\r\n\r\n"
	f(5, "hello", false, once)
	f(5, "hello", true, "") // RFC 9110 §10.1.1: it did not wait
	f(0, "", false, "")
	f(ChunkedBody, "5\r\nhello\r\n0\r\n\r\n", false, once)
	f(ChunkedBody, "5\r\nhello\r\n0\r\n\r\n", true, "")
}

func TestClientBodyTimeouts(t *testing.T) {
	run := func(name string, length int64, f func(t *testing.T, c *ClientConn, write func(string))) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, client := pipedClient(t, Listen(nil, testOptions, nil))
				write := func(s string) { _, _ = client.Write([]byte(s)) }
				go write(anyHead)
				mustTakeHead(t, c)
				c.ExpectBody(length, 1000)
				f(t, c, write)
				_ = client.Close()
				_ = c.Close()
				settle()
			})
		})
	}
	body := func(c *ClientConn) func() error { return func() error { _, err := readBody(c, 8); return err } }
	for _, length := range []int64{5, ChunkedBody} {
		run("silent", length, func(t *testing.T, c *ClientConn, write func(string)) {
			took, err := timed(body(c))
			if err != ErrBodyTimeout {
				t.Error(err)
			}
			between(t, "idle", took, testOptions.Idle)
		})
	}
	run("slow but steady", 20, func(t *testing.T, c *ClientConn, write func(string)) {
		go func() {
			for range 20 {
				time.Sleep(testOptions.Idle - time.Second)
				write("x")
			}
		}()
		if err := body(c)(); err != nil {
			t.Error(err)
		}
	})
	run("interrupted", 5, func(t *testing.T, c *ClientConn, write func(string)) {
		go func() { time.Sleep(time.Second); c.Interrupt() }()
		if took, err := timed(body(c)); err != ErrBodyCut || took != time.Second {
			t.Errorf("%v after %v", err, took)
		}
	})
	run("interrupted before", 5, func(t *testing.T, c *ClientConn, write func(string)) {
		c.Interrupt()
		if took, err := timed(body(c)); err != ErrBodyCut || took != 0 {
			t.Errorf("%v after %v", err, took)
		}
		if took, err := timed(func() error { return c.Send([]byte("x")) }); err == nil || took != 0 {
			t.Errorf("Send: %v after %v", err, took)
		}
	})
	run("stopped", 5, func(t *testing.T, c *ClientConn, write func(string)) {
		go func() { time.Sleep(time.Second); c.StopBody() }()
		if took, err := timed(body(c)); err == nil || took != time.Second {
			t.Errorf("%v after %v", err, took)
		}
	})
	// The pump may be on its way to the read when it is stopped.
	run("stopped before", 5, func(t *testing.T, c *ClientConn, write func(string)) {
		c.StopBody()
		if took, err := timed(body(c)); err == nil || took != 0 {
			t.Errorf("%v after %v", err, took)
		}
	})
	run("stopped, and answered all the same", 5, func(t *testing.T, c *ClientConn, write func(string)) {
		c.StopBody()
		go func() { _ = c.Send([]byte("HTTP/1.1 413 \r\n\r\n")) }()
		synctest.Wait()
		if !c.Replied() {
			t.Error("nothing was sent")
		}
	})
	run("a reader that takes nothing", 5, func(t *testing.T, c *ClientConn, write func(string)) {
		took, err := timed(func() error { return c.Send([]byte("answer")) })
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		between(t, "idle", took, testOptions.Idle)
	})
}

func TestClientWrites(t *testing.T) {
	const next = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	f := func(use func(c *ClientConn), want string, sent int64, answered bool) {
		t.Helper()
		c, s := scriptedClient(anyHead, next)
		mustTakeHead(t, c)
		c.ExpectBody(0, 10)
		use(c)
		if got := s.wrote.String(); got != want || c.Sent() != sent || c.Replied() != answered {
			t.Errorf("wrote %q, sent %d, answered %v; want %q, %d, %v", got, c.Sent(), c.Replied(), want, sent, answered)
		}
		// The next request is answered by fasthttp again.
		mustTakeHead(t, c)
		if c.Replied() || c.Sent() != 0 {
			t.Error("the next request begins as answered")
		}
		s.wrote.Reset()
		if n, err := c.Write([]byte("next")); n != 4 || err != nil || s.wrote.String() != "next" {
			t.Errorf("the next answer: %q, %d, %v", s.wrote.String(), n, err)
		}
	}
	write := func(c *ClientConn, s string) {
		if n, err := c.Write([]byte(s)); n != len(s) || err != nil {
			t.Errorf("Write(%q) = %d, %v", s, n, err)
		}
	}
	f(func(c *ClientConn) { write(c, "ab"); write(c, "cd") }, "abcd", 4, false)
	f(func(c *ClientConn) { _ = c.Send([]byte("xyz")); write(c, "ab") }, "xyz", 3, true)
	f(func(c *ClientConn) { _ = c.Send([]byte("xyz")); write(c, "ab"); _ = c.Send([]byte("!")) }, "xyz!", 4, true)
	f(func(c *ClientConn) { c.Mute(); write(c, "ab") }, "", 0, true)
}

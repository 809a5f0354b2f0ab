package wire

import (
	"errors"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A message is a request as a client sends it, and as the gateway sees it.
type message struct{ before, head, body, data string }

// pipeline is what a client sends ahead, with every kind of body.
var pipeline = []message{
	{"", "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n", "", ""},
	{"\r\n", "POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n", "\r\n\r\nab", "\r\n\r\nab"},
	{"", "GET /3 HTTP/1.0\r\n\r\n", "", ""},
	{"", "POST /4 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", "5;e\r\nGET /\r\n1\r\n\r\r\n0\r\nT: u\r\n\r\n", "GET /\r"},
	{"\r\n\r\n\r\n", "PUT /5 HTTP/1.1\r\nContent-Length: 0\r\nHost: a\r\n\r\n", "", ""},
	{"", "GET /6 HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n", "", ""},
}

func onTheWire(messages []message) string {
	var b strings.Builder
	for _, m := range messages {
		b.WriteString(m.before + m.head + m.body)
	}
	return b.String()
}

// expect reads the messages from a client through buffers of the given sizes.
func expect(t *testing.T, c *ClientConn, messages []message, headBuffer, bodyBuffer int) {
	t.Helper()
	buf := make([]byte, headBuffer)
	for _, m := range messages {
		head, err := readHead(c, buf)
		if err != nil || head != m.head {
			t.Fatalf("head %q, %v; want %q", head, err, m.head)
		}
		if n, err := c.Read(buf); n != 0 || err != BadFraming {
			t.Fatalf("a Read behind the head %q: %q, %v", head, buf[:n], err)
		}
		if !takeHead(c, head) || takeHead(c, head) {
			t.Fatalf("TakeHead after %q", head)
		}
		if c.HeadLen() != len(head) {
			t.Fatalf("HeadLen of %q is %d", head, c.HeadLen())
		}
		var h RequestHead
		if v := scanRequest(&h, head); v != None {
			t.Fatal(v)
		}
		c.ExpectBody(h.ContentLength, 100)
		if h.Expect {
			c.ExpectContinue()
		}
		if strings.HasPrefix(m.head, "POST /2") && bodyBuffer%2 == 0 {
			continue // the connection skips it
		}
		data, err := readBody(c, bodyBuffer)
		if err != nil || data != m.data || !c.BodyDone() || !c.KeepsAlive() {
			t.Fatalf("body of %q: %q, %v, done %v, keeps %v", head, data, err, c.BodyDone(), c.KeepsAlive())
		}
		if n, err := c.ReadBody(buf); n != 0 || err != io.EOF {
			t.Fatalf("behind the body of %q: %q, %v", head, buf[:n], err)
		}
	}
	if n, err := c.Read(buf); n != 0 || err != io.EOF {
		t.Fatalf("behind the last message: %q, %v", buf[:n], err)
	}
	if c.buffer != nil {
		t.Error("a connection at its end holds a buffer")
	}
}

// TestClientHeads: heads come one at a time, whole, and nothing else, however the bytes come.
func TestClientHeads(t *testing.T) {
	all := onTheWire(pipeline)
	longest := 0
	for _, m := range pipeline {
		longest = max(longest, len(m.head))
	}
	f := func(headBuffer, bodyBuffer int, pieces ...string) {
		t.Helper()
		c, _ := scriptedClient(pieces...)
		expect(t, c, pipeline, headBuffer, bodyBuffer)
	}
	for _, size := range []int{1, 2, 3, 4, 5, 16, 17, 4096} {
		f(longest+size, 7, all)
		f(4096, size, all)
		f(longest+size, size, each(all)...)
	}
	for i := range all {
		f(4096, 4096, cut(all, i)...)
		f(4096, 3, cut(all, i, i+1)...)
		for j := i; j <= len(all); j += 3 {
			f(4096, 5, cut(all, i, j)...)
		}
	}
	random := rand.New(rand.NewPCG(8, 9))
	for range 3000 {
		var at []int
		for range random.IntN(40) {
			at = append(at, random.IntN(len(all)))
		}
		f(longest+1+random.IntN(64), 1+random.IntN(64), cut(all, at...)...)
	}
}

// TestClientHeadEnd: the end of a head is found at the same place in pieces of every size. One with a bare LF may be
// refused before its end is there.
func TestClientHeadEnd(t *testing.T) {
	f := func(pieces ...string) {
		t.Helper()
		all := strings.Join(pieces, "")
		want := FindHeadEnd([]byte(all), 0)
		c, _ := scriptedClient(pieces...)
		head, err := readHead(c, make([]byte, 64))
		until := all
		if want > 0 {
			until = all[:want]
		}
		if err == BadFraming && strings.Contains(strings.ReplaceAll(until, "\r\n", ""), "\n") {
			return
		}
		if want == 0 && (err != io.EOF || head != all) || want > 0 && (err != nil || head != all[:want]) {
			t.Errorf("%q: head %q, %v; want %d bytes", pieces, head, err, want)
		}
		if takeHead(c, head) != (want > 0) {
			t.Errorf("%q: TakeHead disagrees with %d", pieces, want)
		}
	}
	f(each("G\r\n\r\n")...)
	f("G\r", "\n", "\r", "\nx")
	f("G\r", "\n\r", "\nx")
	f("G", "\r\n", "\r\nx")
	f("G\r\n", "\r", "\nx")
	f("G\r\r\n", "\r\nx")
	f("G\r\n\r", "\r\n\r\nx")
	f("G\r\n\r", "x\n\r\n\r\n")
	f("G\r", "\r", "\n", "\r\n")
	f("G\r\n", "x\r\n", "\r\n")
	f("G\n\n", "\r\n")
	random := rand.New(rand.NewPCG(10, 11))
	for range 20_000 {
		b := []byte("G")
		for range random.IntN(16) {
			b = append(b, "\r\r\n\n\r\nx"[random.IntN(7)])
		}
		var at []int
		for range random.IntN(6) {
			at = append(at, random.IntN(len(b)))
		}
		f(cut(string(b), at...)...)
	}
}

// A head that does not come whole is for fasthttp to refuse, and for nobody to take.
func TestClientHeadIsCut(t *testing.T) {
	const sent = "GET / HTTP/1.1\r\nHost: a\r\nGET /"
	f := func(size, want int, end error) {
		t.Helper()
		c, _ := scriptedClient(sent[:20], sent[20:])
		if takeHead(c, "") {
			t.Error("TakeHead before any byte")
		}
		buf := make([]byte, size)
		if n, err := c.Read(buf); err != nil || n != want {
			t.Fatal(n, err)
		}
		if takeHead(c, sent[:want]) {
			t.Error("TakeHead of a head without its end")
		}
		if end == nil {
			return
		}
		for range 2 {
			if n, err := c.Read(buf); n != 0 || err != end {
				t.Error("behind it", n, err)
			}
		}
	}
	f(64, len(sent), io.EOF)
	f(10, 10, nil) // longer than the buffer
}

func TestClientEmptyLines(t *testing.T) {
	const head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	f := func(ok bool, pieces ...string) {
		t.Helper()
		c, _ := scriptedClient(pieces...)
		buf := make([]byte, 64)
		n, err := c.Read(buf)
		switch {
		case ok && (err != nil || !strings.HasPrefix(head, string(buf[:n])) || n == 0):
			t.Errorf("%q: %q, %v", pieces, buf[:n], err)
		case !ok && (err != BadFraming || n != 0):
			// A head that comes together with an error is served, and the connection dies at the next one.
			t.Errorf("%q: %q, %v; want no byte and %v", pieces, buf[:n], err, BadFraming)
		}
	}
	f(true, head)
	f(true, "\r\n"+head)
	f(true, "\r\n", head)
	f(true, "\r", "\n", "\r", "\n"+head)
	f(false, "\n\n"+head)
	f(false, "\n"+head)
	f(false, "\r"+head)
	f(false, "\r", head)
	f(false, "\r\r\n"+head)
	f(true, strings.Repeat("\r\n", maxEmptyLines/2)+head)
	f(true, strings.Repeat("\r\n", maxEmptyLines/2), head)
	f(false, strings.Repeat("\r\n", maxEmptyLines/2+1))
	f(false, strings.Repeat("\r\n", maxEmptyLines/2), "\n", head)
	f(false, strings.Repeat("\r\n", maxEmptyLines/2+1)+head)
	f(false, each(strings.Repeat("\n", maxEmptyLines+1)+head)...)
	f(false, strings.Repeat("\r\n", 2000))

	// Between two requests the count begins anew, and holds as well.
	lines := strings.Repeat("\r\n", maxEmptyLines/2)
	c, _ := scriptedClient(lines + head + lines + head + lines + "\r\n" + head)
	for range 2 {
		mustTakeHead(t, c)
		c.ExpectBody(0, 10)
	}
	if got, err := readHead(c, make([]byte, 64)); err != BadFraming || got != "" {
		t.Errorf("the third head: %q, %v", got, err)
	}
	// Nothing but empty lines is no request.
	c, _ = scriptedClient("\r\n", "\r\n")
	if n, err := c.Read(make([]byte, 9)); n != 0 || err != io.EOF {
		t.Errorf("only empty lines: %d, %v", n, err)
	}
}

func TestClientHeadErrors(t *testing.T) {
	f := func(want error, end error, pieces ...string) {
		t.Helper()
		c, s := scriptedClient(pieces...)
		s.end = end
		if head, err := readHead(c, make([]byte, 64)); !errors.Is(err, want) || head != strings.Join(pieces, "") {
			t.Errorf("%q, then %v: %q, %v; want %v", pieces, end, head, err, want)
		}
	}
	broken := errors.New("broken")
	f(io.EOF, nil)
	f(io.EOF, nil, "GET / HT")
	f(broken, broken)
	f(broken, broken, "GET /")
	f(io.EOF, os.ErrDeadlineExceeded)                          // a silent client hears nothing
	f(os.ErrDeadlineExceeded, os.ErrDeadlineExceeded, "GET /") // one that began hears 408
}

// A line that ends with LF alone is refused when it is seen: the end of such a head would be waited for in vain.
func TestClientHeadBareLF(t *testing.T) {
	f := func(want error, pieces ...string) {
		t.Helper()
		c, s := scriptedClient(pieces...)
		s.end = os.ErrDeadlineExceeded
		if _, err := readHead(c, make([]byte, 64)); err != want {
			t.Errorf("%q: %v; want %v", pieces, err, want)
		}
	}
	f(BadFraming, "GET / HTTP/1.1\nHost: a\n\n")
	f(BadFraming, "GET / HTTP/1.1\n")
	f(BadFraming, "GET / HTTP/1.1", "\n")
	f(BadFraming, "GET / HTTP/1.1\r\nHost: a", "\n", "\n")
	f(BadFraming, "GET / HTTP/1.1\r", "\nHost: a\n")
	f(BadFraming, "GET / HTTP/1.1\r\nX: 1\r\nHost: a\n")
	f(os.ErrDeadlineExceeded, "GET / HTTP/1.1\r", "\nHost: a\r", "\n")
	f(os.ErrDeadlineExceeded, "GET / HTTP/1.1\r\nHost: a\r\n\r")
	f(nil, "GET / HTTP/1.1\r", "\nHost: a\r", "\n\r", "\n")
	f(nil, "GET / HTTP/1.1\r\n\r\n\n\n") // what follows is the next one's matter
}

func TestClientPeer(t *testing.T) {
	c, _ := scriptedClient()
	if c.Peer() != netip.MustParseAddr("192.0.2.7") || string(c.PeerText()) != "192.0.2.7" {
		t.Errorf("%v, %q", c.Peer(), c.PeerText())
	}
	p, _ := pipedClient(t, Listen(nil, testOptions, nil))
	if p.Peer().IsValid() || len(p.PeerText()) != 0 {
		t.Errorf("%v, %q", p.Peer(), p.PeerText())
	}
}

// A waiting Read, with the time it took.
func timed(f func() error) (time.Duration, error) {
	start := time.Now()
	err := f()
	return time.Since(start), err
}

// between fails unless a wait ended in the rolling deadline's range, which has an eighth of slack.
func between(t *testing.T, what string, got, want time.Duration) {
	t.Helper()
	if got < want || got > want+want/8 {
		t.Errorf("%s: %v; want %v and at most an eighth more", what, got, want)
	}
}

func TestClientHeadTimeouts(t *testing.T) {
	const head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	read := func(c *ClientConn) error { _, err := readHead(c, make([]byte, 64)); return err }
	run := func(name string, f func(t *testing.T, c *ClientConn, write func(string) error)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, client := pipedClient(t, Listen(nil, testOptions, nil))
				f(t, c, func(s string) error { _, err := client.Write([]byte(s)); return err })
				_ = client.Close()
				_ = c.Close()
				settle()
			})
		})
	}
	run("silent from the start", func(t *testing.T, c *ClientConn, _ func(string) error) {
		took, err := timed(func() error { return read(c) })
		if err != io.EOF {
			t.Error(err)
		}
		between(t, "patience", took, testOptions.HeadTimeout)
	})
	run("a byte now and then", func(t *testing.T, c *ClientConn, write func(string) error) {
		go func() {
			for write("a") == nil {
				time.Sleep(time.Second)
			}
		}()
		took, err := timed(func() error { return read(c) })
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		between(t, "a head", took, testOptions.HeadTimeout)
		_ = c.Close()
	})
	run("silent between requests", func(t *testing.T, c *ClientConn, write func(string) error) {
		for range 3 {
			go func() { _ = write(head) }()
			mustTakeHead(t, c)
			c.ExpectBody(0, 1)
			time.Sleep(testOptions.KeepAlive / 2) // the answer takes its time
		}
		took, err := timed(func() error { return read(c) })
		if err != io.EOF {
			t.Error(err)
		}
		between(t, "keep-alive", took, testOptions.KeepAlive)
	})
	run("a later head in pieces", func(t *testing.T, c *ClientConn, write func(string) error) {
		go func() { _ = write(head) }()
		mustTakeHead(t, c)
		c.ExpectBody(0, 1)
		go func() {
			time.Sleep(testOptions.KeepAlive - time.Second)
			_ = write(head[:9])
		}()
		took, err := timed(func() error { return read(c) })
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		between(t, "the head", took-(testOptions.KeepAlive-time.Second), testOptions.HeadTimeout)
	})
	// A head that began while the request before it was answered has the same time, from when it is looked at.
	run("half a head sent ahead, too slow", func(t *testing.T, c *ClientConn, write func(string) error) {
		go func() { _ = write(head + head[:9]) }()
		mustTakeHead(t, c)
		c.ExpectBody(0, 1)
		time.Sleep(time.Second)
		took, err := timed(func() error { return read(c) })
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		between(t, "the head", took, testOptions.HeadTimeout)
	})
	run("half a head sent ahead, behind a slow answer", func(t *testing.T, c *ClientConn, write func(string) error) {
		go func() { _ = write(head + head[:9]) }()
		mustTakeHead(t, c)
		c.ExpectBody(0, 1)
		time.Sleep(5 * time.Minute) // the answer streams
		go func() {
			time.Sleep(time.Second)
			_ = write(head[9:])
		}()
		if err := read(c); err != nil {
			t.Errorf("a client that is not late: %v", err)
		}
	})
	run("interrupted before it reads", func(t *testing.T, c *ClientConn, _ func(string) error) {
		c.Interrupt()
		if took, err := timed(func() error { return read(c) }); err == nil || took > 0 {
			t.Errorf("%v after %v", err, took)
		}
	})
}

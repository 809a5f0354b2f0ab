package drive

import (
	"testing"
)

// Each answer is fed whole, byte by byte, and cut in two at every place: the result may not depend on it.
func TestAnswer(t *testing.T) {
	f := func(text string, status int, body, events int64, keep bool) {
		t.Helper()
		for cut := range len(text) {
			var a answer
			for _, part := range []string{text[:cut], text[cut:]} {
				if err := a.feed([]byte(part)); err != nil {
					t.Fatalf("%q cut at %d: %v", text, cut, err)
				}
			}
			if !keep && a.state == untilEnd {
				if err := a.end(); err != nil {
					t.Fatal(err)
				}
			}
			if a.state != complete || a.status != status || a.body != body || a.events != events || a.close == keep {
				t.Fatalf("%q cut at %d: complete %v, status %d, %d bytes, %d events, close %v",
					text, cut, a.state == complete, a.status, a.body, a.events, a.close)
			}
		}
		var a answer
		for i := range len(text) {
			if a.state == complete {
				t.Fatalf("%q is complete after %d bytes", text, i)
			}
			if err := a.feed([]byte(text[i : i+1])); err != nil {
				t.Fatal(err)
			}
		}
	}
	const ok, sse = "HTTP/1.1 200 OK\r\n", "content-type: text/event-stream; charset=utf-8\r\n"
	f(ok+"Content-Length: 5\r\n\r\nhello", 200, 5, 0, true)
	f(ok+"content-length:0\r\n\r\n", 200, 0, 0, true)
	f("HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nCONTENT-LENGTH: 2\r\n\r\n{}", 429, 2, 0, true)
	f(ok+"Connection: close\r\nContent-Length: 2\r\n\r\nhi", 200, 2, 0, false)
	f("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200, 2, 0, false)
	f("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi", 200, 2, 0, true)
	f("HTTP/1.1 204 No Content\r\n\r\n", 204, 0, 0, true)
	f("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 304, 0, 0, true)
	f("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"+ok+"Content-Length: 1\r\n\r\nx", 200, 1, 0, true)
	f(ok+"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 200, 5, 0, true)
	f(ok+"Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n00A\r\n0123456789\r\n0\r\nX-Sum: 1\r\nX: 2\r\n\r\n", 200, 15, 0, true)
	f(ok+sse+"Transfer-Encoding: chunked\r\n\r\n6\r\ndata:a\r\n1\r\n\n\r\n1\r\n\n\r\n9\r\ndata:b\n\nd\r\n6\r\nata:c\n\r\n1\r\n\n\r\n0\r\n\r\n", 200, 24, 3, true)
	f(ok+sse+"Content-Length: 10\r\n\r\ndata: 12\n\n", 200, 10, 1, true)
}

func TestAnswerEnds(t *testing.T) {
	f := func(text string, want error) {
		t.Helper()
		var a answer
		err := a.feed([]byte(text))
		if err == nil {
			err = a.end()
		}
		if err != want {
			t.Errorf("%q: %v, want %v", text, err, want)
		}
	}
	f("HTTP/1.1 200 OK\r\n\r\nuntil the end", nil)
	f("", errCut)
	f("HTTP/1.1 200 OK\r\nContent-Le", errCut)
	f("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", errCut)
	f("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", errCut)
	f("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n", errCut)
	f("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", errAnswer)
	f("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffff\r\n", errAnswer)
	f("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", errAnswer)
	f("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nabc", errAnswer)
	f("SSH-2.0-OpenSSH_9.2\r\n\r\n", errAnswer)
	f("HTTP/1.1 abc OK\r\n\r\n", errAnswer)
}

func TestAnswerToHEAD(t *testing.T) {
	var a answer
	a.reset(true)
	if err := a.feed([]byte("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")); err != nil || a.state != complete {
		t.Errorf("complete %v, %v", a.state == complete, err)
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"), 3)
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"), 50)
	f.Fuzz(func(t *testing.T, text []byte, cut int) {
		var whole, parts answer
		errWhole := whole.feed(text)
		cut = min(max(cut, 0), len(text))
		err := parts.feed(text[:cut])
		if err == nil {
			err = parts.feed(text[cut:])
		}
		if err != errWhole || err == nil && (whole.state != parts.state || whole.body != parts.body || whole.events != parts.events) {
			t.Errorf("cut at %d: %v %+v, whole: %v %+v", cut, err, parts, errWhole, whole)
		}
	})
}

func TestAnswerAllocatesNothing(t *testing.T) {
	text := []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello")
	var a answer
	if n := testing.AllocsPerRun(100, func() { a.reset(false); _ = a.feed(text) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

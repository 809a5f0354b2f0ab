package upstream

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// serve starts an upstream, which lives as long as the test binary, and returns its address.
func serve(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	go func() { t.Error(Serve(f)) }()
	return ln.Addr().String()
}

func TestAnswers(t *testing.T) {
	addr := serve(t)
	f := func(method, target, sent string, size int, fields ...string) {
		t.Helper()
		req, _ := http.NewRequest(method, "http://"+addr+target, strings.NewReader(sent))
		r, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		got, err := io.ReadAll(r.Body)
		if err != nil || r.StatusCode != 200 || len(got) != size || !json.Valid(got) && size > 0 && r.Header.Get("Content-Type") == "application/json" {
			t.Errorf("%s: %v, %d, %d bytes", target, err, r.StatusCode, len(got))
		}
		if date, err := http.ParseTime(r.Header.Get("Date")); err != nil || time.Since(date) > time.Minute {
			t.Errorf("%s: Date %q", target, r.Header.Get("Date"))
		}
		for _, field := range fields {
			if name, value, _ := strings.Cut(field, ": "); r.Header.Get(name) != value {
				t.Errorf("%s: %s is %q", target, name, r.Header.Get(name))
			}
		}
	}
	f("POST", "/v1/body/1024", strings.Repeat("x", 70_000), 1024)
	f("POST", "/v1/body/1024", "x", 1024)
	f("POST", "/body/4000000", "", 4_000_000)
	f("GET", "/v1/cached/2048?k=1", "", 2048, "Cache-Control: public, max-age=600")
	f("GET", "/", "", 11)
	f("GET", "/body/x", "", 11)
	f("POST", "/v1/events/20/0", "{}", 20*EventSize, "Content-Type: text/event-stream")
	f("POST", "/v1/events/3/5", "{}", 3*EventSize)
	f("POST", "/v1/chat/completions", `{"messages":[{"role":"user","content":"`+strings.Repeat("q", 300_000)+`"}],"model":"tiny"}`, completionSize)
	f("POST", "/x/v1/chat/completions", "", completionSize)
	f("GET", "/v1/models", "", 131)
	f("POST", "/v1/chat/completions", `{"stream": true, "max_tokens": 3,"seed":5}`, 3*EventSize+len(lastToken)-len("97\r\n\r\n0\r\n\r\n"), "Content-Type: text/event-stream")
	f("GET", "/count", "", len(`{"Body":3,"Cached":1,"Streams":2,"Other":2,"Conns":1}`))
}

// Requests come in any pieces, and several at once.
func TestPieces(t *testing.T) {
	conn, err := net.Dial("tcp", serve(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const one = "POST /body/100 HTTP/1.1\r\nHost: a\r\ncontent-LENGTH: 5\r\n\r\nhello"
	text := strings.Repeat(one, 4)
	go func() {
		for len(text) > 0 {
			n := min(7, len(text))
			_, _ = io.WriteString(conn, text[:n])
			text = text[n:]
			time.Sleep(100 * time.Microsecond) // so that they do not travel together; they may
		}
	}()
	_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
	in := bufio.NewReader(conn)
	for range 4 {
		r, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, r.Body); n != 100 || err != nil {
			t.Fatal(n, err)
		}
	}
}

func TestEventsComeAsTheyAreMade(t *testing.T) {
	r, err := http.Post("http://"+serve(t)+"/events/3/100", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	start := time.Now()
	_, err = io.ReadAll(r.Body)
	if took := time.Since(start); err != nil || took < 200*time.Millisecond {
		t.Errorf("%v; three events, 100 ms apart, in %v", err, took)
	}
}

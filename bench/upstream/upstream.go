// Package upstream is the server behind the proxies that are measured: as cheap as a server in one thread can be, the
// same for all of them, and counting what reaches it.
//
// What a path ends with says what is answered:
//
//	/body/N       N bytes of JSON
//	/cached/N     the same, fresh for ten minutes
//	/events/N/MS  an event stream of N events, one every MS milliseconds; 0: all at once, a write each
//	/count        what was answered so far, as [Counts]
//	anything else {"ok":true}
//
// Requests have a Content-Length or no body. Nothing is checked that a proxy would have refused.
package upstream

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Counts is how many requests of a kind came in, and how many connections.
type Counts struct {
	Body, Cached, Streams, Other, Conns int64
}

// EventSize is the number of bytes of an event: about a token of a chat completion.
const EventSize = 208

// MaxPace is the longest time between two events, exclusive.
const MaxPace = 4096 * time.Millisecond

// answer is what a path asks for, ready to be written.
type answer struct {
	count  *int64
	text   []byte // the head and a whole body, or the head of a stream
	date   int    // where the Date is in it; 0: nowhere
	events int
	pace   int // milliseconds
}

var (
	event = fmt.Appendf(nil, "%x\r\ndata: %s\n\n\r\n", EventSize, strings.Repeat("e", EventSize-8))
	last  = []byte("0\r\n\r\n")
)

// answerTo makes the answer that a target asks for.
func answerTo(target string, c *Counts) *answer {
	path, _, _ := strings.Cut(target, "?")
	parts := strings.Split(path, "/")
	number := func(back int) (int, bool) {
		if len(parts) < back {
			return 0, false
		}
		n, err := strconv.Atoi(parts[len(parts)-back])
		return n, err == nil && n >= 0 && n <= 64<<20
	}
	kind := func(back int) string {
		if len(parts) <= back {
			return ""
		}
		return parts[len(parts)-1-back]
	}
	n, ok := number(1)
	switch {
	case ok && kind(1) == "body":
		return whole(&c.Body, "", body(n))
	case ok && kind(1) == "cached":
		return whole(&c.Cached, "Cache-Control: public, max-age=600\r\nETag: \"1\"\r\n", body(n))
	case ok && kind(2) == "events":
		if events, ok := number(2); ok && time.Duration(n)*time.Millisecond < MaxPace {
			a := whole(&c.Streams, "", "")
			a.text = fmt.Appendf(a.text[:bytes.Index(a.text, []byte("Content-Type"))],
				"Content-Type: text/event-stream\r\nCache-Control: no-store\r\nTransfer-Encoding: chunked\r\n\r\n")
			a.events, a.pace = events, n
			return a
		}
	}
	return whole(&c.Other, "", `{"ok":true}`)
}

// body is JSON of n bytes that ends like nothing else in it; too short for that, anything.
func body(n int) string {
	const first, end = `{"text":"`, `the end"}`
	if n < len(first)+len(end) {
		return strings.Repeat(" ", n)
	}
	return first + strings.Repeat("r", n-len(first)-len(end)) + end
}

func whole(count *int64, fields, body string) *answer {
	const before = "HTTP/1.1 200 OK\r\nServer: bench\r\nDate: "
	return &answer{count: count, date: len(before), text: fmt.Appendf(nil, "%s%s\r\n%sContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		before, time.Now().UTC().Format(http.TimeFormat), fields, len(body), body)}
}

// request takes a request from the front of p: its target, and its length without its body and with it. ok is false
// while the head is not there.
func request(p []byte) (target []byte, head, all int, ok bool) {
	end := bytes.Index(p, []byte("\r\n\r\n"))
	if end < 0 {
		return nil, 0, 0, false
	}
	head = end + 4
	line, fields, _ := bytes.Cut(p[:end+2], []byte("\r\n"))
	_, target, _ = bytes.Cut(line, []byte(" "))
	target, _, _ = bytes.Cut(target, []byte(" "))
	length := 0
	for len(fields) > 0 {
		line, fields, _ = bytes.Cut(fields, []byte("\r\n"))
		if len(line) > 15 && line[14] == ':' && bytes.EqualFold(line[:14], []byte("content-length")) {
			length, _ = strconv.Atoi(string(bytes.TrimSpace(line[15:])))
		}
	}
	return target, head, head + length, true
}

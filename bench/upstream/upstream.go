// Package upstream is the server behind the proxies that are measured: as cheap as a server in one thread can be, the
// same for all of them, and counting what reaches it.
//
// What a path ends with says what is answered:
//
//	/body/N       N bytes of JSON
//	/cached/N     the same, fresh for ten minutes
//	/events/N/MS  an event stream of N events, one every MS milliseconds; 0: all at once, a write each
//	/models       a list of one model, tiny
//	/chat/completions
//	              a chat completion of 1 KB; with "stream": true in the body, one in as many tokens as its max_tokens says (or
//	              max_completion_tokens, which some gateways make of it), the first at once and the others one every "seed"
//	              milliseconds: fields that every gateway passes on
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
	event  []byte
	last   []byte
	eager  bool // the first event comes with the head
}

var (
	event = fmt.Appendf(nil, "%x\r\ndata: %s\n\n\r\n", EventSize, strings.Repeat("e", EventSize-8))
	last  = []byte("0\r\n\r\n")

	token     = chunk(padded(`data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1750000000,"model":"tiny","choices":[{"index":0,"delta":{"content":"`, `"},"finish_reason":null}]}`+"\n\n", EventSize))
	lastToken = append(chunk(`data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1750000000,"model":"tiny","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`+"\n\ndata: [DONE]\n\n"), last...)
)

func chunk(text string) []byte { return fmt.Appendf(nil, "%x\r\n%s\r\n", len(text), text) }

// padded is first and end with as many letters between them as make n bytes.
func padded(first, end string, n int) string {
	return first + strings.Repeat("t", max(n-len(first)-len(end), 1)) + end
}

// completion is a chat completion of n bytes.
func completion(n int) string {
	return padded(`{"id":"chatcmpl-1","object":"chat.completion","created":1750000000,"model":"tiny","choices":[{"index":0,"message":{"role":"assistant","content":"`,
		`"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":9,"total_tokens":18}}`, n)
}

// completionSize is what a chat completion has.
const completionSize = 1 << 10

// chatTarget is what a request for a chat completion asks for, as a path. It looks for fields as people write them, and at
// no structure.
func chatTarget(body []byte) string {
	number := func(name string) (n int) {
		_, rest, _ := bytes.Cut(body, []byte(`"`+name+`"`))
		for _, c := range bytes.TrimLeft(rest, ": ") {
			if c < '0' || c > '9' || n > 1e6 {
				break
			}
			n = 10*n + int(c-'0')
		}
		return n
	}
	_, rest, _ := bytes.Cut(body, []byte(`"stream"`))
	if !bytes.HasPrefix(bytes.TrimLeft(rest, ": "), []byte("true")) {
		return fmt.Sprintf("/chat/%d", completionSize)
	}
	return fmt.Sprintf("/tokens/%d/%d", max(number("max_tokens"), number("max_completion_tokens"), 1), number("seed"))
}

// stream is the head of an event stream.
func stream(c *Counts) *answer {
	a := whole(&c.Streams, "", "")
	a.text = fmt.Appendf(a.text[:bytes.Index(a.text, []byte("Content-Type"))],
		"Content-Type: text/event-stream\r\nCache-Control: no-store\r\nTransfer-Encoding: chunked\r\n\r\n")
	return a
}

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
	case strings.HasSuffix(path, "/models"):
		return whole(&c.Other, "", `{"object":"list","data":[{"id":"tiny","object":"model","created":1750000000,"owned_by":"vllm","root":"tiny","max_model_len":4096}]}`)
	case ok && kind(1) == "chat":
		return whole(&c.Body, "", completion(n))
	case ok && kind(2) == "tokens":
		if tokens, ok := number(2); ok && tokens > 0 && time.Duration(n)*time.Millisecond < MaxPace {
			a := stream(c)
			a.events, a.pace, a.event, a.last, a.eager = tokens, n, token, lastToken, true
			return a
		}
	case ok && kind(2) == "events":
		if events, ok := number(2); ok && time.Duration(n)*time.Millisecond < MaxPace {
			a := stream(c)
			a.events, a.pace, a.event, a.last = events, n, event, last
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

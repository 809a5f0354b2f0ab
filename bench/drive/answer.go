package drive

import (
	"bytes"
	"errors"
	"strconv"
)

var (
	errAnswer = errors.New("an answer that is not HTTP/1.1")
	errCut    = errors.New("an answer that ends too early")
)

const longestHead = 64 << 10

// An answer is read as its bytes arrive. It believes a proxy what it says, and notices only what would make it lose its
// place: this is a yardstick, not a parser to put in front of anybody.
type answer struct {
	forHEAD bool // has no body, whatever its head says

	state  state
	head   []byte // so far
	left   int64  // bytes of the body or the chunk that are to come
	status int
	close  bool  // nothing can follow on the connection
	body   int64 // bytes, framing not counted
	events int64 // of an event stream

	stream bool // an event stream
	nl     bool // its last byte was a line feed
}

type state uint8

const (
	inHead state = iota
	inBody
	untilEnd // of the connection
	inSize
	inExtension
	inChunk
	afterChunk // its CR LF
	inTrailer
	complete
)

// reset makes room for the next answer.
func (a *answer) reset(forHEAD bool) { *a = answer{head: a.head[:0], forHEAD: forHEAD} }

// begun tells whether a byte of it is there.
func (a *answer) begun() bool { return a.state != inHead || len(a.head) > 0 || a.status != 0 }

// feed takes the next bytes, all of them; what comes behind the answer is an error, for nobody asked.
func (a *answer) feed(p []byte) error {
	for len(p) > 0 {
		n, err := a.step(p)
		if err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// end is told that no byte will follow.
func (a *answer) end() error {
	if a.state != untilEnd {
		return errCut
	}
	a.state = complete
	return nil
}

// step takes at least one byte.
func (a *answer) step(p []byte) (n int, err error) {
	switch a.state {
	case inHead:
		return a.takeHead(p)
	case inBody, inChunk:
		n = int(min(int64(len(p)), a.left))
		a.count(p[:n])
		a.left -= int64(n)
		switch {
		case a.left > 0:
		case a.state == inBody:
			a.state = complete
		default:
			a.state, a.left = afterChunk, 2
		}
		return n, nil
	case untilEnd:
		a.count(p)
		return len(p), nil
	case inSize:
		return a.takeSize(p[0])
	case inExtension:
		n = bytes.IndexByte(p, '\n') + 1
		if n == 0 {
			return len(p), nil
		}
		a.state = inChunk
		if a.left == 0 {
			a.state = inTrailer
		}
		return n, nil
	case afterChunk:
		if a.left--; a.left == 0 {
			a.state = inSize
		}
		return 1, nil
	case inTrailer: // left counts the bytes of the line, CR aside
		switch {
		case p[0] == '\n' && a.left == 0:
			a.state = complete
		case p[0] == '\n':
			a.left = 0
		case p[0] != '\r':
			a.left++
		}
		return 1, nil
	}
	return 0, errAnswer
}

// takeSize takes a byte of a chunk's size.
func (a *answer) takeSize(c byte) (int, error) {
	switch {
	case c >= '0' && c <= '9':
		c -= '0'
	case c >= 'a' && c <= 'f':
		c -= 'a' - 10
	case c >= 'A' && c <= 'F':
		c -= 'A' - 10
	case c == '\r' || c == ';' || c == ' ':
		a.state = inExtension // up to the line feed
		return 1, nil
	default:
		return 0, errAnswer
	}
	if a.left = a.left<<4 + int64(c); a.left > 1<<40 {
		return 0, errAnswer
	}
	return 1, nil
}

// count takes bytes of the body. Events of a stream end with an empty line, which may be cut anywhere.
func (a *answer) count(p []byte) {
	a.body += int64(len(p))
	if !a.stream || len(p) == 0 {
		return
	}
	if a.nl && p[0] == '\n' {
		a.events++
		p = p[1:]
	}
	a.events += int64(bytes.Count(p, []byte("\n\n")))
	a.nl = bytes.HasSuffix(p, []byte("\n")) && !bytes.HasSuffix(p, []byte("\n\n"))
}

// takeHead takes bytes up to the end of the head.
func (a *answer) takeHead(p []byte) (int, error) {
	had := len(a.head)
	if end := bytes.Index(p, []byte("\r\n\r\n")); had == 0 && end >= 0 { // the usual case: no copy
		return end + 4, a.read(p[:end+2])
	}
	a.head = append(a.head, p...)
	end := bytes.Index(a.head, []byte("\r\n\r\n"))
	if end < 0 {
		if len(a.head) > longestHead {
			return 0, errAnswer
		}
		return len(p), nil
	}
	if err := a.read(a.head[:end+2]); err != nil {
		return 0, err
	}
	a.head = a.head[:0]
	return end + 4 - had, nil
}

// read reads a head, each line with its end, and decides where the body ends (RFC 9112 §6.3).
func (a *answer) read(head []byte) error {
	line, fields, _ := bytes.Cut(head, []byte("\r\n"))
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.")) || line[8] != ' ' {
		return errAnswer
	}
	var err error
	if a.status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return errAnswer
	}
	if a.status < 200 { // interim: another head follows
		return nil
	}
	a.close = line[7] == '0'
	length, chunked := int64(-1), false
	for len(fields) > 0 {
		line, fields, _ = bytes.Cut(fields, []byte("\r\n"))
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch len(name) { // the cheapest question first
		case len("Content-Length"):
			if bytes.EqualFold(name, []byte("Content-Length")) {
				if length, err = strconv.ParseInt(string(value), 10, 64); err != nil || length < 0 {
					return errAnswer
				}
			}
		case len("Transfer-Encoding"):
			chunked = chunked || bytes.EqualFold(name, []byte("Transfer-Encoding")) && bytes.EqualFold(value, []byte("chunked"))
		case len("Connection"):
			if bytes.EqualFold(name, []byte("Connection")) {
				a.close = bytes.EqualFold(value, []byte("close")) || a.close && !bytes.EqualFold(value, []byte("keep-alive"))
			}
		case len("Content-Type"):
			a.stream = a.stream || bytes.EqualFold(name, []byte("Content-Type")) && bytes.HasPrefix(value, []byte("text/event-stream"))
		}
	}
	switch {
	case a.forHEAD || a.status == 204 || a.status == 304 || !chunked && length == 0:
		a.state = complete
	case chunked:
		a.state = inSize
	case length > 0:
		a.state, a.left = inBody, length
	default:
		a.state, a.close = untilEnd, true
	}
	return nil
}

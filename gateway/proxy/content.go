package proxy

import (
	"bytes"
	"errors"
	"os"
	"time"

	"aigateway/gateway/wire"
)

// A Dialect is what the caller knows of the words that client and upstream speak. What it is shown is borrowed.
type Dialect interface {
	// Known tells whether its streams can be read.
	Known() bool

	// Streams tells whether the request asks for a stream of events, as far as that is known.
	Streams() bool

	// Content tells whether the data of an event have something in them for whoever waits.
	Content(data []byte) bool

	// ContextExceeded tells whether the body of a 400 says that the request does not fit into the model's context.
	ContextExceeded(body []byte) bool

	// AppendCut appends an event that tells why a stream ends before its end.
	AppendCut(dst []byte, f Fault) []byte
}

// What may be held back of a response until its first content, as long as somebody else could be asked instead.
const (
	mostHeld    = 16 << 10
	longestHeld = 10 * time.Second
)

// contentTime is how long x's upstream may take to the first content of a stream as long as somebody else can be asked; 0: as long as it
// likes.
func (x *Exchange) contentTime() time.Duration {
	t := x.target().FirstToken
	if t == 0 {
		t = x.upstream.timeouts.FirstToken
	}
	if t == 0 || x.Dialect == nil || x.Policy < Safe || !x.kept || !x.Dialect.Known() || !x.hasOther() {
		return 0
	}
	return t
}

// hasOther tells whether there is a target that has not been asked.
func (x *Exchange) hasOther() bool { return x.asked != 1<<len(x.Targets)-1 }

// elsewhere tells whether another target is well.
func (x *Exchange) elsewhere() bool {
	for i := range x.Targets {
		if x.asked&(1<<i) == 0 && x.Targets[i].well() {
			return true
		}
	}
	return false
}

// holdBack reads a stream to its first content before the client gets a byte of it, so that somebody else can be asked if there is
// none in time. What it has read is in x.flow then, and the stream goes on.
func (p *Proxy) holdBack(x *Exchange) (ok bool) {
	if x.response.Status != 200 || !x.response.EventStream() || x.response.Coded {
		return true
	}
	looked := 0
	f := x.readAhead(min(x.contentBy, wire.Now()+longestHeld), func(held []byte) bool {
		found, n := x.content(held[looked:])
		looked += n
		return found
	})
	switch {
	case f == None, f == TimeoutResponse && wire.Now() < x.contentBy: // it has been held for long enough
		return true
	case f == TimeoutResponse:
		return !p.askedInstead(x, f, late)
	case f == BrokenResponse:
		return p.fail(x, f, broken)
	}
	return p.fail(x, f, settled)
}

// content tells whether one of the events in b has content, and how many bytes of b are whole events.
func (x *Exchange) content(b []byte) (found bool, n int) {
	for {
		event, rest, ok := cutEvent(b[n:])
		if !ok {
			return false, n
		}
		n = len(b) - len(rest)
		var data []byte
		if x.head, data = dataOf(x.head, event); len(data) > 0 && x.Dialect.Content(data) {
			return true, n
		}
	}
}

// tooLong tells whether the response says that the request does not fit into the model's context, where somebody with a larger one
// can be asked. A fault means that it broke meanwhile.
func (x *Exchange) tooLong() (bool, Fault) {
	if x.Dialect == nil || x.Policy < Safe || x.largerTarget() < 0 || x.response.Coded {
		return false, None
	}
	f := x.readAhead(wire.Now()+x.upstream.timeouts.Idle, func([]byte) bool { return false })
	if f != None || !x.flow.ended {
		return false, f
	}
	return x.Dialect.ContextExceeded(x.down.B[x.body:x.end]), None
}

// readAhead reads the response's body into x.down, decoded, until enough says so, to its end or mostHeld. TimeoutResponse says that
// the time was over before.
func (x *Exchange) readAhead(until time.Duration, enough func(held []byte) bool) Fault {
	length := x.response.BodyLength(x.Head.Method)
	s := &x.flow
	*s = stream{length: length, left: max(0, length), ended: length == 0, ahead: true}
	x.dirty = x.dirty || length == wire.UntilClose
	from, to := x.body, x.end
	for {
		data, ok := s.take(&x.attempt, from, to)
		from += data
		x.end, s.held = from, from-x.body
		if !ok {
			return BrokenResponse
		}
		if s.ended || s.held >= mostHeld || enough(x.down.B[x.body:from]) {
			return None
		}
		left := until - wire.Now()
		if left <= 0 {
			return TimeoutResponse
		}
		if len(x.down.B)-wire.ChunkTail-from < mostHeld/4 {
			x.growBody(x.body + 2*mostHeld)
		}
		n, err := x.receive(x.down.B[from:min(len(x.down.B)-wire.ChunkTail, x.body+2*mostHeld)], left)
		switch to = from + n; {
		case err == nil, errors.Is(err, os.ErrDeadlineExceeded) && !x.Gone():
		case x.isEnd(err, length):
			s.ended = true
			return None
		default:
			return x.readFault(err, TimeoutIdle)
		}
	}
}

// cutEvent cuts the first event off b, with the empty line that ends it. (HTML standard, server-sent events; lines that end by CR
// alone are not looked for.)
func cutEvent(b []byte) (event, rest []byte, ok bool) {
	for at := 0; ; {
		i := bytes.IndexByte(b[at:], '\n')
		if i < 0 {
			return nil, nil, false
		}
		at += i + 1
		switch next := b[at:]; {
		case len(next) > 0 && next[0] == '\n':
			return b[:at], next[1:], true
		case len(next) > 1 && next[0] == '\r' && next[1] == '\n':
			return b[:at], next[2:], true
		}
	}
}

// dataOf is the data of an event: of one line as it lies, of several joined in scratch, which it returns.
func dataOf(scratch, event []byte) (_, data []byte) {
	scratch, event = scratch[:0], bytes.TrimPrefix(event, byteOrderMark) // before the first one
	for lines := 0; len(event) > 0; {
		line, rest, _ := bytes.Cut(event, newline)
		event = rest
		line = bytes.TrimSuffix(line, carriage)
		value, ok := bytes.CutPrefix(line, dataName)
		if !ok {
			continue
		}
		value = bytes.TrimPrefix(value, blank)
		switch lines++; lines {
		case 1:
			data = value
			continue
		case 2:
			scratch = append(scratch, data...)
		}
		scratch = append(append(scratch, '\n'), value...)
		data = scratch
	}
	return scratch, data
}

var newline, carriage, dataName, blank, byteOrderMark = []byte("\n"), []byte("\r"), []byte("data:"), []byte(" "), []byte("\xef\xbb\xbf")

// A Tail is how what has passed of an event stream ends. The zero Tail is of one of which nothing has.
type Tail uint32

// Pass notes how what has passed ends now.
func (t *Tail) Pass(piece []byte) {
	for _, c := range piece[max(0, len(piece)-3):] {
		*t = *t<<8 | Tail(c)
	}
}

// Ends tells whether what has passed ends with an event, or nothing has.
func (t Tail) Ends() bool {
	return t == 0 || t&0xFFFF == '\n'<<8|'\n' || t&0xFFFFFF == '\n'<<16|'\r'<<8|'\n'
}

package proxy

import "time"

// A Target is a pool that may be asked, and what the request is to say there.
type Target struct {
	Pool       *Pool
	Model      []byte        // as upstreams list it: if any of Pool's does, only those that do are asked; nil: all may be
	With       []byte        // stands in Request.Span upstream in place of what the client wrote; nil: that stays
	ContextMax int64         // tokens; 0: not known
	FirstToken time.Duration // to the first content of a stream, if somebody else can be asked; 0: what the upstream has
	InterToken time.Duration // of silence in a stream; 0: what the upstream has

	Fields []byte // lines for a response from there, CRLF after each; nil: none
}

// A Span is the part of a request that each [Target] may replace. The zero Span is none.
type Span struct {
	From, To int64
	In       Where
}

// Where is the part of a request that a [Span] lies in.
type Where uint8

// The parts.
const (
	Nowhere  Where = iota
	InBody         // without its chunks
	InTarget       // of the request line
)

// A BodyReader sees a request's body as it comes from the client, before an upstream gets it. What it is shown is borrowed.
type BodyReader interface {
	// Read sees the next piece of the body. A fault ends the request: the last piece is never sent then.
	Read(piece []byte) Fault

	// End tells that the body was whole.
	End() Fault

	// Open tells whether something of the body is still to be read before an upstream can be asked.
	Open() bool
}

// target is the one that is asked.
func (r *Request) target() *Target { return &r.Targets[r.at] }

// well tells whether somebody of the target is.
func (t *Target) well() bool {
	if t.Model == nil {
		return t.Pool.Healthy()
	}
	return t.Pool.Serves(t.Model)
}

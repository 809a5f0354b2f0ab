package inference

import "bytes"

// A Doubt is why the answer to a request is neither kept nor answered from what is kept. The zero value is that nothing is
// in the way.
type Doubt uint8

// The doubts: about requests, then about answers.
const (
	NoDoubt      Doubt = iota
	OtherDialect       // whose answers are of no known shape
	NoCanon            // the body has no canonical form
	Sampled            // another one gets another answer
	Choices            // more answers than one are asked for
	Unasked            // the request does not ask for it, where it has to
	Stateful           // the answer is kept upstream, or depends on what is
	Misspelled         // a field that decides is written in another case

	NotWhole    // the answer has no end that its dialect knows
	Failing     // it tells of a failure
	Unfinished  // the generation did not come to an end of its own
	CallsTool   // it wants a tool called, which has effects
	OtherAnswer // it is not of its dialect's shape
	doubts
)

var doubtNames = [doubts]string{"none", "dialect", "no_canonical_form", "sampled", "choices", "not_asked_for", "stateful", "misspelled",
	"not_whole", "failing", "unfinished", "tool_call", "shape"}

// String is the doubt's name.
func (d Doubt) String() string { return doubtNames[d] }

// A When says which requests are answered from what is kept, and their answers kept.
type When uint8

// The whens.
const (
	Deterministic When = iota // those that state a temperature of 0 or a seed, and one choice; what is no generation, always
	Always                    // all
	OnRequest                 // those that ask for it
)

// Kept tells whether the answers of the dialect can be kept at all: it is known where they end.
func (d Dialect) Kept() bool {
	switch d {
	case Chat, Completions, Embeddings, Rerank, Score, Responses, Messages:
		return true
	}
	return false
}

// Doubt tells what is in the way of answering the request that c has read from what is kept. asked: it asks for it.
func (d Dialect) Doubt(c *Canon, when When, asked bool) Doubt {
	switch {
	case !d.Kept():
		return OtherDialect
	case when == OnRequest && !asked:
		return Unasked
	case d == Responses && !stateless(c):
		return Stateful
	case when != Deterministic || !d.Generates():
		return NoDoubt
	}
	for _, name := range [...]string{"temperature", "seed", "n"} {
		if c.misspells(name) {
			return Misspelled
		}
	}
	if n := c.Value("n"); n != nil && !isNull(n) && string(n) != "1" {
		return Choices
	}
	if seed := c.Value("seed"); seed != nil && !isNull(seed) || isZero(c.Value("temperature")) {
		return NoDoubt
	}
	return Sampled
}

// stateless tells whether a request of Responses neither leaves something upstream nor goes on from there.
func stateless(c *Canon) bool {
	for _, name := range [...]string{"store", "previous_response_id", "conversation", "background"} {
		if c.misspells(name) {
			return false
		}
	}
	for _, name := range [...]string{"previous_response_id", "conversation"} {
		if v := c.Value(name); v != nil && !isNull(v) {
			return false
		}
	}
	background := c.Value("background")
	return string(c.Value("store")) == "false" && (background == nil || isNull(background) || string(background) == "false")
}

func isNull(v []byte) bool { return string(v) == "null" }

// isZero tells whether v is a number that is 0, however it is written.
func isZero(v []byte) bool {
	if !isNumber(v) {
		return false
	}
	for _, c := range v {
		switch {
		case '1' <= c && c <= '9':
			return false
		case c|0x20 == 'e':
			return true
		}
	}
	return true
}

// A Reading is what the whole answer to a request says about itself.
type Reading struct {
	Doubt Doubt
	Usage Usage
	Calls bool // it wants a tool called

	dialect  Dialect
	finished bool
	ended    bool
}

// ReadAnswer reads a whole answer, which is a stream of events or one JSON object. Whether a call of a tool is a doubt is
// the reader's decision.
func (d Dialect) ReadAnswer(answer []byte, events bool) Reading {
	r := Reading{dialect: d}
	if events {
		r.readEvents(answer)
	} else {
		r.readWhole(answer)
	}
	return r
}

func (r *Reading) doubt(why Doubt) {
	if r.Doubt == NoDoubt {
		r.Doubt = why
	}
}

// readWhole reads an answer that is one JSON object.
func (r *Reading) readWhole(answer []byte) {
	i := skipSpace(answer, 0)
	if i == len(answer) || answer[i] != '{' {
		r.doubt(OtherAnswer)
		return
	}
	end, _, refusal := skipValue(answer, i)
	if refusal != Accepted || skipSpace(answer, end) != len(answer) {
		r.doubt(NotWhole)
		return
	}
	answer = answer[i:end]
	if says(member(answer, "error")) || isString(member(answer, "type"), "error") || isString(member(answer, "object"), "error") {
		r.doubt(Failing)
		return
	}
	switch r.dialect {
	case Chat, Completions:
		r.readChoices(member(answer, "choices"))
	case Messages:
		r.stop(text(member(answer, "stop_reason")))
		r.readItems(member(answer, "content"))
	case Responses:
		r.readResponse(answer)
	case Embeddings, Score:
		r.finished = says(member(answer, "data"))
	case Rerank:
		r.finished = says(member(answer, "results"))
	}
	r.Usage.Read(r.dialect, answer)
	if !r.finished {
		r.doubt(Unfinished)
	}
}

// readEvents reads a stream, event by event.
func (r *Reading) readEvents(stream []byte) {
	data := false // the event has some already
	for len(stream) > 0 {
		var line []byte
		line, stream = cutLine(stream)
		switch {
		case len(line) == 0:
			data = false
		case !bytes.HasPrefix(line, dataField): // a comment, the event's name
		case data: // nobody writes these; what it says can only be told of all lines together
			r.doubt(OtherAnswer)
		default:
			data = true
			r.readEvent(bytes.TrimPrefix(line[len(dataField):], oneSpace))
		}
	}
	switch {
	case !r.ended:
		r.doubt(NotWhole)
	case !r.finished:
		r.doubt(Unfinished)
	}
}

var dataField, oneSpace = []byte("data:"), []byte(" ")

// cutLine cuts a stream behind its first line, which ends as the lines of event streams may: by CRLF, LF or CR.
func cutLine(stream []byte) (line, rest []byte) {
	i := bytes.IndexAny(stream, "\r\n")
	switch {
	case i < 0:
		return stream, nil
	case stream[i] == '\r' && i+1 < len(stream) && stream[i+1] == '\n':
		return stream[:i], stream[i+2:]
	}
	return stream[:i], stream[i+1:]
}

func (r *Reading) readEvent(data []byte) {
	d := r.dialect
	switch {
	case r.ended:
		r.doubt(OtherAnswer) // something behind the end
		return
	case d.Fails(data):
		r.doubt(Failing)
		return
	}
	event := object(data)
	r.Usage.Read(d, data)
	r.ended = d.Ends(data)
	if event == nil && !r.ended {
		r.doubt(OtherAnswer)
	}
	switch d {
	case Chat, Completions:
		r.readChoices(member(event, "choices"))
	case Messages:
		r.stop(text(member(member(event, "delta"), "stop_reason")))
		r.readItem(member(event, "content_block"))
	case Responses:
		r.readItem(member(event, "item"))
		if r.ended {
			r.readResponse(member(event, "response"))
		}
	}
}

// readChoices reads the choices of an answer or of a chunk.
func (r *Reading) readChoices(choices []byte) {
	for w := walkOf(choices); ; {
		_, choice, ok := w.next()
		if !ok {
			return
		}
		for c := walkOf(choice); ; {
			name, v, ok := c.next()
			if !ok {
				break
			}
			switch string(name) {
			case "finish_reason":
				r.stop(text(v))
			case "delta", "message":
				r.Calls = r.Calls || says(member(v, "tool_calls")) || says(member(v, "function_call"))
			}
		}
	}
}

// readResponse reads the response of Responses as it is at its end.
func (r *Reading) readResponse(response []byte) {
	r.finished = isString(member(response, "status"), "completed")
	r.readItems(member(response, "output"))
}

// readItems reads the parts of an answer.
func (r *Reading) readItems(items []byte) {
	for w := walkOf(items); ; {
		_, item, ok := w.next()
		if !ok {
			return
		}
		r.readItem(item)
	}
}

// readItem reads a part of an answer: a block of Messages, an item of Responses. Those that call something are named so.
func (r *Reading) readItem(item []byte) {
	kind := text(member(item, "type"))
	r.Calls = r.Calls || bytes.HasSuffix(kind, []byte("tool_use")) || bytes.HasSuffix(kind, []byte("_call"))
}

// stop reads why a generation has stopped. What is not a good end is none, known or not.
func (r *Reading) stop(reason []byte) {
	switch string(reason) {
	case "":
	case "stop", "length", "end_turn", "max_tokens", "stop_sequence":
		r.finished = true
	case "tool_calls", "function_call", "tool_use":
		r.finished, r.Calls = true, true
	default:
		r.doubt(Unfinished)
	}
}

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

// Doubt tells what is in the way of answering the request that c has read from what is kept. Of who asks for it
// where that is needed, it is no question any more: when is Always then.
func (d Dialect) Doubt(c *Canon, when When) Doubt {
	switch {
	case !d.Kept():
		return OtherDialect
	case when == OnRequest:
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

	begun, done uint64 // choices, by index
}

// ReadAnswer reads a whole answer that is one JSON object. Whether a call of a tool is a doubt is the reader's decision.
func (d Dialect) ReadAnswer(answer []byte) Reading {
	r := Reading{dialect: d}
	r.readWhole(answer)
	return r
}

// ReadStream is ReadAnswer for a stream of events.
func (d Dialect) ReadStream(stream []byte) Reading {
	r := Reading{dialect: d}
	r.readEvents(stream)
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
	p, end, ok := strictParts(answer, i)
	if !ok || skipSpace(answer, end) != len(answer) {
		r.doubt(NotWhole)
		return
	}
	if p.fails() || isString(p.object, "error") {
		r.doubt(Failing)
		return
	}
	switch r.dialect {
	case Chat, Completions:
		r.readChoices(p.choices)
	case Messages:
		r.stop(text(p.stopReason))
		r.readItems(p.content)
	case Responses:
		r.readResponse(&p)
	case Embeddings, Score:
		r.finished = says(p.data)
	case Rerank:
		r.finished = says(p.results)
	}
	r.readUsage(p.usage)
	if !r.whole() {
		r.doubt(Unfinished)
	}
}

// parts are the members of an answer, or of an event, that say something about it. Of two with one name the first counts, as for member.
type parts struct {
	kind, fault, object, usage, choices, stopReason, content, status, output, data, results []byte
	delta, block, item, response, message                                                   []byte
}

// partsOf finds them in one walk.
func partsOf(object []byte) (p parts) {
	for w := walkOf(object); ; {
		name, v, ok := w.next()
		if !ok {
			return p
		}
		p.note(name, v)
	}
}

// strictParts finds them in the object at b[i], of which nothing is known, and says where it ends; ok is false if it does not, or is none as skipValue
// sees it.
func strictParts(b []byte, i int) (p parts, end int, ok bool) {
	if i = skipSpace(b, i+1); i < len(b) && b[i] == '}' {
		return p, i + 1, true
	}
	for i < len(b) && b[i] == '"' {
		from := i + 1
		if i = stringEnd(b, from); i < 0 {
			break
		}
		name := b[from : i-1]
		if i = skipSpace(b, i); i == len(b) || b[i] != ':' {
			break
		}
		from = skipSpace(b, i+1)
		var refusal Refusal
		if i, _, refusal = skipValue(b, from); refusal != Accepted {
			break
		}
		p.note(name, b[from:i])
		if i = skipSpace(b, i); i == len(b) || b[i] != ',' {
			return p, i + 1, i < len(b) && b[i] == '}'
		}
		i = skipSpace(b, i+1)
	}
	return p, 0, false
}

// note notes a member of that name.
func (p *parts) note(name, v []byte) {
	var to *[]byte
	switch string(name) {
	case "type":
		to = &p.kind
	case "error":
		to = &p.fault
	case "object":
		to = &p.object
	case "usage":
		to = &p.usage
	case "choices":
		to = &p.choices
	case "stop_reason":
		to = &p.stopReason
	case "content":
		to = &p.content
	case "status":
		to = &p.status
	case "output":
		to = &p.output
	case "data":
		to = &p.data
	case "results":
		to = &p.results
	case "delta":
		to = &p.delta
	case "content_block":
		to = &p.block
	case "item":
		to = &p.item
	case "response":
		to = &p.response
	case "message":
		to = &p.message
	}
	if to != nil && *to == nil {
		*to = v
	}
}

// fails is Dialect.Fails of what was taken apart.
func (p *parts) fails() bool {
	return isString(p.kind, "error") || isString(p.kind, "response.failed") || says(p.fault)
}

func (r *Reading) readUsage(usage []byte) {
	if len(usage) > 0 && usage[0] == '{' {
		r.Usage.take(r.dialect, usage)
	}
}

// readEvents reads a stream, event by event.
func (r *Reading) readEvents(stream []byte) {
	stream = bytes.TrimPrefix(stream, byteOrderMark)
	data := false // the event has some already
	for len(stream) > 0 {
		var line []byte
		line, stream = cutLine(stream)
		switch {
		case len(line) == 0:
			data = false
		case bytes.HasPrefix(line, eventField) && bytes.HasPrefix(bytes.TrimPrefix(line[len(eventField):], oneSpace), errorName):
			r.doubt(Failing)
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
	case !r.whole():
		r.doubt(Unfinished)
	}
}

// byteOrderMark may stand before the first line of a stream (HTML Standard §9.2.6).
var byteOrderMark = []byte("\xef\xbb\xbf")

var dataField, eventField, oneSpace, errorName = []byte("data:"), []byte("event:"), []byte(" "), []byte("error")

// cutLine cuts a stream behind its first line, which ends as the lines of event streams may: by CRLF, LF or CR.
func cutLine(stream []byte) (line, rest []byte) {
	end := bytes.IndexByte(stream, '\n')
	if end < 0 {
		end = len(stream)
	}
	if i := bytes.IndexByte(stream[:end], '\r'); i >= 0 && i != end-1 || i >= 0 && end == len(stream) {
		return stream[:i], stream[i+1:]
	} else if i >= 0 {
		return stream[:i], stream[end+1:]
	}
	return stream[:end], stream[min(end+1, len(stream)):]
}

func (r *Reading) readEvent(data []byte) {
	if r.ended {
		r.doubt(OtherAnswer) // something behind the end
		return
	}
	event := object(data)
	if event == nil {
		if r.ended = r.dialect.Ends(data); !r.ended {
			r.doubt(OtherAnswer)
		}
		return
	}
	p := partsOf(event)
	if p.fails() {
		r.doubt(Failing)
		return
	}
	r.readUsage(p.usage)
	switch r.dialect {
	case Chat, Completions:
		r.readChoices(p.choices)
	case Messages:
		r.ended = isString(p.kind, "message_stop")
		if p.message != nil { // message_start
			r.readUsage(member(p.message, "usage"))
		}
		r.stop(text(member(p.delta, "stop_reason")))
		r.readItem(p.block)
	case Responses:
		r.ended = isString(p.kind, "response.completed") || isString(p.kind, "response.incomplete")
		r.readItem(p.item)
		if r.ended {
			response := partsOf(p.response)
			r.readUsage(response.usage)
			r.readResponse(&response)
		}
	}
}

// readChoices reads the choices of an answer or of a chunk.
func (r *Reading) readChoices(choices []byte) {
	at := 0
	for w := walkOf(choices); ; at++ {
		if _, ok := w.name(); !ok {
			return
		}
		choice := w.within()
		if choice.open == 0 && valueEnd(w.rest, 0) <= 0 {
			return
		}
		r.readChoice(&choice, at)
		if !w.pass(&choice) {
			return
		}
	}
}

// readChoice reads a choice: the one at its place, unless it says which one it is.
func (r *Reading) readChoice(choice *walk, at int) {
	before := r.finished
	r.finished = false
	for {
		name, ok := choice.name()
		if !ok {
			break
		}
		if string(name) == "delta" || string(name) == "message" {
			message := choice.within()
			r.readMessage(&message)
			if !choice.pass(&message) {
				break
			}
			continue
		}
		v, ok := choice.value()
		if !ok {
			break
		}
		switch string(name) {
		case "finish_reason":
			r.stop(text(v))
		case "index":
			if n, ok := count(v); ok {
				at = int(min(n, 64))
			}
		}
	}
	if at >= 64 { // more than are told apart
		r.doubt(Unfinished)
		return
	}
	r.begun |= 1 << at
	if r.finished {
		r.done |= 1 << at
	}
	r.finished = r.finished || before
}

// whole tells whether a generation has come to its end, and each choice of it that has begun.
func (r *Reading) whole() bool { return r.finished && r.begun&^r.done == 0 }

// readMessage reads a message of a choice, or what a chunk adds to it.
func (r *Reading) readMessage(message *walk) {
	for {
		name, v, ok := message.next()
		if !ok {
			return
		}
		if string(name) == "tool_calls" || string(name) == "function_call" {
			r.Calls = r.Calls || says(v)
		}
	}
}

// readResponse reads the response of Responses as it is at its end.
func (r *Reading) readResponse(response *parts) {
	r.finished = isString(response.status, "completed")
	r.readItems(response.output)
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

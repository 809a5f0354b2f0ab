package telemetry

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// usage is what an answer tells about its tokens.
type usage struct{ counts [counters]int64 }

// The names of counts in a usage object. Chat and completions have the first two, Responses and Messages the next; of
// Messages, the input is what was not cached, what was read from the cache, and what was put there.
const (
	promptTokens = iota
	completionTokens
	inputTokens
	outputTokens
	cacheRead
	cacheCreation
	cachedTokens // of OpenAI's: a part of the others
	counters
	noCounter = -1
)

// maxTokens is more than any answer can have; what is beyond it is no count.
const maxTokens = 1 << 40

func counterOf(name []byte) int {
	switch string(name) {
	case "prompt_tokens":
		return promptTokens
	case "completion_tokens":
		return completionTokens
	case "input_tokens":
		return inputTokens
	case "output_tokens":
		return outputTokens
	case "cache_read_input_tokens":
		return cacheRead
	case "cache_creation_input_tokens":
		return cacheCreation
	case "cached_tokens":
		return cachedTokens
	}
	return noCounter
}

func (u *usage) reset() {
	for i := range u.counts {
		u.counts[i] = -1
	}
}

// tokens returns what the answer has told; known is false if it was nothing.
func (u *usage) tokens() (input, output int64, known bool) {
	c := &u.counts
	known = max(c[promptTokens], c[completionTokens], c[inputTokens], c[outputTokens]) >= 0
	if input = c[promptTokens]; input < 0 {
		input = max(0, c[inputTokens]) + max(0, c[cacheRead]) + max(0, c[cacheCreation])
	}
	return input, max(0, c[completionTokens], c[outputTokens]), known
}

// cached is how many of the input's tokens a cache of the engine had.
func (u *usage) cached() int64 { return max(0, u.counts[cacheRead], u.counts[cachedTokens]) }

const (
	maxModel  = 256
	maxMember = 32 // a longer name is none that is looked for
)

// An answerReader finds the model and the usage of an answer while its bytes pass, in pieces of any size: of a JSON document
// those at its top level, wherever they stand there and however long it is, and nowhere else: what a model has written, or
// the arguments of its tools, may hold the same words. Of an event stream, the same in each event; those of Messages and
// Responses have them inside "message" and "response". It keeps nothing of what passes but these.
type answerReader struct {
	form  answerForm
	line  int // of an event stream: the bytes of dataField that the line has begun with, or one of the following
	usage usage

	modelLen int
	named    bool // the model is known

	over    bool     // nothing more can come of this object
	depth   int      // of open objects and arrays
	within  int      // how many of these, from the outside, are objects that are read; the others are passed over
	kinds   [4]uint8 // what the objects are that are read
	text    uint8    // in the middle of a string: what it is
	escaped bool     // and behind a backslash of it
	value   bool     // behind the colon of a member
	name    [maxMember]byte
	nameLen int // beyond maxMember: it is longer
	counter int // whose value is being read, or noCounter
	count   int64

	model [maxModel]byte
}

// An Answer reads the usage of one answer while its bytes pass.
type Answer struct{ r answerReader }

// Reset readies it for another answer.
func (a *Answer) Reset() {
	a.r.reset()
	a.r.named = true // nobody asks for the model
}

// Pass reads the next piece, which is borrowed.
func (a *Answer) Pass(piece []byte) { a.r.pass(piece) }

// Tokens are those that the answer has told until now; of a stream, each kind as it was told last. Cached ones are a part of the input.
func (a *Answer) Tokens() (input, output, cached int64, told bool) {
	input, output, told = a.r.usage.tokens()
	return input, output, min(a.r.usage.cached(), input), told
}

type answerForm uint8

const (
	formUnknown answerForm = iota
	formDocument
	formEvents
	formOther // coded, audio: nothing can be seen
)

// What an object is.
const (
	kindTop uint8 = iota
	kindInner
	kindUsage
	kindDetails // of the tokens that were read
)

// What a string is.
const (
	noText uint8 = iota
	someText
	nameText
	modelText
)

var dataField, usageWord = []byte("data:"), []byte(`usage"`)

const (
	inData   = 5 // all of dataField
	passLine = 6 // to its end
)

func (r *answerReader) reset() {
	r.form, r.line, r.modelLen, r.named = formUnknown, 0, 0, false
	r.usage.reset()
	r.begin()
}

// begin readies r for an object.
func (r *answerReader) begin() {
	r.over, r.depth, r.within, r.text, r.escaped, r.value, r.nameLen, r.counter = false, 0, 0, noText, false, false, 0, noCounter
}

// pass reads a piece.
func (r *answerReader) pass(b []byte) {
	if r.form == formUnknown {
		for len(b) > 0 && (b[0] <= ' ' || b[0] == 0xef || b[0] == 0xbb || b[0] == 0xbf) { // blanks, and a byte order mark
			b = b[1:]
		}
		if len(b) == 0 {
			return
		}
		switch c := b[0]; {
		case c == '{':
			r.form = formDocument
		case c == ':' || 'a' <= c && c <= 'z':
			r.form = formEvents
		default:
			r.form = formOther
		}
	}
	switch r.form {
	case formDocument:
		r.scan(b)
	case formEvents:
		r.events(b)
	}
}

// events reads a piece of an event stream. Most lines are whole and have no usage in them; then that is all that is found
// out about them.
func (r *answerReader) events(b []byte) {
	for len(b) > 0 {
		end := bytes.IndexByte(b, '\n')
		part := b
		if end >= 0 {
			part = b[:end]
		}
		if r.line > 0 || end < 0 || !r.named || hasUsage(part) {
			r.partOfLine(part)
		}
		if end < 0 {
			return
		}
		r.line = 0
		b = b[end+1:]
	}
}

// hasUsage tells whether there may be a usage in a line: one that is not null.
func hasUsage(line []byte) bool {
	for {
		i := bytes.Index(line, usageWord)
		if i < 0 {
			return false
		}
		line = line[i+len(usageWord):]
		value := bytes.TrimLeft(line, " \t:")
		if len(value) == 0 || value[0] == '{' {
			return true
		}
	}
}

// partOfLine reads a line, or what has come of it.
func (r *answerReader) partOfLine(b []byte) {
	for ; r.line < inData && len(b) > 0; b = b[1:] {
		if b[0] != dataField[r.line] {
			r.line = passLine
			return
		}
		if r.line++; r.line == inData {
			r.begin()
		}
	}
	if r.line == inData {
		r.scan(b)
	}
}

// scan reads a piece of an object.
func (r *answerReader) scan(b []byte) {
	for len(b) > 0 && !r.over {
		switch {
		case r.text != noText:
			b = r.inText(b)
		case r.depth > r.within:
			b = r.passOver(b)
		case r.depth == 0:
			b = r.open(b)
		default:
			b = r.read(b)
		}
	}
}

// open looks for the beginning of the object.
func (r *answerReader) open(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t' || b[0] == '\r' || b[0] == '\n') {
		b = b[1:]
	}
	if len(b) == 0 {
		return b
	}
	if r.over = b[0] != '{'; r.over {
		return nil
	}
	r.depth, r.within, r.kinds[0] = 1, 1, kindTop
	return b[1:]
}

// inText reads to the end of a string.
func (r *answerReader) inText(b []byte) []byte {
	from := 0
	if r.escaped {
		from, r.escaped = 1, false
	}
	for {
		if from+8 <= len(b) { // where much is escaped, the next quote is near
			if found := quoteIn(binary.LittleEndian.Uint64(b[from:])); found != 0 {
				at := from + bits.TrailingZeros64(found)/8
				if b[at] == '"' {
					return r.endText(b, at)
				}
				if at+1 < len(b) {
					from = at + 2
					continue
				}
			}
		}
		i := bytes.IndexByte(b[from:], '"')
		if i < 0 {
			r.keep(b)
			r.escaped = endsEscaping(b[from:])
			return nil
		}
		if at := from + i; !endsEscaping(b[from:at]) {
			return r.endText(b, at)
		}
		from += i + 1
	}
}

// endText ends a string at its quote.
func (r *answerReader) endText(b []byte, at int) []byte {
	r.keep(b[:at])
	if r.text == modelText {
		r.named = r.modelLen > 0
	}
	r.text = noText
	return b[at+1:]
}

// endsEscaping tells whether what follows b, which begins unescaped, is escaped.
func endsEscaping(b []byte) bool {
	n := 0
	for n < len(b) && b[len(b)-1-n] == '\\' {
		n++
	}
	return n&1 == 1
}

// keep keeps a part of a string that is wanted. A model whose name is too long has none.
func (r *answerReader) keep(b []byte) {
	switch r.text {
	case nameText:
		r.nameLen += copy(r.name[min(r.nameLen, maxMember):], b)
		if r.nameLen == maxMember {
			r.nameLen++
		}
	case modelText:
		if r.modelLen+len(b) > maxModel {
			r.modelLen, r.named, r.text = 0, true, someText
			return
		}
		r.modelLen += copy(r.model[r.modelLen:], b)
	}
}

// passOver passes over what is not read, to where that ends or a string begins that is not a short one.
func (r *answerReader) passOver(b []byte) []byte {
	i := 0
	for i+8 <= len(b) {
		found := structureIn(binary.LittleEndian.Uint64(b[i:]))
		if found == 0 {
			i += 8
			continue
		}
		i += bits.TrailingZeros64(found)/8 + 1
		switch b[i-1] {
		case '"':
			n := shortText(b[i:])
			if n < 0 {
				r.text = someText
				return b[i:]
			}
			i += n + 1
		case '{', '[':
			r.depth++
		default:
			if r.depth--; r.depth == r.within {
				return b[i:]
			}
		}
	}
	for ; i < len(b); i++ {
		switch b[i] {
		case '"':
			r.text = someText
			return b[i+1:]
		case '{', '[':
			r.depth++
		case '}', ']':
			if r.depth--; r.depth == r.within {
				return b[i+1:]
			}
		}
	}
	return nil
}

// Eight bytes at a time: a byte of the result has its highest bit if the byte of v is zero. The lowest such bit is exact,
// what lies above it need not be.
const ones, highs = 0x0101010101010101, 0x8080808080808080

func zeros(v uint64) uint64 { return (v - ones) &^ v & highs }

// structureIn finds the first quote, brace or bracket in eight bytes.
func structureIn(v uint64) uint64 {
	quote := zeros(v ^ ones*'"')
	v |= ones * 0x20 // brackets become braces
	return quote | zeros(v^ones*'{') | zeros(v^ones*'}')
}

// quoteIn finds the first quote or backslash in eight bytes.
func quoteIn(v uint64) uint64 { return zeros(v^ones*'"') | zeros(v^ones*'\\') }

// shortText is where a string ends whose bytes b begins with, if it is a short one without an escape; else -1.
func shortText(b []byte) int {
	for i := 0; i < 16 && i+8 <= len(b); i += 8 {
		if found := quoteIn(binary.LittleEndian.Uint64(b[i:])); found != 0 {
			if i += bits.TrailingZeros64(found) / 8; b[i] == '"' {
				return i
			}
			break
		}
	}
	return -1
}

// read reads the members of an object that is read, to the next string or to where another object or array begins or ends.
func (r *answerReader) read(b []byte) []byte {
	for i, c := range b {
		switch c {
		case '"':
			r.beginText()
			return b[i+1:]
		case '{', '[':
			r.depth++
			if kind, ok := r.kindOfValue(); ok && c == '{' {
				r.kinds[r.within] = kind
				r.within++
				r.value = false
			}
			r.counter = noCounter
			return b[i+1:]
		case '}':
			r.endMember()
			r.depth--
			if r.within--; r.depth == 0 {
				r.over = true
			}
			r.value, r.nameLen = true, 0 // of the member of which it was the value, nothing more is expected
			return b[i+1:]
		case ']':
			r.over = true // no JSON
			return nil
		case ',':
			r.endMember()
			r.value = false
		case ':':
			r.value = true
			if kind := r.kinds[r.within-1]; kind >= kindUsage && r.nameLen <= maxMember {
				r.counter, r.count = counterOf(r.name[:r.nameLen]), -1
				if (r.counter == cachedTokens) != (kind == kindDetails) {
					r.counter = noCounter
				}
			}
		case ' ', '\t', '\r', '\n':
		default:
			r.digit(c)
		}
	}
	return nil
}

// beginText notes what the string is that begins.
func (r *answerReader) beginText() {
	r.counter = noCounter
	switch {
	case !r.value:
		r.text, r.nameLen = nameText, 0
	case !r.named && r.kinds[r.within-1] < kindUsage && r.nameLen <= maxMember && string(r.name[:r.nameLen]) == "model":
		r.text, r.modelLen = modelText, 0
	default:
		r.text = someText
	}
}

// kindOfValue tells whether the object that begins is to be read, and what it is.
func (r *answerReader) kindOfValue() (kind uint8, ok bool) {
	if !r.value || r.nameLen > maxMember {
		return 0, false
	}
	of := r.kinds[r.within-1]
	switch string(r.name[:r.nameLen]) {
	case "usage":
		return kindUsage, of < kindUsage
	case "prompt_tokens_details", "input_tokens_details", "input_token_details":
		return kindDetails, of == kindUsage
	case "message", "response":
		return kindInner, of == kindTop && r.form == formEvents
	}
	return 0, false
}

// digit reads a byte of a value that is no string, object or array. What is no whole number is no count.
func (r *answerReader) digit(c byte) {
	if r.counter == noCounter {
		return
	}
	if c < '0' || c > '9' {
		r.counter = noCounter
		return
	}
	if r.count = max(0, r.count)*10 + int64(c-'0'); r.count > maxTokens {
		r.counter = noCounter
	}
}

// endMember notes the count that has been read, if there was one.
func (r *answerReader) endMember() {
	if r.counter != noCounter && r.count >= 0 {
		r.usage.counts[r.counter] = r.count
	}
	r.counter = noCounter
}

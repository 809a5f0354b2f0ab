package inference

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// A Scanner reads a JSON body once, as it lies, and notes where the members stand that decide about a request. It takes
// the body whole or in pieces, keeps nothing of it but the model's name, and allocates nothing.
//
// What it says holds for every reader: where encoding/json and Python's json accept the body, they see the same members with
// the same values, or the body is refused here. They do differ where a name comes twice (the last one wins, or the first)
// and where its case differs (Go reads it, Python does not); so both are refused. What no reader would accept is refused as
// far as it could move the end of a value; the inside of numbers and of escapes is left to the upstream.
//
// The zero value is ready for a body, Reset makes it so again.
type Scanner struct {
	before  int64 // bytes of the pieces so far
	phase   phase
	refusal Refusal
	culprit Member // the member a refusal is about
	seen    uint16 // a bit for each member whose value has begun
	ended   uint16 // and whose value has ended
	member  Member // whose value is open, NoMember for one that does not matter
	escaped bool   // in a string: the next byte is, by a backslash at the end of the piece before

	depth   int     // open containers; the body's own object is the first
	decoder decoder // of the name or the model that does not lie in one piece, or has escapes
	modelN  int
	bareN   int

	model  [MaxName]byte
	values [members]Value
	kinds  [maxDepth]uint8 // of each open container, whether it is an object: 1
	name   [maxMemberText]byte
	bare   [maxBare]byte // a number or a word of a member, from the pieces before
}

const (
	// MaxName is the length of the longest name of a model.
	MaxName = 256

	// maxDepth bounds how deep a body nests: encoding/json takes 10,000, Python about 1,000, pydantic's reader 200.
	maxDepth = 512

	maxBare = 64
)

// A Value is where a member's value stands in the body: its quotes and brackets included.
type Value struct {
	From, To int64
	Kind     Kind
	Number   float64 // of a Number
}

// A Kind is what a value is.
type Kind uint8

// The kinds of values.
const (
	Null Kind = iota
	False
	True
	Number
	String
	Array
	Object
)

// A phase is what the next byte may be.
type phase uint8

const (
	atStart      phase = iota // the body's {
	atFirstName               // a name, or the object's end
	atName                    // a name
	inName                    // of the top level, in the decoder
	atColon                   // behind a name
	atValue                   // a value
	atFirstValue              // a value, or the array's end
	inString                  // inside a value, or inside a name further down: then followed by a colon
	inNestedName              //
	inModel                   // of the model, in the decoder
	inBare                    // a number or a word
	atComma                   // behind a value: a comma or the container's end
	atEnd                     // behind the object
)

// Reset makes the scanner ready for another body.
func (s *Scanner) Reset() {
	s.before, s.phase, s.refusal, s.culprit = 0, atStart, Accepted, NoMember
	s.seen, s.ended, s.member, s.escaped, s.depth, s.bareN, s.modelN = 0, 0, NoMember, false, 0, 0, 0
	s.decoder = decoder{}
}

// Scan reads the next piece of the body. It stays refused once it is.
func (s *Scanner) Scan(piece []byte) Refusal {
	for i := 0; i < len(piece) && s.refusal == Accepted; {
		switch {
		case s.depth <= 1:
			i = s.top(piece, i)
		case s.phase == inString, s.phase == inNestedName, s.phase == inBare:
			i = s.resume(piece, i)
		default:
			i = s.nested(piece, i)
		}
	}
	s.before += int64(len(piece))
	return s.refusal
}

// End tells what is to be said of the body now that all of it has been read.
func (s *Scanner) End() Refusal {
	switch {
	case s.refusal != Accepted || s.phase == atEnd:
	case s.phase == atStart:
		s.refusal = NotObject
	default:
		s.refusal = Cut
	}
	return s.refusal
}

// Read is how many bytes of the body have been read.
func (s *Scanner) Read() int64 { return s.before }

// Complete tells whether the object has ended: no member can follow.
func (s *Scanner) Complete() bool { return s.phase == atEnd && s.refusal == Accepted }

// Value is where the member's value stands, once it has ended.
func (s *Scanner) Value(m Member) (Value, bool) {
	if m == NoMember || s.ended&(1<<m) == 0 {
		return Value{}, false
	}
	return s.values[m], true
}

// Begun is where the member's value stands as far as it has been read, whether it has ended or not.
func (s *Scanner) Begun(m Member) (from, to int64, ok bool) {
	switch {
	case s.ended&(1<<m) != 0:
		return s.values[m].From, s.values[m].To, true
	case s.member == m && (s.depth > 1 || s.phase == inString || s.phase == inBare):
		return s.values[m].From, s.before, true
	}
	return 0, 0, false
}

// Model is the model's name, decoded, once it has been read. It is borrowed until the next Reset.
func (s *Scanner) Model() (name []byte, stated bool) {
	return s.model[:s.modelN], s.ended&(1<<ModelMember) != 0
}

// Streams tells whether the request asks for a stream, as an engine may read it.
func (s *Scanner) Streams() bool {
	v, ok := s.Value(StreamMember)
	return ok && v.yes()
}

// yes tells whether engines may take a value for true. Those that read requests with pydantic do of 1 and of words, which are no longer
// than "true" and which only [Scanner.Inject] reads.
func (v *Value) yes() bool {
	return v.Kind == True || v.Kind == Number && v.Number == 1 || v.Kind == String && v.To-v.From <= int64(len(`"true"`))
}

// Culprit is the member that a refusal is about, NoMember if it is about none.
func (s *Scanner) Culprit() Member { return s.culprit }

func (s *Scanner) refuse(r Refusal, about Member) {
	if s.refusal == Accepted {
		s.refusal, s.culprit = r, about
	}
}

// top reads on at the level of the body's own object.
func (s *Scanner) top(p []byte, i int) int {
	switch s.phase {
	case inString:
		if i = s.resumeString(p, i); i < 0 {
			return len(p)
		}
		return s.endValue(i)
	case inName:
		return s.decodeName(p, i)
	case inModel:
		return s.decodeModel(p, i)
	case inBare:
		return s.endBare(p, i, i)
	}
	c := p[i]
	switch {
	case isSpace(c):
		return i + 1
	case c == '"' && (s.phase == atName || s.phase == atFirstName):
		return s.beginName(p, i+1)
	case c == ':' && s.phase == atColon:
		s.phase = atValue
	case s.phase == atValue:
		return s.beginValue(p, i)
	case c == ',' && s.phase == atComma:
		if s.phase = atName; i+1 < len(p) && p[i+1] == '"' {
			return s.beginName(p, i+2)
		}
	case c == '}' && (s.phase == atComma || s.phase == atFirstName):
		s.phase, s.depth = atEnd, 0
	case s.phase == atStart:
		s.begin(c)
	case s.phase == atEnd:
		s.refuse(Trailing, NoMember)
	default:
		s.refuse(Malformed, NoMember)
	}
	return i + 1
}

func (s *Scanner) begin(c byte) {
	switch c {
	case '{':
		s.phase, s.depth = atFirstName, 1
	case 0xEF, 0xFE, 0xFF: // of UTF-8, of UTF-16 either way; readers skip it or take it for a part of the first name
		s.refuse(ByteOrderMark, NoMember)
	default:
		s.refuse(NotObject, NoMember)
	}
}

// beginName reads a name that begins at p[i]. Nearly all lie in one piece and are written plainly.
func (s *Scanner) beginName(p []byte, i int) int {
	end := stringEnd(p, i)
	if end < 0 {
		s.phase = inName
		return s.decodeName(p, i)
	}
	name := p[i : end-1]
	m := named(name)
	switch {
	case m != NoMember:
		s.begins(m)
	case isPlain(name):
		s.member, s.phase = NoMember, atColon
	default:
		s.phase = inName
		return s.decodeName(p, i)
	}
	if end+1 < len(p) && p[end] == ':' && !isSpace(p[end+1]) { // as most write it
		s.phase = atValue
		return s.beginValue(p, end+1)
	}
	return end
}

func (s *Scanner) decodeName(p []byte, i int) int {
	for ; i < len(p); i++ {
		if s.decoder.take(s.name[:], p[i]) {
			name := s.name[:min(s.decoder.n, len(s.name))]
			if s.decoder.broken {
				s.refuse(Malformed, NoMember)
			} else if s.decoder.n > len(s.name) {
				name = nil
			}
			s.decoder = decoder{}
			s.decoded(name)
			return i + 1
		}
	}
	return i
}

// decoded begins the member of that name, which was written in pieces, with escapes or in another case.
func (s *Scanner) decoded(name []byte) {
	m, exact := memberOf(name)
	s.begins(m)
	if m != NoMember && !exact {
		s.refuse(OtherCase, m)
	}
}

// begins notes that a member's name has been read.
func (s *Scanner) begins(m Member) {
	again := s.seen&(1<<m) != 0
	switch {
	case again && m == SystemMember:
		m = NoMember // the first one is noted
	case again && m != NoMember:
		s.refuse(Duplicate, m)
	}
	s.seen |= 1 << m &^ 1
	s.phase, s.member = atColon, m
}

// beginValue reads the value of a member of the top level, or as much of it as there is.
func (s *Scanner) beginValue(p []byte, i int) int {
	v := &s.values[s.member]
	c := p[i]
	v.From = s.before + int64(i)
	if s.member == ModelMember {
		if c != '"' {
			s.refuse(ModelNotString, ModelMember)
			return i + 1
		}
		return s.beginModel(p, i+1)
	}
	switch c {
	case '"':
		v.Kind = String
		end := stringEnd(p, i+1)
		if end < 0 {
			return s.breakString(p, i+1, inString)
		}
		return s.endValue(end)
	case '{', '[':
		v.Kind = Array
		if c == '{' {
			v.Kind = Object
		}
		s.open(c)
		return s.nested(p, i+1)
	}
	if !beginsBare(c) {
		s.refuse(Malformed, NoMember)
		return i + 1
	}
	s.phase = inBare
	return s.endBare(p, i, i+1)
}

// ended notes where the open value has ended, and goes on behind it.
func (s *Scanner) endValue(i int) int {
	s.values[s.member].To = s.before + int64(i)
	s.ended |= 1 << s.member // the bit of NoMember says nothing
	s.phase = atComma
	return i
}

// endBare reads a number or a word of the top level on from p[i]; what of it lies in this piece began at from.
func (s *Scanner) endBare(p []byte, from, i int) int {
	i = bareEnd(p, i)
	if s.member == NoMember {
		if i < len(p) {
			return s.endValue(i)
		}
		return i
	}
	text := p[from:i]
	if s.bareN+len(text) > maxBare {
		s.refuse(ValueTooLong, s.member)
		return i
	}
	if i == len(p) || s.bareN > 0 {
		s.bareN += copy(s.bare[s.bareN:], text)
		if i == len(p) {
			return i
		}
		text = s.bare[:s.bareN]
	}
	if v := &s.values[s.member]; !v.read(text) {
		s.refuse(Malformed, s.member)
	}
	s.bareN = 0
	return s.endValue(i)
}

// beginModel reads the model's name, which begins at p[i].
func (s *Scanner) beginModel(p []byte, i int) int {
	s.values[ModelMember].Kind = String
	s.phase = inModel
	for n, c := range p[i:] { // nearly all lie in one piece and are written plainly
		if c == '"' {
			s.modelN = n
			return s.endValue(i + n + 1)
		}
		if c == '\\' || c < ' ' || c > '~' || n == MaxName {
			break
		}
		s.model[n] = c
	}
	return s.decodeModel(p, i)
}

func (s *Scanner) decodeModel(p []byte, i int) int {
	for ; i < len(p); i++ {
		if s.decoder.take(s.model[:], p[i]) {
			s.modelN = s.decoder.n
			if s.decoder.broken {
				s.refuse(Malformed, ModelMember)
			}
			s.decoder = decoder{}
			return s.endModel(i + 1)
		}
		if s.decoder.n > MaxName {
			s.refuse(ModelTooLong, ModelMember)
			return i
		}
	}
	return i
}

func (s *Scanner) endModel(i int) int {
	if !Printable(s.model[:s.modelN]) {
		s.refuse(ModelUnprintable, ModelMember)
	}
	return s.endValue(i)
}

// Printable tells whether all bytes are ASCII that shows, or spaces: what may stand in a header, a line, a label.
func Printable(name []byte) bool {
	for _, c := range name {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}

// nested reads on inside a value of the top level, from p[i], until that value has ended or the piece has.
func (s *Scanner) nested(p []byte, i int) int {
	at, object, list := s.phase, s.inObject(), true // list: the array may be one of many numbers
	blocks, going := i+beforeBlocks, false
	if len(p)-i >= surelyBlocks && (s.member == MessagesMember || s.member == ToolsMember) {
		blocks = i
	}
	for {
		if hasJudge && i >= blocks && len(p)-i >= worthBlocks {
			if i, going = s.nestedBlocks(p, i, at); !going {
				return i
			}
			blocks, at, object, list = len(p), s.phase, s.inObject(), true
		}
		if i = skipSpace(p, i); i == len(p) {
			return s.pause(at, i)
		}
		switch c := p[i]; {
		case c == '"' && (at == atName || at == atFirstName):
			end := stringEnd(p, i+1)
			if end < 0 {
				return s.breakString(p, i+1, inNestedName)
			}
			if i, at = end, atColon; i < len(p) && p[i] == ':' { // as nearly all write it
				i, at = i+1, atValue
			}
		case c == ',' && at == atComma:
			if i, at = i+1, atValue; object {
				at = atName
			}
		case c == ':' && at == atColon:
			i, at = i+1, atValue
		case object && closesObject(c, at), !object && closesArray(c, at):
			if i, s.depth = i+1, s.depth-1; s.depth == 1 {
				return s.endValue(i)
			}
			at, object = atComma, s.inObject()
		case at != atValue && at != atFirstValue: // nothing else can stand here
			return s.malformed(i)
		case c == '"':
			end := stringEnd(p, i+1)
			if end < 0 {
				return s.breakString(p, i+1, inString)
			}
			i, at = end, atComma
		case c == '{' || c == '[':
			if !s.open(c) {
				return i
			}
			i, at, object, list = i+1, s.phase, c == '{', true
		case beginsBare(c):
			from := i
			if list = list && !object; list {
				i = skipNumbers(p, i)
			}
			if list = i > from; list {
				at = atValue
			} else if i, at = bareEnd(p, i), atComma; i == len(p) {
				return s.pause(inBare, i)
			}
		default:
			return s.malformed(i)
		}
	}
}

// resume reads the rest of what the piece before broke, further down.
func (s *Scanner) resume(p []byte, i int) int {
	then := atComma
	switch s.phase {
	case inBare:
		if i = bareEnd(p, i); i == len(p) {
			return i
		}
	case inNestedName:
		then = atColon
		fallthrough
	default:
		if i = s.resumeString(p, i); i < 0 {
			return len(p)
		}
	}
	s.phase = then
	return i
}

// pause leaves off at the end of a piece, where at is next.
func (s *Scanner) pause(at phase, i int) int {
	s.phase = at
	return i
}

func (s *Scanner) malformed(i int) int {
	s.refuse(Malformed, NoMember)
	return i
}

// open notes that a container begins.
func (s *Scanner) open(c byte) bool {
	if s.depth == maxDepth {
		s.refuse(TooDeep, NoMember)
		return false
	}
	kind := &s.kinds[s.depth&(maxDepth-1)]
	s.phase, *kind = atFirstValue, 0
	if c == '{' {
		s.phase, *kind = atFirstName, 1
	}
	s.depth++
	return true
}

// closesObject tells whether c ends an object in that phase.
func closesObject(c byte, at phase) bool { return c == '}' && (at == atComma || at == atFirstName) }

// closesArray tells whether c ends an array in that phase.
func closesArray(c byte, at phase) bool { return c == ']' && (at == atComma || at == atFirstValue) }

// inObject tells whether the innermost open container is an object.
func (s *Scanner) inObject() bool {
	return s.kinds[(s.depth-1)&(maxDepth-1)] != 0
}

// resumeString is the index behind the string that goes on at p[i]; -1 if it does not end in this piece.
func (s *Scanner) resumeString(p []byte, i int) int {
	if s.escaped {
		s.escaped = false
		i++
	} else if p[i] == '"' {
		return i + 1
	}
	end := stringEnd(p, i)
	if end < 0 {
		s.breakString(p, i, s.phase)
	}
	return end
}

// breakString leaves off in a string whose text, from p[i] on, goes on in the next piece.
func (s *Scanner) breakString(p []byte, i int, in phase) int {
	s.phase, s.escaped = in, oddBackslashes(p[i:])
	return len(p)
}

const (
	ones   = 0x0101010101010101
	highs  = 0x8080808080808080
	quotes = ones * '"'
)

// stringEnd is the index behind the quote that ends the string whose text begins at p[i]; -1 if there is none. A quote ends it
// if the backslashes right before it are even in number, so no other byte has to be looked at. The first sixteen are looked at by
// eights, because most names and values are short; then it is for the instructions of the processor. At p[i-1] stands no
// backslash, or one that does not count.
func stringEnd(p []byte, i int) int {
	from := i
	if i+16 <= len(p) {
		x, y := binary.LittleEndian.Uint64(p[i:])^quotes, binary.LittleEndian.Uint64(p[i+8:])^quotes
		x, y = (x-ones)&^x&highs, (y-ones)&^y&highs // the lowest bit is right, those above it may be borrowed
		switch {
		case x != 0:
			if i += bits.TrailingZeros64(x) >> 3; i == from || p[i-1] != '\\' {
				return i + 1
			}
		case y != 0:
			if i += 8 + bits.TrailingZeros64(y)>>3; p[i-1] != '\\' {
				return i + 1
			}
		default:
			i += 16
		}
	}
	if n := (len(p) - from) &^ 63; n > 0 && hasBlocks {
		if j := quoteInBlocks(&p[from], n); j >= 0 {
			return from + j + 1
		}
		i = from + n
	}
	for {
		j := bytes.IndexByte(p[i:], '"')
		if j < 0 {
			return -1
		}
		if i += j + 1; i-2 < from || p[i-2] != '\\' || !oddBackslashes(p[from:i-1]) {
			return i
		}
	}
}

// oddBackslashes tells whether an odd number of them ends the text, so that the next byte is escaped.
func oddBackslashes(text []byte) bool {
	n := len(text)
	for n > 0 && text[n-1] == '\\' {
		n--
	}
	return (len(text)-n)&1 == 1
}

// skipNumbers goes over a list of tokens and returns where the last number that it has seen begins, or i. It takes digits, commas
// behind them, and a space behind a comma; for everything else the way of others is fast enough.
func skipNumbers(p []byte, i int) int {
	end := i
	if n := (len(p) - i) &^ 63; n > 0 && hasJudge {
		end += numbersInWideBlocks(&p[i], n)
	} else if n := (len(p) - i) &^ 31; n > 0 && hasBlocks {
		end += numbersInBlocks(&p[i], n)
	} else {
		end += numbersByEights(p[i:])
	}
	if j := bytes.LastIndexByte(p[i:end], ','); j >= 0 {
		return i + j + 1
	}
	return i
}

// numbersByEights is numbersInBlocks for other processors, and for eights instead of blocks.
func numbersByEights(p []byte) int {
	end := 0
	comma, space := uint64(0), uint64(0) // of the eight before
	for ; end+8 <= len(p); end += 8 {
		w := binary.LittleEndian.Uint64(p[end:])
		afterComma, afterSpace := comma>>56, space>>56
		comma = ^((w ^ ones*',') + ones*0x7F) & highs // exact as long as no byte is above 0x7F
		space = ^((w ^ ones*' ') + ones*0x7F) & highs
		digit := (w + ones*(0x80-'0')) &^ (w + ones*(0x80-'9'-1)) & highs
		if w&highs != 0 || comma|space|digit != highs {
			break
		}
		afterComma, afterSpace = afterComma|comma<<8, afterSpace|space<<8
		if comma&(afterComma|afterSpace)|space&^afterComma != 0 {
			break
		}
	}
	return end
}

// skipSpace is the index of the first byte from p[i] on that is no blank.
func skipSpace(p []byte, i int) int {
	for i < len(p) && p[i] <= ' ' && isSpace(p[i]) {
		i++
	}
	return i
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

// beginsBare tells whether a number or a word begins with c.
func beginsBare(c byte) bool {
	return c == '-' || '0' <= c && c <= '9' || c == 't' || c == 'f' || c == 'n'
}

// bareEnd is the index behind the number or word that goes on at p[i], as far as there is one.
func bareEnd(p []byte, i int) int {
	for i < len(p) && isBare[p[i]] {
		i++
	}
	return i
}

// isBare are the bytes of numbers and words.
var isBare = func() (in [256]bool) {
	for _, c := range []byte("+-.0123456789aeflnrstuE") {
		in[c] = true
	}
	return in
}()

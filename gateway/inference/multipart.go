package inference

import (
	"bytes"
)

// A Form reads a body of multipart/form-data (RFC 7578), whole or in pieces, and finds the field that names the model, in any order
// with files, which it skips as fast as their delimiter can be looked for. It keeps nothing but that name and allocates nothing.
//
// Readers differ about preambles, bare line feeds, folded lines, escapes in names, encodings of parts and delimiters that
// go on; none of that is taken, as no client that means well sends it.
type Form struct {
	before  int64
	phase   formPhase
	refusal Refusal
	culprit Member
	seen    uint16

	dashes   [2 + maxBoundary]byte // the delimiter without the end of line before it: -- and the boundary
	dashesN  int
	matched  int // bytes of it that have been read
	brokenBy lineEnd

	line  [maxPartLine]byte // of a part's head, if it does not lie in one piece
	lineN int
	lines int
	part  part

	model    [MaxName]byte
	modelN   int
	from, to int64
	known    bool
}

const (
	maxBoundary  = 70 // RFC 2046 §5.1.1
	maxPartLine  = 1 << 10
	maxPartLines = 16
)

type formPhase uint8

const (
	formStart     formPhase = iota // the first delimiter, without its CR LF
	formDelimited                  // behind a delimiter
	formNext                       // its CR was read
	formLast                       // its first hyphen was read
	formHead
	formBody
	formEnd
)

// A lineEnd is what has been read right before something that may be a delimiter.
type lineEnd uint8

const (
	noEnd lineEnd = iota
	crlfEnd
	crEnd    // for some readers it ends a line
	lfEnd    // likewise
	headsEnd // nothing: a delimiter right behind a part's head is one for some readers
)

func (e lineEnd) text() string { return [...]string{"", "\r\n", "\r", "\n", ""}[e] }

// part is what the head of a part says.
type part struct {
	disposed bool // has a Content-Disposition
	file     bool
	member   Member
}

// Reset makes the form ready for a body of that Content-Type.
func (f *Form) Reset(contentType []byte) Refusal {
	f.before, f.phase, f.refusal, f.culprit, f.seen, f.known = 0, formStart, Accepted, NoMember, 0, false
	f.lineN, f.modelN, f.matched = 0, 0, 0
	f.dashesN = copy(f.dashes[:], "--")
	boundary := boundaryOf(contentType)
	if boundary == nil {
		f.refuse(BadBoundary, NoMember)
		return f.refusal
	}
	f.dashesN += copy(f.dashes[f.dashesN:], boundary)
	return Accepted
}

// Scan reads the next piece of the body. It stays refused once it is.
func (f *Form) Scan(piece []byte) Refusal {
	for i := 0; i < len(piece) && f.refusal == Accepted; {
		switch f.phase {
		case formHead:
			i = f.readLine(piece, i)
		case formBody:
			i = f.skipBody(piece, i)
		default:
			f.step(piece[i])
			i++
		}
	}
	f.before += int64(len(piece))
	return f.refusal
}

// End tells what is to be said of the body now that all of it has been read.
func (f *Form) End() Refusal {
	if f.phase != formEnd {
		f.refuse(Cut, NoMember)
	}
	return f.refusal
}

// Complete tells whether the last part has ended: no field can follow.
func (f *Form) Complete() bool { return f.phase == formEnd && f.refusal == Accepted }

// Model is the model's name, once it has been read. It is borrowed until the next Reset.
func (f *Form) Model() (name []byte, stated bool) { return f.model[:f.modelN], f.known }

// Span is where the model's name stands in the body.
func (f *Form) Span() (from, to int64) { return f.from, f.to }

// Culprit is the field that a refusal is about, NoMember if it is about none.
func (f *Form) Culprit() Member { return f.culprit }

func (f *Form) refuse(r Refusal, about Member) {
	if f.refusal == Accepted {
		f.refusal, f.culprit = r, about
	}
}

// step reads a byte around a delimiter.
func (f *Form) step(c byte) {
	switch {
	case f.phase == formStart && c == f.dashes[f.matched]:
		if f.matched++; f.matched == f.dashesN {
			f.phase, f.matched = formDelimited, 0
		}
	case f.phase == formDelimited && c == '\r':
		f.phase = formNext
	case f.phase == formDelimited && c == '-':
		f.phase = formLast
	case f.phase == formNext && c == '\n':
		f.phase, f.part, f.lines = formHead, part{}, 0
	case f.phase == formLast && c == '-':
		f.phase = formEnd
	case f.phase == formEnd && (c == '\r' && f.matched == 0 || c == '\n' && f.matched == 1):
		f.matched++ // one CR LF behind the end, as most write it
	case f.phase == formEnd:
		f.refuse(Trailing, NoMember)
	default:
		f.refuse(BadPart, NoMember)
	}
}

// readLine reads a line of a part's head.
func (f *Form) readLine(p []byte, i int) int {
	n := bytes.IndexByte(p[i:], '\n')
	rest := p[i:]
	if n >= 0 {
		rest = p[i : i+n+1]
	}
	if f.lineN+len(rest) > maxPartLine {
		f.refuse(PartTooLong, NoMember)
		return i
	}
	i += len(rest)
	if n < 0 || f.lineN > 0 {
		f.lineN += copy(f.line[f.lineN:], rest)
		rest = f.line[:f.lineN]
	}
	if n < 0 {
		return i
	}
	f.lineN = 0
	if line, ok := bytes.CutSuffix(rest, []byte("\r\n")); !ok || bytes.IndexByte(line, '\r') >= 0 {
		f.refuse(BadPart, NoMember)
	} else if len(line) == 0 {
		f.begin(i)
	} else {
		f.headLine(line)
	}
	return i
}

func (f *Form) headLine(line []byte) {
	if f.lines++; f.lines > maxPartLines {
		f.refuse(PartTooLong, NoMember)
		return
	}
	name, value, ok := bytes.Cut(line, []byte(":"))
	if !ok || !isToken(name) {
		f.refuse(BadPart, NoMember)
		return
	}
	value = bytes.Trim(value, " \t")
	switch {
	case equalFold(name, "content-disposition"):
		if f.part.disposed || !f.part.read(value) {
			f.refuse(BadPart, NoMember)
		}
	case equalFold(name, "content-transfer-encoding"): // RFC 7578 §4.7 has done away with it, and some readers still decode
		if !equalFold(value, "7bit") && !equalFold(value, "8bit") && !equalFold(value, "binary") {
			f.refuse(BadPart, NoMember)
		}
	}
}

// begin begins the body of a part at p[i].
func (f *Form) begin(i int) {
	f.phase, f.matched, f.brokenBy = formBody, 0, headsEnd
	m := f.part.member
	switch {
	case !f.part.disposed:
		f.refuse(BadPart, NoMember)
	case m == NoMember:
	case f.seen&(1<<m) != 0:
		f.refuse(Duplicate, m)
	case m == ModelMember && f.part.file:
		f.refuse(ModelNotString, m)
	}
	f.seen |= 1 << m & ^uint16(1)
	if m == ModelMember {
		f.from = f.before + int64(i)
	}
}

// skipBody reads the body of a part up to the delimiter.
func (f *Form) skipBody(p []byte, i int) int {
	for ; f.brokenBy != noEnd && f.phase == formBody && f.refusal == Accepted; i++ {
		if i == len(p) {
			return i
		}
		f.match(p, i)
	}
	if f.phase != formBody || f.refusal != Accepted {
		return i
	}
	dashes := f.dashes[:f.dashesN]
	for from := i; ; {
		n := bytes.Index(p[from:], dashes)
		if n < 0 {
			break
		}
		from += n
		switch end := endBefore(p[i:from]); end {
		case noEnd: // in the middle of a line
			from++
			continue
		default:
			f.brokenBy, f.matched = end, len(dashes)
			f.content(p[i : from-len(end.text())])
			f.endBody(from + len(dashes))
			return from + len(dashes)
		}
	}
	end := len(p) // of what is content for sure
	for at := len(p); at >= i && at >= len(p)-len(dashes); at-- {
		if e := endBefore(p[i:at]); e != noEnd {
			if bytes.HasPrefix(dashes, p[at:]) {
				f.brokenBy, f.matched, end = e, len(p)-at, at-len(e.text())
			}
			break
		}
	}
	f.content(p[i:end])
	return len(p)
}

// match reads a byte where a delimiter may have begun. No end of a line is in a boundary, so what goes on otherwise can only
// begin anew.
func (f *Form) match(p []byte, i int) {
	c := p[i]
	switch {
	case f.brokenBy == crEnd && f.matched == 0 && c == '\n':
		f.brokenBy = crlfEnd
	case c == f.dashes[f.matched]:
		if f.matched++; f.matched == f.dashesN {
			f.endBody(i + 1)
		}
	default:
		f.content([]byte(f.brokenBy.text()))
		f.content(f.dashes[:f.matched])
		f.matched = 0
		switch c {
		case '\r':
			f.brokenBy = crEnd
		case '\n':
			f.brokenBy = lfEnd
		default:
			f.brokenBy = noEnd
			f.content(p[i : i+1])
		}
	}
}

// endBefore is the end of a line that text ends with.
func endBefore(text []byte) lineEnd {
	n := len(text)
	switch {
	case n == 0:
		return noEnd
	case text[n-1] == '\r':
		return crEnd
	case text[n-1] != '\n':
		return noEnd
	case n > 1 && text[n-2] == '\r':
		return crlfEnd
	}
	return lfEnd
}

// content is what is in the body of a part.
func (f *Form) content(b []byte) {
	if f.part.member != ModelMember {
		return
	}
	if f.modelN+len(b) > MaxName {
		f.refuse(ModelTooLong, ModelMember)
		return
	}
	f.modelN += copy(f.model[f.modelN:], b)
}

// endBody ends the body of a part whose delimiter ends at p[i].
func (f *Form) endBody(i int) {
	if f.brokenBy != crlfEnd {
		f.refuse(BadPart, NoMember)
	}
	f.phase, f.matched, f.brokenBy = formDelimited, 0, noEnd
	if f.part.member == ModelMember {
		f.to, f.known = f.before+int64(i-f.dashesN-len("\r\n")), true
		if !Printable(f.model[:f.modelN]) {
			f.refuse(ModelUnprintable, ModelMember)
		}
	}
}

// read takes the value of a Content-Disposition: form-data; name="model"; filename="a.wav".
func (d *part) read(value []byte) bool {
	d.disposed = true
	kind, rest, _ := bytes.Cut(value, []byte(";"))
	if !equalFold(bytes.TrimRight(kind, " \t"), "form-data") {
		return false
	}
	named := false
	for len(rest) > 0 {
		var p parameter
		var ok bool
		if p, rest, ok = cutParameter(rest); !ok {
			return false
		}
		switch {
		case equalFold(p.name, "name"):
			if named || bytes.IndexByte(p.value, '\\') >= 0 {
				return false
			}
			named = true
			exact := false
			if d.member, exact = memberOf(p.value); d.member != NoMember && !exact {
				return false
			}
		case equalFold(p.name, "name*"):
			return false
		case equalFold(p.name, "filename"), equalFold(p.name, "filename*"):
			d.file = true
		}
	}
	return named
}

// A parameter is one of a field's, such as name="model".
type parameter struct{ name, value []byte }

// cutParameter cuts the first parameter off a list of them. A backslash before a quote is refused: readers differ about what it means.
func cutParameter(list []byte) (p parameter, rest []byte, ok bool) {
	name, list, ok := bytes.Cut(bytes.TrimLeft(list, " \t"), []byte("="))
	if !ok || !isToken(name) {
		return p, nil, false
	}
	p.name = name
	if len(list) > 0 && list[0] == '"' {
		end := bytes.IndexByte(list[1:], '"')
		if end < 0 || end > 0 && list[end] == '\\' {
			return p, nil, false
		}
		p.value, list = list[1:1+end], list[end+2:]
	} else {
		end := bytes.IndexAny(list, "; \t\"")
		if end < 0 {
			end = len(list)
		}
		if p.value, list = list[:end], list[end:]; len(p.value) == 0 {
			return p, nil, false
		}
	}
	list = bytes.TrimLeft(list, " \t")
	if len(list) == 0 {
		return p, nil, true
	}
	return p, list[1:], list[0] == ';'
}

// IsForm tells whether a Content-Type is that of forms with files.
func IsForm(contentType []byte) bool {
	kind, _, _ := bytes.Cut(contentType, []byte(";"))
	return equalFold(bytes.TrimRight(kind, " \t"), "multipart/form-data")
}

// boundaryOf is the boundary that a Content-Type names; nil if it is not one of a form, or names none or several.
func boundaryOf(contentType []byte) (boundary []byte) {
	if !IsForm(contentType) {
		return nil
	}
	_, rest, _ := bytes.Cut(contentType, []byte(";"))
	for len(bytes.TrimLeft(rest, " \t")) > 0 {
		var p parameter
		var ok bool
		if p, rest, ok = cutParameter(rest); !ok || equalFold(p.name, "boundary*") {
			return nil
		}
		if !equalFold(p.name, "boundary") {
			continue
		}
		if boundary != nil || len(p.value) == 0 || len(p.value) > maxBoundary {
			return nil
		}
		for _, c := range p.value { // RFC 2046 §5.1.1, but for the space
			if !isAlphanumeric(c) && bytes.IndexByte([]byte("'()+_,-./:=?"), c) < 0 {
				return nil
			}
		}
		boundary = p.value
	}
	return boundary
}

// A QueryModel is the model that a query names.
type QueryModel struct {
	Name     []byte // decoded; borrowed from the query or the buffer
	From, To int    // where its value stands in the query
	Stated   bool
}

// ModelOfQuery finds ?model= in a query, without its question mark. A name with escapes is decoded into buf.
func ModelOfQuery(buf, query []byte) (q QueryModel, r Refusal) {
	for at, end := 0, 0; at < len(query); at = end + 1 {
		end = at
		for end < len(query) && query[end] != '&' && query[end] != ';' {
			end++
		}
		name, value, _ := bytes.Cut(query[at:end], []byte("="))
		var room [maxMemberText]byte
		m, exact := memberOf(unescape(room[:0], name, ' '))
		if m != ModelMember {
			continue
		}
		switch {
		case q.Stated:
			return q, Duplicate
		case !exact:
			return q, OtherCase
		case at > 0 && query[at-1] == ';', end < len(query) && query[end] == ';':
			return q, OddQuery // for some readers it separates, for others it does not
		}
		q = QueryModel{Name: unescape(buf[:0], value, ' '), From: end - len(value), To: end, Stated: true}
	}
	switch {
	case len(q.Name) > MaxName:
		return q, ModelTooLong
	case !Printable(q.Name):
		return q, ModelUnprintable
	}
	return q, Accepted
}

// unescape decodes a part of a query or a path into dst, if there is anything to decode; plus is what a plus means there. What is longer
// than a name may be is cut, but stays too long.
func unescape(dst, b []byte, plus byte) []byte {
	if bytes.IndexByte(b, '%') < 0 && bytes.IndexByte(b, '+') < 0 {
		return b
	}
	for i := 0; i < len(b) && len(dst) <= MaxName; i++ {
		c := b[i]
		switch {
		case c == '+':
			c = plus
		case c == '%' && i+2 < len(b):
			high, ok := hexDigit(b[i+1])
			low, too := hexDigit(b[i+2])
			if ok && too {
				c, i = high<<4|low, i+2
			}
		}
		dst = append(dst, c)
	}
	return dst
}

func isAlphanumeric(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z' }

// isToken tells whether b is a token of RFC 9110 §5.6.2.
func isToken(b []byte) bool {
	for _, c := range b {
		if !isAlphanumeric(c) && bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), c) < 0 {
			return false
		}
	}
	return len(b) > 0
}

// equalFold compares with a word in lower case.
func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

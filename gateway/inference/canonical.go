package inference

import (
	"bytes"
	"crypto/sha256"
	"hash"
	"io"
	"slices"
	"unicode/utf8"
)

// A Canon is a JSON body taken apart so that requests which mean the same have the same text: white space between
// tokens is gone and the members of the body's own object are sorted by name. Everything else counts byte for byte, the order inside
// messages and schemas, the spelling of numbers and escapes: models see it.
//
// What two readers may understand differently has no canonical form, see [Canon.Read]. The zero value is ready; one that is reused
// allocates nothing.
type Canon struct {
	body    []byte
	members [maxCanonical]canonical
	order   [maxCanonical]uint8 // of the members, by name
	n       int
	hash    hash.Hash // nil before the first Sum
	sum     [sha256.Size]byte
	text    appender
	modelAt int // where in text the model's value has begun
}

// canonical is where a member stands in the body.
type canonical struct {
	name, nameEnd   int // without the quotes
	value, valueEnd int
	loose           bool // white space stands between the tokens of its value
}

// maxCanonical is more members than any schema has: vLLM's for chat has about 80.
const maxCanonical = 128

// maxCanonicalName is the longest name of a member.
const maxCanonicalName = 256

// Read takes a whole body apart; it is borrowed until the next Read. It refuses what is no JSON object, what is not UTF-8, a name
// that is stated twice, in another case too (some readers take the first one, some the last, some any case), and a name with
// an escape or a letter outside of ASCII, by which it could be another one.
func (c *Canon) Read(body []byte) Refusal {
	c.body, c.n = body, 0
	if !utf8.Valid(body) {
		return NotUTF8
	}
	i := skipSpace(body, 0)
	if i == len(body) || body[i] != '{' {
		return NotObject
	}
	if i = skipSpace(body, i+1); i < len(body) && body[i] == '}' {
		return c.end(i + 1)
	}
	for {
		var r Refusal
		if i, r = c.readMember(i); r != Accepted {
			return r
		}
		switch {
		case i == len(body):
			return Cut
		case body[i] == '}':
			return c.end(i + 1)
		case body[i] != ',':
			return Malformed
		}
		i = skipSpace(body, i+1)
	}
}

// readMember reads the member that begins at i, and returns where the next token stands.
func (c *Canon) readMember(i int) (int, Refusal) {
	p := c.body
	switch {
	case i >= len(p):
		return i, Cut
	case p[i] != '"':
		return i, Malformed
	case c.n == maxCanonical:
		return i, TooManyMembers
	}
	end := stringEnd(p, i+1)
	if end < 0 {
		return i, Cut
	}
	m := canonical{name: i + 1, nameEnd: end - 1}
	if !isPlainName(p[m.name:m.nameEnd]) {
		return i, OddName
	}
	if i = skipSpace(p, end); i == len(p) {
		return i, Cut
	} else if p[i] != ':' {
		return i, Malformed
	}
	m.value = skipSpace(p, i+1)
	var r Refusal
	if m.valueEnd, m.loose, r = skipValue(p, m.value); r != Accepted {
		return i, r
	}
	c.members[c.n] = m
	c.n++
	return skipSpace(p, m.valueEnd), Accepted
}

// end sorts the members of an object that ends before i.
func (c *Canon) end(i int) Refusal {
	if skipSpace(c.body, i) != len(c.body) {
		return Trailing
	}
	order := c.order[:c.n]
	for i := range order {
		order[i] = uint8(i)
	}
	slices.SortFunc(order, func(a, b uint8) int { return compareFolded(c.name(a), c.name(b)) })
	for i := 1; i < len(order); i++ {
		if compareFolded(c.name(order[i-1]), c.name(order[i])) == 0 {
			return Duplicate
		}
	}
	return Accepted
}

func (c *Canon) name(i uint8) []byte { m := &c.members[i]; return c.body[m.name:m.nameEnd] }

// Value is the value of the member of that name as it stands in the body, nil if there is none.
func (c *Canon) Value(name string) []byte {
	for i := range c.n {
		if m := &c.members[i]; string(c.body[m.name:m.nameEnd]) == name {
			return c.body[m.value:m.valueEnd]
		}
	}
	return nil
}

// Text is what stands in the member of that name, nil if that is no string of ASCII that shows, without escapes.
func (c *Canon) Text(name string) []byte {
	v := text(c.Value(name))
	if bytes.IndexByte(v, '\\') >= 0 || !Printable(v) || len(v) > MaxName {
		return nil
	}
	return v
}

// Reset forgets the body.
func (c *Canon) Reset() { c.body, c.n = nil, 0 }

// misspells tells whether the name of a member is this one in another case, which some readers take for it.
func (c *Canon) misspells(name string) bool {
	for i := range c.n {
		if n := c.name(uint8(i)); len(n) == len(name) && string(n) != name && bytes.EqualFold(n, []byte(name)) {
			return true
		}
	}
	return false
}

// AppendTo appends the canonical text of the request, without those members that say for whom or how an answer is made and not what is
// in it, and without the one of the name without; "": all others are there.
func (c *Canon) AppendTo(dst []byte, d Dialect, without string) []byte {
	c.text.b = dst
	c.write(&c.text, d, without)
	dst, c.text.b = c.text.b, nil
	return dst
}

// Sum is the SHA-256 of what AppendTo appends.
func (c *Canon) Sum(d Dialect, without string) [sha256.Size]byte {
	if c.hash == nil {
		c.hash = sha256.New()
	}
	c.hash.Reset()
	c.write(c.hash, d, without)
	c.hash.Sum(c.sum[:0])
	return c.sum
}

// An appender is an io.Writer that appends.
type appender struct{ b []byte }

func (a *appender) Write(p []byte) (int, error) {
	a.b = append(a.b, p...)
	return len(p), nil
}

var openBrace, closeBrace, nextName, nameValue = []byte(`{"`), []byte(`}`), []byte(`,"`), []byte(`":`)

// write writes the canonical text. Neither of those it writes to fails.
func (c *Canon) write(to io.Writer, d Dialect, without string) {
	before := openBrace
	for _, i := range c.order[:c.n] {
		m := &c.members[i]
		name := c.body[m.name:m.nameEnd]
		if without != "" && string(name) == without || d.omits(name) {
			continue
		}
		_, _ = to.Write(before)
		_, _ = to.Write(name)
		_, _ = to.Write(nameValue)
		if string(name) == "model" {
			c.modelAt = len(c.text.b)
		}
		if value := c.body[m.value:m.valueEnd]; m.loose {
			writeTight(to, value)
		} else {
			_, _ = to.Write(value)
		}
		before = nextName
	}
	if &before[0] == &openBrace[0] {
		_, _ = to.Write(openBrace[:1])
	}
	_, _ = to.Write(closeBrace)
}

// omits tells whether a member says nothing of what is in the answer: who asks, notes for the provider's lists, and how much the
// answer may cost. Responses keeps notes, and the tier is told in its answers: there they count.
func (d Dialect) omits(name []byte) bool {
	switch d {
	case Chat, Completions, Messages:
		return string(name) == "user" || string(name) == "metadata" || string(name) == "service_tier"
	}
	return false
}

// isPlainName tells whether all readers understand a name in the same way.
func isPlainName(name []byte) bool {
	if len(name) > maxCanonicalName {
		return false
	}
	for _, c := range name {
		if c < ' ' || c >= 0x7F || c == '\\' {
			return false
		}
	}
	return true
}

// compareFolded orders names as if all were in lower case.
func compareFolded(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if x, y := lowerASCII(a[i]), lowerASCII(b[i]); x != y {
			return int(x) - int(y)
		}
	}
	return len(a) - len(b)
}

func lowerASCII(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}

// skipValue returns where the value at p[i] ends, and whether white space stands between its tokens. It looks at the structure
// only: the inside of numbers and strings is the upstream's business.
func skipValue(p []byte, i int) (end int, loose bool, r Refusal) {
	var objects [maxDepth / 64]uint64 // a bit for each open container that is an object
	depth, at, object := 0, atValue, false
	for {
		if i < len(p) && isSpace(p[i]) {
			loose = true
			i = skipSpace(p, i)
		}
		if i == len(p) {
			return i, loose, Cut
		}
		c, next := p[i], atNothing
		switch {
		case c == '"' && at != atColon && at != atComma:
			if i = stringEnd(p, i+1); i < 0 {
				return len(p), loose, Cut
			}
			if next = atComma; at == atName || at == atFirstName {
				next = atColon
			}
		case (at == atValue || at == atFirstValue) && (c == '{' || c == '['):
			if depth == maxDepth {
				return i, loose, TooDeep
			}
			object, next = c == '{', atFirstValue
			setArray(&objects, depth)
			if object {
				next = atFirstName
				setObject(&objects, depth)
			}
			depth, i = depth+1, i+1
		case (at == atValue || at == atFirstValue) && beginsBare(c):
			from := i
			if depth > 0 && !object {
				i = skipNumbers(p, i)
				loose = loose || bytes.IndexByte(p[from:i], ' ') >= 0
			}
			if next = atValue; i == from { // not before the last number, or what is none
				i, next = bareEnd(p, i), atComma
			}
		case at == atColon && c == ':':
			i, next = i+1, atValue
		case at == atComma && c == ',':
			if i, next = i+1, atValue; object {
				next = atName
			}
		case depth > 0 && object && closesObject(c, at), depth > 0 && !object && closesArray(c, at):
			i, next = i+1, atComma
			if depth--; depth > 0 {
				object = isObject(&objects, depth-1)
			}
		}
		switch at = next; {
		case at == atNothing:
			return i, loose, Malformed
		case depth == 0:
			return i, loose, Accepted
		}
	}
}

// atNothing is behind a byte that cannot stand where it does.
const atNothing = atEnd

func setArray(objects *[maxDepth / 64]uint64, depth int) { objects[depth>>6] &^= 1 << (depth & 63) }

func setObject(objects *[maxDepth / 64]uint64, depth int) { objects[depth>>6] |= 1 << (depth & 63) }

func isObject(objects *[maxDepth / 64]uint64, depth int) bool {
	return objects[depth>>6]&(1<<(depth&63)) != 0
}

// writeTight writes a value of which it is known that it is well-formed, without the white space between its tokens.
func writeTight(to io.Writer, value []byte) {
	from := 0
	for i := 0; i < len(value); {
		switch c := value[i]; {
		case c == '"':
			if i = stringEnd(value, i+1); i < 0 {
				panic("BUG: a value that was read before has no end")
			}
		case isSpace(c):
			_, _ = to.Write(value[from:i])
			i = skipSpace(value, i)
			from = i
		default:
			i++
		}
	}
	_, _ = to.Write(value[from:])
}

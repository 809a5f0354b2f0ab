package inference

import (
	"bytes"
	"strconv"
)

// A Member is a name at the top level of a request's body that decides about the request.
type Member uint8

// The members, by the dialects of OpenAI, Anthropic and the engines.
const (
	NoMember Member = iota
	ModelMember
	StreamMember
	StreamOptionsMember
	MaxTokensMember
	MaxCompletionTokensMember
	MaxOutputTokensMember
	TemperatureMember
	SeedMember
	NMember
	UserMember
	MessagesMember
	PromptMember
	InputMember
	ToolsMember
	SystemMember // of Anthropic's dialect: it is read, but decides nothing, so it may come twice
	members
)

var memberNames = [members]string{"", "model", "stream", "stream_options", "max_tokens", "max_completion_tokens", "max_output_tokens",
	"temperature", "seed", "n", "user", "messages", "prompt", "input", "tools", "system"}

// String is the member's name.
func (m Member) String() string { return memberNames[m] }

const (
	longestMember = len("max_completion_tokens")
	// maxMemberText holds a member's name if each letter is written in the longest way that still means it: the Kelvin sign
	// for a k has three bytes.
	maxMemberText = 3 * longestMember
)

// named is the member of exactly that name.
func named(name []byte) Member {
	switch string(name) {
	case "model":
		return ModelMember
	case "stream":
		return StreamMember
	case "stream_options":
		return StreamOptionsMember
	case "max_tokens":
		return MaxTokensMember
	case "max_completion_tokens":
		return MaxCompletionTokensMember
	case "max_output_tokens":
		return MaxOutputTokensMember
	case "temperature":
		return TemperatureMember
	case "seed":
		return SeedMember
	case "n":
		return NMember
	case "user":
		return UserMember
	case "messages":
		return MessagesMember
	case "prompt":
		return PromptMember
	case "input":
		return InputMember
	case "tools":
		return ToolsMember
	case "system":
		return SystemMember
	}
	return NoMember
}

// memberOf is the member of that name, exactly or as encoding/json would take it: in any case, by Unicode's simple folding
// (its foldName), in which ſ is an s and the Kelvin sign a k.
func memberOf(name []byte) (m Member, exact bool) {
	if m = named(name); m != NoMember {
		return m, true
	}
	if len(name) > maxMemberText || isPlain(name) {
		return NoMember, false
	}
	var folded [maxMemberText]byte
	n := 0
	for i := 0; i < len(name); i++ {
		c := name[i]
		switch rest := name[i:]; {
		case 'A' <= c && c <= 'Z':
			c |= 0x20
		case bytes.HasPrefix(rest, []byte("ſ")):
			c, i = 's', i+len("ſ")-1
		case bytes.HasPrefix(rest, []byte("\u212a")):
			c, i = 'k', i+len("\u212a")-1
		}
		folded[n] = c
		n++
	}
	if m = named(folded[:n]); m == SystemMember {
		m = NoMember // another name, as far as anybody minds
	}
	return m, false
}

// isPlain tells whether there is no letter in name that has another case, and no escape.
func isPlain(name []byte) bool {
	for _, c := range name {
		if 'A' <= c && c <= 'Z' || c >= 0x80 || c == '\\' {
			return false
		}
	}
	return true
}

// A decoder takes the text of a JSON string byte by byte, over the pieces of a body. What a name cannot hold becomes a byte that
// is in no name.
type decoder struct {
	n      int  // bytes of the text so far; more than there is room for are counted only
	broken bool // no valid escape
	escape uint8
	code   uint16
}

const foreign = 0xFF

// The states of an escape: none, behind the backslash, and the hexadecimal digits that are left.
const (
	noEscape     = 0
	behindSlash  = 5
	firstHexLeft = 4
)

// take decodes one byte into dst and tells whether it is the quote at the end.
func (d *decoder) take(dst []byte, c byte) (end bool) {
	switch d.escape {
	case noEscape:
		switch c {
		case '"':
			return true
		case '\\':
			d.escape = behindSlash
		default:
			d.put(dst, c)
		}
	case behindSlash:
		d.escape = noEscape
		switch c {
		case '"', '\\', '/':
			d.put(dst, c)
		case 'b', 'f', 'n', 'r', 't':
			d.put(dst, foreign) // control characters are in no name
		case 'u':
			d.escape, d.code = firstHexLeft, 0
		default:
			d.broken = true
		}
	default:
		digit, ok := hexDigit(c)
		d.broken = d.broken || !ok
		d.code = d.code<<4 | uint16(digit)
		if d.escape--; d.escape == noEscape {
			d.putCode(dst)
		}
	}
	return false
}

func (d *decoder) put(dst []byte, c byte) {
	if d.n < len(dst) {
		dst[d.n] = c
	}
	d.n++
}

func (d *decoder) putCode(dst []byte) {
	switch {
	case d.code < 0x80:
		d.put(dst, byte(d.code))
	case d.code == 'ſ', d.code == '\u212a':
		for _, c := range []byte(string(rune(d.code))) {
			d.put(dst, c)
		}
	default:
		d.put(dst, foreign)
	}
}

func hexDigit(c byte) (digit byte, ok bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10, true
	}
	return 0, false
}

// read takes a number or a word, exactly as RFC 8259 has them.
func (v *Value) read(text []byte) bool {
	if text[0] > '9' {
		return v.readWord(text)
	}
	v.Kind = Number
	if n := digits(text); n == len(text) && n <= 15 && (text[0] != '0' || n == 1) { // as most are
		v.Number = float64(wholeNumber(text))
		return true
	}
	if !isNumber(text) {
		return false
	}
	if v.Number = shortNumber(text); v.Number < 0 {
		v.Number, _ = strconv.ParseFloat(string(text), 64) // too large a one is infinite
	}
	return true
}

func (v *Value) readWord(text []byte) bool {
	switch string(text) {
	case "null":
		v.Kind = Null
	case "true":
		v.Kind = True
	case "false":
		v.Kind = False
	default:
		return false
	}
	return true
}

// wholeNumber is the value of at most 18 digits.
func wholeNumber(digits []byte) (n int64) {
	for _, c := range digits {
		n = n*10 + int64(c-'0')
	}
	return n
}

// powers are those of ten that are exact, as far as they are needed.
var powers = [...]float64{1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15}

// shortNumber is the value of a number of few digits, as nearly all are: both parts of the division are exact, so it is rounded once, as it
// should be. It is negative for what it cannot do, such as negative numbers.
func shortNumber(text []byte) float64 {
	if len(text) > 16 {
		return -1
	}
	digits, point := int64(0), len(text)-1
	for i, c := range text {
		switch {
		case c == '.':
			point = i
		case c < '0' || c > '9':
			return -1
		default:
			digits = digits*10 + int64(c-'0')
		}
	}
	if digits >= 1<<53 {
		return -1
	}
	return float64(digits) / powers[len(text)-1-point]
}

func isNumber(b []byte) bool {
	if len(b) > 0 && b[0] == '-' {
		b = b[1:]
	}
	whole := digits(b)
	if whole == 0 || whole > 1 && b[0] == '0' {
		return false
	}
	if b = b[whole:]; len(b) > 0 && b[0] == '.' {
		n := digits(b[1:])
		if n == 0 {
			return false
		}
		b = b[1+n:]
	}
	if len(b) > 0 && b[0]|0x20 == 'e' {
		if b = b[1:]; len(b) > 0 && (b[0] == '+' || b[0] == '-') {
			b = b[1:]
		}
		n := digits(b)
		return n > 0 && n == len(b)
	}
	return len(b) == 0
}

// digits counts the digits at the beginning of b.
func digits(b []byte) int {
	n := 0
	for n < len(b) && '0' <= b[n] && b[n] <= '9' {
		n++
	}
	return n
}

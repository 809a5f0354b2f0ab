package wire

import (
	"bytes"
	"encoding/binary"
	"iter"
)

// span is one run of consecutive field lines of a block, as offsets.
type span struct{ from, to int }

// fields is the field block of a head and which of its lines travel on. It is reused from message to
// message; its slices only grow.
type fields struct {
	block     []byte // borrowed: every line with its CRLF, with or without the final empty line
	kept      []span
	nominated [][]byte // borrowed: names in Connection that are not hop-by-hop by themselves
	all       []span   // scratch of dropNominated
}

func (f *fields) reset(block []byte) {
	f.block = block
	f.kept = f.kept[:0]
	f.nominated = f.nominated[:0]
}

// keep lets the line block[from:to] travel on; neighbours become one span, so that a usual head is copied
// in two or three pieces.
func (f *fields) keep(from, to int) {
	if n := len(f.kept); n > 0 && f.kept[n-1].to == from {
		f.kept[n-1].to = to
		return
	}
	f.kept = append(f.kept, span{from, to})
}

// scan reads the field lines of block, has take judge each, and keeps those that travel on.
func (f *fields) scan(block []byte, take func(name, value []byte) (keep bool, v Violation)) Violation {
	f.block = block
	for from := 0; from < len(block); {
		name, value, rest, v := cutField(block[from:])
		if v != None {
			return v
		}
		if len(name) == 0 {
			if len(rest) != 0 {
				return BadFraming
			}
			break
		}
		keep, v := take(name, value)
		if v != None {
			return v
		}
		if len(f.nominated) > maxNominated {
			return TooManyNominated
		}
		to := len(block) - len(rest)
		if keep {
			f.keep(from, to)
		}
		from = to
	}
	return None
}

// AppendKept appends the lines that travel on, byte for byte, to dst.
func (f *fields) AppendKept(dst []byte) []byte {
	for _, s := range f.kept {
		dst = append(dst, f.block[s.from:s.to]...)
	}
	return dst
}

// AppendLinesWithout appends the lines that travel on, but those of that name (in lower case), as they were written.
func (f *fields) AppendLinesWithout(dst []byte, lower string) []byte {
	for _, s := range f.kept {
		block, from := f.block[s.from:s.to], 0
		for at := 0; at < len(block); {
			end := at + 1 + bytes.IndexByte(block[at:], '\n')
			if line := block[at:end]; len(line) > len(lower) && line[len(lower)] == ':' && is(line[:len(lower)], lower) {
				dst = append(dst, block[from:at]...)
				from = end
			}
			at = end
		}
		dst = append(dst, block[from:]...)
	}
	return dst
}

// Lines yields name and value of each line that travels on, in order, as they were written.
func (f *fields) Lines() iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		for _, s := range f.kept {
			for b := f.block[s.from:s.to]; len(b) > 0; {
				name, value, rest := cutKept(b)
				if !yield(name, value) {
					return
				}
				b = rest
			}
		}
	}
}

// CutField cuts the first line off a block of field lines: its name, its value without surrounding white
// space, and the rest. ok is false at the end of the block, at its empty line, and where it is malformed.
func CutField(block []byte) (name, value, rest []byte, ok bool) {
	name, value, rest, v := cutField(block)
	return name, value, rest, v == None && len(name) > 0
}

// Field returns the value of the first line of that name (in lower case) among those that travel on.
func (f *fields) Field(lower string) (value []byte, ok bool) {
	for _, s := range f.kept {
		for b := f.block[s.from:s.to]; len(b) > 0; {
			name, v, rest := cutKept(b)
			if len(name) == len(lower) && is(name, lower) {
				return v, true
			}
			b = rest
		}
	}
	return nil, false
}

// nominate reads a Connection field: close and keep-alive are reported, and other names are remembered for
// [fields.dropNominated]. RFC 9110 §7.6.1.
func (f *fields) nominate(value []byte) (closes, keeps bool) {
	for len(value) > 0 {
		var token []byte
		token, value = cutToken(value)
		switch {
		case len(token) == 0:
		case len(token) == 5 && is(token, "close"):
			closes = true
		case len(token) == 10 && is(token, "keep-alive"):
			keeps = true
		default:
			f.nominated = append(f.nominated, token)
		}
	}
	return closes, keeps
}

// Drop takes the lines whose names begin so (in lower case) out of those that travel on.
func (f *fields) Drop(prefix string) {
	f.dropIf(func(name []byte) bool { return len(name) >= len(prefix) && is(name[:len(prefix)], prefix) })
}

// dropNominated takes the lines that Connection names out of those that travel on. Rare, so it walks the
// lines a second time.
func (f *fields) dropNominated() {
	if len(f.nominated) > 0 {
		f.dropIf(f.isNominated)
	}
}

func (f *fields) dropIf(drop func(name []byte) bool) {
	f.all = append(f.all[:0], f.kept...)
	f.kept = f.kept[:0]
	for _, s := range f.all {
		for from := s.from; from < s.to; {
			name, _, rest := cutKept(f.block[from:s.to])
			to := s.to - len(rest)
			if !drop(name) {
				f.keep(from, to)
			}
			from = to
		}
	}
}

func (f *fields) isNominated(name []byte) bool {
	for _, n := range f.nominated {
		if len(n) == len(name) && bytes.EqualFold(n, name) {
			return true
		}
	}
	return false
}

// cutField cuts the first line off b: its name, its value without surrounding white space, and the rest.
// At the empty line that ends a block, and at the end of b, name is empty and v is None.
func cutField(b []byte) (name, value, rest []byte, v Violation) {
	n := bytes.IndexByte(b, '\n')
	if n < 0 {
		if len(b) == 0 {
			return nil, nil, nil, None
		}
		return nil, nil, nil, BadFraming
	}
	if n == 0 || b[n-1] != '\r' {
		return nil, nil, nil, BareLF
	}
	line := b[:n-1]
	rest = b[n+1:]
	if len(line) == 0 {
		return nil, nil, rest, None
	}
	if line[0] == ' ' || line[0] == '\t' {
		return nil, nil, nil, ObsFold // RFC 9112 §5.2
	}
	i := 0
	for i < len(line) && tchar[line[i]] {
		i++
	}
	// RFC 9112 §5.1: no white space between name and colon.
	if i == 0 || i == len(line) || line[i] != ':' {
		return nil, nil, nil, BadName
	}
	value = trimOWS(line[i+1:])
	if !validValue(value) {
		return nil, nil, nil, BadValue
	}
	return line[:i], value, rest, None
}

// cutKept is cutField of a line that scan has found well-formed, and is not judged again.
func cutKept(b []byte) (name, value, rest []byte) {
	colon, end := bytes.IndexByte(b, ':'), bytes.IndexByte(b, '\n')
	if colon < 0 || end < colon+2 {
		return nil, nil, nil
	}
	return b[:colon], trimOWS(b[colon+1 : end-1]), b[end+1:]
}

// cutToken cuts the first element off a comma-separated list.
func cutToken(list []byte) (token, rest []byte) {
	if i := bytes.IndexByte(list, ','); i >= 0 {
		return trimOWS(list[:i]), list[i+1:]
	}
	return trimOWS(list), nil
}

func trimOWS(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// is compares name with a lower-case name of the same length made of letters, digits and hyphens. Setting
// bit 5 turns only an upper-case letter into a lower-case one as long as name is made of token characters.
func is(name []byte, lower string) bool {
	for i := 0; i < len(lower); i++ {
		if name[i]|0x20 != lower[i] {
			return false
		}
	}
	return true
}

// validValue tells whether v is made of visible characters, spaces, tabs and bytes above 0x7f
// (RFC 9110 §5.5). It looks at eight bytes at a time.
func validValue(v []byte) bool {
	const (
		ones = 0x0101010101010101
		high = 0x8080808080808080
	)
	for len(v) >= 8 {
		w := binary.LittleEndian.Uint64(v)
		del := w ^ (0x7f * ones)
		if ((w-0x20*ones)&^w|(del-ones)&^del)&high != 0 && !validBytes(v[:8]) {
			return false
		}
		v = v[8:]
	}
	return validBytes(v)
}

func validBytes(v []byte) bool {
	for _, c := range v {
		if c < 0x20 && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// parseLength reads a Content-Length: decimal digits only (RFC 9110 §8.6), at most 18 of them, so that it
// fits int64 with room for arithmetic.
func parseLength(v []byte) (int64, bool) {
	if len(v) == 0 || len(v) > 18 {
		return 0, false
	}
	var n int64
	for _, c := range v {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// tchar marks the characters of a token, RFC 9110 §5.6.2.
var tchar = charset("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")

// hostChar marks the characters of a host as they are met in practice: names and IPv4. No user information, no
// percent-encoding, no white space. addressChar are those of an IPv6 address.
var (
	hostChar    = charset("-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
	addressChar = charset(":.0123456789ABCDEFabcdef")
)

func charset(chars string) *[256]bool {
	var t [256]bool
	for i := 0; i < len(chars); i++ {
		t[chars[i]] = true
	}
	return &t
}

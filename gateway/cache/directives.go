package cache

// maxSeconds is the largest number of seconds that is told apart: RFC 9111 §1.2.2.
const maxSeconds = 1 << 31

// is compares b, in any case, with a text in lower case.
func is(b []byte, lower string) bool {
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

// A directive is one element of a Cache-Control list. Its parts are borrowed.
type directive struct {
	name, value []byte
	form        form
}

// A form is how a directive's argument was written.
type form uint8

const (
	bare      form = iota // no argument
	token                 // name=value
	quoted                // name="value"; the value is without quotes, but may hold backslashes
	malformed             // an argument that is neither
)

// cutDirective cuts the first directive off a Cache-Control list, RFC 9111 §5.2. A quoted-string may hold
// commas; a quote without an end is an ordinary character, so that it cannot hide a directive behind it.
func cutDirective(list []byte) (d directive, rest []byte) {
	end := indexAny(list, '=', ',')
	if end == len(list) || list[end] == ',' {
		return directive{name: trim(list[:end])}, after(list, end)
	}
	d = directive{name: trim(list[:end]), form: token}
	spaced := len(d.name) > 0 && (list[end-1] == ' ' || list[end-1] == '\t')
	argument := list[end+1:]
	if n := quotedLength(argument); n > 0 {
		d.value, d.form = argument[1:n-1], quoted
		end = n + indexAny(argument[n:], ',', ',')
		if len(trim(argument[n:end])) > 0 {
			d.form = malformed
		}
	} else {
		end = indexAny(argument, ',', ',')
		if d.value = trimRight(argument[:end]); !isToken(d.value) {
			d.form = malformed
		}
	}
	if spaced {
		d.form = malformed
	}
	return d, after(argument, end)
}

// quotedLength returns the length of the quoted-string at the start of b, its quotes included; 0: there is none.
func quotedLength(b []byte) int {
	if len(b) == 0 || b[0] != '"' {
		return 0
	}
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return 0
}

// indexAny returns where the first x or y is in b, or len(b).
func indexAny(b []byte, x, y byte) int {
	for i, c := range b {
		if c == x || c == y {
			return i
		}
	}
	return len(b)
}

// after returns what follows list[end], which is a comma or the end.
func after(list []byte, end int) []byte {
	if end >= len(list) {
		return nil
	}
	return list[end+1:]
}

// seconds reads the directive's argument as delta-seconds, in either form (RFC 9111 §5.2). Larger numbers than
// maxSeconds are maxSeconds.
func (d *directive) seconds() (n int64, ok bool) {
	if d.form != token && d.form != quoted {
		return 0, false
	}
	return parseSeconds(d.value)
}

// parseSeconds reads delta-seconds: RFC 9111 §1.2.2.
func parseSeconds(v []byte) (n int64, ok bool) {
	for _, c := range v {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = min(n*10+int64(c-'0'), maxSeconds)
	}
	return n, len(v) > 0
}

// A span is the argument of a directive of seconds, or absent.
type span int64

const absent span = -1

// see takes one more occurrence. Two that differ, and one that cannot be read, are 0: RFC 9111 §4.2.1 has such
// an answer considered stale, and an allowance to use a stale one is then none.
func (s *span) see(n int64, ok bool) {
	switch {
	case !ok || *s != absent && *s != span(n):
		*s = 0
	default:
		*s = span(n)
	}
}

// directives are those of a response that this cache obeys, from Cache-Control or a targeted field. A
// directives is reused; its slice only grows.
type directives struct {
	public, private, noStore, noCache               bool
	mustRevalidate, proxyRevalidate, mustUnderstand bool
	maxAge, sMaxAge                                 span
	staleWhileRevalidate, staleIfError              span
	named                                           [][]byte // borrowed: lists of field names that must not be stored
}

func (d *directives) reset() {
	*d = directives{maxAge: absent, sMaxAge: absent, staleWhileRevalidate: absent, staleIfError: absent, named: d.named[:0]}
}

// read takes one Cache-Control line. Unknown directives are ignored, RFC 9111 §5.2.3; an argument that a
// directive does not have does not weaken it.
func (d *directives) read(list []byte) {
	for len(list) > 0 {
		var x directive
		if x, list = cutDirective(list); len(x.name) > 0 {
			d.take(x)
		}
	}
}

func (d *directives) take(x directive) {
	switch len(x.name) {
	case 6:
		// The one directive here that only allows: one with an argument is not it.
		d.public = d.public || x.form == bare && is(x.name, "public")
	case 7:
		if is(x.name, "max-age") {
			d.maxAge.see(x.seconds())
		} else if is(x.name, "private") {
			d.private = d.private || !d.qualify(x)
		}
	case 8:
		if is(x.name, "no-store") {
			d.noStore = true
		} else if is(x.name, "s-maxage") {
			d.sMaxAge.see(x.seconds())
		} else if is(x.name, "no-cache") {
			d.noCache = d.noCache || !d.qualify(x)
		}
	case 14:
		if is(x.name, "stale-if-error") {
			d.staleIfError.see(x.seconds())
		}
	case 15:
		d.mustRevalidate = d.mustRevalidate || is(x.name, "must-revalidate")
		d.mustUnderstand = d.mustUnderstand || is(x.name, "must-understand")
	case 16:
		d.proxyRevalidate = d.proxyRevalidate || is(x.name, "proxy-revalidate")
	case 22:
		if is(x.name, "stale-while-revalidate") {
			d.staleWhileRevalidate.see(x.seconds())
		}
	}
}

// qualify takes the field names of private="…" and no-cache="…" (RFC 9111 §5.2.2.7, §5.2.2.4) and tells whether
// they can be left out of the stored answer. If not, the directive counts as written without them.
func (d *directives) qualify(x directive) bool {
	if x.form != quoted && x.form != token {
		return false
	}
	if !separable(x.value) {
		return false
	}
	d.named = append(d.named, x.value)
	return true
}

// separable tells whether the list holds field names, at least one, and none without which the body or the
// choice of the answer would be misread.
func separable(list []byte) bool {
	some := false
	for len(list) > 0 {
		var name []byte
		if name, list = cutElement(list); len(name) == 0 {
			continue
		}
		if !isToken(name) || is(name, "content-encoding") || is(name, "content-type") || is(name, "vary") {
			return false
		}
		some = true
	}
	return some
}

// names tells whether a qualified directive names the field.
func (d *directives) names(field []byte) bool {
	for _, list := range d.named {
		for len(list) > 0 {
			var name []byte
			if name, list = cutElement(list); sameName(name, field) {
				return true
			}
		}
	}
	return false
}

// cutElement cuts the first element off a comma-separated list without quoted strings.
func cutElement(list []byte) (element, rest []byte) {
	end := indexAny(list, ',', ',')
	return trim(list[:end]), after(list, end)
}

// sameName compares two field names, both in any case.
func sameName(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}

func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	return trimRight(b)
}

func trimRight(b []byte) []byte {
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// isToken tells whether b is a token, RFC 9110 §5.6.2.
func isToken(b []byte) bool {
	for _, c := range b {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '!', '#' <= c && c <= '\'', c == '*', c == '+', c == '-', c == '.', c == '^', c == '_', c == '`', c == '|', c == '~':
		default:
			return false
		}
	}
	return len(b) > 0
}

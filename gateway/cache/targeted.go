package cache

// readTargeted takes one line of a targeted field (RFC 9213): a dictionary of RFC 8941 §3.2, read as that
// document's §4.2.2 says. ok is false on any error; then the whole field counts as absent. A key that comes
// again replaces what it said before.
func (d *directives) readTargeted(line []byte) (ok bool) {
	for p := (sfReader{b: trim(line)}); len(p.b) > 0; {
		key := p.key()
		v := sfItem{kind: sfBoolean, text: yes}
		if p.next('=') {
			v = p.member()
		}
		p.parameters()
		p.ows()
		if p.bad {
			return false
		}
		d.takeTargeted(key, v)
		if len(p.b) == 0 {
			return true
		}
		if !p.next(',') {
			return false
		}
		if p.ows(); len(p.b) == 0 {
			return false // a comma at the end
		}
	}
	return true
}

var yes = []byte("1")

// takeTargeted obeys one member. Arguments must have the type that the directive implies (RFC 9213 §2.1): a
// number of seconds that is not an Integer counts as one that cannot be read. What forbids is obeyed whatever
// its argument is, except ?0.
func (d *directives) takeTargeted(key []byte, v sfItem) {
	on := v.kind != sfBoolean || string(v.text) == "1"
	n, isSeconds := parseSeconds(v.text)
	isSeconds = isSeconds && v.kind == sfInteger
	x := directive{name: key, value: v.text, form: bare}
	if v.kind == sfString {
		x.form = quoted
	}
	set := func(s *span) {
		*s = absent
		s.see(n, isSeconds)
	}
	switch string(key) {
	case "public":
		d.public = v.kind == sfBoolean && on
	case "private":
		d.private = on && !d.qualify(x)
	case "no-store":
		d.noStore = on
	case "no-cache":
		d.noCache = on && !d.qualify(x)
	case "must-revalidate":
		d.mustRevalidate = on
	case "proxy-revalidate":
		d.proxyRevalidate = on
	case "must-understand":
		d.mustUnderstand = v.kind == sfBoolean && on
	case "max-age":
		set(&d.maxAge)
	case "s-maxage":
		set(&d.sMaxAge)
	case "stale-while-revalidate":
		set(&d.staleWhileRevalidate)
	case "stale-if-error":
		set(&d.staleIfError)
	}
}

// An sfItem is a bare item of RFC 8941 §3.3. Its text is borrowed: digits, what stands between quotes, 0 or 1.
type sfItem struct {
	kind sfKind
	text []byte
}

type sfKind uint8

const (
	sfOther sfKind = iota // a decimal, a token, a byte sequence or an inner list: no directive has one
	sfInteger
	sfString
	sfBoolean
)

// sfReader reads structured fields from left to right; bad remembers an error.
type sfReader struct {
	b   []byte
	bad bool
}

func (p *sfReader) fail() { p.bad, p.b = true, nil }

func (p *sfReader) next(c byte) bool {
	if len(p.b) == 0 || p.b[0] != c {
		return false
	}
	p.b = p.b[1:]
	return true
}

func (p *sfReader) ows() { p.b = trim(p.b) }
func (p *sfReader) spaces() {
	for p.next(' ') {
	}
}

// take cuts n bytes off.
func (p *sfReader) take(n int) []byte {
	cut := p.b[:n]
	p.b = p.b[n:]
	return cut
}

// run returns how many bytes at the start belong to the class.
func (p *sfReader) run(class func(byte) bool) int {
	n := 0
	for n < len(p.b) && class(p.b[n]) {
		n++
	}
	return n
}

func (p *sfReader) key() []byte {
	if len(p.b) == 0 || p.b[0] != '*' && (p.b[0] < 'a' || p.b[0] > 'z') {
		p.fail()
		return nil
	}
	return p.take(p.run(func(c byte) bool {
		return 'a' <= c && c <= 'z' || isDigit(c) || c == '_' || c == '-' || c == '.' || c == '*'
	}))
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// member reads an item or an inner list.
func (p *sfReader) member() sfItem {
	if !p.next('(') {
		return p.item()
	}
	for !p.bad {
		if p.spaces(); p.next(')') {
			return sfItem{}
		}
		p.item()
		p.parameters()
		if len(p.b) == 0 || p.b[0] != ' ' && p.b[0] != ')' {
			p.fail()
		}
	}
	return sfItem{}
}

func (p *sfReader) parameters() {
	for p.next(';') {
		p.spaces()
		if p.key(); p.next('=') {
			p.item()
		}
	}
}

func (p *sfReader) item() sfItem {
	if len(p.b) == 0 {
		p.fail()
		return sfItem{}
	}
	switch c := p.b[0]; {
	case c == '-' || isDigit(c):
		return p.number()
	case c == '"':
		return p.text()
	case c == '?':
		if len(p.b) < 2 || p.b[1] != '0' && p.b[1] != '1' {
			p.fail()
			return sfItem{}
		}
		return sfItem{sfBoolean, p.take(2)[1:]}
	case c == ':':
		return p.bytes()
	case c == '*' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z':
		p.take(p.run(func(c byte) bool { return c == ':' || c == '/' || isToken([]byte{c}) }))
		return sfItem{}
	}
	p.fail()
	return sfItem{}
}

// number reads an Integer of at most 15 digits or a Decimal of at most 12 and 3: RFC 8941 §4.2.4. The sign
// stays with the text, so that a negative number is not one of seconds.
func (p *sfReader) number() sfItem {
	all := p.b
	p.next('-')
	sign := len(all) - len(p.b)
	whole := p.run(isDigit)
	p.take(whole)
	if !p.next('.') {
		if whole == 0 || whole > 15 {
			p.fail()
		}
		return sfItem{sfInteger, all[:sign+whole]}
	}
	part := p.run(isDigit)
	p.take(part)
	if whole == 0 || whole > 12 || part == 0 || part > 3 {
		p.fail()
	}
	return sfItem{}
}

// text reads a String: visible ASCII, and only quotes and backslashes escaped.
func (p *sfReader) text() sfItem {
	n := quotedLength(p.b)
	if n == 0 {
		p.fail()
		return sfItem{}
	}
	v := p.take(n)[1 : n-1]
	for i := 0; i < len(v); i++ {
		if v[i] == '\\' {
			if i++; v[i] != '"' && v[i] != '\\' {
				p.fail()
			}
		} else if v[i] < ' ' || v[i] > '~' {
			p.fail()
		}
	}
	return sfItem{sfString, v}
}

func (p *sfReader) bytes() sfItem {
	p.next(':')
	p.take(p.run(func(c byte) bool {
		return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || isDigit(c) || c == '+' || c == '/' || c == '='
	}))
	if !p.next(':') {
		p.fail()
	}
	return sfItem{}
}

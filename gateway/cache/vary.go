package cache

import (
	"bytes"
	"encoding/binary"
	"slices"

	"aigateway/gateway/wire"
)

// maxVaryNames bounds how many fields an answer may vary by.
const maxVaryNames = 16

// MaxVariants is how many answers of one URL are stored at most; then the oldest goes.
const MaxVariants = 16

// varies are the fields that Vary names, RFC 9110 §12.5.5: sorted, each once, in any case. any: by something that
// is not in the request, so that the answer never fits another one.
type varies struct {
	any   bool
	names [][]byte // borrowed
}

func (v *varies) reset() { *v = varies{names: v.names[:0]} }

func (v *varies) read(list []byte) {
	for len(list) > 0 {
		var name []byte
		if name, list = cutElement(list); len(name) > 0 {
			v.add(name)
		}
	}
}

func (v *varies) add(name []byte) {
	if string(name) == "*" || !isToken(name) || perRequest(name) {
		v.any = true
		return
	}
	at, found := slices.BinarySearchFunc(v.names, name, compareNames)
	if found {
		return
	}
	if len(v.names) == maxVaryNames {
		v.any = true
		return
	}
	v.names = slices.Insert(v.names, at, name)
}

func (v *varies) has(name []byte) bool {
	_, found := slices.BinarySearchFunc(v.names, name, compareNames)
	return found
}

// perRequest tells whether the gateway itself writes the field, for each request another one. An answer that varies
// by it is the client's own. Host, X-Forwarded-Host and -Proto, which it writes too, are in the key.
func perRequest(name []byte) bool {
	return is(name, "x-forwarded-for") || is(name, "x-request-id") || is(name, "traceparent") || is(name, "tracestate")
}

// compareNames orders field names as if both were in lower case.
func compareNames(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if x, y := lower(a[i]), lower(b[i]); x != y {
			return int(x) - int(y)
		}
	}
	return len(a) - len(b)
}

// Varies tells whether the answer has a Vary field that names something.
func (r *Response) Varies() bool { return r.vary.any || len(r.vary.names) > 0 }

// AppendVary appends the names of the fields the answer varies by: sorted, in lower case, each once, with commas
// between them. Nothing: it does not vary. An answer that varies by anything is not storable, see [ForVaryAny].
func (r *Response) AppendVary(dst []byte) []byte {
	for i, name := range r.vary.names {
		if i > 0 {
			dst = append(dst, ',')
		}
		for _, c := range name {
			dst = append(dst, lower(c))
		}
	}
	return dst
}

// AppendNames appends by which fields the answer, as it is to be stored, is told apart from others of its URL, given
// those that told them apart before. Where m has its freshness from us, these are all that may matter; a content coding
// that nobody said it depends on would reach clients that cannot read it.
func (r *Response) AppendNames(dst, before []byte, m *Meta) []byte {
	own := m.Flags&Own != 0
	var room [256]byte
	names := r.AppendVary(room[:0])
	var more [256]byte
	if own && len(r.coding) > 0 {
		names = MergeVary(more[:0], fieldAcceptEncoding, names)
	}
	var most [256]byte
	if own {
		names = MergeVary(most[:0], othersName, names)
	} else {
		before = withoutOthers(before)
	}
	return MergeVary(dst, before, names)
}

// withoutOthers is a list of names without othersName.
func withoutOthers(names []byte) []byte {
	first, rest := cutElement(names)
	if bytes.Equal(first, othersName) {
		return rest
	}
	return names
}

// IsOthers tells whether a URL's answers are told apart by nothing but what [Request.AppendOthers] appends.
func IsOthers(names []byte) bool { return bytes.Equal(names, othersName) }

// AppendOthersName appends the list of names of which that is so.
func AppendOthersName(dst []byte) []byte { return append(dst, othersName...) }

// MergeVary appends the union of two lists that AppendVary wrote. A URL's answers are told apart by every field
// that one of them named: so an answer without Vary does not hide the others (RFC 9111 §4.1), and a URL whose
// answers disagree settles. If the union is too long, it is the second list alone.
func MergeVary(dst, old, names []byte) []byte {
	start, count := len(dst), 0
	for a, b := old, names; len(a) > 0 || len(b) > 0; count++ {
		x, restA := cutElement(a)
		y, restB := cutElement(b)
		order := compareNames(x, y)
		if len(a) == 0 || len(b) == 0 {
			order = len(b) - len(a) // whichever is left
		}
		if count > 0 {
			dst = append(dst, ',')
		}
		if order <= 0 {
			dst, a = append(dst, x...), restA
		} else {
			dst = append(dst, y...)
		}
		if order >= 0 {
			b = restB
		}
	}
	if count > maxVaryNames {
		return append(dst[:start], names...)
	}
	return dst
}

// AppendVariant appends to a key's text what tells a request from others of the same URL: RFC 9111 §4.1. names is a
// list that AppendVary or MergeVary wrote. Lines of one field are combined; a field that is absent differs from
// one that is empty. A value cannot hold the line feed that ends it.
func AppendVariant(dst, names []byte, h *wire.RequestHead, r *Request) []byte {
	for len(names) > 0 {
		var name []byte
		name, names = cutElement(names)
		dst = append(dst, '\n')
		dst = append(dst, name...)
		switch {
		case is(name, "accept-encoding"):
			dst = appendCodings(dst, h)
		case is(name, "accept-language"):
			dst = appendLanguages(dst, h)
		case bytes.Equal(name, othersName):
			dst = r.appendClass(dst)
		case r != nil && r.keyed && wire.IsCredential(name): // no upstream sees it, and no record may hold it
		default:
			dst = appendCombined(dst, name, h)
		}
	}
	return dst
}

// appendCombined appends a colon and the field's lines, combined into one: RFC 9110 §5.3. Nothing if there are none. A line
// whose name has underscores for hyphens is one of them to CGI and its descendants: what they make of it is nobody else's.
func appendCombined(dst, name []byte, h *wire.RequestHead) []byte {
	separator := ":"
	for n, value := range h.Lines() {
		if sameVariable(n, name) {
			dst = append(append(dst, separator...), value...)
			separator = ", "
		}
	}
	return dst
}

// sameVariable tells whether two names are that of one variable to CGI: RFC 3875 §4.1.18.
func sameVariable(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if x, y := lower(a[i]), lower(b[i]); x != y && !(x == '_' && y == '-' || x == '-' && y == '_') {
			return false
		}
	}
	return true
}

// appendLanguages is appendCombined for Accept-Language, of which neither case nor white space around its parts means
// anything: RFC 9110 §12.5.4, §5.6.1. The order does, to some.
func appendLanguages(dst []byte, h *wire.RequestHead) []byte {
	separator := byte(':')
	for n, value := range h.Lines() {
		if is(n, "accept-language") {
			dst = appendLanguageList(append(dst, separator), value)
			separator = ','
		}
	}
	return dst
}

func appendLanguageList(dst, list []byte) []byte {
	for first := true; len(list) > 0; first = false {
		var element []byte
		if element, list = cutElement(list); !first {
			dst = append(dst, ',')
		}
		for more := true; more; {
			var part []byte
			part, element, more = bytes.Cut(element, semicolon)
			for _, c := range trim(part) {
				dst = append(dst, lower(c))
			}
			if more {
				dst = append(dst, ';')
			}
		}
	}
	return dst
}

var fieldAcceptEncoding = []byte("accept-encoding")

// codings are sets of content codings that are told apart.
type codings uint8

const (
	brotli codings = 1 << iota
	gzip
	zstd
	identity
	allCodings = brotli | gzip | zstd | identity
)

// appendCodings appends which of the codings the client accepts: RFC 9110 §12.5.3. All else in Accept-Encoding,
// order and weights included, changes which of these an upstream prefers, but not whether its choice can be used.
func appendCodings(dst []byte, h *wire.RequestHead) []byte {
	var accepted, mentioned codings
	present, others := false, false
	for n, list := range h.Lines() {
		if !sameName(n, fieldAcceptEncoding) {
			continue
		}
		present = true
		for len(list) > 0 {
			var element []byte
			element, list = cutElement(list)
			coding, usable := readCoding(element)
			if mentioned |= coding; usable {
				accepted |= coding
			}
			others = others || usable && string(element[:min(1, len(element))]) == "*"
			if !usable && len(element) > 0 && element[0] == '*' {
				mentioned |= identity // "*;q=0" leaves out even what is not encoded
			}
		}
	}
	if !present {
		return dst
	}
	if accepted |= identity &^ mentioned; others {
		accepted |= allCodings &^ mentioned
	}
	return accepted.append(append(dst, ':'))
}

func (c codings) append(dst []byte) []byte {
	for _, x := range [...]struct {
		coding codings
		name   string
	}{{brotli, "br,"}, {gzip, "gzip,"}, {zstd, "zstd,"}, {identity, "identity,"}} {
		if c&x.coding != 0 {
			dst = append(dst, x.name...)
		}
	}
	return dst
}

// readCoding reads one element of Accept-Encoding; usable is false if its weight is zero.
func readCoding(element []byte) (coding codings, usable bool) {
	name, weight, _ := bytes.Cut(element, semicolon)
	weight = trim(weight)
	if len(weight) > 2 && is(weight[:2], "q=") {
		zero := bytes.Trim(weight[2:], "0")
		usable = len(zero) > 0 && string(zero) != "."
	} else {
		usable = true
	}
	return codingOf(trim(name)), usable
}

var semicolon = []byte(";")

func codingOf(name []byte) codings {
	switch {
	case is(name, "br"):
		return brotli
	case is(name, "gzip"), is(name, "x-gzip"): // the same: RFC 9110 §8.4.1.3
		return gzip
	case is(name, "zstd"):
		return zstd
	case is(name, "identity"):
		return identity
	}
	return 0
}

// knownCoding tells whether a Content-Encoding is one that [AppendVariant] tells apart. Under the key of a client
// that accepts others, too, an answer in one of those would reach clients that do not.
func knownCoding(name []byte) bool { return len(name) == 0 || codingOf(name) != 0 }

// Variants is what the record of a URL with several answers holds: by which fields they differ, and which there
// are. A stored variant counts only while this list holds its key, so that removing the list removes them all.
// It is borrowed from the record.
type Variants struct {
	Names []byte // as MergeVary wrote them
	keys  []byte // MaxVariants at most, the oldest first
}

// ParseVariants reads a record's bytes. ok is false for bytes that AppendVariants did not write.
func ParseVariants(b []byte) (v Variants, ok bool) {
	if len(b) < 2 {
		return Variants{}, false
	}
	n := int(binary.BigEndian.Uint16(b))
	if b = b[2:]; n == 0 || n > len(b) {
		return Variants{}, false
	}
	v.Names, v.keys = b[:n:n], b[n:]
	if len(v.keys)%len(Key{}) != 0 || v.Len() > MaxVariants || !validNames(v.Names) {
		return Variants{}, false
	}
	return v, true
}

// validNames tells whether names is a list that AppendVary may have written.
func validNames(names []byte) bool {
	var before []byte
	for i := 0; ; i++ {
		end := indexAny(names, ',', ',')
		name := names[:end]
		if i == maxVaryNames || !isToken(name) || compareNames(before, name) >= 0 || bytes.ContainsFunc(name, isUpper) {
			return false
		}
		if end == len(names) {
			return true
		}
		before, names = name, names[end+1:]
	}
}

func isUpper(r rune) bool { return 'A' <= r && r <= 'Z' }

// Len is how many variants there are.
func (v Variants) Len() int { return len(v.keys) / len(Key{}) }

// At returns the key of variant i, the oldest first.
func (v Variants) At(i int) Key { return Key(v.keys[i*len(Key{}):]) }

// Holds tells whether the variant is on the list.
func (v Variants) Holds(k Key) bool {
	for i := range v.Len() {
		if v.At(i) == k {
			return true
		}
	}
	return false
}

// AppendVariants appends the bytes of the list old with one variant more, the newest, found under names. Where names
// are others than before, the keys of before were made of less, and are left out. An empty old begins a list.
func AppendVariants(dst []byte, old Variants, names []byte, newest Key) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(names)))
	dst = append(dst, names...)
	if bytes.Equal(old.Names, names) {
		from := 0
		if old.Len() == MaxVariants && !old.Holds(newest) {
			from = 1
		}
		for i := from; i < old.Len(); i++ {
			if k := old.At(i); k != newest {
				dst = append(dst, k[:]...)
			}
		}
	}
	return append(dst, newest[:]...)
}

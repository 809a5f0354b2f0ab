package inference

import "bytes"

// A walk goes over the members of a JSON object, or the items of an array, of which it is known that they are whole: an
// event's data, an answer. What is not well-formed ends it. It is for small things; the Scanner is for bodies.
type walk struct {
	rest []byte
	open byte
}

// walkOf goes over what the container v holds; over nothing if v is none.
func walkOf(v []byte) walk {
	if len(v) == 0 || v[0] != '{' && v[0] != '[' {
		return walk{}
	}
	return walk{rest: v[1:], open: v[0]}
}

// next is the next member: the raw text of its name, without the quotes, which is empty in an array, and its value.
func (w *walk) next() (name, value []byte, ok bool) {
	if name, ok = w.name(); ok {
		value, ok = w.value()
	}
	return name, value, ok
}

// name goes to where the value of the next member begins, if there is one, and returns the member's name.
func (w *walk) name() (name []byte, ok bool) {
	i := skipSpace(w.rest, 0)
	if i < len(w.rest) && w.rest[i] == ',' {
		i = skipSpace(w.rest, i+1)
	}
	if w.open == '{' {
		if i >= len(w.rest) || w.rest[i] != '"' {
			return nil, false
		}
		end := stringEnd(w.rest, i+1)
		if end < 0 {
			return nil, false
		}
		name = w.rest[i+1 : end-1]
		if i = skipSpace(w.rest, end); i >= len(w.rest) || w.rest[i] != ':' {
			return nil, false
		}
		i = skipSpace(w.rest, i+1)
	}
	w.rest = w.rest[i:]
	return name, true
}

// value goes over the value that begins here.
func (w *walk) value() (value []byte, ok bool) {
	end := valueEnd(w.rest, 0)
	if end <= 0 {
		return nil, false
	}
	value, w.rest = w.rest[:end], w.rest[end:]
	return value, true
}

// within goes over what the value holds that begins here: when it has, w goes on by pass. So a long value is not gone over once to find its end and
// once more to see what is in it.
func (w *walk) within() walk { return walkOf(w.rest) }

// pass goes on behind the value that begins here, of which in has seen all that it could make out.
func (w *walk) pass(in *walk) (ok bool) {
	const closing = '}' - '{' // behind the bracket that opens, for both kinds
	i := skipSpace(in.rest, 0)
	if in.open != 0 && i < len(in.rest) && in.rest[i] == in.open+closing {
		w.rest = in.rest[i+1:]
		return true
	}
	_, ok = w.value()
	return ok
}

// valueEnd is the index behind the value at b[i]; i or less if there is none.
func valueEnd(b []byte, i int) int {
	for depth := 0; i < len(b); {
		switch c := b[i]; {
		case c == '"':
			if i = stringEnd(b, i+1); i < 0 {
				return -1
			}
		case c == '{' || c == '[':
			depth++
			i++
			continue
		case c == '}' || c == ']':
			if depth--; depth < 0 {
				return -1
			}
			i++
		case isBare[c]:
			for i < len(b) && isBare[b[i]] {
				i++
			}
		default: // between values
			if depth == 0 {
				return -1
			}
			i++
			continue
		}
		if depth == 0 {
			return i
		}
	}
	return -1
}

// member is the value of the first member of that name, nil if there is none. The name has no escapes.
func member(object []byte, name string) []byte {
	if len(object) == 0 || object[0] != '{' {
		return nil
	}
	for w := walkOf(object); ; {
		n, v, ok := w.next()
		if !ok {
			return nil
		}
		if string(n) == name {
			return v
		}
	}
}

// says tells whether a value says something: neither null nor empty.
func says(v []byte) bool {
	switch {
	case len(v) == 0:
		return false
	case v[0] == '"':
		return len(v) > 2
	case v[0] == '[' || v[0] == '{':
		i := skipSpace(v, 1)
		return i < len(v) && v[i] != ']' && v[i] != '}'
	}
	return v[0] != 'n' && v[0] != 'f'
}

// isString tells whether v is a string of exactly that text, which has nothing that would be escaped.
func isString(v []byte, text string) bool {
	return len(v) == len(text)+2 && v[0] == '"' && string(v[1:len(v)-1]) == text
}

// text is what stands between the quotes of a string, nil if v is none.
func text(v []byte) []byte {
	if len(v) < 2 || v[0] != '"' {
		return nil
	}
	return v[1 : len(v)-1]
}

func count(v []byte) (n int64, ok bool) {
	if len(v) == 0 || len(v) > 15 {
		return 0, false
	}
	for _, c := range v {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// object is data without the blanks around it, nil if it is no object.
func object(data []byte) []byte {
	data = bytes.Trim(data, " \t\r\n")
	if len(data) < 2 || data[0] != '{' || data[len(data)-1] != '}' {
		return nil
	}
	return data
}

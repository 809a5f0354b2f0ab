package inference

// judged is what judge is told of what stands before, and tells of what it has read.
type judged struct {
	tokens  uint16 // the last one or two, the last one highest; to judge the first one is lowest
	count   uint16 // how many, when it is told; it tells two
	verdict uint32
	depth   int
	open    uint64 // not 0: what it has read ends in a string
	escaped uint64 // not 0: whose next byte is escaped
}

const (
	beforeBlocks = 64      // bytes of a value that may as well be a short one
	worthBlocks  = 384     // bytes of the body that make up for what judge takes to begin and to end
	surelyBlocks = 2 << 10 // bytes of the body of which such values have most
)

// What judge has come to.
const (
	goesOn    = iota // to the end of what there was
	valueEnds        // the value has ended
	misshapen        // it is malformed
	deep             // what follows may be nested too deep
)

// An open container that has been counted is another token for judge than one that has not.
const (
	openedObject = '\x01'
	openedArray  = '\x02'
)

// tokenBefore is what stands before a place where at is next.
func (s *Scanner) tokenBefore(at phase) (tokens, count uint16) {
	switch at {
	case atFirstName:
		return openedObject, 1
	case atFirstValue:
		return openedArray, 1
	case atName:
		return ',', 1
	case atColon:
		return openedObject | '"'<<8, 2
	case atValue:
		if s.inObject() {
			return ':', 1
		}
		return ',', 1
	}
	return '0', 1
}

// phaseBehind is what may be next behind two tokens.
func (s *Scanner) phaseBehind(tokens uint16) phase {
	before := byte(tokens)
	switch byte(tokens >> 8) {
	case '{', openedObject:
		return atFirstName
	case '[', openedArray:
		return atFirstValue
	case ',':
		if s.inObject() {
			return atName
		}
		return atValue
	case ':':
		return atValue
	case '"':
		if s.inObject() && (before == '{' || before == openedObject || before == ',') {
			return atColon
		}
	}
	return atComma
}

// nestedBlocks is nested for processors that have judge. Phase and depth are then as they are behind what it has read; going tells whether the
// value goes on there, between tokens.
func (s *Scanner) nestedBlocks(p []byte, i int, at phase) (behind int, going bool) {
	j := judged{depth: s.depth}
	j.tokens, j.count = s.tokenBefore(at)
	i += judge(&j, &s.kinds, &p[i], len(p)-i)
	if j.verdict == misshapen {
		return s.malformed(i), false
	}
	if s.depth = j.depth; j.verdict == valueEnds {
		return s.endValue(i), false
	}
	s.phase = s.phaseBehind(j.tokens)
	switch {
	case j.open != 0:
		if s.escaped = j.escaped != 0; s.phase == atColon {
			s.phase = inNestedName
		} else {
			s.phase = inString
		}
		return i, false
	case s.phase == atComma && isBare[p[i-1]]:
		if i = bareEnd(p, i); i == len(p) {
			return s.pause(inBare, i), false
		}
	}
	return i, true
}

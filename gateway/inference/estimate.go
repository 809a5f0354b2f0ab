package inference

import (
	"bytes"
	"hash/maphash"
	"math"
	"sync/atomic"
)

// An Estimator tells how many tokens a request will need before an upstream has counted them, and learns from what upstreams count. Its
// memory is bounded: where there are too many models or tenants, some of them learn together. The zero value is not usable.
type Estimator struct {
	seed maphash.Seed
	slot [estimates]atomic.Pointer[experience]
}

const (
	estimates = 1 << 12
	probes    = 4 // slots that one may have

	firstRatio  = 0.27 // tokens a byte: English text in a JSON body
	leastRatio  = 0.1
	mostRatio   = 1
	MediaTokens = 1500 // an image, a file, a piece of sound
	firstOutput = 512

	answersKept = 128
	fewAnswers  = 16
)

// experience is what is known of a model, or of a tenant's answers of a model.
type experience struct {
	hash    uint64
	ratio   atomic.Uint64 // float64; 0: firstRatio
	answers [answersKept]atomic.Uint32
	count   atomic.Uint32
	p99     atomic.Uint32
}

// NewEstimator makes one that has seen nothing.
func NewEstimator() *Estimator { return &Estimator{seed: maphash.MakeSeed()} }

// A Size is how much a model is to read: bytes of text, and parts that are none, whose bytes say nothing.
type Size struct{ Text, Media int64 }

// A Measurer measures a body as it comes, in pieces. Long strings of base64 in it are media. The zero value is ready for a body.
type Measurer struct {
	size    Size
	run     int64 // bytes of the open string so far
	text    bool  // a string is open
	escaped bool  // and a backslash stands before the next byte
	head    [64]byte
}

const longString = 1024 // shorter ones are not worth telling apart

// Reset readies it for another body.
func (m *Measurer) Reset() { m.size, m.run, m.text, m.escaped = Size{}, 0, false, false }

// Scan reads the next piece.
func (m *Measurer) Scan(piece []byte) {
	m.size.Text += int64(len(piece))
	for len(piece) > 0 {
		if !m.text {
			at := bytes.IndexByte(piece, '"')
			if at < 0 {
				return
			}
			piece, m.text, m.run, m.escaped = piece[at+1:], true, 0, false
			continue
		}
		n := m.textEnd(piece)
		if m.run < int64(len(m.head)) {
			copy(m.head[m.run:], piece[:n])
		}
		m.run += int64(n)
		if n == len(piece) {
			return
		}
		if m.run > longString && isCoded(m.head[:], piece[:n]) {
			m.size.Text -= m.run
			m.size.Media++
		}
		piece, m.text = piece[n+1:], false
	}
}

// textEnd is where the open string's quote stands, or the piece's end.
func (m *Measurer) textEnd(piece []byte) int {
	i := 0
	if m.escaped {
		i, m.escaped = 1, false
	}
	for i <= len(piece) {
		at := bytes.IndexByte(piece[i:], '"')
		if at < 0 {
			m.escaped = oddBackslashes(piece[i:])
			return len(piece)
		}
		if !oddBackslashes(piece[i : i+at]) {
			return i + at
		}
		i += at + 1
	}
	return len(piece)
}

// Size is that of what was read; a string that is open is text.
func (m *Measurer) Size() Size { return m.size }

// Measure is the size of a body that is there whole.
func Measure(body []byte) Size {
	var m Measurer
	m.Scan(body)
	return m.Size()
}

// isCoded tells whether a long text is base64, or a data URL with such: by how it begins, and how what came last of it ends.
func isCoded(head, last []byte) bool {
	if bytes.HasPrefix(head, []byte("data:")) {
		return bytes.Contains(head, []byte(";base64,"))
	}
	return isBase64(head) && isBase64(last[max(0, len(last)-64):])
}

func isBase64(b []byte) bool {
	for _, c := range b {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '+', c == '/', c == '-', c == '_', c == '=':
		default:
			return false
		}
	}
	return true
}

func (e *Estimator) key(tenant, model []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(e.seed)
	_, _ = h.Write(tenant)
	_ = h.WriteByte(0)
	_, _ = h.Write(model)
	return h.Sum64()
}

// find is the slot of a key. Who finds none, and nothing is to be made, has no experience; who finds no room shares another's.
func (e *Estimator) find(key uint64) *experience {
	for i := range uint64(probes) {
		if x := e.slot[(key+i)%estimates].Load(); x != nil && x.hash == key {
			return x
		}
	}
	return nil
}

func (e *Estimator) enter(key uint64) *experience {
	if x := e.find(key); x != nil {
		return x
	}
	for i := range uint64(probes) {
		slot := &e.slot[(key+i)%estimates]
		if slot.Load() == nil {
			slot.CompareAndSwap(nil, &experience{hash: key})
		}
		if x := slot.Load(); x.hash == key {
			return x
		}
	}
	return e.slot[key%estimates].Load()
}

// Input is how many tokens a model will read.
func (e *Estimator) Input(model []byte, s Size) int64 {
	ratio := firstRatio
	if x := e.find(e.key(nil, model)); x != nil {
		if bits := x.ratio.Load(); bits != 0 {
			ratio = math.Float64frombits(bits)
		}
	}
	return int64(math.Ceil(float64(max(s.Text, 0))*ratio)) + s.Media*MediaTokens
}

// Output is how many tokens a model will make for a tenant: as many as nearly all of its last answers had, and not more than is stated, if that
// is not negative.
func (e *Estimator) Output(tenant, model []byte, stated int64) int64 {
	n := int64(firstOutput)
	if x := e.find(e.key(tenant, model)); x != nil && x.count.Load() > 0 {
		n = int64(x.p99.Load())
		if x.count.Load() < fewAnswers {
			n = max(n, firstOutput)
		}
	}
	if stated >= 0 {
		n = min(n, stated)
	}
	return n
}

// LearnInput takes in how many tokens the model has read of that size.
func (e *Estimator) LearnInput(model []byte, s Size, tokens int64) {
	tokens -= s.Media * MediaTokens
	if s.Text < 64 || tokens <= 0 {
		return // nothing can be said of this
	}
	x := e.enter(e.key(nil, model))
	seen := min(max(float64(tokens)/float64(s.Text), leastRatio), mostRatio)
	for {
		bits := x.ratio.Load()
		ratio := firstRatio
		if bits != 0 {
			ratio = math.Float64frombits(bits)
		}
		if x.ratio.CompareAndSwap(bits, math.Float64bits(ratio+(seen-ratio)/16)) {
			return
		}
	}
}

// LearnOutput takes in how many tokens a whole answer had.
func (e *Estimator) LearnOutput(tenant, model []byte, tokens int64) {
	x := e.enter(e.key(tenant, model))
	n := x.count.Add(1)
	x.answers[(n-1)%answersKept].Store(uint32(min(max(tokens, 0), math.MaxUint32)))
	var first, second uint32
	known := min(n, answersKept)
	for i := range known {
		switch a := x.answers[i].Load(); {
		case a > first:
			first, second = a, first
		case a > second:
			second = a
		}
	}
	if known >= 100 { // of fewer, one is more than a hundredth
		first = second
	}
	x.p99.Store(first)
}

// Stated is the most tokens that a request says it wants in all its choices; -1: it does not say.
func (s *Scanner) Stated() int64 {
	const stating = 1<<MaxTokensMember | 1<<MaxCompletionTokensMember | 1<<MaxOutputTokensMember
	if s.ended&stating == 0 {
		return -1
	}
	most := -1.0
	for _, m := range [...]Member{MaxTokensMember, MaxCompletionTokensMember, MaxOutputTokensMember} {
		if v, ok := s.Value(m); ok && v.Kind == Number && v.Number >= 0 {
			most = max(most, v.Number)
		}
	}
	if most < 0 {
		return -1
	}
	if n, ok := s.Value(NMember); ok && n.Kind == Number && n.Number > 1 {
		most *= n.Number
	}
	return int64(min(most, 1e15))
}

package wire

import "sync"

// Sizes of pooled buffers. A mini one holds a usual head, a tiny one a short request; a small one a head of the default limit, or a
// read of a stream; a large one the largest body that is passed on whole, with the head before it; a huge one a stored response of the
// default limit.
const (
	MiniBuffer  = 1 << 10
	TinyBuffer  = 3 << 10
	SmallBuffer = 20 << 10
	LargeBuffer = 96 << 10
	HugeBuffer  = 1<<20 + 64<<10
)

// A Buffer is memory from a pool. Its owner calls Put once and forgets it.
type Buffer struct{ B []byte }

var (
	mini  = sync.Pool{New: func() any { return &Buffer{make([]byte, MiniBuffer)} }}
	tiny  = sync.Pool{New: func() any { return &Buffer{make([]byte, TinyBuffer)} }}
	small = sync.Pool{New: func() any { return &Buffer{make([]byte, SmallBuffer)} }}
	large = sync.Pool{New: func() any { return &Buffer{make([]byte, LargeBuffer)} }}
	huge  = sync.Pool{New: func() any { return &Buffer{make([]byte, HugeBuffer)} }}
)

// GetBuffer returns a buffer of at least size bytes. What does not fit the pooled sizes is made and left to
// the garbage collector.
func GetBuffer(size int) *Buffer {
	switch {
	case size <= MiniBuffer:
		return mini.Get().(*Buffer)
	case size <= TinyBuffer:
		return tiny.Get().(*Buffer)
	case size <= SmallBuffer:
		return small.Get().(*Buffer)
	case size <= LargeBuffer:
		return large.Get().(*Buffer)
	case size <= HugeBuffer:
		return huge.Get().(*Buffer)
	}
	return &Buffer{make([]byte, size)}
}

// Put gives the buffer back.
func (b *Buffer) Put() {
	switch len(b.B) {
	case MiniBuffer:
		mini.Put(b)
	case TinyBuffer:
		tiny.Put(b)
	case SmallBuffer:
		small.Put(b)
	case LargeBuffer:
		large.Put(b)
	case HugeBuffer:
		huge.Put(b)
	}
}

// A Place is where a read puts what it brings.
type Place struct {
	p []byte

	late     **Buffer // nil: p
	from, to int
}

// Late is a place in a buffer that nobody has while the read waits: *b, which need not be there, is given back then, and a small one taken
// when there is something to be read, for (*b).B[from:to]; to is at most SmallBuffer, and cut to what *b has. Where that cannot be, *b is
// there all the time.
func Late(b **Buffer, from, to int) Place { return Place{late: b, from: from, to: to} }

// take has the buffer there.
func (l *Place) take() {
	if l.late == nil {
		return
	}
	if *l.late == nil {
		*l.late = small.Get().(*Buffer)
	}
	b := (*l.late).B
	l.p = b[l.from:min(l.to, len(b))]
}

func (l *Place) giveBack() {
	if l.late != nil {
		(*l.late).Put()
		*l.late, l.p = nil, nil
	}
}

package wire

import "sync"

// Sizes of pooled buffers. A small one holds a head of the default limit, or a read of a stream; a large one
// the largest body that is passed on whole, with the head before it; a huge one a stored response of the default limit.
const (
	SmallBuffer = 20 << 10
	LargeBuffer = 96 << 10
	HugeBuffer  = 1<<20 + 64<<10
)

// A Buffer is memory from a pool. Its owner calls Put once and forgets it.
type Buffer struct{ B []byte }

var (
	small = sync.Pool{New: func() any { return &Buffer{make([]byte, SmallBuffer)} }}
	large = sync.Pool{New: func() any { return &Buffer{make([]byte, LargeBuffer)} }}
	huge  = sync.Pool{New: func() any { return &Buffer{make([]byte, HugeBuffer)} }}
)

// GetBuffer returns a buffer of at least size bytes. What does not fit the pooled sizes is made and left to
// the garbage collector.
func GetBuffer(size int) *Buffer {
	switch {
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
	case SmallBuffer:
		small.Put(b)
	case LargeBuffer:
		large.Put(b)
	case HugeBuffer:
		huge.Put(b)
	}
}

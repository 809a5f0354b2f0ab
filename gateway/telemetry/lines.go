package telemetry

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Lines is where all that the gateway says goes: a bounded queue, and one goroutine that writes what has gathered in it.
// Nobody who has a line to leave waits for whoever reads them, and nothing ends because of one who has gone. What finds
// the queue full or cannot be written is lost, counted, and told of as soon as lines are taken again.
type Lines struct {
	out   io.Writer
	lines *ring[[]byte]
	batch []byte
	stop  chan struct{}
	done  chan struct{}
	once  sync.Once

	failed atomic.Uint64 // lines that could not be written
	told   uint64        // of all that were lost
	toldAt uint64        // where the ring's head was then
	torn   bool          // what was written last has no end of line
}

const (
	maxLines    = 4096                  // that the queue holds
	usualLine   = 512                   // bytes; there is memory for all of them from the start
	linesGather = 40 * time.Millisecond // how long lines gather that nobody waits for
	linesBatch  = 64 << 10              // bytes of a write
	maxKeptLine = 4 << 10               // a longer line's memory is given back
	closeWait   = time.Second           // for whoever reads to take the last lines
	tryAgain    = 10 * time.Millisecond
)

// NewLines starts to write to out. Close ends it.
func NewLines(out io.Writer) *Lines {
	l := &Lines{out: out, lines: newRing[[]byte](maxLines), stop: make(chan struct{}), done: make(chan struct{})}
	slab := make([]byte, maxLines*usualLine)
	for i := range l.lines.slots {
		l.lines.slots[i].value = slab[i*usualLine : i*usualLine : (i+1)*usualLine]
	}
	go l.run()
	return l
}

// Write leaves a line, or several that stay together, to be written at once. It never fails and never waits.
func (l *Lines) Write(p []byte) (int, error) {
	if s := l.lines.claim(); s != nil {
		s.value = append(s.value[:0], p...)
		l.lines.publish(s)
		l.lines.rouse()
	}
	return len(p), nil
}

// Lost is how many lines were.
func (l *Lines) Lost() uint64 {
	if l == nil {
		return 0
	}
	return l.lines.dropped.Load() + l.failed.Load()
}

// Close writes what is in the queue, if somebody takes it within a second, and ends. It may be called more than once, and
// from several goroutines; all of them wait.
func (l *Lines) Close() {
	l.once.Do(func() { close(l.stop) })
	late := time.NewTimer(closeWait)
	defer late.Stop()
	select {
	case <-l.done:
	case <-late.C: // nobody reads: the process must not hang for it
	}
}

func (l *Lines) run() {
	defer close(l.done)
	for l.lines.rest(l.stop, linesGather) {
		l.flush()
	}
	l.flush()
}

// flush writes what is in the queue, and what became of the lines that are not.
func (l *Lines) flush() {
	for taken := true; !l.lines.empty() || taken && l.Lost() != l.told; {
		taken = l.writeBatch()
	}
}

// writeBatch writes a large piece that ends with a line, and tells whether it was taken.
func (l *Lines) writeBatch() (taken bool) {
	l.batch = l.batch[:0]
	if l.torn {
		l.batch = append(l.batch, '\n')
	}
	for len(l.batch) < linesBatch && l.lines.take(l.gather) {
	}
	all, lost := len(l.batch), l.Lost()
	// Those that were lost came behind what the queue held then.
	if behind := l.lines.empty() || l.lines.head-l.toldAt > maxLines; lost != l.told && behind {
		l.batch = appendLost(l.batch, lost-l.told)
	}
	n, err := l.write(l.batch)
	if n > 0 {
		l.torn = l.batch[n-1] != '\n'
	}
	if err != nil { // there is no place left to complain
		l.failed.Add(uint64(bytes.Count(l.batch[min(n, all):all], []byte{'\n'})))
		return false
	}
	if len(l.batch) > all {
		l.told, l.toldAt = lost, l.lines.head
	}
	return true
}

// write writes b. A descriptor that others have made non-blocking says so when it is full.
func (l *Lines) write(b []byte) (n int, err error) {
	for {
		m, err := l.out.Write(b[n:])
		n += m
		if !errors.Is(err, syscall.EAGAIN) {
			return n, err
		}
		select {
		case <-time.After(tryAgain):
		case <-l.stop:
			return n, err
		}
	}
}

func (l *Lines) gather(line *[]byte) {
	l.batch = append(l.batch, *line...)
	if cap(*line) > maxKeptLine {
		*line = nil
	}
}

// appendLost appends the line about those that were lost, in the form of log/slog's JSON handler.
func appendLost(b []byte, lines uint64) []byte {
	b = time.Now().UTC().AppendFormat(append(b, `{"time":"`...), time.RFC3339Nano)
	b = append(b, `","level":"WARN","msg":"lines of the log were lost, because they were not taken in time","lines":`...)
	return append(strconv.AppendUint(b, lines, 10), "}\n"...)
}

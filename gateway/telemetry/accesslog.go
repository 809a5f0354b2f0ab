package telemetry

import (
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"
)

// Access is one request as the access log tells of it. Slices are borrowed until Log returns. There is no field for a
// query, a header value or a body: what they hold may be secret.
type Access struct {
	Time   time.Time // when it ended
	ID     []byte
	Client netip.Addr // the zero Addr: unknown
	Method []byte
	Route  string // its template; "" if it found none
	Path   []byte // without the query
	Status int
	Bytes  int64 // of the answer

	Total    time.Duration // from the first byte of the request to the last of its answer
	Gateway  time.Duration // the gateway's own part of it
	Upstream time.Duration // what all attempts at upstreams took, and waiting for them

	Pool  string // "" if no upstream was asked
	URL   string // of the upstream
	Cache string // what the cache did; "" if it had no part
	Limit string // what the limiter said; "" if the request is not limited
	Fault string // why there is no whole answer; "" if there is
}

// failed tells whether the line is one that sampling must not lose.
func (a *Access) failed() bool { return a.Status >= 500 || a.Fault != "" }

// AccessLogOptions say where the lines go.
type AccessLogOptions struct {
	Out    io.Writer
	Sample float64 // the share of requests that have a line, 0 to 1; those that failed always have one
}

// An AccessLog writes a line of JSON for each request, off its way: a request leaves its line in a bounded queue, and one
// goroutine writes what has gathered there. A request never waits for the log; if the queue is full, its line is dropped
// and counted. A nil AccessLog is off.
type AccessLog struct {
	options AccessLogOptions
	below   uint64 // of 2^64: a random number under it is sampled
	lines   *ring[[]byte]
	batch   []byte
	stamp   atomic.Pointer[stamp]
	stop    chan struct{}
	done    chan struct{}
}

const (
	accessLines  = 4096                  // that the queue holds
	accessLine   = 512                   // bytes of a usual line: there is memory for all of them from the start
	accessGather = 40 * time.Millisecond // how long lines gather before they are written
	accessBatch  = 64 << 10              // bytes of a write
	maxKeptLine  = 4 << 10               // a longer line's memory is given back
	maxPath      = 2 << 10               // bytes of a path that are shown
	closeWait    = time.Second           // for whoever reads the log to take the last lines
)

// NewAccessLog starts a log. Close ends it.
func NewAccessLog(o AccessLogOptions) *AccessLog {
	l := &AccessLog{
		options: o, below: uint64(min(o.Sample, 1) * math.MaxUint64), lines: newRing[[]byte](accessLines),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	if o.Sample >= 1 { // the product is 2^64, which no uint64 is
		l.below = math.MaxUint64
	}
	slab := make([]byte, accessLines*accessLine)
	for i := range l.lines.slots {
		l.lines.slots[i].value = slab[i*accessLine : i*accessLine : (i+1)*accessLine]
	}
	go l.run()
	return l
}

// Dropped is how many lines found the queue full.
func (l *AccessLog) Dropped() uint64 {
	if l == nil {
		return 0
	}
	return l.lines.dropped.Load()
}

// Wants tells whether a request that ended like this has a line, if lines of that level and above are wanted: those of
// requests that failed are errors, all others are infos. Sampling decides anew each time: ask once a request.
func (l *AccessLog) Wants(least slog.Level, status int, fault string) bool {
	if l == nil {
		return false
	}
	if status >= 500 || fault != "" {
		return least <= slog.LevelError
	}
	return least <= slog.LevelInfo && (l.below == math.MaxUint64 || rand.Uint64() < l.below)
}

// Log leaves a line in the queue.
func (l *AccessLog) Log(a *Access) {
	if l == nil {
		return
	}
	s := l.lines.claim()
	if s == nil {
		return
	}
	s.value = appendAccess(s.value[:0], a, l.secondOf(a.Time))
	l.lines.publish(s)
}

// Close writes what is in the queue, if somebody takes it, and ends the log.
func (l *AccessLog) Close() {
	if l == nil {
		return
	}
	close(l.stop)
	late := time.NewTimer(closeWait)
	defer late.Stop()
	select {
	case <-l.done:
	case <-late.C: // nobody reads the log: the process must not hang for it
	}
}

func (l *AccessLog) run() {
	defer close(l.done)
	for l.lines.rest(l.stop, accessGather) {
		l.flush()
	}
	l.flush()
}

// flush writes what is in the queue, in large pieces that end with a line.
func (l *AccessLog) flush() {
	for !l.lines.empty() {
		l.batch = l.batch[:0]
		for len(l.batch) < accessBatch && l.lines.take(l.gather) {
		}
		_, _ = l.options.Out.Write(l.batch) // there is no place left to complain
	}
}

func (l *AccessLog) gather(line *[]byte) {
	l.batch = append(l.batch, *line...)
	if cap(*line) > maxKeptLine {
		*line = nil
	}
}

// A stamp is a second as text: to write one is a third of writing a line.
type stamp struct {
	second int64
	text   string
}

func (l *AccessLog) secondOf(t time.Time) string {
	s := l.stamp.Load()
	if second := t.Unix(); s == nil || s.second != second {
		s = &stamp{second, t.UTC().Format("2006-01-02T15:04:05")}
		l.stamp.Store(s)
	}
	return s.text
}

// appendAccess appends the line, in the form of log/slog's JSON handler. second is that of its time.
func appendAccess(b []byte, a *Access, second string) []byte {
	b = append(append(append(b, `{"time":"`...), second...), '.')
	us := a.Time.Nanosecond() / 1000
	for unit := 100_000; unit > 0; unit /= 10 {
		b = append(b, byte('0'+us/unit%10))
	}
	if a.failed() {
		b = append(b, `Z","level":"ERROR","msg":"access","id":`...)
	} else {
		b = append(b, `Z","level":"INFO","msg":"access","id":`...)
	}
	b = appendString(b, a.ID)
	b = append(b, `,"client":"`...)
	if a.Client.IsValid() {
		b = a.Client.WithZone("").AppendTo(b)
	}
	b = append(b, `","method":`...)
	b = appendString(b, a.Method)
	b = appendString(append(b, `,"route":`...), a.Route)
	b = appendString(append(b, `,"path":`...), a.Path[:min(len(a.Path), maxPath)])
	b = strconv.AppendInt(append(b, `,"status":`...), int64(a.Status), 10)
	b = strconv.AppendInt(append(b, `,"bytes":`...), a.Bytes, 10)
	b = appendSeconds(append(b, `,"duration":`...), a.Total)
	b = appendSeconds(append(b, `,"gateway":`...), a.Gateway)
	if a.URL != "" {
		b = appendSeconds(append(b, `,"upstream_duration":`...), a.Upstream)
		b = appendString(append(b, `,"pool":`...), a.Pool)
		b = appendString(append(b, `,"upstream":`...), a.URL)
	}
	if a.Cache != "" {
		b = appendString(append(b, `,"cache":`...), a.Cache)
	}
	if a.Limit != "" {
		b = appendString(append(b, `,"limit":`...), a.Limit)
	}
	if a.Fault != "" {
		b = appendString(append(b, `,"fault":`...), a.Fault)
	}
	return append(b, "}\n"...)
}

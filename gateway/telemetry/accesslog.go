package telemetry

import (
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

	Key   string // whose it was; "" if nobody needs a key
	Pool  string // "" if no upstream was asked
	URL   string // of the upstream
	Cache string // what the cache did; "" if it had no part
	Limit string // what the limiter said; "" if the request is not limited
	Fault string // why there is no whole answer; "" if there is

	Model         string        // of the settings, that was asked for; "": none
	UpstreamModel []byte        // what it is called where the answer comes from; empty: as here
	Attempts      int           // at upstreams
	FirstContent  time.Duration // from the first byte of the request to the first content of a stream; 0: there was none
	TokensIn      int64         // by the usage that the answer tells
	TokensOut     int64
}

// failed tells whether the line is one that sampling must not lose.
func (a *Access) failed() bool { return a.Status >= 500 || a.Fault != "" }

// AccessLogOptions say where the lines go.
type AccessLogOptions struct {
	Lines  *Lines
	Sample float64 // the share of requests that have a line, 0 to 1; those that failed always have one
}

// An AccessLog leaves a line of JSON for each request, off its way: a request never waits for whoever reads the log. A nil
// AccessLog is off.
type AccessLog struct {
	lines   *Lines
	below   uint64 // of 2^64: a random number under it is sampled
	dropped atomic.Uint64
	stamp   atomic.Pointer[stamp]
}

const maxPath = 2 << 10 // bytes of a path that are shown

// NewAccessLog makes a log.
func NewAccessLog(o AccessLogOptions) *AccessLog {
	l := &AccessLog{lines: o.Lines, below: uint64(min(o.Sample, 1) * math.MaxUint64)}
	if o.Sample >= 1 { // the product is 2^64, which no uint64 is
		l.below = math.MaxUint64
	}
	return l
}

// Dropped is how many lines found the queue full.
func (l *AccessLog) Dropped() uint64 {
	if l == nil {
		return 0
	}
	return l.dropped.Load()
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
	ring := l.lines.lines
	s := ring.claim()
	if s == nil {
		l.dropped.Add(1)
		return
	}
	s.value = appendAccess(s.value[:0], a, l.secondOf(a.Time))
	ring.publish(s)
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
	if a.Key != "" {
		b = appendString(append(b, `,"key":`...), a.Key)
	}
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
	b = appendGeneration(b, a)
	return append(b, "}\n"...)
}

// appendGeneration appends what only a request to a model has.
func appendGeneration(b []byte, a *Access) []byte {
	if a.Model != "" {
		b = appendString(append(b, `,"model":`...), a.Model)
	}
	if len(a.UpstreamModel) > 0 {
		b = appendString(append(b, `,"upstream_model":`...), a.UpstreamModel)
	}
	if a.TokensIn > 0 || a.TokensOut > 0 {
		b = strconv.AppendInt(append(b, `,"tokens_in":`...), a.TokensIn, 10)
		b = strconv.AppendInt(append(b, `,"tokens_out":`...), a.TokensOut, 10)
	}
	if a.FirstContent > 0 {
		b = appendSeconds(append(b, `,"ttft":`...), a.FirstContent)
	}
	if a.Attempts > 1 {
		b = strconv.AppendInt(append(b, `,"attempts":`...), int64(a.Attempts), 10)
	}
	return b
}

// Package testkit is what the tests of several rooms share: clients, upstreams and a Redis that speak bytes and follow a script.
// Only tests import it, and it imports no room but config, whose settings a gateway under test is started with.
package testkit

import (
	"bytes"
	"flag"
	"log/slog"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// Patience bounds every wait of a test: long enough for a slow machine, short of the test runner's own.
const Patience = 60 * time.Second

// Eventually waits until the condition holds.
func Eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(Patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if condition() {
			return
		}
	}
	t.Fatalf("it did not come about that %s", what)
}

// WantQuick checks that something took less than that, and what the machine may add: a second, and ten times as long as it has
// meanwhile kept a goroutine waiting that only sleeps. What does not come by itself takes a minute: that is how long a time-out
// is that nobody sets.
func WantQuick(t testing.TB, what string, begun time.Time, most time.Duration) {
	t.Helper()
	if d, more := time.Since(begun), min(time.Second+10*stops.since(begun), Patience/4); d > most+more {
		t.Errorf("%s took %v, want at most %v and %v for what else the machine has to do", what, d.Round(time.Millisecond), most, more)
	}
}

// A watch notes when the machine stands still, or has other things to do.
type watch struct {
	mu     sync.Mutex
	begun  bool
	behind []delay
}

// A delay is how much later than it wanted to a goroutine woke up.
type delay struct {
	until time.Time
	took  time.Duration
}

var stops watch

// begin begins to watch, until the process ends.
func (w *watch) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.begun {
		w.begun = true
		go w.look()
	}
}

func (w *watch) look() {
	const every, usual = 5 * time.Millisecond, time.Millisecond
	for last := time.Now(); ; {
		time.Sleep(every)
		now := time.Now()
		if took := now.Sub(last) - every; took > usual {
			w.mu.Lock()
			w.behind = append(w.behind, delay{now, took})
			w.mu.Unlock()
		}
		last = now
	}
}

// since is by how much it was late in all since then. Nobody who watches: by more than anything may take.
func (w *watch) since(then time.Time) (d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.begun {
		return Patience
	}
	for i := len(w.behind) - 1; i >= 0 && w.behind[i].until.After(then); i-- {
		d += w.behind[i].took
	}
	return d
}

// Spin gives the gateway a moment to read what was sent before more comes. Nothing depends on whether it did.
func Spin() { time.Sleep(200 * time.Microsecond) }

// Log is a log that may be written and read at once.
type Log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Logger is a logger that writes to l, a line of JSON each.
func (l *Log) Logger() *slog.Logger { return slog.New(slog.NewJSONHandler(l, nil)) }

// VerifyNoLeaks is the TestMain of a package in which no goroutine may outlive its test.
func VerifyNoLeaks(m *testing.M) {
	goleak.VerifyTestMain(m,
		// fasthttp's janitors look at a flag once in ten seconds, and once in the time connections may idle.
		goleak.IgnoreTopFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("aigateway/gateway/testkit.(*watch).look"),
		goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*call).DelayDo.func1"), // sleeps for a second
	)
}

// Parallel is how many tests of a package run at once that say they may, unless go test is told by -parallel. They may be more
// than there are processors where they mostly wait. From here on it is noted when the machine stands still.
func Parallel(n string) {
	stops.begin()
	flag.Parse()
	told := false
	flag.Visit(func(f *flag.Flag) { told = told || f.Name == "test.parallel" })
	if !told {
		_ = flag.Set("test.parallel", n)
	}
}

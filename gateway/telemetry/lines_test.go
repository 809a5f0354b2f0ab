package telemetry

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// A writer is one that keeps what it gets, and may be slow.
type writer struct {
	mu     sync.Mutex
	b      bytes.Buffer
	writes int
	most   int           // bytes that a write takes, if err is set
	err    error         // of every write
	hold   chan struct{} // a write waits for it to be closed; nil: none does
}

func (w *writer) Write(p []byte) (int, error) {
	if w.hold != nil {
		<-w.hold
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writes++
	if w.err != nil && len(p) > w.most {
		n, _ := w.b.Write(p[:w.most])
		return n, w.err
	}
	return w.b.Write(p)
}

func (w *writer) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return bytes.Count(w.b.Bytes(), []byte("\n"))
}

// A reader that stands still holds up nobody: lines are lost, and counted, the end comes all the same, and when somebody
// reads again, it is told.
func TestLinesNeverBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &writer{hold: make(chan struct{})}
		l := NewLines(out)
		log := slog.New(slog.NewJSONHandler(l, nil))
		a := NewAccessLog(AccessLogOptions{Lines: l, Sample: 1})
		log.Info("the writer is stuck with this one")
		synctest.Wait()
		for range maxLines {
			a.Log(testAccess())
			log.Info("x")
		}
		if lost, dropped := l.Lost(), a.Dropped(); lost != maxLines || dropped != maxLines/2 {
			t.Errorf("%d lines lost and %d of them of requests, want %d", lost, dropped, maxLines)
		}
		begun := time.Now()
		l.Close()
		l.Close()
		if d := time.Since(begun); d != 2*closeWait {
			t.Errorf("to end twice took %v", d)
		}
		close(out.hold)
		<-l.done
		if got := out.count(); got != maxLines+2 {
			t.Errorf("%d lines", got)
		}
		told := fmt.Sprintf(`"lines":%d}`+"\n", maxLines)
		if text := out.b.String(); !strings.HasSuffix(text, told) || strings.Count(text, "were lost") != 1 {
			t.Errorf("nobody was told: …%s", text[max(0, len(text)-300):])
		}
	})
}

// While more comes than is taken, it is told too, and not with every piece.
func TestLinesLostAreToldInBetween(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		step := make(chan struct{})
		out := &writer{hold: step}
		l := NewLines(out)
		line := []byte(strings.Repeat("x", usualLine-1) + "\n")
		fill := func() {
			for range 2 * maxLines {
				_, _ = l.Write(line)
			}
			synctest.Wait()
		}
		fill()
		for range 4 * maxLines * usualLine / linesBatch { // four times the queue
			step <- struct{}{}
			fill()
		}
		told := strings.Count(out.b.String(), "were lost")
		if told < 2 || told > 4 {
			t.Errorf("told %d times", told)
		}
		close(step)
		l.Close()
	})
}

// Who has gone, and may come back, costs the lines of that time; a line that was cut is ended.
func TestLinesOutliveTheirReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &writer{}
		l := NewLines(out)
		log := slog.New(slog.NewJSONHandler(l, nil))
		say := func(text string, most int, err error) {
			out.mu.Lock()
			out.most, out.err = most, err
			out.mu.Unlock()
			log.Info(text)
			synctest.Wait()
		}
		say("before", 0, nil)
		say("lost 1", 0, syscall.EPIPE)
		say("lost 2", 0, syscall.EPIPE)
		say("lost 3", 20, errors.New("no space left on device"))
		if l.Lost() != 3 {
			t.Errorf("%d lines lost", l.Lost())
		}
		say("after", 0, nil)
		l.Close()
		text := strings.Split(out.b.String(), "\n")
		if len(text) != 5 || !strings.Contains(text[0], "before") || len(text[1]) != 20 || !strings.Contains(text[2], "after") ||
			!strings.Contains(text[3], `"lines":3}`) {
			t.Errorf("%q", text)
		}
	})
}

// A descriptor that others have made non-blocking is no reason to lose a line.
func TestLinesWaitForANonBlockingDescriptor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &writer{err: syscall.EAGAIN, most: 5}
		l := NewLines(out)
		_, _ = l.Write([]byte("a line of more than five bytes\n"))
		time.Sleep(time.Minute)
		l.Close()
		if got := out.b.String(); got != "a line of more than five bytes\n" || l.Lost() != 0 {
			t.Errorf("%q, %d lost", got, l.Lost())
		}
	})
}

// An operator's line is not held back as those of requests are.
func TestLinesAreWrittenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &writer{}
		l := NewLines(out)
		defer l.Close()
		a := NewAccessLog(AccessLogOptions{Lines: l, Sample: 1})
		a.Log(testAccess())
		synctest.Wait()
		_, _ = l.Write([]byte("x\n"))
		synctest.Wait()
		if got := out.count(); got != 2 {
			t.Errorf("%d lines at once", got)
		}
	})
}

package inference

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"aigateway/gateway/testkit"

	"golang.org/x/sys/unix"
)

// A fenced is memory between two pages that nobody may touch: a read or a write beyond what lies in it ends the test's process.
type fenced []byte

const fencedPages = 8

func newFenced(t testing.TB) fenced {
	t.Helper()
	page := unix.Getpagesize()
	all, err := unix.Mmap(-1, 0, (fencedPages+2)*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(all) })
	for _, fence := range [][]byte{all[:page], all[len(all)-page:]} {
		if err := unix.Mprotect(fence, unix.PROT_NONE); err != nil {
			t.Fatal(err)
		}
	}
	return all[page : len(all)-page : len(all)-page]
}

// atEnd and atStart are copies of b that end and begin where nobody may look further.
func (f fenced) atEnd(b []byte) []byte {
	at := len(f) - len(b)
	copy(f[at:], b)
	return f[at:]
}

func (f fenced) atStart(b []byte) []byte {
	copy(f, b)
	return f[:len(b):len(b)]
}

// TestNothingIsReadBeyondTheBody has all that reads bodies, answers and events read some at the border of the process' memory, whole, in pieces, and
// broken off.
func TestNothingIsReadBeyondTheBody(t *testing.T) {
	bodies := 2_000
	if testkit.Soak {
		bodies = 400_000
	}
	f := newFenced(t)
	r := rand.New(rand.NewPCG(11, 12))
	for range bodies {
		body := randomBody(r)
		if r.IntN(2) == 0 {
			body = append(append([]byte(`{"x":`), randomNested(r, r.IntN(1+r.IntN(6000)))...), `,"model":"m"}`...)
		}
		body = body[:min(len(body), len(f))]
		if r.IntN(3) == 0 {
			body = body[:r.IntN(len(body)+1)]
		}
		for _, way := range scannerWays {
			way.on()
			var want Scanner
			refusal := scan(&want, bytes.Clone(body), 0)
			for _, place := range []func([]byte) []byte{f.atEnd, f.atStart} {
				var s Scanner
				if got := scan(&s, place(body), 0); got != refusal || got == Accepted && s.values != want.values {
					t.Fatalf("%s: %q: %s at the border, want %s", way.name, body, got, refusal)
				}
				s.Reset()
				for rest := body; len(rest) > 0; {
					n := 1 + r.IntN(min(len(rest), 1+r.IntN(2000)))
					s.Scan(place(rest[:n]))
					rest = rest[n:]
				}
				if got := s.End(); got != refusal || got == Accepted && s.values != want.values {
					t.Fatalf("%s: %q: %s in pieces at the border, want %s", way.name, body, got, refusal)
				}
			}
		}
		allWays()
		for _, place := range []func([]byte) []byte{f.atEnd, f.atStart} {
			b := place(body)
			var c Canon
			if c.Read(b) == Accepted {
				_ = c.Sum(Chat, "")
			}
			for _, d := range []Dialect{Chat, Messages, Responses, Embeddings} {
				_ = d.ReadAnswer(b)
				_ = d.ReadStream(b)
				_ = d.Content(b)
				_ = d.Ends(b)
				var u Usage
				_ = u.Read(d, b)
			}
			_ = ContextExceeded(b)
		}
	}
}

// scannerWays are the ways to read on processors of several ages.
var scannerWays = func() (ways []scannerWay) {
	judge, blocks := hasJudge, hasBlocks
	f := func(name string, there, j, b bool) {
		if there {
			ways = append(ways, scannerWay{name, func() { hasJudge, hasBlocks = j, b }})
		}
	}
	f("bytes", true, false, false)
	f("blocks", blocks, false, true)
	f("judge", judge, true, true)
	f("judge alone", judge, true, false)
	return ways
}()

// A scannerWay is a way to read on some processor.
type scannerWay struct {
	name string
	on   func()
}

// allWays has this processor do what it can.
func allWays() { scannerWays[min(2, len(scannerWays)-1)].on() }

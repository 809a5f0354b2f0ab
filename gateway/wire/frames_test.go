package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// frame is one that a server sends.
func frame(first byte, payload string) string {
	b := []byte{first, 0}
	switch n := len(payload); {
	case n < 126:
		b[1] = byte(n)
	case n < 1<<16:
		b[1] = 126
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	default:
		b[1] = 127
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	return string(b) + payload
}

// findAll is what is found in a stream that comes in pieces of the sizes that next tells.
func findAll(t *testing.T, stream string, next func() int) (found []string) {
	t.Helper()
	var f Frames
	defer f.End()
	for len(stream) > 0 {
		k := min(max(next(), 1), len(stream))
		piece := []byte(stream[:k])
		stream = stream[k:]
		for len(piece) > 0 {
			n, what := f.Next(piece)
			if n < 1 || n > len(piece) {
				t.Fatalf("Next takes %d of %d bytes", n, len(piece))
			}
			switch piece = piece[n:]; what {
			case Text:
				found = append(found, string(f.Text()))
			case LongText:
				found = append(found, fmt.Sprint("long ", len(f.Text())))
			case NoFrames:
				found = append(found, "nonsense")
			case NoText:
				if len(piece) > 0 {
					t.Fatal("Next returns with nothing, and not at the end")
				}
			}
		}
	}
	return found
}

func TestFrames(t *testing.T) {
	big := strings.Repeat("b", 70_000)
	f := func(stream string, want ...string) {
		t.Helper()
		sizes := []int{1, 2, 3, 5, 7, 100, 4096, len(stream)}
		if len(stream) > 100_000 {
			sizes = sizes[5:]
		}
		for _, size := range sizes {
			if got := findAll(t, stream, func() int { return size }); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%.40q in pieces of %d: %.200q", stream, size, got)
			}
		}
	}
	f(frame(0x81, "a")+frame(0x81, "")+frame(0x82, "binary")+frame(0x81, "b"), "a", "", "b")
	f(frame(0x81, big)+frame(0x81, strings.Repeat("c", 126)), big, strings.Repeat("c", 126))
	// In fragments, with control frames between them: §5.4.
	f(frame(0x01, "a")+frame(0x89, "ping")+frame(0x00, "b")+frame(0x8A, "")+frame(0x80, "c"), "abc")
	f(frame(0x01, "")+frame(0x80, "whole"), "whole")
	f(frame(0x01, "whole")+frame(0x80, ""), "whole")
	f(frame(0x01, "")+frame(0x80, ""), "")
	f(frame(0x02, "bin")+frame(0x80, "ary")+frame(0x81, "a"), "a")
	// Too long to be kept.
	f(frame(0x81, strings.Repeat("x", MaxText))+frame(0x81, "a"), strings.Repeat("x", MaxText), "a")
	f(frame(0x81, strings.Repeat("x", MaxText+1))+frame(0x81, "a"), fmt.Sprint("long ", MaxText), "a")
	f(frame(0x01, strings.Repeat("x", MaxText))+frame(0x80, "y")+frame(0x81, "a"), fmt.Sprint("long ", MaxText), "a")
	// Nothing comes behind a close.
	f(frame(0x81, "a")+frame(0x88, "\x03\xE8")+frame(0x81, "b"), "a")
	// What no server may send.
	for _, bad := range []string{
		frame(0xC1, "compressed"), frame(0x80, "nothing to go on with"), frame(0x83, ""), frame(0x8B, ""), frame(0x09, "ping in parts"),
		frame(0x89, strings.Repeat("p", 126)), "\x81\x81maska", "\x81\x7f\x80\x00\x00\x00\x00\x00\x00\x00", frame(0x01, "a") + frame(0x81, "b"),
	} {
		f(frame(0x81, "a")+bad+frame(0x81, "c"), "a", "nonsense")
	}
	f(frame(0x81, "cut off")[:5])
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte(frame(0x01, "a")+frame(0x89, "ping")+frame(0x80, "c")+frame(0x81, "d")), uint64(1))
	f.Add([]byte(frame(0x81, strings.Repeat("b", 300))+frame(0x88, "")), uint64(2))
	f.Fuzz(func(t *testing.T, stream []byte, seed uint64) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		kept := bytes.Clone(stream)
		once := findAll(t, string(stream), func() int { return len(stream) })
		if got := findAll(t, string(stream), func() int { return 1 + rnd.IntN(9) }); fmt.Sprint(got) != fmt.Sprint(once) {
			t.Errorf("%q in pieces, %q at once", got, once)
		}
		if !bytes.Equal(kept, stream) {
			t.Error("the stream is changed")
		}
	})
}

func TestAllocFrames(t *testing.T) {
	if raceEnabled {
		t.Skip("pools forget on purpose")
	}
	stream := []byte(frame(0x81, strings.Repeat("a", 3000)) + frame(0x01, "a") + frame(0x80, strings.Repeat("b", 30_000)) + frame(0x82, "c"))
	var f Frames
	noAllocs(t, "messages in pieces", func() {
		for from := 0; from < len(stream); {
			n, found := f.Next(stream[from:min(from+4096, len(stream))])
			if from += n; found > Text {
				t.Fatal(found)
			}
		}
	})
	dst := make([]byte, 0, 128)
	noAllocs(t, "a close", func() { dst = AppendClose(dst[:0], 1008, "enough") })
}

func TestAppendClose(t *testing.T) {
	if got := AppendClose(nil, 1008, "enough"); string(got) != "\x88\x08\x03\xf0enough" {
		t.Errorf("%q", got)
	}
	if got := AppendClose(nil, 1008, strings.Repeat("x", 500)); len(got) != 127 || got[1] != 125 {
		t.Errorf("%q", got)
	}
}

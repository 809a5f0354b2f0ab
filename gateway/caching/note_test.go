package caching

import (
	"testing"
	"time"

	"aigateway/gateway/inference"
)

func TestNote(t *testing.T) {
	var pieces []byte
	type piece struct {
		length int
		gap    time.Duration
	}
	came := []piece{{5, 0}, {300, 7 * time.Millisecond}, {1, time.Hour}, {70000, 300 * time.Microsecond}}
	want := []piece{{5, 0}, {300, 7 * time.Millisecond}, {1, longestGap}, {70000, 0}}
	left := 0
	for _, p := range came {
		pieces = appendPiece(pieces, p.length, p.gap)
		left += p.length
	}
	note := appendNote(nil, &inference.Usage{Input: 300, Output: 7}, pieces)
	tokens, rest := cutNote(note)
	if tokens != 307 {
		t.Errorf("%d tokens", tokens)
	}
	for _, w := range want {
		var got piece
		if got.length, got.gap, rest = cutPiece(rest, left); got != w {
			t.Errorf("%v, want %v", got, w)
		}
		left -= got.length
	}
	if left != 0 || len(rest) != 0 {
		t.Errorf("%d bytes are left, %d of the note", left, len(rest))
	}
	for range longestNote {
		pieces = appendPiece(pieces, 1, 0)
	}
	if len(pieces) > longestNote+16 {
		t.Errorf("a note has %d bytes", len(pieces))
	}
}

// What comes from Redis may be anything: whatever a note says, a body is cut into pieces that add up to it.
func FuzzNote(f *testing.F) {
	f.Add([]byte{}, 10)
	f.Add([]byte("p\x01\x02\x05\x00\x05\x07"), 10)
	f.Add([]byte("p\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), 10)
	f.Fuzz(func(t *testing.T, note []byte, size int) {
		tokens, pieces := cutNote(note)
		if tokens < 0 || tokens > 2*maxTokens {
			t.Fatalf("%d tokens", tokens)
		}
		left := min(max(size, 0), 1<<20)
		for n := 0; left > 0; n++ {
			var length int
			var gap time.Duration
			length, gap, pieces = cutPiece(pieces, left)
			if length <= 0 || length > left || gap < 0 || gap > longestGap || n > len(note) {
				t.Fatalf("a piece of %d of %d after %s", length, left, gap)
			}
			left -= length
		}
	})
}

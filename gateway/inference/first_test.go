package inference

import (
	"testing"
	"time"
)

// However a stream is cut into pieces, its first content is found in the piece that completes it.
func TestFirstContent(t *testing.T) {
	const before = ": ping\n\ndata: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\r\n\r\n"
	const content = "data: {\"choices\":[{\"delta\":{\"content\":\"Hel\"}}]}\n"
	for _, begun := range []string{"", "\ufeff"} {
		testFirstContent(t, begun, content)
		testFirstContent(t, begun+before, content)
	}
	var c FirstContent
	c.Pass(Chat, []byte(before), 1)
	if c.Over {
		t.Error("a role is no content")
	}
	for range 2 {
		c.Pass(Chat, make([]byte, longestLine), 2)
	}
	if c.At != 2 {
		t.Error("a line without end is waited for")
	}
}

func testFirstContent(t *testing.T, before, content string) {
	stream := before + content + "\ndata: [DONE]\n\n"
	end := len(before) + len(content)
	for size := 1; size <= len(stream); size++ {
		var c FirstContent
		for at := 0; at < len(stream); at += size {
			piece := []byte(stream[at:min(at+size, len(stream))])
			c.Pass(Chat, piece, time.Duration(at+len(piece)))
		}
		if want := time.Duration(min((end+size-1)/size*size, len(stream))); c.At != want {
			t.Errorf("in pieces of %d bytes it was found at %d, want %d", size, c.At, want)
		}
	}
}

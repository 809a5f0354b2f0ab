package server

import (
	"testing"
	"time"

	"aigateway/gateway/inference"
)

// However a stream is cut into pieces, its first content is found in the piece that completes it.
func TestFirstContent(t *testing.T) {
	const before = ": ping\n\ndata: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\r\n\r\n"
	const content = "data: {\"choices\":[{\"delta\":{\"content\":\"Hel\"}}]}\n"
	stream := before + content + "\ndata: [DONE]\n\n"
	end := len(before) + len(content)
	for size := 1; size <= len(stream); size++ {
		var c firstContent
		for at := 0; at < len(stream); at += size {
			piece := []byte(stream[at:min(at+size, len(stream))])
			c.pass(inference.Chat, piece, time.Duration(at+len(piece)))
		}
		if want := time.Duration(min((end+size-1)/size*size, len(stream))); c.at != want {
			t.Errorf("in pieces of %d bytes it was found at %d, want %d", size, c.at, want)
		}
	}
	var c firstContent
	c.pass(inference.Chat, []byte(before), 1)
	if c.over {
		t.Error("a role is no content")
	}
	for range 2 {
		c.pass(inference.Chat, make([]byte, longestLine), 2)
	}
	if c.at != 2 {
		t.Error("a line without end is waited for")
	}
}

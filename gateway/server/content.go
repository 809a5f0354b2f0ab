package server

import (
	"bytes"
	"time"

	"aigateway/gateway/inference"
)

// A firstContent is when the first event of a stream came that has something in it for whoever waits. Roles and pings do not count.
type firstContent struct {
	at   time.Duration // as wire.Now; 0: not yet
	over bool          // it was found, or is not looked for any more
	line []byte        // the beginning of a line of which the end has not come
}

// longestLine is how much of a line is kept, in bytes. A longer one is content.
const longestLine = 16 << 10

// pass looks at the next piece of a stream.
func (c *firstContent) pass(d inference.Dialect, piece []byte, now time.Duration) {
	for !c.over && len(piece) > 0 {
		end := bytes.IndexByte(piece, '\n')
		if end < 0 {
			if c.line = append(c.line, piece...); len(c.line) > longestLine {
				c.at, c.over = now, true
			}
			return
		}
		line := piece[:end]
		if len(c.line) > 0 {
			c.line = append(c.line, line...)
			line = c.line
		}
		if data, ok := bytes.CutPrefix(bytes.TrimSuffix(line, []byte{'\r'}), []byte("data:")); ok && d.Content(bytes.TrimPrefix(data, []byte{' '})) {
			c.at, c.over = now, true
		}
		c.line, piece = c.line[:0], piece[end+1:]
	}
}

// reset readies c for another stream; it keeps its memory.
func (c *firstContent) reset() { *c = firstContent{line: c.line[:0]} }

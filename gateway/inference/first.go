package inference

import (
	"bytes"
	"time"
)

// A FirstContent is when the first event of a stream came that has something in it for whoever waits. Roles and pings do not count.
type FirstContent struct {
	At   time.Duration // as wire.Now; 0: not yet
	Over bool          // it was found, or is not looked for any more
	line []byte        // the beginning of a line of which the end has not come
}

// longestLine is how much of a line is kept, in bytes. A longer one is content.
const longestLine = 16 << 10

// Pass looks at the next piece of a stream.
func (c *FirstContent) Pass(d Dialect, piece []byte, now time.Duration) {
	for !c.Over && len(piece) > 0 {
		end := bytes.IndexByte(piece, '\n')
		if end < 0 {
			if c.line = append(c.line, piece...); len(c.line) > longestLine {
				c.At, c.Over = now, true
			}
			return
		}
		line := piece[:end]
		if len(c.line) > 0 {
			c.line = append(c.line, line...)
			line = c.line
		}
		line = bytes.TrimPrefix(bytes.TrimSuffix(line, []byte{'\r'}), byteOrderMark)
		if data, ok := bytes.CutPrefix(line, dataField); ok && d.Content(bytes.TrimPrefix(data, []byte{' '})) {
			c.At, c.Over = now, true
		}
		c.line, piece = c.line[:0], piece[end+1:]
	}
}

// Reset readies c for another stream; it keeps its memory.
func (c *FirstContent) Reset() { *c = FirstContent{line: c.line[:0]} }

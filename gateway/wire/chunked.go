package wire

// A Chunked decodes one body in chunks (RFC 9112 §7.1). It is strict: a size is hexadecimal digits and
// nothing else, every line ends with CRLF, extensions and trailers are bounded and dropped. The zero value
// is ready for a new body.
type Chunked struct {
	state    chunkState
	digits   int
	left     int64 // bytes of the current chunk still to come
	line     int   // bytes of blanks and extension in the current size line, or bytes in the current trailer line
	overhead int64 // bytes of blanks and extensions that the data did not pay for; then bytes of trailers
}

type chunkState uint8

const (
	atSize chunkState = iota
	atExtension
	atSizeLF
	inData
	atDataCR
	atDataLF
	atTrailer
	atTrailerLF
	chunkedDone
	chunkedFailed
)

// Done tells whether the last chunk and its trailer section have been read.
func (c *Chunked) Done() bool { return c.state == chunkedDone }

// Next reads from src. It returns the next piece of the body, which is part of src, and how much of src it
// used up; data is empty when src is used up or the body is at its end, see [Chunked.Done].
func (c *Chunked) Next(src []byte) (data []byte, used int, v Violation) {
	for used < len(src) {
		if c.state == inData {
			n := int(min(c.left, int64(len(src)-used)))
			data = src[used : used+n]
			if c.left -= int64(n); c.left == 0 {
				c.state = atDataCR
			}
			return data, used + n, None
		}
		if c.state == chunkedDone {
			return nil, used, None
		}
		if !c.step(src[used]) {
			c.state = chunkedFailed
			return nil, used, BadFraming
		}
		used++
	}
	return nil, used, None
}

// step reads one byte that is not data.
func (c *Chunked) step(b byte) bool {
	switch c.state {
	case atSize:
		return c.size(b)
	case atExtension:
		if b == '\r' {
			c.state = atSizeLF
			return true
		}
		c.line++
		return c.line <= maxChunkLine && (b >= ' ' && b != 0x7f || b == '\t')
	case atSizeLF:
		return b == '\n' && c.begin()
	case atDataCR:
		c.state = atDataLF
		return b == '\r'
	case atDataLF:
		c.state = atSize
		return b == '\n'
	case atTrailer:
		c.overhead++
		if b == '\r' {
			c.state = atTrailerLF
			return true
		}
		c.line++
		return c.overhead <= maxTrailerBytes && (b >= ' ' && b != 0x7f || b == '\t')
	case chunkedFailed:
		return false
	case atTrailerLF:
		if c.state = atTrailer; c.line == 0 {
			c.state = chunkedDone
		}
		c.line = 0
		return b == '\n'
	}
	panic("BUG: a finished body takes no bytes")
}

// begin ends the size line: data follows, or the trailer section. What the line had beside its size is paid for by
// the chunk, so that neither a long body nor an endless stream of honest chunks runs out of credit.
func (c *Chunked) begin() bool {
	c.overhead = max(0, c.overhead+int64(c.line)-chunkCredit-2*c.left)
	if c.overhead > maxChunkOverhead {
		return false
	}
	c.digits, c.line, c.state = 0, 0, inData
	if c.left == 0 {
		c.overhead, c.state = 0, atTrailer
	}
	return true
}

// size reads one byte of a chunk-size line before its extension.
func (c *Chunked) size(b byte) bool {
	d, ok := unhex(b)
	switch {
	case ok:
		c.digits++
		c.left = c.left<<4 | int64(d)
		return c.digits <= 15 // fits int64, and no flood of leading zeros
	case c.digits == 0:
		return false
	case b == '\r':
		c.state = atSizeLF
		return true
	case b == ';' || b == ' ' || b == '\t':
		// Some servers pad the size with blanks; they are an extension without a name here.
		c.state = atExtension
		c.line++
		return true
	}
	return false
}

func unhex(b byte) (byte, bool) {
	switch {
	case '0' <= b && b <= '9':
		return b - '0', true
	case 'a' <= b && b <= 'f':
		return b - 'a' + 10, true
	case 'A' <= b && b <= 'F':
		return b - 'A' + 10, true
	}
	return 0, false
}

// AppendChunkSize appends the line that opens a chunk of n bytes.
func AppendChunkSize(dst []byte, n int) []byte {
	const digits = "0123456789abcdef"
	var b [16]byte
	i := len(b)
	for {
		i--
		b[i] = digits[n&15]
		if n >>= 4; n == 0 {
			break
		}
	}
	return append(append(dst, b[i:]...), '\r', '\n')
}

// LastChunk ends a body in chunks.
const LastChunk = "0\r\n\r\n"

package wire

import "encoding/binary"

// MaxText is how long a text message may be that [Frames] keeps whole, in bytes.
const MaxText = 256 << 10

// Frames reads the text messages that a WebSocket server sends, fragmented or not, while they pass: RFC 6455 §5, without extensions.
// The zero value is at the beginning of the first frame. It holds a buffer only while a message has come in part.
type Frames struct {
	head   [longestFrameHead]byte // of a frame, as far as it is there
	headed int                    // bytes of it
	inside bool                   // its payload is under way
	left   uint64                 // of which there are so many bytes to come
	opcode byte                   // of the frame
	final  bool                   // it ends its message
	kind   byte                   // of the message under way, or opContinue if there is none
	past   bool                   // what comes is not read: behind a close, or behind nonsense
	buffer *Buffer                // what is kept of the message
	size   int
	long   bool   // there was more
	text   []byte // of the last message
}

// A Found is what [Frames.Next] has come to.
type Found uint8

// What Next finds.
const (
	NoText   Found = iota // there was nothing more
	Text                  // a message is whole
	LongText              // a message is whole of which only the first MaxText bytes were kept
	NoFrames              // what came is no WebSocket of a server, and is not read any further
)

// The opcodes, and the bits of a frame's first two bytes: RFC 6455 §5.2.
const (
	opContinue = 0
	opText     = 1
	opBinary   = 2
	opClose    = 8
	opPong     = 10

	finBit    = 0x80
	rsvBits   = 0x70
	maskBit   = 0x80
	lengthOf2 = 126
	lengthOf8 = 127

	longestFrameHead = 10 // a server's is never masked: §5.1
	longestControl   = 125
)

// Next reads on until a text message is whole, or b has ended, and returns how many bytes that took: at least one.
func (f *Frames) Next(b []byte) (n int, found Found) {
	f.drop()
	for !f.past {
		if !f.inside {
			k, ok := f.readHead(b[n:])
			if n += k; !ok {
				f.past = true
				f.End()
				return len(b), NoFrames
			}
			if !f.inside {
				return n, NoText
			}
		}
		k := int(min(f.left, uint64(len(b)-n)))
		f.left -= uint64(k)
		f.keep(b[n : n+k])
		if n += k; f.left > 0 {
			return n, NoText
		}
		f.inside, f.headed = false, 0
		if found = f.ended(); found != NoText {
			return n, found
		}
	}
	return len(b), NoText
}

// Text is the message that Next has found, borrowed until the next call. It may lie in what Next was given.
func (f *Frames) Text() []byte { return f.text }

// End gives the memory back; what comes is not read.
func (f *Frames) End() {
	f.past, f.kind = true, opContinue
	f.drop()
}

// readHead reads on in the head of a frame. It tells whether that may be one.
func (f *Frames) readHead(b []byte) (n int, ok bool) {
	for n < len(b) {
		f.head[f.headed] = b[n]
		f.headed++
		n++
		if f.headed < 2 {
			continue
		}
		length := f.head[1] &^ maskBit
		whole := 2
		switch length {
		case lengthOf2:
			whole = 4
		case lengthOf8:
			whole = longestFrameHead
		}
		if f.headed < whole {
			continue
		}
		switch length {
		case lengthOf2:
			f.left = uint64(binary.BigEndian.Uint16(f.head[2:]))
		case lengthOf8:
			f.left = binary.BigEndian.Uint64(f.head[2:])
		default:
			f.left = uint64(length)
		}
		return n, f.begin()
	}
	return n, true
}

// begin begins the payload of the frame whose head is there, if a server may send it now: §5.2, §5.4, §5.5.
func (f *Frames) begin() (ok bool) {
	f.opcode, f.final, f.inside = f.head[0]&0x0F, f.head[0]&finBit != 0, true
	if f.head[0]&rsvBits != 0 || f.head[1]&maskBit != 0 || f.left>>63 != 0 {
		return false
	}
	switch {
	case f.opcode == opContinue:
		return f.kind != opContinue
	case f.opcode == opText || f.opcode == opBinary:
		if f.kind != opContinue {
			return false
		}
		f.kind = f.opcode
		return true
	}
	return opClose <= f.opcode && f.opcode <= opPong && f.final && f.left <= longestControl
}

// keep keeps a piece of a text message. One that is there at once is not copied.
func (f *Frames) keep(piece []byte) {
	if f.kind != opText || f.opcode >= opClose {
		return
	}
	if f.size == 0 && f.final && f.left == 0 && len(piece) <= MaxText {
		f.text = piece
		return
	}
	if room := MaxText - f.size; len(piece) > room {
		f.long, piece = true, piece[:room]
	}
	if need := f.size + len(piece); need > 0 && (f.buffer == nil || need > len(f.buffer.B)) {
		larger := GetBuffer(need)
		if f.buffer != nil {
			copy(larger.B, f.buffer.B[:f.size])
			f.buffer.Put()
		}
		f.buffer = larger
	}
	if f.buffer != nil {
		f.size += copy(f.buffer.B[f.size:], piece)
		f.text = f.buffer.B[:f.size]
	}
}

// ended ends a frame, and with the last one its message.
func (f *Frames) ended() Found {
	switch {
	case f.opcode == opClose: // §5.5.1: nothing may follow
		f.End()
		return NoText
	case f.opcode > opClose || !f.final:
		return NoText
	}
	kind := f.kind
	if f.kind = opContinue; kind != opText {
		return NoText
	}
	if f.long {
		return LongText
	}
	return Text
}

// drop forgets a message that was found.
func (f *Frames) drop() {
	if f.kind != opContinue {
		return
	}
	if f.buffer != nil {
		f.buffer.Put()
		f.buffer = nil
	}
	f.size, f.long, f.text = 0, false, nil
}

// AppendClose appends a server's close frame. The reason has at most 123 bytes, what is longer is cut off: RFC 6455 §5.5.1.
func AppendClose(dst []byte, code uint16, reason string) []byte {
	reason = reason[:min(len(reason), longestControl-2)]
	dst = append(dst, finBit|opClose, byte(2+len(reason)))
	return append(binary.BigEndian.AppendUint16(dst, code), reason...)
}

package caching

import (
	"encoding/binary"
	"time"

	"aigateway/gateway/cache"
	"aigateway/gateway/inference"
	"aigateway/gateway/proxy"
	"aigateway/gateway/wire"
)

// A note is what a record of a model's answer says of it beside the answer, in the place of a variant's text: a version,
// the tokens in and out, and for a stream that is to be paced its pieces as they came: the length of each and the gap before it
// in milliseconds.

const noteVersion = 'p'

// longestGap is what a piece of a paced stream waits for, at most.
const longestGap = 20 * time.Millisecond

// longestNote bounds a note in bytes: what comes after it is one piece.
const longestNote = 64 << 10

// appendNote appends a note. pieces are as appendPiece wrote them.
func appendNote(dst []byte, u *inference.Usage, pieces []byte) []byte {
	dst = append(dst, noteVersion)
	dst = binary.AppendUvarint(dst, uint64(u.Input))
	dst = binary.AppendUvarint(dst, uint64(u.Output))
	return append(dst, pieces...)
}

// appendPiece notes a piece that came that long after the one before.
func appendPiece(dst []byte, length int, gap time.Duration) []byte {
	if len(dst) > longestNote {
		return dst
	}
	return append(binary.AppendUvarint(dst, uint64(length)), byte(min(gap, longestGap)/time.Millisecond))
}

// cutNote cuts a note into the tokens it tells of and the pieces. What is none says nothing: it may come from Redis.
func cutNote(note []byte) (tokens int64, pieces []byte) {
	if len(note) == 0 || note[0] != noteVersion {
		return 0, nil
	}
	in, n := binary.Uvarint(note[1:])
	if n <= 0 || in > maxTokens {
		return 0, nil
	}
	out, m := binary.Uvarint(note[1+n:])
	if m <= 0 || out > maxTokens {
		return 0, nil
	}
	return int64(in + out), note[1+n+m:]
}

// maxTokens is more than any answer has: 15 digits, as they are read.
const maxTokens = 1e15

// cutPiece cuts the first piece off, and tells how long it is, of a body of which left bytes are left, and how long it waits.
func cutPiece(pieces []byte, left int) (length int, gap time.Duration, rest []byte) {
	n, m := binary.Uvarint(pieces)
	if m <= 0 || m == len(pieces) || n == 0 || n > uint64(left) {
		return left, 0, nil
	}
	return int(n), min(time.Duration(pieces[m])*time.Millisecond, longestGap), pieces[m+1:]
}

// replay replies with the answer in r.full, and counts what that saves.
func (r *Request) replay(now int64) {
	tokens, pieces := cutNote(r.stored.Variant)
	r.saved(tokens)
	if r.Rule.Post.Paced && r.stored.Flags&cache.Events != 0 {
		r.replayPaced(pieces, now)
		return
	}
	r.reply(now)
}

// replayPaced replies with the stream in r.full about as it came.
func (r *Request) replayPaced(pieces []byte, now int64) {
	m := &r.stored.Meta
	body := r.stored.Body
	h := append(r.statusLine(m.Status), storedLines(&r.stored)...)
	r.scratch = append(wire.AppendInt(r.appendOwn(h, m, now), lengthName, int64(len(body))), "\r\n"...)
	r.send(m.Status, r.scratch)
	if r.waiter == nil {
		r.waiter = NewWaiter()
	}
	r.waiter.reset()
	r.caching.proxy.Watch(&r.watched, r.Conn, r.waiter)
	defer r.caching.proxy.Unwatch(&r.watched)
	began := wire.Now()
	for due := time.Duration(0); len(body) > 0 && r.Fault == proxy.None; {
		var n int
		var gap time.Duration
		n, gap, pieces = cutPiece(pieces, len(body))
		due += gap
		if !r.waiter.sleep(due-(wire.Now()-began)) || r.Conn.Send(body[:n]) != nil {
			r.Fault = proxy.ClientGone
		}
		body = body[n:]
	}
	r.Waited += wire.Now() - began // its pace is the upstream's
}

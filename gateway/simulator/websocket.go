package simulator

import (
	"bufio"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// websocket is the server's end of a connection after RFC 6455, without extensions: what /v1/realtime needs and no more.
type websocket struct {
	conn net.Conn
	in   *bufio.Reader
	mu   sync.Mutex // held while a frame is written
}

// Opcodes (RFC 6455 §5.2).
const (
	opContinuation = 0x0
	opText         = 0x1
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA
)

// closing is why a connection ends: a status of RFC 6455 §7.4.1.
type closing uint16

const (
	closedNormally closing = 1000
	brokeProtocol  closing = 1002
	notText        closing = 1003
	notUTF8        closing = 1007
	tooLong        closing = 1009
)

func (c closing) Error() string { return "the connection is closed" }

// maxControl bounds the payload of a control frame, in bytes (RFC 6455 §5.5).
const maxControl = 125

// handshake tells whether a request may become a websocket (RFC 6455 §4.2.1), and what its key is answered with.
func handshake(r *http.Request) (string, error) {
	if !hasToken(r.Header, "Connection", "upgrade") || !hasToken(r.Header, "Upgrade", "websocket") || r.Header.Get("Sec-Websocket-Version") != "13" {
		return "", &fault{status: http.StatusUpgradeRequired, code: "upgrade_required", message: "This path wants a WebSocket of version 13."}
	}
	key := r.Header.Get("Sec-Websocket-Key")
	if nonce, err := base64.StdEncoding.DecodeString(key); err != nil || len(nonce) != 16 {
		return "", &fault{status: http.StatusBadRequest, code: "invalid_handshake", message: "Sec-WebSocket-Key is not 16 bytes in base64."}
	}
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:]), nil
}

// hasToken tells whether a token is in a field that lists them.
func hasToken(h http.Header, name, token string) bool {
	return slices.ContainsFunc(strings.Split(strings.Join(h.Values(name), ","), ","), func(one string) bool {
		return strings.EqualFold(strings.TrimSpace(one), token)
	})
}

// upgrade takes the connection of a request whose handshake is good.
func upgrade(w http.ResponseWriter, r *http.Request, accepted string) (*websocket, error) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, err
	}
	head := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + accepted + "\r\n"
	if hasToken(r.Header, "Sec-Websocket-Protocol", "realtime") {
		head += "Sec-WebSocket-Protocol: realtime\r\n"
	}
	if _, err := io.WriteString(conn, head+"\r\n"); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return &websocket{conn: conn, in: buffered.Reader}, nil
}

// listen hands over each message until the connection ends, and says why it did. It answers pings and the close.
func (s *websocket) listen(ctx context.Context, messages chan<- []byte) error {
	for {
		text, err := s.read()
		if c, ok := errors.AsType[closing](err); ok {
			_ = s.write(opClose, binary.BigEndian.AppendUint16(nil, uint16(c)))
		}
		if err != nil {
			return err
		}
		select {
		case messages <- text:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// read returns the next text, whose frames it puts together.
func (s *websocket) read() ([]byte, error) {
	var text []byte
	for begun := false; ; {
		f, err := s.readFrame(maxBody - len(text))
		switch {
		case err != nil:
			return nil, err
		case f.code == opClose:
			return nil, closedNormally
		case f.code == opPing:
			if err := s.write(opPong, f.payload); err != nil {
				return nil, err
			}
			continue
		case f.code == opPong:
			continue
		case f.code == opText && begun, f.code == opContinuation && !begun:
			return nil, brokeProtocol
		case f.code != opText && f.code != opContinuation:
			return nil, notText
		}
		begun = true
		if text = append(text, f.payload...); f.last {
			if !utf8.Valid(text) {
				return nil, notUTF8
			}
			return text, nil
		}
	}
}

// wsFrame is one frame of a client.
type wsFrame struct {
	code    byte
	last    bool
	payload []byte
}

// readFrame reads a frame whose payload is not longer than most bytes.
func (s *websocket) readFrame(most int) (wsFrame, error) {
	var head [2]byte
	if _, err := io.ReadFull(s.in, head[:]); err != nil {
		return wsFrame{}, err
	}
	f := wsFrame{code: head[0] & 0x0F, last: head[0]&0x80 != 0}
	control := f.code&0x08 != 0
	if head[0]&0x70 != 0 || head[1]&0x80 == 0 { // reserved bits without an extension; a client masks (§5.1)
		return f, brokeProtocol
	}
	n := uint64(head[1] & 0x7F)
	if control && (n > maxControl || !f.last) {
		return f, brokeProtocol
	}
	if bytes := map[uint64]int{126: 2, 127: 8}[n]; bytes > 0 {
		var long [8]byte
		if _, err := io.ReadFull(s.in, long[8-bytes:]); err != nil {
			return f, err
		}
		n = binary.BigEndian.Uint64(long[:])
	}
	if !control && n > uint64(most) {
		return f, tooLong
	}
	var mask [4]byte
	if _, err := io.ReadFull(s.in, mask[:]); err != nil {
		return f, err
	}
	f.payload = make([]byte, n)
	if _, err := io.ReadFull(s.in, f.payload); err != nil {
		return f, err
	}
	for i := range f.payload {
		f.payload[i] ^= mask[i%4]
	}
	return f, nil
}

// write sends one frame. A server does not mask.
func (s *websocket) write(code byte, payload []byte) error {
	frame := make([]byte, 0, 10+len(payload))
	frame = append(frame, 0x80|code)
	switch n := len(payload); {
	case n <= maxControl:
		frame = append(frame, byte(n))
	case n < 1<<16:
		frame = binary.BigEndian.AppendUint16(append(frame, 126), uint16(n))
	default:
		frame = binary.BigEndian.AppendUint64(append(frame, 127), uint64(n))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.conn.Write(append(frame, payload...))
	return err
}

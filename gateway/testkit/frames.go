package testkit

import (
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"io"
)

// Frames of RFC 6455 §5.2, without extensions and fragments.
const (
	TextFrame   = 1
	BinaryFrame = 2
	CloseFrame  = 8
	PingFrame   = 9
	PongFrame   = 10
)

// SendFrame sends one frame; what a client sends is masked.
func (p *Peer) SendFrame(opcode byte, payload []byte, masked bool) {
	b := []byte{0x80 | opcode, 0}
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
	at := len(b)
	if masked {
		b[1] |= 0x80
		b = append(b, "mask"...)
		at += 4
	}
	b = append(b, payload...)
	for i := range payload {
		if masked {
			b[at+i] ^= "mask"[i%4]
		}
	}
	if _, err := p.Write(b); err != nil {
		p.t.Logf("send a frame: %v", err)
	}
}

// ReadFrame reads one frame.
func (p *Peer) ReadFrame() (opcode byte, payload []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(p.R, head[:]); err != nil {
		return 0, nil, err
	}
	n := uint64(head[1] & 0x7f)
	var long [8]byte
	switch n {
	case 126:
		_, err = io.ReadFull(p.R, long[6:])
		n = binary.BigEndian.Uint64(long[:])
	case 127:
		_, err = io.ReadFull(p.R, long[:])
		n = binary.BigEndian.Uint64(long[:])
	}
	var mask [4]byte
	if head[1]&0x80 != 0 && err == nil {
		_, err = io.ReadFull(p.R, mask[:])
	}
	if err != nil {
		return 0, nil, err
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(p.R, payload)
	for i := range payload {
		payload[i] ^= mask[i%4]
	}
	return head[0] & 0x0f, payload, err
}

// acceptOf is what a server makes of a client's key: RFC 6455 §4.2.2.
func acceptOf(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

const wsKey = "dGhlIHNhbXBsZSBub25jZQ=="

// WsRequest asks for a WebSocket at a path.
func WsRequest(path string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n" +
		"Sec-WebSocket-Key: " + wsKey + "\r\nSec-WebSocket-Version: 13\r\n\r\n"
}

// Granted is the head with which a server grants it.
func Granted(m Message) string {
	return "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
		acceptOf(m.Field("Sec-WebSocket-Key")) + "\r\n\r\n"
}

// Upgrade asks for a WebSocket and checks that it is granted.
func (p *Peer) Upgrade(path string) Message {
	p.t.Helper()
	p.Send("%s", WsRequest(path))
	m := p.ReadHead()
	if m.Status() != 101 || m.Field("Upgrade") != "websocket" || m.Field("Connection") != "Upgrade" ||
		m.Field("Sec-WebSocket-Accept") != acceptOf(wsKey) || len(m.Fields("Upgrade")) != 1 {
		p.t.Fatalf("not granted: %q, %v\n%s", m.First, m.Err, m.Head)
	}
	return m
}

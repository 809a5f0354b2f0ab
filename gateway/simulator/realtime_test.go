package simulator

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

const handshakeFields = "Host: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

// caller is a client of /v1/realtime that speaks in bytes.
type caller struct {
	net.Conn
	t  *testing.T
	in *bufio.Reader
}

// call connects and shakes hands, with more fields, each with its line end.
func (s *scene) call(t *testing.T, query, fields string) *caller {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	c := &caller{conn, t, bufio.NewReader(conn)}
	c.send([]byte("GET /v1/realtime" + query + " HTTP/1.1\r\n" + handshakeFields + fields + "\r\n"))
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		t.Fatal(err)
	}
	// The example of RFC 6455 §1.3.
	if resp.StatusCode != 101 || resp.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Fatalf("%d %v", resp.StatusCode, resp.Header)
	}
	if want := map[bool]string{true: "realtime"}[strings.Contains(fields, "realtime,")]; resp.Header.Get("Sec-WebSocket-Protocol") != want {
		t.Errorf("protocol %q", resp.Header.Get("Sec-WebSocket-Protocol"))
	}
	return c
}

func (c *caller) send(b []byte) {
	c.t.Helper()
	if _, err := c.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

// masked is a client's frame with an 8-bit or 16-bit length.
func masked(first byte, payload string) []byte {
	b := []byte{first, 0x80 | byte(len(payload))}
	if len(payload) > maxControl {
		b = binary.BigEndian.AppendUint16([]byte{first, 0x80 | 126}, uint16(len(payload)))
	}
	mask := []byte{1, 2, 3, 4}
	b = append(b, mask...)
	for i := range len(payload) {
		b = append(b, payload[i]^mask[i%4])
	}
	return b
}

func (c *caller) say(text string) { c.t.Helper(); c.send(masked(0x80|opText, text)) }

// frame reads one frame.
func (c *caller) frame() (byte, []byte, error) {
	var head [2]byte
	if _, err := io.ReadFull(c.in, head[:]); err != nil {
		return 0, nil, err
	}
	n := int(head[1])
	if n == 126 {
		var long [2]byte
		if _, err := io.ReadFull(c.in, long[:]); err != nil {
			return 0, nil, err
		}
		n = int(binary.BigEndian.Uint16(long[:]))
	}
	payload := make([]byte, n)
	_, err := io.ReadFull(c.in, payload)
	return head[0], payload, err
}

type event struct {
	Type     string
	Delta    string
	Error    struct{ Code, Message, Param string }
	Session  struct{ Model string }
	Response struct {
		Status string
		Output []struct{ Content []struct{ Text string } }
		Usage  map[string]any
	}
}

// hear reads events up to one of a type.
func (c *caller) hear(last string) (all []event) {
	c.t.Helper()
	for {
		first, payload, err := c.frame()
		if err != nil || first != 0x80|opText {
			c.t.Fatalf("after %v: frame %x %q, %v", all, first, payload, err)
		}
		var e event
		if err := json.Unmarshal(payload, &e); err != nil {
			c.t.Fatal(err)
		}
		if all = append(all, e); e.Type == last {
			return all
		}
	}
}

func types(all []event) string {
	var names []string
	for _, e := range all {
		names = append(names, e.Type)
	}
	return strings.Join(names, " ")
}

func TestRealtime(t *testing.T) {
	o := instant()
	o.Models = []string{"one", "talker"}
	s := onLoopback(t, o)
	c := s.call(t, "?model=talker", "Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.x\r\n")
	if got := c.hear("session.created"); got[0].Session.Model != "talker" {
		t.Errorf("%+v", got)
	}
	c.say(`{"type":"conversation.item.create","item":{"type":"message","role":"user","content":[{"type":"input_text","text":"a b"}]}}`)
	c.hear("conversation.item.done")
	c.say(`{"type":"response.create"}`)
	got := c.hear("response.done")
	want := "response.created response.output_item.added response.content_part.added response.output_text.delta response.output_text.delta " +
		"response.output_text.delta response.output_text.done response.content_part.done response.output_item.done response.done"
	last := got[len(got)-1].Response
	if types(got) != want || last.Status != "completed" || last.Output[0].Content[0].Text != "echo: a b" ||
		last.Usage["input_tokens"] != 2.0 || last.Usage["output_tokens"] != 3.0 || last.Usage["total_tokens"] != 5.0 {
		t.Errorf("%s\n%+v", types(got), last)
	}
	// A limit is the response's own, and so is its input; what was answered is read again.
	c.say(`{"type":"response.create","event_id":"e1","response":{"max_output_tokens":1,"input":[{"type":"message","role":"user","content":"c"}]}}`)
	got = c.hear("response.done")
	if last := got[len(got)-1].Response; last.Status != "incomplete" || last.Output[0].Content[0].Text != "echo:" || last.Usage["input_tokens"] != 6.0 {
		t.Errorf("%+v", last)
	}
	c.say(`{"type":"response.create","response":{"max_output_tokens":"inf"}}`)
	got = c.hear("response.done")
	if last := got[len(got)-1].Response; last.Output[0].Content[0].Text != "echo: a b" {
		t.Errorf("%+v", last)
	}
	c.send(masked(0x80|opClose, "\x03\xe8"))
	if first, payload, err := c.frame(); first != 0x80|opClose || string(payload) != "\x03\xe8" || err != nil {
		t.Errorf("%x %q %v", first, payload, err)
	}
	if _, _, err := c.frame(); err == nil {
		t.Error("the connection is open")
	}
	if s.Stats().Generations != 3 {
		t.Errorf("%+v", s.Stats())
	}
}

// TestRealtimeFaults: what cannot be done is said, and the session goes on.
func TestRealtimeFaults(t *testing.T) {
	s := onLoopback(t, instant())
	c := s.call(t, "", "")
	c.hear("session.created")
	f := func(text, param string) {
		t.Helper()
		c.say(text)
		if got := c.hear("error"); got[0].Error.Param != param || got[0].Error.Code == "" {
			t.Errorf("%s: %+v", text, got)
		}
	}
	f(`{`, "")
	f(`[]`, "type")
	f(`{"type":"nothing"}`, "type")
	f(`{"type":7}`, "type")
	f(`{"type":"session.update","session":{"max_output_tokens":0}}`, "max_output_tokens")
	f(`{"type":"response.create","response":{"input":7}}`, "input")
	f(`{"type":"conversation.item.create","item":{"type":"message","content":"x"}}`, "item.role")
	c.say(`{"type":"response.create"}`)
	c.hear("response.done")
}

// TestRealtimeSwitches: a demanded failure fails the response, a cut ends the connection, a client that leaves its generation.
func TestRealtimeSwitches(t *testing.T) {
	s := onLoopback(t, instant())
	c := s.call(t, "", "X-Sim-Error: 503\r\n")
	c.hear("session.created")
	c.say(`{"type":"response.create"}`)
	if got := c.hear("response.done"); len(got) != 1 || got[0].Response.Status != "failed" {
		t.Errorf("%+v", got)
	}
	c = s.call(t, "", "X-Sim-Cut: 2\r\n")
	c.hear("session.created")
	c.say(`{"type":"response.create"}`)
	c.hear("response.output_item.added")
	if _, _, err := c.frame(); err == nil {
		t.Error("not cut")
	}
	c = s.call(t, "", "X-Sim-Latency: 10m\r\n")
	c.hear("session.created")
	c.say(`{"type":"response.create"}`)
	c.send(masked(0x80|opPing, "hi")) // answered while the generation is under way
	if first, payload, err := c.frame(); first != 0x80|opPong || string(payload) != "hi" || err != nil {
		t.Errorf("%x %q %v", first, payload, err)
	}
	s.await(t, Stats{Requests: 3, Generations: 3, Errors: 1, Cut: 1}) // a ping is answered before what was said before it is looked at
	_ = c.Close()
	s.await(t, Stats{Requests: 3, Generations: 3, Errors: 1, Cut: 1, Cancelled: 1})
}

// await waits until the simulator has counted so much.
func (s *scene) await(t *testing.T, want Stats) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); s.Stats() != want; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%+v", s.Stats())
		}
	}
}

// TestRealtimeClose: Close ends sessions, and waits for them.
func TestRealtimeClose(t *testing.T) {
	s := onLoopback(t, instant())
	c := s.call(t, "", "X-Sim-Latency: 10m\r\n")
	c.hear("session.created")
	c.say(`{"type":"response.create"}`)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, _, err := c.frame(); err == nil {
		t.Error("the connection is open")
	}
	if s.Stats().Cancelled != 0 {
		t.Errorf("%+v", s.Stats())
	}
}

func TestHandshakeRefusals(t *testing.T) {
	s := onLoopback(t, instant())
	f := func(status int, fields ...string) {
		t.Helper()
		resp := s.ask("GET /v1/realtime", "", fields...)
		if got := s.read(resp); resp.StatusCode != status {
			t.Errorf("%q: %d %s", fields, resp.StatusCode, got)
		}
	}
	f(426)
	f(426, "Connection: upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 8", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
	f(400, "Connection: upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: short")
}

// TestFrames: how a connection ends that breaks the rules.
func TestFrames(t *testing.T) {
	f := func(want closing, frames ...[]byte) {
		t.Helper()
		ws := &websocket{in: bufio.NewReader(bytes.NewReader(bytes.Join(frames, nil)))}
		text, err := ws.read()
		if want == 0 && string(text) == "hello" && err == nil {
			return
		}
		if err != want {
			t.Errorf("%x: %q %v, want %d", frames, text, err, want)
		}
	}
	f(0, masked(0x80|opText, "hello"))
	f(0, masked(opText, "he"), masked(opContinuation, "l"), masked(0x80|opPong, ""), masked(0x80|opContinuation, "lo"))
	f(closedNormally, masked(0x80|opClose, ""))
	f(brokeProtocol, []byte{0x81, 0x01, 'x'})                       // not masked
	f(brokeProtocol, masked(0xC0|opText, "x"))                      // a reserved bit
	f(brokeProtocol, masked(opPing, ""))                            // a control frame in fragments
	f(brokeProtocol, masked(0x80|opPing, strings.Repeat("x", 126))) // a long control frame
	f(brokeProtocol, masked(0x80|opContinuation, "x"))
	f(brokeProtocol, masked(opText, "x"), masked(0x80|opText, "y"))
	f(notText, masked(0x82, "x"))
	f(notUTF8, masked(0x80|opText, "\xff"))
	f(tooLong, []byte{0x81, 0x80 | 127, 0, 0, 0, 0, 0, 0x10, 0, 1})
	f(tooLong, []byte{0x81, 0x80 | 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
}

// FuzzFrames: whatever a client sends, a text comes out, or the end.
func FuzzFrames(f *testing.F) {
	f.Add(masked(0x80|opText, "hello"))
	f.Add(append(masked(opText, "he"), masked(0x80|opContinuation, "llo")...))
	f.Add([]byte{0x81, 0x80 | 127, 0, 0, 0, 0, 0, 0x10, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		here, there := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, there) }()
		ws := &websocket{conn: here, in: bufio.NewReader(bytes.NewReader(b))}
		for {
			text, err := ws.read()
			if err != nil {
				break
			}
			if len(text) > len(b) {
				t.Errorf("%d bytes of %d", len(text), len(b))
			}
		}
		_, _ = here.Close(), there.Close()
	})
}

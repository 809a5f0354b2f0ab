package behaviour

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"strings"
	"testing"

	"aigateway/gateway/server"
	"aigateway/gateway/testkit"
)

// A talker is an upstream of Realtime that grants a session and sends, for each frame that it gets, the next part of its script.
type talker struct {
	*testkit.Upstream
	heads chan string // of requests
	ended chan bool   // sessions, whose connection has come to an end
}

func startTalker(t *testing.T, early string, script ...string) *talker {
	u := &talker{heads: make(chan string, 64), ended: make(chan bool, 64)}
	u.Upstream = testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		m := c.ReadRequest()
		if m.Err != nil {
			return
		}
		u.heads <- strings.ToLower(m.Head)
		_, _ = io.WriteString(c.Conn, strings.TrimSuffix(testkit.Granted(m), "\r\n")+"x-ratelimit-remaining-tokens: 7\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"+early)
		for _, part := range script {
			if _, _, err := c.ReadFrame(); err != nil {
				break
			}
			_, _ = io.WriteString(c.Conn, part)
		}
		_, _ = io.Copy(io.Discard, c.R)
		u.ended <- true
	})
	return u
}

// textFrame is a whole message of a server, or a part of one.
func textFrame(first byte, text string) string {
	if n := len(text); n >= 126 {
		return string([]byte{first, 126, byte(n >> 8), byte(n)}) + text
	}
	return string([]byte{first, byte(len(text))}) + text
}

// realtimeDone is the event that ends an answer.
func realtimeDone(in, out, cached int) string {
	return fmt.Sprintf(`{"type":"response.done","response":{"object":"realtime.response","status":"completed","output":[],"usage":{"total_tokens":%d,`+
		`"input_tokens":%d,"output_tokens":%d,"input_token_details":{"text_tokens":1,"cached_tokens":%d}}}}`, in+out, in, out, cached)
}

// talk opens a session with a key and returns the client, and what its 101 says.
func (g *testGateway) talk(key string) (*testkit.Peer, testkit.Message) {
	c := g.Dial()
	c.Send("%s", strings.Replace(testkit.WsRequest("/v1/realtime?model=m"), "\r\n\r\n",
		"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"+withKey(key)+"\r\n\r\n", 1))
	return c, c.ReadHead()
}

// Each answer of a session is charged by its usage when it comes, byte for byte as the upstream sent it, in fragments or not; the one that
// leads into debt is the last one: the client gets a close of the gateway's, and the upstream's connection ends.
func TestRealtimeIsCharged(t *testing.T) {
	t.Parallel()
	third := realtimeDone(2, 1, 0)
	first := textFrame(0x81, `{"type":"session.created"}`)
	parts := []string{
		textFrame(0x81, `{"type":"response.output_text.delta","delta":"a"}`) + textFrame(0x81, realtimeDone(400, 200, 100)),
		textFrame(0x01, realtimeDone(300, 100, 0)[:50]) + textFrame(0x89, "ping") + textFrame(0x80, realtimeDone(300, 100, 0)[50:]) + textFrame(0x82, third),
		textFrame(0x81, `{"type":"response.done","response":{"status":"failed","usage":null}}`) + textFrame(0x81, third),
	}
	up := startTalker(t, first, parts[0], parts[1], parts[2]+textFrame(0x81, third))
	g := budgeted(t, &counter{Upstream: up.Upstream}, keyFile("sk-a , limits: {tpd: 1000, concurrency: 1}"), "")
	c, m := g.talk("sk-a")
	if m.Status() != 101 || fmt.Sprint(m.Fields("x-ratelimit-remaining-tokens")) != "[488]" {
		t.Fatalf("%s\n%s", m.First, m.Head)
	}
	if m.Field("Sec-WebSocket-Extensions") != "" {
		t.Errorf("extensions are granted\n%s", m.Head)
	}
	if head := <-up.heads; strings.Contains(head, "extensions") || !strings.Contains(head, "sec-websocket-key: ") {
		t.Errorf("the upstream is asked\n%s", head)
	}
	want := first
	for i, part := range parts {
		c.SendFrame(testkit.TextFrame, []byte(`{"type":"response.create"}`), true)
		if want += part; i == 2 {
			break
		}
		b := make([]byte, len(want))
		if _, err := io.ReadFull(c.R, b); err != nil || string(b) != want {
			t.Fatalf("part %d: %q, %v", i, b, err)
		}
		want = ""
		if r := g.Do(chatWith("sk-a", `{"model":"m","max_tokens":1}`)); r.Field("RateLimit-Scope") != "key-concurrency" {
			t.Errorf("a session has given its permit back: %s", r.Head)
		}
	}
	const reason = "no tokens are left of the limit key-tpd"
	want += string([]byte{0x88, byte(2 + len(reason)), 3, 240}) + reason
	if rest, err := c.Rest(); rest != want || err != nil {
		t.Errorf("the end: %q, %v, want %q", rest, err, want)
	}
	<-up.ended
	c.Close()
	testkit.Eventually(t, "nothing is under way", g.idle)
	if r := g.Do(chatWith("sk-a", `{"model":"m","max_tokens":1}`)); r.Status() != 429 || r.Field("RateLimit-Scope") != "key-tpd" {
		t.Errorf("who owes: %s\n%s", r.First, r.Head)
	}
	operator := func(path string) string {
		return g.Do("GET " + path + " HTTP/1.1\r\nHost: a\r\n" + withKey("the-operators") + "\r\n\r\n").Body
	}
	if text := operator("/usagez"); !strings.Contains(text, `"tokens_in":702,"tokens_out":301,"tokens_cached":100`) {
		t.Errorf("%s", text)
	}
	if text := operator("/metrics"); !strings.Contains(text, `gateway_budget_refused_total{limit="key-tpd"} 2`) || !strings.Contains(text, "gateway_usage_unknown_total 0") {
		t.Errorf("%s", text)
	}
}

// The answer that leads into debt may come with the upstream's head.
func TestRealtimeOwesAtOnce(t *testing.T) {
	t.Parallel()
	up := startTalker(t, textFrame(0x81, realtimeDone(900, 200, 0))+textFrame(0x81, realtimeDone(1, 1, 0)))
	g := budgeted(t, &counter{Upstream: up.Upstream}, keyFile("sk-a , limits: {tpd: 1000}"), "")
	c, m := g.talk("sk-a")
	rest, err := c.Rest()
	if before, after, ok := strings.Cut(rest, "\x88"); m.Status() != 101 || !ok || before != textFrame(0x81, realtimeDone(900, 200, 0)) || after[1:3] != "\x03\xf0" || err != nil {
		t.Errorf("%s %q, %v", m.First, rest, err)
	}
	<-up.ended
}

// A client that is still sending reads the last word all the same, over TLS too.
func TestRealtimeOwesWhileSending(t *testing.T) {
	t.Parallel()
	answer := textFrame(0x81, realtimeDone(900, 200, 0))
	up := startTalker(t, "", answer)
	keys, cert := keyFile("sk-a , limits: {tpd: 1000}"), newTestCert(t, "gateway.example")
	for _, secure := range []bool{false, true} {
		env := []string{"LLM_SERVICE_URL=" + up.URL}
		if secure {
			env = append(env, cert.environ()...)
		}
		g := serve(t, keyed(t, keys, "", env...), server.Options{})
		c := g.Dial()
		if secure {
			c = c.Over(cert.client(t))
		}
		c.Send("%s", strings.Replace(testkit.WsRequest("/v1/realtime?model=m"), "\r\n\r\n", "\r\n"+withKey("sk-a")+"\r\n\r\n", 1))
		c.ReadHead()
		for range 60 {
			c.SendFrame(testkit.BinaryFrame, make([]byte, 10_000), true)
		}
		rest, err := c.Rest()
		if before, after, ok := strings.Cut(rest, "\x88"); !ok || before != answer || after[1:3] != "\x03\xf0" || err != nil {
			t.Errorf("tls=%v: %q, %v", secure, rest, err)
		}
		<-up.ended
		c.Close()
	}
}

// A session in which nothing is asked costs nothing; who leaves in the middle of an answer pays for what has passed; what cannot be read
// is charged as it was estimated.
func TestRealtimeSettles(t *testing.T) {
	t.Parallel()
	delta := textFrame(0x81, `{"type":"response.output_text.delta","delta":"a"}`)
	g := func(script string) (remaining string, unknown bool) {
		up := startTalker(t, "", script+textFrame(0x8A, ""))
		g := budgeted(t, &counter{Upstream: up.Upstream}, keyFile("sk-a , limits: {tpd: 1500}"), "")
		c, _ := g.talk("sk-a")
		c.SendFrame(testkit.TextFrame, nil, true)
		if _, err := io.ReadFull(c.R, make([]byte, len(script)+2)); err != nil {
			t.Fatal(err)
		}
		c.Close()
		testkit.Eventually(t, "nothing is under way", g.idle)
		_, m := g.talk("sk-a")
		text := g.Do("GET /metrics HTTP/1.1\r\nHost: a\r\n" + withKey("the-operators") + "\r\n\r\n").Body
		return m.Field("x-ratelimit-remaining-tokens"), strings.Contains(text, "gateway_usage_unknown_total 1\n")
	}
	for _, c := range []struct {
		script  string
		left    int
		unknown bool
	}{
		{"", 1500 - 512, false},
		{delta + delta + delta, 1500 - 3 - 512, false},
		{delta + textFrame(0x81, realtimeDone(10, 20, 0)) + delta, 1500 - 31 - 512, false},
		{textFrame(0x81, `{"type":"response.done","response":{"status":"completed"}}`), 1500 - 512 - 512, true},
		{delta + textFrame(0x81, `{"type":"response.done","response":{"status":"cancelled"}}`), 1500 - 1 - 512, true},
		{textFrame(0xC1, "compressed all the same"), 1500 - 512 - 512, true},
		{textFrame(0x01, `{"type":"response.done","response":{"x":"`) + strings.Repeat(textFrame(0x00, strings.Repeat("x", 60_000)), 5) + textFrame(0x80, `"}}`), 1500 - 512 - 512, true},
		{textFrame(0x01, `{"type":"response.output_audio.delta","delta":"`) + strings.Repeat(textFrame(0x00, strings.Repeat("x", 60_000)), 5) + textFrame(0x80, `"}`), 1500 - 512, false},
	} {
		if left, unknown := g(c.script); left != itoa(c.left) || unknown != c.unknown {
			t.Errorf("%.60q: %s are left, want %d; unknown: %v", c.script, left, c.left, unknown)
		}
	}
}

// Without a limit of tokens nothing is read: what both agree on stays, and the bytes may be anything.
func TestRealtimeWithoutLimits(t *testing.T) {
	t.Parallel()
	noise := make([]byte, 200_000)
	rand.Read(noise)
	up := startTalker(t, "", string(noise))
	g := budgeted(t, &counter{Upstream: up.Upstream}, keyFile("sk-a , limits: {rpm: 100}"), "")
	c, m := g.talk("sk-a")
	if head := <-up.heads; m.Status() != 101 || m.Field("Sec-WebSocket-Extensions") != "permessage-deflate" || !strings.Contains(head, "sec-websocket-extensions: permessage-deflate\r\n") {
		t.Errorf("%s: the upstream is asked\n%s", m.First, head)
	}
	c.SendFrame(testkit.TextFrame, nil, true)
	got := make([]byte, len(noise))
	if _, err := io.ReadFull(c.R, got); err != nil || !bytes.Equal(got, noise) {
		t.Errorf("other bytes, or %v", err)
	}
}

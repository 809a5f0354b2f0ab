package simulator

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// chunkOf is one chat event on the wire, as it must be byte for byte. The tail is what follows the choices.
func chunkOf(choices, tail string) string {
	return `data: {"id":"chatcmpl-` + firstID + `","object":"chat.completion.chunk","created":` + bubbleTime +
		`,"model":"sim-test","choices":[` + choices + `],` + tail + `"service_tier":"default","system_fingerprint":"fp_sim-test"}` + "\n\n"
}

func deltaOf(content string) string {
	return `{"index":0,"delta":{"content":"` + content + `"},"logprobs":null,"finish_reason":null}`
}

const (
	roleChoice = `{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}`
	stopChoice = `{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}`
	done       = "data: [DONE]\n\n"
)

func TestChatStream(t *testing.T) {
	f := func(options, tail, last string) {
		synctest.Test(t, func(t *testing.T) {
			s := inMemory(t, instant())
			resp := s.ask("POST /v1/chat/completions", `{"model":"m","stream":true,`+options+`"messages":[{"role":"user","content":"a \"b\""}]}`)
			want := chunkOf(roleChoice, tail) + chunkOf(deltaOf("echo:"), tail) + chunkOf(deltaOf(" a"), tail) +
				chunkOf(deltaOf(` \"b\"`), tail) + chunkOf(stopChoice, tail) + last + done
			if got := s.read(resp); got != want {
				t.Errorf("%s\n got %s\nwant %s", options, got, want)
			}
			if got := resp.Header.Get("Content-Type"); got != "text/event-stream; charset=utf-8" {
				t.Errorf("Content-Type %q", got)
			}
			s.expect(Stats{Requests: 1, Generations: 1})
		})
	}
	f("", "", "")
	f(`"stream_options":null,`, "", "")
	f(`"stream_options":{"include_usage":false},`, "", "")
	f(`"stream_options":{"include_usage":true},`, `"usage":null,`, chunkOf("", `"usage":`+usageOf(2, 3)+`,`))
}

func TestCompletionStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := inMemory(t, instant())
		chunk := func(text, reason string) string {
			return `data: {"id":"cmpl-` + firstID + `","object":"text_completion","created":` + bubbleTime +
				`,"model":"sim-test","choices":[{"index":0,"text":"` + text + `","logprobs":null,"finish_reason":` + reason +
				`}],"system_fingerprint":"fp_sim-test"}` + "\n\n"
		}
		got := s.read(s.ask("POST /v1/completions", `{"model":"m","stream":true,"prompt":["hi there"],"max_tokens":2}`))
		if want := chunk("echo:", "null") + chunk(" hi", "null") + chunk("", `"length"`) + done; got != want {
			t.Errorf("got %s\nwant %s", got, want)
		}
	})
}

// TestStreamPace: each event is on its way before the next pause, and the pauses lie between tokens only.
func TestStreamPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := inMemory(t, Options{Name: "test", Seed: 7, Latency: [2]time.Duration{time.Second, time.Second}, TokenPace: 10 * time.Millisecond})
		start := time.Now()
		resp := s.ask("POST /v1/chat/completions", `{"model":"m","stream":true,"messages":[{"role":"user","content":"a b"}]}`)
		events := bufio.NewReader(resp.Body)
		for _, want := range []time.Duration{1000, 1000, 1010, 1020, 1020, 1020} { // role, echo:, a, b, stop, [DONE]
			line, err := events.ReadString('\n')
			if _, err2 := events.ReadString('\n'); err != nil || err2 != nil {
				t.Fatal(err, err2)
			}
			if got := time.Since(start); got != want*time.Millisecond {
				t.Errorf("after %v, want %v: %s", got, want*time.Millisecond, line)
			}
		}
	})
}

// TestStreamOnTheWire: one chunk of the transfer coding per event, and a last chunk.
func TestStreamOnTheWire(t *testing.T) {
	s := onLoopback(t, instant())
	f := func(field string, events int, end string) {
		t.Helper()
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		body := `{"model":"m","stream":true,"prompt":"a b"}`
		if _, err := io.WriteString(conn, "POST /v1/completions HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"+field+
			"Content-Length: 42\r\n\r\n"+body); err != nil {
			t.Fatal(err)
		}
		wire, err := io.ReadAll(conn)
		if err != nil {
			t.Fatal(err)
		}
		_, got, _ := strings.Cut(string(wire), "\r\n\r\n")
		if strings.Count(got, "\r\ndata: ") != events || !strings.HasSuffix(got, end) {
			t.Errorf("%q: want %d chunks and at the end %q in\n%s", field, events, end, got)
		}
	}
	f("", 5, "\r\ne\r\n"+done+"\r\n0\r\n\r\n")
	f("X-Sim-Cut: 2\r\n", 2, "\"}\n\n\r\n")
	f("X-Sim-Cut: 99\r\n", 5, "\r\ne\r\n"+done+"\r\n")
	f("X-Sim-Cut: 0\r\n", 0, "")
}

// TestCutStreams: a client that knows HTTP sees an unexpected EOF after exactly the events it was promised.
func TestCutStreams(t *testing.T) {
	s := onLoopback(t, instant())
	f := func(after string, events int) {
		t.Helper()
		resp := s.ask("POST /v1/chat/completions", `{"model":"m","stream":true,"messages":[{"role":"user","content":"a"}]}`, "X-Sim-Cut: "+after)
		got, err := io.ReadAll(resp.Body)
		if n := strings.Count(string(got), "\n\n"); resp.StatusCode != 200 || n != events || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut after %s: %d events, %v; want %d and an unexpected EOF", after, n, err, events)
		}
	}
	f("0", 0)
	f("3", 3)
	f("5", 5) // role, echo:, a, stop, [DONE], and no last chunk
	f("6", 5)
	s.expect(Stats{Requests: 4, Generations: 4, Cut: 4})
}

func TestManyTokens(t *testing.T) {
	s := onLoopback(t, instant())
	resp := s.ask("POST /v1/completions", `{"model":"m","stream":true,"prompt":"a"}`, "X-Sim-Tokens: 1000")
	if n := strings.Count(s.read(resp), `"finish_reason":null`); n != 1000 {
		t.Errorf("%d tokens, want 1000", n)
	}
}

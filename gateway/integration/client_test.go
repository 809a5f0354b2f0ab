//go:build integration

package integration

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A request is what a client sends. The zero method is GET, or POST with a body.
type request struct {
	method  string
	url     string
	host    string // "": that of the URL
	body    string
	chunked bool
	header  map[string]string
}

// An answer is what it gets, whole.
type answer struct {
	status int
	header http.Header
	closes bool // Connection: close, which net/http takes out of the header
	body   []byte
}

func (a answer) String() string { return fmt.Sprintf("%d %s", a.status, a.body) }

// newClient is a client with connections of its own, that neither asks for compression nor uses anybody's proxy.
func newClient() *http.Client {
	return &http.Client{
		Timeout:   patience,
		Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 100},
	}
}

func (r request) make(ctx context.Context) (*http.Request, error) {
	var body io.Reader
	if r.body != "" {
		body = strings.NewReader(r.body)
		if r.method == "" {
			r.method = http.MethodPost
		}
	}
	if r.chunked {
		body = io.MultiReader(body) // hides the length
	}
	req, err := http.NewRequestWithContext(ctx, r.method, r.url, body)
	if err != nil {
		return nil, err
	}
	if r.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Host = r.host
	for name, value := range r.header {
		req.Header.Set(name, value)
	}
	return req, nil
}

// by sends a request through a client and reads the whole answer.
func (r request) by(c *http.Client) (answer, error) {
	req, err := r.make(context.Background())
	if err != nil {
		return answer{}, err
	}
	resp, err := c.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, resp.Close, body}, err
}

// do sends a request on a connection of its own.
func do(r request) (answer, error) {
	c := newClient()
	defer c.CloseIdleConnections()
	return r.by(c)
}

// ask is do for a request that must be answered.
func ask(t *testing.T, r request) answer {
	t.Helper()
	a, err := do(r)
	if err != nil {
		t.Fatalf("%s %s: %v", r.method, r.url, err)
	}
	return a
}

// inference is the answer of /infer.
type inference struct {
	Result    string `json:"result"`
	LatencyMS *int   `json:"latency_ms"`
	Model     string `json:"model"`
}

// inference reads an answer of /infer; an answer that is none is an error.
func (a answer) inference() (inference, error) {
	var i inference
	if a.status != http.StatusOK {
		return i, fmt.Errorf("status %d: %.300s", a.status, a.body)
	}
	err := json.Unmarshal(a.body, &i)
	if err == nil && i.LatencyMS == nil {
		err = fmt.Errorf("no latency_ms: %.300s", a.body)
	}
	return i, err
}

// echo tells whether an answer of /infer is the one to this prompt, by this model.
func (a answer) echo(prompt, model string) error {
	i, err := a.inference()
	switch {
	case err != nil:
		return err
	case i.Result != "echo: "+prompt:
		return fmt.Errorf("somebody else's answer, or half of it: %d bytes, %.60q, want %d, %.60q",
			len(i.Result), i.Result, len("echo: "+prompt), "echo: "+prompt)
	case i.Model != model:
		return fmt.Errorf("the answer is by %s, want %s", i.Model, model)
	}
	return nil
}

// failure is the gateway's own answer when there is no other.
type failure struct {
	Error struct {
		Message, Type, Code string
		Param               json.RawMessage
	}
	RequestID string `json:"request_id"`
}

// failure reads the gateway's own error and checks the form that all of them have.
func (a answer) failure(t *testing.T) failure {
	t.Helper()
	var f failure
	if err := json.Unmarshal(a.body, &f); err != nil {
		t.Fatalf("the error is not JSON: %v: %v", a, err)
	}
	if got := a.header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type of an error: %q", got)
	}
	if f.Error.Message == "" || f.Error.Type == "" || f.Error.Code == "" {
		t.Errorf("an error without message, type or code: %v", a)
	}
	if strings.Contains(string(a.body), "127.0.0.1") {
		t.Errorf("the error names an address: %v", a)
	}
	return f
}

// promptBody is the body of POST /infer.
func promptBody(prompt string) string {
	b, err := json.Marshal(map[string]string{"prompt": prompt})
	if err != nil {
		panic(err)
	}
	return string(b)
}

// chatBody is the body of a chat in n words, which a backend echoes as n+1 tokens.
func chatBody(model, words string, more ...string) string {
	return fmt.Sprintf(`{"model":%q,"stream":true,"messages":[{"role":"user","content":%q}]%s}`,
		model, words, strings.Join(more, ""))
}

const withUsage = `,"stream_options":{"include_usage":true}`

// A stream is an answer that comes event by event.
type stream struct {
	*http.Response
	in    *bufio.Reader
	leave context.CancelFunc
}

// An event is one of a stream's, with the time it came.
type event struct {
	text string // with the empty line at its end
	at   time.Time
}

// openStream sends a request and returns when the answer's head is there.
func openStream(t *testing.T, r request) *stream {
	t.Helper()
	ctx, leave := context.WithCancel(context.Background())
	t.Cleanup(leave)
	req, err := r.make(ctx)
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Transport: &http.Transport{DisableCompression: true, DisableKeepAlives: true}}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatalf("%s: %v", r.url, err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	if resp.StatusCode != http.StatusOK || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		body, _ := io.ReadAll(resp.Body)
		t.Fatalf("%s: not a stream: %d %s", r.url, resp.StatusCode, body)
	}
	return &stream{resp, bufio.NewReader(resp.Body), leave}
}

// next reads one event. Its error is io.EOF only at the end of a stream that ended as HTTP has it.
func (s *stream) next() (event, error) {
	var text strings.Builder
	for {
		line, err := s.in.ReadString('\n')
		text.WriteString(line)
		switch {
		case err == io.EOF && text.Len() > 0:
			return event{text.String(), time.Now()}, fmt.Errorf("the stream ends in the middle of an event: %q", text.String())
		case err != nil || line == "\n":
			return event{text.String(), time.Now()}, err
		}
	}
}

// rest reads all events until the stream's end.
func (s *stream) rest() (events []event, err error) {
	for {
		e, err := s.next()
		if err == io.EOF {
			return events, nil
		}
		if err != nil {
			return events, err
		}
		events = append(events, e)
	}
}

// mustRest reads all events of a stream that must end whole, and checks that the last is [DONE].
func (s *stream) mustRest(t *testing.T) []event {
	t.Helper()
	events, err := s.rest()
	if err != nil {
		t.Fatalf("the stream is cut after %d events: %v", len(events), err)
	}
	if n := len(events); n == 0 || events[n-1].text != "data: [DONE]\n\n" {
		t.Fatalf("the stream does not end with [DONE]: %d events: %s", n, join(events))
	}
	return events
}

func join(events []event) string {
	var b strings.Builder
	for _, e := range events {
		b.WriteString(e.text)
	}
	return b.String()
}

// content is the text that a chat's chunks make together.
func content(t *testing.T, events []event) string {
	t.Helper()
	var b strings.Builder
	for _, e := range events {
		data := strings.TrimSpace(strings.TrimPrefix(e.text, "data: "))
		if data == "[DONE]" {
			continue
		}
		var chunk struct {
			Choices []struct{ Delta struct{ Content string } }
		}
		if err := json.Unmarshal([]byte(data), &chunk); err != nil {
			t.Fatalf("an event is not a chunk: %q: %v", e.text, err)
		}
		for _, c := range chunk.Choices {
			b.WriteString(c.Delta.Content)
		}
	}
	return b.String()
}

package testkit

import (
	"encoding/json"
	"strings"
	"testing"
)

// Refused checks a refusal: the status, the gateway's JSON and the end of the connection.
func (c *Peer) Refused(t testing.TB, what string, status int) Message {
	t.Helper()
	m := c.ReadResponse()
	if m.Err != nil || m.Status() != status {
		t.Errorf("%s: status %d (%q, %v), want %d", what, m.Status(), m.First, m.Err, status)
		return m
	}
	CheckFault(t, what, m, false)
	if m.Field("Connection") != "close" {
		t.Errorf("%s: Connection is %q, want close", what, m.Field("Connection"))
	}
	if !c.Closed() {
		t.Errorf("%s: the connection stays open", what)
	}
	return m
}

// CheckFault checks the shape of an error: the gateway's, or OpenAI's.
func CheckFault(t testing.TB, what string, m Message, openAI bool) {
	t.Helper()
	var body struct {
		Error struct {
			Message, Type, Code string
			Param               *json.RawMessage
		}
		RequestID string `json:"request_id"`
	}
	d := json.NewDecoder(strings.NewReader(m.Body))
	if err := d.Decode(&body); err != nil {
		t.Errorf("%s: the body %q is not JSON: %v", what, m.Body, err)
		return
	}
	if body.Error.Message == "" || body.Error.Type == "" || body.Error.Code == "" {
		t.Errorf("%s: the error lacks a part: %q", what, m.Body)
	}
	if got := strings.Contains(m.Body, `"param":null`); got != openAI {
		t.Errorf("%s: OpenAI's shape is %v, want %v: %q", what, got, openAI, m.Body)
	}
	if !openAI && (body.RequestID == "" || body.RequestID != m.Field("X-Request-ID")) {
		t.Errorf("%s: request_id is %q, X-Request-ID %q", what, body.RequestID, m.Field("X-Request-ID"))
	}
	if ct := m.Field("Content-Type"); ct != "application/json" {
		t.Errorf("%s: Content-Type is %q", what, ct)
	}
	for _, leak := range []string{"127.0.0.1", "goroutine", "dial", "fasthttp", "EOF"} {
		if strings.Contains(m.Body, leak) {
			t.Errorf("%s: the error tells %q: %q", what, leak, m.Body)
		}
	}
}

// WantFault checks an answer of the gateway's own, in its shape or OpenAI's.
func WantFault(t testing.TB, m Message, status int, code string, openAI bool) {
	t.Helper()
	if m.Err != nil || m.Status() != status || !strings.Contains(m.Body, `"code":"`+code+`"`) {
		t.Errorf("got %q, body %q, %v; want %d %s", m.First, m.Body, m.Err, status, code)
		return
	}
	if m.Field("Content-Type") != "application/json" || !strings.HasPrefix(m.Body, `{"error":{"message":"`) {
		t.Errorf("not the shape of a fault: %q\n%s", m.Head, m.Body)
	}
	if own := strings.Contains(m.Body, `"request_id":"`); own == openAI {
		t.Errorf("wrong shape of a fault (OpenAI %v): %s", openAI, m.Body)
	}
	if strings.Contains(m.Body, "127.0.0.1") {
		t.Errorf("the fault tells of an address: %s", m.Body)
	}
}

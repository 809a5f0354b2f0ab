package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// A result is what a client has seen of one call.
type result struct {
	status   int
	text     string
	finish   string
	done     bool   // [DONE] came
	told     string // the code of an error, in a body or in an event
	err      error  // why the stream has no end; nil: it ended in order
	first    time.Duration
	took     time.Duration
	attempts string
}

// call asks for a stream and reads it to its end.
func (b *bed) call(model string, most time.Duration) (r result) {
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	began := time.Now()
	defer func() { r.took = time.Since(began) }()
	body := `{"messages":[{"role":"user","content":"hello"}],"model":"` + model + `","stream":true}`
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, b.url+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		r.err = err
		return r
	}
	q.Header.Set("Content-Type", "application/json")
	a, err := b.client.Do(q)
	if err != nil {
		r.err = err
		return r
	}
	defer a.Body.Close()
	r.status, r.attempts = a.StatusCode, a.Header.Get("X-Upstream-Attempts")
	lines := bufio.NewScanner(a.Body)
	for lines.Scan() {
		if r.first == 0 {
			r.first = time.Since(began)
		}
		line := lines.Text()
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			line = data
		}
		r.read(line)
	}
	r.err = lines.Err()
	return r
}

// read takes in an event, or the body of an error.
func (r *result) read(data string) {
	if data == "[DONE]" {
		r.done = true
	}
	var event struct {
		Error *struct {
			Code any `json:"code"`
		} `json:"error"`
		Choices []struct {
			Delta  struct{ Content string } `json:"delta"`
			Finish string                   `json:"finish_reason"`
		} `json:"choices"`
	}
	if json.Unmarshal([]byte(data), &event) != nil {
		return
	}
	if event.Error != nil {
		r.told = fmt.Sprint(event.Error.Code)
	}
	for _, c := range event.Choices {
		r.text += c.Delta.Content
		if c.Finish != "" {
			r.finish = c.Finish
		}
	}
}

// whole tells whether the client has all of an answer, once.
func (r *result) whole() bool {
	return r.status == 200 && r.err == nil && r.told == "" && r.text == allWords
}

// A verdict is what is to be said of a scenario.
type verdict string

const (
	pass verdict = "pass"
	safe verdict = "safe" // the client knows that it has no whole answer
	fail verdict = "fail"
)

// judge says what a call is that should have been whole.
func (r *result) judge() (verdict, string) {
	switch {
	case errors.Is(r.err, context.DeadlineExceeded):
		return fail, "hangs"
	case r.whole():
		return pass, "whole"
	case r.status >= 400 && r.told != "" && r.text == "" && r.err == nil:
		return safe, fmt.Sprint(r.status, " ", r.told)
	case r.status == 200 && r.err != nil && strings.HasPrefix(allWords, r.text):
		if r.told == "" {
			return safe, "reset"
		}
		return safe, r.told + ", reset"
	case r.err == nil && strings.HasPrefix(allWords, r.text):
		return fail, fmt.Sprintf("%d, short, and looks whole", r.status)
	}
	return fail, fmt.Sprintf("%d, %q, %v", r.status, r.told, r.err)
}

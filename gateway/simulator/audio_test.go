package simulator

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestUploaderLeaves: a form whose body has no announced length and something behind its last boundary is read to its end, or
// net/http would not notice that its client leaves.
func TestUploaderLeaves(t *testing.T) {
	s := onLoopback(t, Options{Name: "test", Latency: [2]time.Duration{time.Minute, time.Minute}})
	ctx, leave := context.WithCancel(t.Context())
	body := io.MultiReader(strings.NewReader(field("m", "", "")), strings.NewReader(strings.Repeat("x", 100_000)))
	r, err := http.NewRequestWithContext(ctx, "POST", s.URL()+"/v1/audio/transcriptions", body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "multipart/form-data; boundary=b")
	gone := make(chan error)
	go func() {
		resp, err := s.client.Do(r)
		if err == nil {
			_ = resp.Body.Close()
		}
		gone <- err
	}()
	await := func(want Stats) {
		for deadline := time.Now().Add(20 * time.Second); s.Stats() != want; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%+v, want %+v", s.Stats(), want)
			}
		}
	}
	await(Stats{Requests: 1, Generations: 1})
	leave()
	if err := <-gone; err == nil {
		t.Error("an answer came")
	}
	await(Stats{Requests: 1, Generations: 1, Cancelled: 1})
}

package simulator

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestDrawIsAFunctionOfSeedAndNumber(t *testing.T) {
	o := Options{Seed: 1, Latency: [2]time.Duration{0, time.Second}, ErrorRate: 0.5, ErrorStatus: 500, CutRate: 0.5}
	other := o
	other.Seed = 2
	same := 0
	for n := range uint64(100) {
		if o.draw(n) != o.draw(n) {
			t.Fatalf("draw(%d) differs from itself", n)
		}
		if o.draw(n).latency == other.draw(n).latency || o.draw(n).latency == o.draw(n+1).latency {
			same++
		}
		calm := o
		calm.ErrorRate, calm.CutRate = 0, 0
		if o.draw(n).latency != calm.draw(n).latency || o.draw(n).id != calm.draw(n).id {
			t.Errorf("draw(%d): the rates changed the rest", n)
		}
	}
	if same > 0 {
		t.Errorf("%d of 100 draws agree between seeds or neighbours", same)
	}
}

func TestDrawKeepsRates(t *testing.T) {
	const draws = 20_000
	o := Options{Latency: [2]time.Duration{10, 19}, ErrorRate: 0.1, ErrorStatus: 500, CutRate: 0.3}
	latencies := map[time.Duration]int{}
	failed, cut := 0, 0
	for n := range uint64(draws) {
		g := o.draw(n)
		latencies[g.latency]++
		if g.status != 0 {
			failed++
		}
		if g.cut {
			cut++
		}
	}
	f := func(what string, got int, share float64) {
		t.Helper()
		if want := share * draws; float64(got) < want*0.9 || float64(got) > want*1.1 {
			t.Errorf("%s: %d of %d, want about %.0f", what, got, draws, want)
		}
	}
	f("failed", failed, 0.1)
	f("cut", cut, 0.3)
	for d := time.Duration(10); d <= 19; d++ {
		f(d.String(), latencies[d], 0.1)
	}
	if len(latencies) != 10 {
		t.Errorf("latencies out of bounds: %v", latencies)
	}
}

func TestCutAt(t *testing.T) {
	f := func(g generation, n, want int) {
		t.Helper()
		if at, cut := g.cutAt(n); !cut || at != want {
			t.Errorf("%+v.cutAt(%d) = %d, %v, want %d", g, n, at, cut, want)
		}
	}
	f(generation{cut: true, cutAfter: 0}, 5, 0)
	f(generation{cut: true, cutAfter: 3}, 5, 3)
	f(generation{cut: true, cutAfter: 9}, 5, 5)
	f(generation{cut: true, cutAfter: -1, cutShare: 0}, 5, 1)
	f(generation{cut: true, cutAfter: -1, cutShare: 0.999}, 5, 4)
	f(generation{cut: true, cutAfter: -1, cutShare: 0.999}, 2, 1)
	f(generation{cut: true, cutAfter: -1, cutShare: 0.999}, 1, 0)
	if _, cut := (generation{cutAfter: 3}).cutAt(5); cut {
		t.Error("cut without being asked to")
	}
}

func TestErrors(t *testing.T) {
	o := instant()
	o.ErrorRate = 1
	s := onLoopback(t, o)
	f := func(line, body, field string, status int, want string) {
		t.Helper()
		resp := s.ask(line, body, field)
		if got := s.read(resp); resp.StatusCode != status || got != want {
			t.Errorf("%s %s\n got %d %s\nwant %d %s", line, field, resp.StatusCode, got, status, want)
		}
		if got, want := resp.Header.Get("Retry-After") != "", status == 429 || status == 503; got != want {
			t.Errorf("%d: Retry-After is there: %v, want %v", status, got, want)
		}
	}
	const plain = `{"error":{"message":"The simulator was asked to fail.","type":"server_error","code":"simulated_error"}}`
	f("GET /infer?prompt=a", "", "X: y", 500, plain)
	f("POST /infer", `{"prompt":"a"}`, "X-Sim-Error: 503", 503, plain)
	f("POST /infer", `{"prompt":"a"}`, "X-Sim-Error: 404", 404, strings.Replace(plain, "server_error", "invalid_request_error", 1))
	f("POST /v1/completions", `{"model":"m","prompt":"a","stream":true}`, "X-Sim-Error: 429", 429,
		`{"error":{"message":"The simulator was asked to fail.","type":"rate_limit_error","param":null,"code":"simulated_error"}}`)
	f("POST /v1/embeddings", `{"model":"m","input":"a"}`, "X: y", 500,
		`{"error":{"message":"The simulator was asked to fail.","type":"server_error","param":null,"code":"simulated_error"}}`)
	s.expect(Stats{Requests: 5, Generations: 5, Errors: 5})
	f("GET /healthz", "", "X-Sim-Error: 500", 200, `{"ok":true,"service":"test"}`)
	f("POST /infer", `{}`, "X-Sim-Error: 500", 422,
		`{"error":{"message":"A prompt is needed: a string that is not empty.","type":"invalid_request_error","code":"missing_prompt"}}`)
	s.expect(Stats{Requests: 7, Generations: 5, Errors: 5})
}

// TestCutBodies: a whole answer that breaks off is an unexpected EOF for a client that counts.
func TestCutBodies(t *testing.T) {
	s := onLoopback(t, instant())
	const whole = `{"result":"echo: a","latency_ms":0,"model":"sim-test"}`
	f := func(after, want string) {
		t.Helper()
		resp := s.ask("GET /infer?prompt=a", "", "X-Sim-Cut: "+after)
		got, err := io.ReadAll(resp.Body)
		if string(got) != want || !errors.Is(err, io.ErrUnexpectedEOF) || resp.ContentLength != int64(len(whole)) {
			t.Errorf("cut after %s: %q, %v, length %d", after, got, err, resp.ContentLength)
		}
	}
	f("0", "")
	f("5", whole[:5])
	f("1000", whole[:len(whole)-1])
	s.expect(Stats{Requests: 3, Generations: 3, Cut: 3})
}

func TestCutRate(t *testing.T) {
	o := instant()
	o.CutRate = 1
	s := onLoopback(t, o)
	for _, body := range []string{`{"model":"m","prompt":"a b c","stream":true}`, `{"model":"m","prompt":"a b c"}`} {
		got, err := io.ReadAll(s.ask("POST /v1/completions", body).Body)
		if len(got) == 0 || strings.Contains(string(got), "[DONE]") || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %q, %v; want a part and an unexpected EOF", body, got, err)
		}
	}
	s.expect(Stats{Requests: 2, Generations: 2, Cut: 2})
}

func TestSwitches(t *testing.T) {
	none := switches{latency: -1, pace: -1, tokens: -1, status: -1, cut: -1}
	f := func(name, value string, change func(*switches)) {
		t.Helper()
		want := none
		change(&want)
		got, err := readSwitches(http.Header{name: {value}})
		if err != nil || got != want {
			t.Errorf("%s: %s: %+v, %v, want %+v", name, value, got, err, want)
		}
	}
	f("X-Other", "?", func(*switches) {})
	f("X-Sim-Latency", "5ms", func(s *switches) { s.latency = 5 * time.Millisecond })
	f("X-Sim-Latency", "0", func(s *switches) { s.latency = 0 })
	f("X-Sim-Latency", "10m", func(s *switches) { s.latency = 10 * time.Minute })
	f("X-Sim-Pace", "0s", func(s *switches) { s.pace = 0 })
	f("X-Sim-Tokens", "100000", func(s *switches) { s.tokens = 100_000 })
	f("X-Sim-Error", "599", func(s *switches) { s.status = 599 })
	f("X-Sim-Cut", "0", func(s *switches) { s.cut = 0 })
}

func TestBadSwitches(t *testing.T) {
	s := onLoopback(t, instant())
	f := func(want string, fields ...string) {
		t.Helper()
		for _, line := range []string{"POST /infer", "POST /v1/embeddings", "POST /v1/completions"} {
			resp := s.ask(line, `{"prompt":"a","input":"a","model":"m"}`, fields...)
			if got := s.read(resp); resp.StatusCode != 400 || !strings.Contains(got, `{"message":"`+want+`","type":"invalid_request_error",`) {
				t.Errorf("%s %q: %d %s, want %s", line, fields, resp.StatusCode, got, want)
			}
		}
	}
	f(`X-Sim-Latency wants a duration from 0s to 10m0s, not \"soon\".`, "X-Sim-Latency: soon")
	f(`X-Sim-Latency wants a duration from 0s to 10m0s, not \"-1s\".`, "X-Sim-Latency: -1s")
	f(`X-Sim-Latency wants a duration from 0s to 10m0s, not \"11m\".`, "X-Sim-Latency: 11m")
	f(`X-Sim-Pace wants a duration from 0s to 1m0s, not \"2m\".`, "X-Sim-Pace: 2m")
	f(`X-Sim-Tokens wants a whole number from 1 to 100000, not \"0\".`, "X-Sim-Tokens: 0")
	f(`X-Sim-Tokens wants a whole number from 1 to 100000, not \"`+strings.Repeat("9", 40)+`\"….`, "X-Sim-Tokens: "+strings.Repeat("9", 50))
	f(`X-Sim-Error wants a whole number from 400 to 599, not \"200\".`, "X-Sim-Error: 200")
	f(`X-Sim-Cut wants a whole number from 0 to 1048576, not \"\".`, "X-Sim-Cut: ")
	f(`X-Sim-Cut may be sent once only.`, "X-Sim-Cut: 1", "X-Sim-Cut: 1")
	if got := s.Stats().Generations; got != 0 {
		t.Errorf("%d generations, want none", got)
	}
}

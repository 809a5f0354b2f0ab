package simulator

import (
	"context"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestAnswers is the table of facts: over real sockets, what is asked and what comes back.
func TestAnswers(t *testing.T) {
	s := onLoopback(t, instant())
	f := func(line, body string, status int, want string) {
		t.Helper()
		resp := s.ask(line, body)
		got := s.read(resp)
		if resp.StatusCode != status || got != want {
			t.Errorf("%s %s\n got %d %s\nwant %d %s", line, body, resp.StatusCode, got, status, want)
		}
		if got := resp.Header.Get("Content-Type"); got != "application/json" {
			t.Errorf("%s: Content-Type %q", line, got)
		}
	}
	const noPrompt = `{"error":{"message":"A prompt is needed: a string that is not empty.","type":"invalid_request_error","code":"missing_prompt"}}`
	const notJSON = `{"error":{"message":"The body is not valid JSON.","type":"invalid_request_error","code":"invalid_json"}}`

	f("GET /healthz", "", 200, `{"ok":true,"service":"test"}`)
	f("HEAD /healthz", "", 200, "")
	f("POST /infer", `{"prompt":"hi"}`, 200, `{"result":"echo: hi","latency_ms":0,"model":"sim-test"}`)
	f("POST /infer", ` {"prompt":"<a&b> \u00e9","more":1} `, 200, `{"result":"echo: <a&b> é","latency_ms":0,"model":"sim-test"}`)
	f("GET /infer?prompt=a%20b+c", "", 200, `{"result":"echo: a b c","latency_ms":0,"model":"sim-test"}`)
	f("HEAD /infer?prompt=a", "", 200, "")

	f("POST /infer", ``, 422, noPrompt)
	f("POST /infer", `{}`, 422, noPrompt)
	f("POST /infer", `null`, 422, noPrompt)
	f("POST /infer", `[]`, 422, noPrompt)
	f("POST /infer", `"prompt"`, 422, noPrompt)
	f("POST /infer", `{"prompt":""}`, 422, noPrompt)
	f("POST /infer", `{"prompt":null}`, 422, noPrompt)
	f("POST /infer", `{"prompt":7}`, 422, noPrompt)
	f("POST /infer", `{"prompt":["hi"]}`, 422, noPrompt)
	f("POST /infer", `{"Prompt":"names have a case"}`, 422, noPrompt)
	f("GET /infer", "", 422, noPrompt)
	f("GET /infer?prompt=", "", 422, noPrompt)
	f("POST /infer", `{"prompt":"hi"`, 400, notJSON)
	f("POST /infer", `{"prompt":"hi"} x`, 400, notJSON)
	f("POST /infer", strings.Repeat("[", 20_000), 400, notJSON)
	f("GET /infer?prompt=%zz", "", 400, `{"error":{"message":"The query is malformed.","type":"invalid_request_error","code":"invalid_query"}}`)
	f("GET /infer?prompt=a;b", "", 400, `{"error":{"message":"The query is malformed.","type":"invalid_request_error","code":"invalid_query"}}`)

	f("GET /", "", 404, `{"error":{"message":"No such path: \"/\".","type":"invalid_request_error","code":"not_found"}}`)
	f("GET //infer", "", 404, `{"error":{"message":"No such path: \"//infer\".","type":"invalid_request_error","code":"not_found"}}`)
	f("GET /"+strings.Repeat("x", 50), "", 404, `{"error":{"message":"No such path: \"/`+strings.Repeat("x", 39)+`\"….","type":"invalid_request_error","code":"not_found"}}`)
	f("GET /v1/nothing", "", 404, `{"error":{"message":"No such path: \"/v1/nothing\".","type":"invalid_request_error","param":null,"code":"not_found"}}`)
	f("DELETE /infer", "", 405, `{"error":{"message":"Not allowed on this path: \"DELETE\".","type":"invalid_request_error","code":"method_not_allowed"}}`)
	f("GET /v1/completions", "", 405, `{"error":{"message":"Not allowed on this path: \"GET\".","type":"invalid_request_error","param":null,"code":"method_not_allowed"}}`)

	f("GET /v1/models", "", 200, `{"object":"list","data":[{"id":"sim-test","object":"model","created":1767225600,"owned_by":"simulator"}]}`)
	f("GET /v1/models/sim-test", "", 200, `{"id":"sim-test","object":"model","created":1767225600,"owned_by":"simulator"}`)
	f("GET /v1/models/gpt", "", 404, `{"error":{"message":"The model \"gpt\" does not exist.","type":"invalid_request_error","param":"model","code":"model_not_found"}}`)
}

func TestAllow(t *testing.T) {
	s := onLoopback(t, instant())
	f := func(line, want string) {
		t.Helper()
		if got := s.ask(line, "").Header.Get("Allow"); got != want {
			t.Errorf("%s: Allow %q, want %q", line, got, want)
		}
	}
	f("POST /healthz", "GET, HEAD")
	f("PUT /infer", "GET, HEAD, POST")
	f("HEAD /v1/embeddings", "POST")
}

func TestHeadIsSizedLikeGet(t *testing.T) {
	s := onLoopback(t, instant())
	head, get := s.ask("HEAD /infer?prompt=a", ""), s.ask("GET /infer?prompt=a", "")
	if head.ContentLength <= 0 || head.ContentLength != get.ContentLength {
		t.Errorf("Content-Length: HEAD %d, GET %d", head.ContentLength, get.ContentLength)
	}
}

func TestBodyLimit(t *testing.T) {
	s := onLoopback(t, instant())
	f := func(prompt, status int) {
		t.Helper()
		body := `{"prompt":"` + strings.Repeat("x", prompt) + `"}`
		if resp := s.ask("POST /infer", body); resp.StatusCode != status {
			t.Errorf("%d bytes: status %d, want %d", len(body), resp.StatusCode, status)
		}
	}
	around := len(`{"prompt":""}`)
	f(maxBody-around, 200)
	f(maxBody-around+1, 413)
}

func TestOptions(t *testing.T) {
	f := func(o Options, want string) {
		t.Helper()
		s, err := Start(o)
		if err == nil {
			_ = s.Close()
			t.Errorf("%+v: no error, want %q", o, want)
		} else if err.Error() != want {
			t.Errorf("%+v: %q, want %q", o, err, want)
		}
	}
	f(Options{ErrorRate: 2}, `cannot start simulator "llm": error rate 2 is not between 0 and 1`)
	f(Options{CutRate: math.NaN()}, `cannot start simulator "llm": cut rate NaN is not between 0 and 1`)
	f(Options{Latency: [2]time.Duration{2, 1}}, `cannot start simulator "llm": latency from 2ns to 1ns runs backwards`)
	f(Options{Latency: [2]time.Duration{0, math.MaxInt64}}, `cannot start simulator "llm": latency 2562047h47m16.854775807s is longer than 10m0s`)
	f(Options{Name: "x", ErrorRate: -1, CutRate: 3}, `cannot start simulator "x": error rate -1 is not between 0 and 1`+"\n"+`cut rate 3 is not between 0 and 1`)
	f(Options{Addr: "127.0.0.1:99999"}, `cannot start simulator "llm": listen tcp: address 99999: invalid port`)
}

func TestSlowStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := instant()
		o.SlowStart = 30 * time.Second
		s := inMemory(t, o)
		probe := func(status int, want string) {
			t.Helper()
			resp := s.ask("GET /healthz", "")
			if got := s.read(resp); resp.StatusCode != status || got != want {
				t.Errorf("healthz: %d %s, want %d %s", resp.StatusCode, got, status, want)
			}
		}
		start := time.Now()
		probe(503, `{"status":"loading"}`)
		s.read(s.ask("GET /infer?prompt=a", ""))
		if waited := time.Since(start); waited != o.SlowStart {
			t.Errorf("the generation came after %v, want %v", waited, o.SlowStart)
		}
		probe(200, `{"ok":true,"service":"test"}`)
	})
}

// TestCloseWhileLoading covers the timer that nobody waits for any more.
func TestCloseWhileLoading(t *testing.T) {
	s := onLoopback(t, Options{SlowStart: time.Hour})
	if s.ask("GET /healthz", "").StatusCode != 503 {
		t.Error("not loading")
	}
}

func TestLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := inMemory(t, Options{Seed: 1})
		start := time.Now()
		s.read(s.ask("GET /infer?prompt=a", ""))
		if waited := time.Since(start); waited < 30*time.Millisecond || waited > 50*time.Millisecond {
			t.Errorf("waited %v, want 30ms to 50ms", waited)
		}
		start = time.Now()
		got := s.read(s.ask("GET /infer?prompt=a", "", "X-Sim-Latency: 1234ms"))
		if want := `{"result":"echo: a","latency_ms":1234,"model":"sim-llm"}`; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if waited := time.Since(start); waited != 1234*time.Millisecond {
			t.Errorf("waited %v, want 1.234s", waited)
		}
	})
}

// TestLeaving counts clients that leave: before the answer, while the model loads, and inside a stream.
func TestLeaving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := inMemory(t, Options{SlowStart: time.Minute, Latency: [2]time.Duration{time.Minute, time.Minute}})
		leave := func(line, body string) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			resp, err := s.client.Do(s.request(ctx, line, body))
			if err == nil {
				_ = resp.Body.Close()
			}
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: error %v, want a deadline", line, err)
			}
			synctest.Wait()
		}
		leave("GET /infer?prompt=a", "")
		s.expect(Stats{Requests: 1, Generations: 1, Cancelled: 1})
		time.Sleep(time.Minute) // loaded
		leave("POST /infer", `{"prompt":"a"}`)
		s.expect(Stats{Requests: 2, Generations: 2, Cancelled: 2})

		resp := s.ask("POST /v1/chat/completions", `{"model":"m","stream":true,"messages":[{"role":"user","content":"a b c"}]}`, "X-Sim-Pace: 1m")
		if _, err := io.ReadFull(resp.Body, make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		s.expect(Stats{Requests: 3, Generations: 3, Cancelled: 3})
	})
}

// TestLeavingLoopback is the same over a real socket, where the notice takes a moment.
func TestLeavingLoopback(t *testing.T) {
	o := instant()
	o.Latency = [2]time.Duration{time.Minute, time.Minute}
	s := onLoopback(t, o)
	await := func(want Stats) {
		deadline := time.Now().Add(10 * time.Second)
		for s.Stats() != want && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond)
		}
		s.expect(want)
	}
	ctx, leave := context.WithCancel(t.Context())
	var client sync.WaitGroup
	client.Go(func() {
		resp, err := s.client.Do(s.request(ctx, "POST /infer", `{"prompt":"a"}`))
		if err == nil {
			_ = resp.Body.Close()
			t.Error("an answer came")
		}
	})
	await(Stats{Requests: 1, Generations: 1})
	leave()
	await(Stats{Requests: 1, Generations: 1, Cancelled: 1})
	client.Wait()
}

// TestCloseBreaksOff: a generation that Close ends is neither finished nor counted as cancelled.
func TestCloseBreaksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := inMemory(t, Options{})
		resp := s.ask("POST /v1/completions", `{"model":"m","stream":true,"prompt":"a b c"}`, "X-Sim-Pace: 1m")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("stream ended with %v after %q, want an unexpected EOF", err, body)
		}
		s.expect(Stats{Requests: 1, Generations: 1})
		if err := s.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
	})
}

// TestCrowd lets many clients come and go at once; every generation is accounted for.
func TestCrowd(t *testing.T) {
	s := onLoopback(t, Options{Latency: [2]time.Duration{-1, 2 * time.Millisecond}, TokenPace: time.Microsecond, ErrorRate: 0.2, CutRate: 0.2})
	var whole, failed, broken sync.Map
	var crowd sync.WaitGroup
	for client := range 16 {
		crowd.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(client)))
			for i := range 20 {
				key := [2]int{client, i}
				patience := time.Minute
				if i%2 == 0 {
					patience = time.Duration(rng.Int64N(int64(20 * time.Millisecond)))
				}
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				resp, err := s.client.Do(s.request(ctx, "POST /v1/completions", `{"model":"m","stream":true,"prompt":"a b c d e f"}`))
				if err == nil {
					_, err = io.Copy(io.Discard, resp.Body)
					_ = resp.Body.Close()
				}
				switch {
				case err != nil:
					broken.Store(key, err)
				case resp.StatusCode == http.StatusOK:
					whole.Store(key, nil)
				default:
					failed.Store(key, nil)
				}
				cancel()
			}
		})
	}
	crowd.Wait()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	size := func(m *sync.Map) (n uint64) {
		m.Range(func(any, any) bool { n++; return true })
		return n
	}
	// A client that leaves late may miss an end which the simulator counts as given, never the other way round.
	st := s.Stats()
	if st.Errors < size(&failed) || st.Cancelled+st.Cut > size(&broken) || size(&whole) > st.Generations-st.Cancelled-st.Cut-st.Errors {
		t.Errorf("%+v, but clients saw %d whole, %d failed, %d broken", st, size(&whole), size(&failed), size(&broken))
	}
	if st.Errors == 0 || st.Cut == 0 {
		t.Errorf("%+v: nothing failed or was cut", st)
	}
}

func BenchmarkInfer(b *testing.B) {
	s := onLoopback(b, instant())
	b.ReportAllocs()
	for b.Loop() {
		resp, err := s.client.Do(s.request(b.Context(), "GET /infer?prompt=a", ""))
		if err != nil {
			b.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
}

package behaviour

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"aigateway/gateway/simulator"
	"aigateway/gateway/testkit"
)

// A cachingEngine remembers what it was asked, and says on its page of metrics what it is told to.
type cachingEngine struct {
	*httptest.Server
	page     atomic.Pointer[http.HandlerFunc]
	readings atomic.Int64
	at       atomic.Int64 // readings under way
	most     atomic.Int64
	mu       sync.Mutex
	asked    []string
}

func startCachingEngine(t *testing.T) *cachingEngine {
	e := new(cachingEngine)
	e.says(0, 0, 0)
	e.Server = httptest.NewServer(e)
	t.Cleanup(e.Close)
	return e
}

func (e *cachingEngine) answers(page http.HandlerFunc) { e.page.Store(&page) }

// says makes it one of vLLM's family that has so much to do.
func (e *cachingEngine) says(running, waiting int, kv float64) {
	var n atomic.Int64
	e.answers(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/metrics" {
			w.WriteHeader(404)
			return
		}
		fmt.Fprintf(w, "# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{engine=\"0\"} %d.0\nvllm:num_requests_waiting{engine=\"0\"} %d.0\n"+
			"vllm:kv_cache_usage_perc{engine=\"0\"} %f\n", running, waiting, kv+float64(n.Add(1)%7)/1000)
	})
}

func (e *cachingEngine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasSuffix(r.URL.Path, "/metrics"):
		if n := e.at.Add(1); n > e.most.Load() {
			e.most.Store(n)
		}
		defer e.at.Add(-1)
		defer e.readings.Add(1)
		(*e.page.Load())(w, r)
	case r.Method == "POST":
		body, _ := io.ReadAll(r.Body)
		e.mu.Lock()
		e.asked = append(e.asked, string(body))
		e.mu.Unlock()
		_, _ = io.WriteString(w, "{}")
	}
}

func (e *cachingEngine) times(part string) (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, body := range e.asked {
		if strings.Contains(body, part) {
			n++
		}
	}
	return n
}

// startByPrefix is a gateway that balances engines by how prompts begin.
func startByPrefix(t *testing.T, more string, all ...*cachingEngine) *testGateway {
	t.Helper()
	var list []string
	for _, e := range all {
		list = append(list, fmt.Sprintf("{url: %q}", e.URL))
	}
	g := startGatewayFile(t, fmt.Sprintf("pools: {llm: {upstreams: [%s], balance: prefix%s}}", strings.Join(list, ", "), more), "RATE_LIMIT_ENABLED=false")
	for range all {
		testkit.Eventually(t, "all engines are well", func() bool { return strings.Count(g.get("/healthz").Body, `"closed"`) >= len(all) })
	}
	return g
}

// conversation is the body of its turn, which begins with that of the turn before.
func conversation(name string, turn int) string {
	return fmt.Sprintf(`{"model":"m","messages":[{"role":"system","content":"I am %s. %s"}%s]}`, name, strings.Repeat("Be kind. ", 200),
		strings.Repeat(fmt.Sprintf(`,{"role":"user","content":"%s"}`, strings.Repeat("go on ", 80)), turn))
}

// Conversations stay with the engine that has read them, and are spread over all.
func TestConversationsStayWithTheirEngine(t *testing.T) {
	t.Parallel()
	for _, more := range []string{"", ", discover: false", ", engine: none"} {
		engines := []*cachingEngine{startCachingEngine(t), startCachingEngine(t), startCachingEngine(t)}
		g := startByPrefix(t, more, engines...)
		const conversations, turns = 24, 6
		for turn := range turns {
			for c := range conversations {
				if got := g.post("/v1/chat/completions", "application/json", conversation(fmt.Sprintf("c%02d", c), turn)); got.Body != "{}" {
					t.Fatalf("%q", got.Body)
				}
			}
		}
		busy := 0
		for c := range conversations {
			at := 0
			for _, e := range engines {
				if n := e.times(fmt.Sprintf("I am c%02d.", c)); n == turns {
					at++
				} else if n > 0 {
					t.Errorf("%s: of conversation %d, an engine has %d turns of %d", more, c, n, turns)
				}
			}
			if at != 1 {
				t.Errorf("%s: conversation %d is at %d engines", more, c, at)
			}
		}
		for _, e := range engines {
			if e.times("") > 0 {
				busy++
			}
		}
		if busy != len(engines) {
			t.Errorf("%s: %d engines are used of %d", more, busy, len(engines))
		}
	}
}

// What is no JSON, or not as it should be, passes as if nobody had looked.
func TestBodiesPassWhateverTheyAre(t *testing.T) {
	t.Parallel()
	engines := []*cachingEngine{startCachingEngine(t), startCachingEngine(t)}
	g := startByPrefix(t, ", discover: false", engines...)
	for i, body := range []string{"no JSON", "", "{", `{"model":"a","model":"b"}`, `{"Model":1}`, `{"messages":[` + strings.Repeat("[", 600), "\xef\xbb\xbf{}", `{} {}`,
		`{"messages":"` + strings.Repeat("x", 200_000) + `"}`, strings.Repeat(" ", 100_000)} {
		if got := g.post("/v1/chat/completions", "application/json", body); got.Body != "{}" {
			t.Errorf("%.30q: %s %q", body, got.First, got.Body)
		}
		found := 0
		for _, e := range engines {
			e.mu.Lock()
			for _, b := range e.asked {
				if b == body {
					found++
				}
			}
			e.mu.Unlock()
		}
		if found != 1 {
			t.Errorf("body %d has come %d times as it was", i, found)
		}
	}
}

// An engine that says it has too much to do, or no memory left, gets no request only because it has read the beginning; when it
// says nothing any more, or nonsense, what it has said is forgotten within a few readings.
func TestEnginesThatSayNo(t *testing.T) {
	t.Parallel()
	engines := []*cachingEngine{startCachingEngine(t), startCachingEngine(t), startCachingEngine(t)}
	g := startByPrefix(t, "", engines...)
	turn := 0
	ask := func() (at *cachingEngine) {
		t.Helper()
		turn++
		before := make([]int, len(engines))
		for i, e := range engines {
			before[i] = e.times("I am c.")
		}
		g.post("/v1/chat/completions", "application/json", conversation("c", 2))
		for i, e := range engines {
			if e.times("I am c.") > before[i] {
				at = e
			}
		}
		return at
	}
	home := ask()
	for range 20 {
		if ask() != home {
			t.Fatal("it does not stay")
		}
	}
	says := func(what string) func() bool {
		return func() bool { return strings.Contains(g.get("/healthz").Body, what) }
	}
	home.says(4, 12, 0.5)
	testkit.Eventually(t, "it says that 12 wait", says(`"waiting":12`))
	if ask() == home {
		t.Error("an engine with 12 waiting gets another one")
	}
	for _, e := range engines { // all have read it now
		e.says(0, 0, 0)
	}
	testkit.Eventually(t, "nobody waits", func() bool { return !says(`"waiting":12`)() })
	testkit.Eventually(t, "it gets requests again", func() bool { return ask() == home })
}

// Whatever an engine's page is, requests go on, it is asked for by one at a time, and not after its time.
func TestHostilePages(t *testing.T) {
	t.Parallel()
	endless := func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := io.WriteString(w, strings.Repeat("vllm:num_requests_running 1\n", 1000)); err != nil {
				return
			}
		}
	}
	pages := map[string]http.HandlerFunc{
		"endless": endless,
		"silent":  func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"slow": func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				_, _ = io.WriteString(w, "v")
				w.(http.Flusher).Flush()
				time.Sleep(10 * time.Millisecond)
			}
		},
		"cut": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, "vllm:")
		},
		"elsewhere": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/metrics?again", http.StatusFound) },
		"broken":    func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"absurd": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "vllm:num_requests_running NaN\nvllm:num_requests_waiting -1\nvllm:kv_cache_usage_perc 1e9\n")
		},
		"long line": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "vllm:"+strings.Repeat("{", 200_000))
		},
	}
	for name, page := range pages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bad, good := startCachingEngine(t), startCachingEngine(t)
			bad.answers(page)
			g := startByPrefix(t, ", engine: vllm", bad, good)
			testkit.Eventually(t, "it was asked", func() bool { return bad.readings.Load() >= 2 })
			for i := range 40 {
				if got := g.post("/v1/chat/completions", "application/json", conversation(itoa(i), 1)); got.Body != "{}" {
					t.Errorf("%q", got.Body)
				}
			}
			if a, b := bad.times(""), good.times(""); a == 0 || b == 0 {
				t.Errorf("%d and %d requests", a, b)
			}
			if n := bad.most.Load(); n > 1 {
				t.Errorf("%d readings at once", n)
			}
		})
	}
}

// Engines of all families are recognised, and shown with what they say, on the pages and in the metrics.
func TestEveryFamilyIsRead(t *testing.T) {
	t.Parallel()
	families := []string{"vllm", "sglang", "llamacpp", "trtllm"}
	var list []string
	for _, family := range families {
		s, err := simulator.Start(simulator.Options{Family: family, Engine: simulator.EngineOptions{PerToken: time.Microsecond, PerStep: time.Millisecond}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		list = append(list, fmt.Sprintf("{url: %q}", s.URL()))
	}
	g := startGatewayFile(t, fmt.Sprintf("pools: {llm: {upstreams: [%s], balance: prefix}}", strings.Join(list, ", ")), "RATE_LIMIT_ENABLED=false")
	testkit.Eventually(t, "all engines are well", func() bool { return strings.Count(g.Log.String(), "upstream is healthy") == len(families) })
	for turn := range 3 {
		for c := range 8 {
			if got := g.post("/v1/chat/completions", "application/json", conversation(itoa(c), turn)); got.First != "HTTP/1.1 200 OK" {
				t.Fatalf("%s %s", got.First, got.Body)
			}
		}
	}
	page := ""
	testkit.Eventually(t, "all engines have spoken", func() bool {
		page = g.get("/healthz").Body
		for _, family := range families {
			if !strings.Contains(page, `"engine":{"kind":"`+family+`","running":0,"waiting":0`) {
				return false
			}
		}
		return strings.Contains(page, `"prefix_hit_share":0.`)
	})
	// Mostly to where the conversation was before; on a busy machine figures of an engine may come late, and count for nothing then.
	var matched, guessed, spilled int
	_, choices, _ := strings.Cut(page, `"prefix":{`)
	if _, err := fmt.Sscanf(choices, `"matched":%d,"guessed":%d,"spilled":%d,`, &matched, &guessed, &spilled); err != nil || matched < 8 || matched+guessed+spilled != 24 {
		t.Errorf("%d matched, %d guessed, %d spilled: %s", matched, guessed, spilled, page)
	}
	metrics := g.get("/metrics").Body
	for _, line := range []string{`upstream_engine_running{pool="llm",upstream="http://127.0.0.1:`, `upstream_engine_kv_usage{`, `upstream_engine_prefix_hit_share{`,
		`upstream_engine_counts{`, fmt.Sprintf(`prefix_choices_total{pool="llm",choice="matched"} %d`, matched), fmt.Sprintf(`prefix_choices_total{pool="llm",choice="guessed"} %d`, guessed), `prefix_blocks_total{pool="llm",known="yes"} `} {
		if !strings.Contains(metrics, line) {
			t.Errorf("metrics lack %s", line)
		}
	}
	if data := g.get("/dashboard/data").Body; !strings.Contains(data, `"kind":"trtllm"`) || !strings.Contains(data, fmt.Sprintf(`"prefixes":[{"pool":"llm","matched":%d`, matched)) {
		t.Errorf("the dashboard lacks engines: %s", data)
	}
}

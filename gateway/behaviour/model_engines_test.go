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

	"aigateway/gateway/testkit"
)

// A modelEngine lists models, counts what it is asked for, and can go away and come back.
type modelEngine struct {
	*httptest.Server
	models atomic.Value // string: the answer to GET /v1/models
	away   atomic.Value // string: how probes are answered, "" as by a healthy one
	probes atomic.Int64 // answered since the last change of away
	mu     sync.Mutex
	asked  map[string]int // requests by what stands in the body
}

func startModelEngine(t *testing.T, models ...string) *modelEngine {
	e := &modelEngine{asked: make(map[string]int)}
	e.models.Store(listOf(models...))
	e.away.Store("")
	e.Server = httptest.NewServer(e)
	t.Cleanup(e.Close)
	return e
}

func (e *modelEngine) turn(how string) {
	e.away.Store(how)
	e.probes.Store(0)
}

func (e *modelEngine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch away := e.away.Load().(string); {
	case r.Method == "GET" && r.URL.Path == "/v1/models" && away == "":
		_, _ = io.WriteString(w, e.models.Load().(string))
	case away == "gone":
		e.probes.Add(1)
		panic(http.ErrAbortHandler) // the connection closes without an answer
	case r.Method == "GET":
		defer e.probes.Add(1)
		if away == "sick" {
			w.WriteHeader(503)
		}
	default:
		body, _ := io.ReadAll(r.Body)
		e.mu.Lock()
		e.asked[string(body)]++
		n := e.asked[string(body)]
		e.mu.Unlock()
		if n%100 == 0 {
			panic(http.ErrAbortHandler) // whoever may be asked again for it must have the model too
		}
		if n%100 == 50 {
			w.WriteHeader(503)
		}
		_, _ = io.WriteString(w, "ok")
	}
}

func (e *modelEngine) times(body string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.asked[body]
}

// lists tells whether /v1/models has these, and no others.
func (g *testGateway) lists(models ...string) bool {
	page := g.get("/v1/models").Body
	for _, m := range models {
		if !strings.Contains(page, `{"id":"`+m+`"`) {
			return false
		}
	}
	return strings.Count(page, `{"id":`) == len(models)
}

// An engine that goes takes its models along within two looks at its health, and brings them back with the first good ones. What
// is promised in intervals is counted in probes: a third one begins when the second has been understood.
func TestModelsGoAndComeWithTheirEngine(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"sick", "gone"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			stays, goes := startModelEngine(t, "stays", "both"), startModelEngine(t, "goes", "both")
			g := startGatewayFile(t, "pools: {llm: {discover: true, health: {interval: 100ms}}}", "LLM_SERVICE_URL="+stays.URL+","+goes.URL)
			testkit.Eventually(t, "all models are there", func() bool { return g.lists("both", "goes", "stays") })

			await := func(what string, most int64, models ...string) {
				t.Helper()
				testkit.Eventually(t, what, func() bool {
					before := goes.probes.Load()
					there := g.lists(models...)
					if !there && before > most {
						t.Fatalf("not after %d probes: %s", before, what)
					}
					return there
				})
			}
			goes.turn(how)
			await("its models have gone", 2, "both", "stays")
			for range 20 {
				g.post("/v1/chat/completions", "application/json", `{"model":"goes"}`)
			}
			if n := stays.times(`{"model":"goes"}`); n != 0 {
				t.Errorf("%d requests went to an engine without the model", n)
			}
			goes.turn("")
			await("its models are back", 2, "both", "goes", "stays")

			// One that comes back with another model is asked at once, not in its turn.
			goes.turn(how)
			await("its models have gone again", 2, "both", "stays")
			goes.models.Store(listOf("new"))
			goes.turn("")
			testkit.Eventually(t, "the new model is there", func() bool { return g.lists("both", "new", "stays") })
			if n := goes.probes.Load(); n > 50 { // its turn comes after 10 s, a hundred of them
				t.Errorf("after %d probes", n)
			}
		})
	}
}

// A model that one of two engines has reaches that one only, whatever happens to a request.
func TestModelNeverReachesTheOtherEngine(t *testing.T) {
	t.Parallel()
	a, b := startModelEngine(t, "one", "both"), startModelEngine(t, "two", "both")
	g := startGatewayFile(t, discovering, "LLM_SERVICE_URL="+a.URL+","+b.URL)
	testkit.Eventually(t, "all models are there", func() bool { return g.lists("both", "one", "two") })

	clients, each := 8, 1250
	if testing.Short() {
		each = 125
	}
	ask := func(model string) string {
		return fmt.Sprintf("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n{\"model\":%q}", len(model)+12, model)
	}
	t.Cleanup(g.settle)
	var all sync.WaitGroup
	for i := range clients {
		c := g.Dial()
		all.Go(func() {
			for n := range each {
				model := []string{"one", "two", "both"}[(n+i)%3]
				c.Send("%s", ask(model))
				if m := c.ReadResponse(); m.Err != nil {
					t.Errorf("%s: %q, %v", model, m.First, m.Err)
					return
				}
			}
		})
	}
	all.Wait()
	reached := func(e *modelEngine) (n int) {
		for _, model := range []string{"one", "two", "both"} {
			n += e.times(`{"model":"` + model + `"}`)
		}
		return n
	}
	if n := a.times(`{"model":"two"}`) + b.times(`{"model":"one"}`); n != 0 {
		t.Errorf("%d requests reached an engine without their model", n)
	}
	if n := reached(a) + reached(b); n < clients*each {
		t.Errorf("%d requests reached the engines", n)
	}
	if a.times(`{"model":"both"}`) == 0 || b.times(`{"model":"both"}`) == 0 {
		t.Error("what both have goes to one")
	}
}

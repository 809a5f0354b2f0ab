//go:build integration

package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// quick are the settings of a backend that is harmed under load.
var quick = []string{"INFER_LATENCY_MS=5-15", "TOKEN_LATENCY_MS=50"}

// When python is gone, /infer is node's, from the first request on; when it is back, python's again.
func TestFailover(t *testing.T) {
	t.Parallel()
	b, standIn := python.start(t, 0, quick...), node.shared(t)
	g := startGateway(t, options{
		file: "pools: {python: {" + probeOften + "}, node: {" + probeOften + "}}",
		env:  []string{b.setting(), standIn.setting()},
	})
	g.awaitReady(t)
	answered := func(model string) {
		t.Helper()
		for i := range 4 {
			prompt := fmt.Sprint("failover ", i)
			if err := ask(t, request{url: g.url + "/infer", body: promptBody(prompt)}).echo(prompt, model); err != nil {
				t.Errorf("POST: %v", err)
			}
			if err := ask(t, request{url: g.url + "/infer?prompt=" + fmt.Sprint(i)}).echo(fmt.Sprint(i), model); err != nil {
				t.Errorf("GET: %v", err)
			}
		}
	}
	answered(python.model)
	b.kill()
	answered(node.model)
	big := numbers(300 << 10)
	if err := ask(t, request{url: g.url + "/infer", body: promptBody(big), chunked: true}).echo(big, node.model); err != nil {
		t.Errorf("a body that streams: %v", err)
	}
	eventually(t, patience, "python is known to be gone", func() bool { return !health(t, g).Backends["python"].Healthy })
	answered(node.model)

	a := ask(t, request{url: g.url + "/infer/python", body: promptBody("x")})
	if f := a.failure(t); a.status != 502 && a.status != 503 || a.status == 503 && a.header.Get("Retry-After") == "" || f.RequestID == "" {
		t.Errorf("a route without a fallback: %v", a)
	}

	python.start(t, b.port, quick...)
	eventually(t, patience, "python is known to be back", func() bool { return health(t, g).Backends["python"].Healthy })
	answered(python.model)
}

// A load is clients that POST without a pause, and what became of each request by its id.
type load struct {
	url   string
	name  string
	stop  atomic.Bool
	all   sync.WaitGroup
	total atomic.Int64
	good  atomic.Int64 // answers in a row without a failure

	mu      sync.Mutex
	outcome map[string]string // by id: the model that answered, or why there is no answer
}

const loadClients = 8

func startLoad(t *testing.T, url, name string) *load {
	l := &load{url: url, name: name, outcome: make(map[string]string)}
	for n := range loadClients {
		l.all.Go(func() { l.client(n) })
	}
	t.Cleanup(l.end)
	return l
}

func (l *load) client(n int) {
	c := newClient()
	defer c.CloseIdleConnections()
	for i := 0; !l.stop.Load(); i++ {
		id := fmt.Sprintf("%s-%d-%d", l.name, n, i)
		a, err := request{url: l.url, body: promptBody(id), header: map[string]string{"X-Request-ID": id}}.by(c)
		outcome := ""
		if err != nil {
			outcome = err.Error()
		} else if in, err := a.inference(); err != nil {
			outcome = err.Error()
		} else if outcome = in.Model; in.Result != "echo: "+id {
			outcome = "somebody else's answer: " + in.Result
		}
		l.mu.Lock()
		l.outcome[id] = outcome
		l.mu.Unlock()
		l.total.Add(1)
		if a.status == http.StatusOK {
			l.good.Add(1)
			continue
		}
		l.good.Store(0)
		time.Sleep(5 * time.Millisecond) // the pace of a client that is refused
	}
}

func (l *load) end() {
	l.stop.Store(true)
	l.all.Wait()
}

// goOn waits for more answers without a failure between them.
func (l *load) goOn(t *testing.T, more int64) {
	t.Helper()
	l.good.Store(0)
	eventually(t, patience, fmt.Sprintf("%d good answers in a row", more), func() bool { return l.good.Load() >= more })
}

// executed counts, by request id, what a backend has executed by its own log: each request has a line there, at the latest
// when the process has ended in order.
func executed(t *testing.T, b *backend) map[string]int {
	t.Helper()
	count := make(map[string]int)
	said, _ := b.stdout.read()
	for line := range strings.Lines(said) {
		var entry struct {
			Path      string
			Status    int
			RequestID string `json:"request_id"`
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Errorf("%s: not a line of its log: %q", b.name, line)
		}
		if entry.Path == "/infer" && (entry.Status == 200 || entry.Status == 499) {
			count[entry.RequestID]++
		}
	}
	return count
}

// refusal tells whether the gateway said that a backend is away. Nothing else may go wrong under a restart.
func refusal(outcome string) bool {
	return strings.HasPrefix(outcome, "status 502: ") || strings.HasPrefix(outcome, "status 503: ")
}

// cut tells whether an answer had begun and did not end: python writes its head and its body one after the other, and can be killed
// between them.
func cut(outcome string) bool {
	return strings.Contains(outcome, "EOF") || strings.Contains(outcome, "connection reset")
}

// A backend is restarted in order, twice, under load: requests recover by themselves, and no POST is executed twice.
func TestRestartUnderLoad(t *testing.T) {
	t.Parallel()
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			b := k.start(t, 0, quick...)
			g := inFrontOf(t, []*backend{b})
			l := startLoad(t, b.route(g), "restart-"+k.name)
			runs := []*backend{b}
			for range 2 {
				l.goOn(t, 100)
				b.signal(t, syscall.SIGTERM)
				if code := b.exit(t, patience); code != 0 {
					t.Errorf("%s ended with code %d", b.name, code)
				}
				b = k.start(t, b.port, quick...)
				runs = append(runs, b)
			}
			l.goOn(t, 100)
			l.end()
			b.signal(t, syscall.SIGTERM)
			b.exit(t, patience)

			count := make(map[string]int)
			for _, b := range runs {
				for id, n := range executed(t, b) {
					count[id] += n
				}
			}
			answered := 0
			for id, outcome := range l.outcome {
				switch n := count[id]; {
				case outcome == k.model && n == 1:
					answered++
				case outcome == k.model:
					t.Errorf("%s was answered and executed %d times", id, n)
				case n > 1:
					t.Errorf("%s was executed %d times: %s", id, n, outcome)
				case !refusal(outcome):
					t.Errorf("%s: %s", id, outcome)
				}
			}
			t.Logf("%d requests, %d answered", len(l.outcome), answered)
		})
	}
}

// Python is killed and comes back under load: /infer goes on with node, nothing that python had is sent to node as well,
// and only what python had at that moment is lost.
func TestFailoverUnderLoad(t *testing.T) {
	t.Parallel()
	b, standIn := python.start(t, 0, quick...), node.start(t, 0, quick...)
	g := startGateway(t, options{
		file: "pools: {python: {" + probeOften + "}, node: {" + probeOften + "}}",
		env:  []string{b.setting(), standIn.setting()},
	})
	g.awaitReady(t)
	l := startLoad(t, g.url+"/infer", "kill")
	l.goOn(t, 100)
	b.kill()
	l.goOn(t, 100)
	again := python.start(t, b.port, quick...)
	eventually(t, patience, "python answers again", func() bool { return again.stats(t).Executions > 50 })
	l.goOn(t, 50)
	l.end()

	byNode, byPython, lost := standIn.stats(t).Executed, again.stats(t).Executed, 0
	for id, outcome := range l.outcome {
		switch {
		case byNode[id]+byPython[id] > 1:
			t.Errorf("%s was executed %d times by node and %d times by the second python", id, byNode[id], byPython[id])
		case outcome == node.model && byNode[id] != 1:
			t.Errorf("%s was answered by node, which has not executed it", id)
		case outcome == python.model && byNode[id] > 0:
			t.Errorf("%s was answered by python and executed by node too", id)
		case outcome == node.model, outcome == python.model:
		case (refusal(outcome) || cut(outcome)) && byNode[id]+byPython[id] == 0:
			lost++
		default:
			t.Errorf("%s: %s; executed %d times by node, %d by the second python", id, outcome, byNode[id], byPython[id])
		}
	}
	// Each client may have had one there, and one more in a connection that the dying process' socket still took.
	if lost > 2*loadClients {
		t.Errorf("%d requests are lost; python had %d at most", lost, 2*loadClients)
	}
	t.Logf("%d requests, %d by node, %d lost", len(l.outcome), len(byNode), lost)
}

// The connections that the gateway keeps to a backend are all dead after a restart. No request pays for it, POSTs included.
func TestRestartBehindPool(t *testing.T) {
	t.Parallel()
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			b := k.start(t, 0, "INFER_LATENCY_MS=200")
			// Nobody looks at it while it starts: that would be evidence.
			g := startGateway(t, options{file: "pools: {" + k.name + ": {health: {interval: 10m}}}", env: []string{b.setting()}})
			g.awaitReady(t)
			var all sync.WaitGroup
			for range 10 {
				all.Go(func() {
					a, err := do(request{url: b.route(g), body: promptBody("fill the pool")})
					if err == nil {
						err = a.echo("fill the pool", b.model)
					}
					if err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			b.kill()
			b = k.start(t, b.port, "INFER_LATENCY_MS=0")
			for i := range 20 {
				a := ask(t, request{url: b.route(g), body: promptBody("after")})
				if err := a.echo("after", b.model); err != nil {
					t.Errorf("POST %d: %v", i, err)
				}
			}
			if n := b.stats(t).Executions; n != 20 {
				t.Errorf("20 requests were executed %d times", n)
			}
		})
	}
}

// A backend that hangs costs a request RESPONSE_TIMEOUT, no more, once; and when it goes on, so does the gateway, soon.
func TestHangingBackend(t *testing.T) {
	t.Parallel()
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			const timeout = 600 * time.Millisecond
			b := k.start(t, 0, quick...)
			g := inFrontOf(t, []*backend{b}, "LLM_SERVICE_URL="+b.url,
				"RESPONSE_TIMEOUT="+timeout.String(), "IDLE_TIMEOUT="+timeout.String())
			s := openStream(t, request{url: g.url + "/v1/chat/completions", body: chatBody(b.model, strings.Repeat("word ", 1000))})
			if e, err := s.next(); err != nil {
				t.Fatalf("%q: %v", e.text, err)
			}
			b.signal(t, syscall.SIGSTOP)
			hung := time.Now()
			if events, err := s.rest(); err == nil {
				t.Errorf("a stream that hung ends as if whole, after %d events", len(events))
			}
			if took := time.Since(hung); took > timeout+patience/2 {
				t.Errorf("the hanging stream was cut after %v", took)
			}
			for _, r := range []request{{body: promptBody("hangs")}, {url: "?prompt=hangs"}, {body: promptBody(numbers(100 << 10))}} {
				r.url = b.route(g) + r.url
				r.header = map[string]string{"X-Request-ID": "hangs"}
				begin := time.Now()
				a := ask(t, r)
				took := time.Since(begin)
				if f := a.failure(t); a.status != 504 || f.Error.Code != "timeout_response" || f.RequestID != "hangs" {
					t.Errorf("%v", a)
				}
				if took < timeout || took > timeout+patience/2 {
					t.Errorf("the 504 came after %v", took)
				}
			}
			b.signal(t, syscall.SIGCONT)
			// Three time-outs have opened its breaker; a probe finds it well again.
			eventually(t, patience, "it answers again", func() bool {
				return ask(t, request{url: b.route(g), body: promptBody("goes on")}).echo("goes on", b.model) == nil
			})
			if n := b.stats(t).Executed["hangs"]; n > 3 {
				t.Errorf("3 requests were executed %d times", n)
			}
		})
	}
}

// A backend that hangs long enough is known to be unhealthy, and then its fallback answers.
func TestFailoverFromHangingBackend(t *testing.T) {
	t.Parallel()
	b, standIn := python.start(t, 0, quick...), node.shared(t)
	g := startGateway(t, options{
		file: "pools: {python: {" + probeOften + "}, node: {" + probeOften + "}}",
		env:  []string{b.setting(), standIn.setting(), "RESPONSE_TIMEOUT=1s"},
	})
	g.awaitReady(t)
	if err := ask(t, request{url: g.url + "/infer", body: promptBody("a")}).echo("a", python.model); err != nil {
		t.Error(err)
	}
	b.signal(t, syscall.SIGSTOP)
	eventually(t, patience, "python is known to hang", func() bool { return !health(t, g).Backends["python"].Healthy })
	for _, r := range []request{{url: "/infer", body: promptBody("b")}, {url: "/infer?prompt=b"}} {
		r.url = g.url + r.url
		if err := ask(t, r).echo("b", node.model); err != nil {
			t.Errorf("%s with python unhealthy: %v", r.url, err)
		}
	}
}

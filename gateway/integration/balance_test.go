//go:build integration

package integration

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A shot is one request of a steady load and what became of it.
type shot struct {
	id     string
	method string
	begun  time.Time
	ended  time.Time
	status int // 0: no answer
	model  string
}

// A barrage is a steady load on one URL: a request every so often, whatever became of the one before.
type barrage struct {
	mu    sync.Mutex
	shots []shot
	stop  chan struct{}
	done  chan struct{}
}

// fire begins a steady load of GET and POST, each with an id of its own.
func fire(url, name string, every time.Duration) *barrage {
	b := &barrage{stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(b.done)
		client := newClient()
		defer client.CloseIdleConnections()
		var wg sync.WaitGroup
		defer wg.Wait()
		tick := time.NewTicker(every)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-b.stop:
				return
			case <-tick.C:
			}
			wg.Go(func() { b.shoot(client, url, fmt.Sprintf("%s-%d", name, i)) })
		}
	}()
	return b
}

func (b *barrage) shoot(client *http.Client, url, id string) {
	s := shot{id: id, method: "GET", begun: time.Now()}
	r := request{url: url + "?prompt=" + id, header: map[string]string{"X-Request-ID": id}}
	if id[len(id)-1]%2 == 0 {
		s.method = "POST"
		r = request{url: url, body: promptBody(id), header: r.header}
	}
	if a, err := r.by(client); err == nil {
		s.status = a.status
		if i, err := a.inference(); err == nil {
			s.model = i.Model
		}
	}
	s.ended = time.Now()
	b.mu.Lock()
	b.shots = append(b.shots, s)
	b.mu.Unlock()
}

// cease ends the load and returns every shot.
func (b *barrage) cease() []shot {
	close(b.stop)
	<-b.done
	return b.shots
}

// since are the shots so far that began after a time.
func (b *barrage) since(at time.Time) (list []shot) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.shots {
		if s.begun.After(at) {
			list = append(list, s)
		}
	}
	return list
}

// A front stands before a backend and can be told to answer 503 or 500 for it, or to be slow; its port stays.
type front struct {
	url    string
	status atomic.Int32
	slow   atomic.Int64
	asked  atomic.Int64
	failed atomic.Int64  // answered with the status
	one    chan struct{} // serves one request at a time; nil: any number
}

func startFront(t *testing.T, b *backend) *front {
	t.Helper()
	target, err := url.Parse(b.url)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &front{url: "http://" + ln.Addr().String()}
	pass := httputil.NewSingleHostReverseProxy(target)
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/infer" {
			f.asked.Add(1)
			if f.one != nil {
				f.one <- struct{}{}
				defer func() { <-f.one }()
			}
			time.Sleep(time.Duration(f.slow.Load()))
		}
		if status := int(f.status.Load()); status != 0 && (r.URL.Path == "/infer" || status == 500) {
			_, _ = io.Copy(io.Discard, r.Body)
			if r.URL.Path == "/infer" {
				f.failed.Add(1)
			}
			w.WriteHeader(status)
			return
		}
		pass.ServeHTTP(w, r)
	})}
	go func() { _ = s.Serve(ln) }()
	t.Cleanup(func() { _ = s.Close() })
	return f
}

// Two FastAPI processes and one Express share a steady load while things happen to one of the FastAPIs. A request
// fails only if it was being executed there; nothing is executed twice; when the evidence is there, the traffic
// goes elsewhere, and it comes back.
func TestPoolUnderHarm(t *testing.T) {
	t.Parallel()
	a, b, c := python.start(t, 0, quick...), python.start(t, 0, quick...), node.start(t, 0, quick...)
	fa := startFront(t, a)
	g := startGateway(t, options{
		file: fmt.Sprintf("pools:\n  p:\n    upstreams: [{url: %q}, {url: %q}, {url: %q}]\n    health: {interval: 1s}\n    timeouts: {response: 2s}\n"+
			"routes: [{path: /p, pool: p, rewrite: /infer}]\n", fa.url, b.url, c.url),
		env: []string{"PY_SERVICE_URL=" + b.url, "NODE_SERVICE_URL=" + c.url},
	})
	eventually(t, patience, "all are known to be well", func() bool { return wellIn(t, g, "p") == 3 })
	load := fire(g.url+"/p", "harm", 10*time.Millisecond)
	time.Sleep(time.Second)

	t.Log("b is hung")
	hung := time.Now()
	b.signal(t, syscall.SIGSTOP)
	eventually(t, patience, "b is known to be hung", func() bool { return wellIn(t, g, "p") == 2 })
	known := time.Now()
	time.Sleep(2 * time.Second)
	b.signal(t, syscall.SIGCONT)
	resumed := time.Now()
	eventually(t, patience, "b is back", func() bool { return wellIn(t, g, "p") == 3 })
	if took := time.Since(resumed); took > patience/2 {
		t.Errorf("b was back %v after it was well", took)
	}
	for _, s := range load.since(known.Add(time.Second)) {
		if s.status != http.StatusOK {
			t.Errorf("%s %s got %d, %v after the evidence", s.method, s.id, s.status, s.begun.Sub(known))
		}
	}
	t.Logf("the evidence took %v", known.Sub(hung))

	t.Log("b is killed and restarted")
	b.kill()
	killed := time.Now()
	time.Sleep(2 * time.Second)
	for _, s := range load.since(killed.Add(time.Second)) {
		if s.status != http.StatusOK {
			t.Errorf("%s %s got %d, %v after the kill", s.method, s.id, s.status, s.begun.Sub(killed))
		}
	}
	b2 := python.start(t, b.port, quick...)
	started := time.Now()
	eventually(t, patience, "b has requests again", func() bool { return b2.stats(t).Executions > 0 })
	if took := time.Since(started); took > patience/2 {
		t.Errorf("b was back %v after its start", took)
	}

	for _, status := range []int32{503, 500} {
		t.Logf("a answers %d", status)
		well, failed := fa.asked.Load()-fa.failed.Load(), fa.failed.Load()
		fa.status.Store(status)
		eventually(t, patience, "a is known to be unwell", func() bool { return wellIn(t, g, "p") == 2 })
		before := fa.asked.Load()
		// The evidence is that as many have failed as went well before; what is counted while that is looked into is more.
		if n := fa.failed.Load() - failed; n > well+100 {
			t.Errorf("%d requests got %d from a before there was evidence, after %d that went well", n, status, well)
		}
		time.Sleep(900 * time.Millisecond) // before its first trial
		if n := fa.asked.Load() - before; n > 10 {
			t.Errorf("a was asked %d times after the evidence", n)
		}
		fa.status.Store(0)
		mended := time.Now()
		eventually(t, patience, "a is back", func() bool { return wellIn(t, g, "p") == 3 })
		if took := time.Since(mended); took > patience/2 {
			t.Errorf("a was back %v after it was well", took)
		}
	}

	t.Log("a is slow")
	fa.slow.Store(int64(300 * time.Millisecond))
	time.Sleep(time.Second)
	fa.slow.Store(0)
	time.Sleep(500 * time.Millisecond)

	shots := load.cease()
	executed := map[string]int{}
	for _, of := range []*backend{a, b2, c} {
		for id, n := range of.stats(t).Executed {
			executed[id] += n
		}
	}
	failed, byA := 0, int64(0)
	for _, s := range shots {
		if n := executed[s.id]; n > 1 {
			t.Errorf("%s %s was executed %d times", s.method, s.id, n)
		}
		switch s.status {
		case http.StatusOK:
		case 503, 500: // that a has said so: nobody else may, since somebody is well at any time
			byA++
		default:
			failed++
			t.Logf("%s got %d after %v", s.method, s.status, s.ended.Sub(s.begun).Round(time.Millisecond))
		}
	}
	t.Logf("%d requests, %d failed, and %d of the %d that a answered so", len(shots), failed, byA, fa.failed.Load())
	if len(shots) < 200 || failed*10 > len(shots) || byA > fa.failed.Load() {
		t.Errorf("%d of %d requests failed, and %d that a answered %d of so", failed, len(shots), byA, fa.failed.Load())
	}
}

// wellIn is how many upstreams of a pool get traffic by the gateway's health page.
func wellIn(t *testing.T, g *gateway, pool string) (n int) {
	t.Helper()
	var page struct {
		Backends map[string]struct{ Upstreams []backendHealth }
	}
	if a := ask(t, request{url: g.url + "/healthz"}); json.Unmarshal(a.body, &page) != nil {
		t.Fatalf("/healthz: %v", a)
	}
	for _, u := range page.Backends[pool].Upstreams {
		if u.Healthy {
			n++
		}
	}
	return n
}

// With one upstream five times slower than two others, p2c gives it its due share only, where turns pile up before it.
func TestBalanceWithASlowUpstream(t *testing.T) {
	t.Parallel()
	b := node.start(t, 0, "INFER_LATENCY_MS=0")
	file := "pools:\n"
	for _, balance := range []string{"p2c", "round_robin"} {
		var urls []any
		for _, takes := range []time.Duration{250, 50, 50} {
			f := startFront(t, b)
			f.slow.Store(int64(takes * time.Millisecond))
			f.one = make(chan struct{}, 1)
			urls = append(urls, f.url)
		}
		file += fmt.Sprintf("  "+balance+": {balance: "+balance+", upstreams: [{url: %q}, {url: %q}, {url: %q}]}\n", urls...)
	}
	file += "routes: [{path: /p2c, pool: p2c, rewrite: /infer}, {path: /turn, pool: round_robin, rewrite: /infer}]\n"
	g := startGateway(t, options{file: file, env: []string{"PY_SERVICE_URL=" + b.url, "NODE_SERVICE_URL=" + b.url}})
	eventually(t, patience, "all are known to be well", func() bool { return wellIn(t, g, "p2c") == 3 && wellIn(t, g, "round_robin") == 3 })
	// A third of 18 requests a second is more than the slow one can do, and all three together can do twice as much.
	times := func(path string, shots []shot) []time.Duration {
		var all []time.Duration
		for _, s := range shots {
			if s.status != http.StatusOK {
				t.Errorf("%s: %s got %d", path, s.id, s.status)
			}
			all = append(all, s.ended.Sub(s.begun))
		}
		slices.Sort(all)
		return all
	}
	at := func(all []time.Duration, percent int) time.Duration { return all[len(all)*percent/100] }
	for chance := 1; ; chance++ { // a stop of the machine makes all slow, but not every time
		loads := []*barrage{fire(g.url+"/turn", "turn", time.Second/18), fire(g.url+"/p2c", "p2c", time.Second/18)}
		time.Sleep(5 * time.Second)
		turn, p2c := times("/turn", loads[0].cease()), times("/p2c", loads[1].cease())
		t.Logf("round_robin: %d requests, p50 %v, p90 %v, p95 %v", len(turn), at(turn, 50), at(turn, 90), at(turn, 95))
		t.Logf("p2c:         %d requests, p50 %v, p90 %v, p95 %v", len(p2c), at(p2c, 50), at(p2c, 90), at(p2c, 95))
		if at(p2c, 95) <= at(turn, 95)/2 {
			return
		}
		if chance == 4 {
			t.Fatalf("p95 is %v with p2c, %v with round_robin", at(p2c, 95), at(turn, 95))
		}
	}
}

package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A timing is how long everything takes.
type timing struct {
	gap        time.Duration // between two words
	firstToken time.Duration
	interToken time.Duration
	drip       time.Duration // between two words of a slow drip
	dripped    int           // of them
	outage     time.Duration // of a flap, and the time between two
	calls      int           // in a flap
	storm      int           // calls
}

var (
	full  = timing{gap: 50 * time.Millisecond, firstToken: 2 * time.Second, interToken: 3 * time.Second, drip: 2 * time.Second, dripped: 8, outage: 8 * time.Second, calls: 200, storm: 100}
	short = timing{gap: 2 * time.Millisecond, firstToken: time.Second, interToken: 2 * time.Second, drip: 300 * time.Millisecond, dripped: 5, outage: time.Second, calls: 60, storm: 40}
)

// A scenario is a provider that fails in some way, and what is to come of it.
type scenario struct {
	name  string
	first func(t timing) script
	run   func(b *bed) (verdict, string) // nil: one call
	want  map[string]verdict             // by policy
}

func everywhere(v verdict) map[string]verdict { return map[string]verdict{"safe": v, "reattempt": v} }

func scenarios() []scenario {
	rescued := map[string]verdict{"safe": safe, "reattempt": pass}
	return []scenario{
		{name: "429", first: refuses(429, ""), run: (*bed).refused, want: everywhere(pass)},
		{name: "429 storm", first: refuses(429, "Retry-After: 1\r\n"), run: (*bed).storm, want: everywhere(pass)},
		{name: "500 once", first: failsOnce, want: rescued},
		{name: "503", first: refuses(503, ""), want: everywhere(pass)},
		{name: "reset", first: func(timing) script { return (*generation).reset }, want: rescued},
		{name: "silent upstream", first: func(timing) script { return silent }, want: everywhere(pass)},
		{name: "slow first token", first: slowFirst, want: everywhere(pass)},
		{name: "cut after 40 of 60 words", first: broken(func(g *generation, _ timing) bool { return false }), want: everywhere(safe)},
		{name: "stall in the middle", first: broken(func(g *generation, t timing) bool { return g.wait(10*t.interToken) && g.end("stop", true) }), want: everywhere(safe)},
		{name: "broken chunk", first: broken(func(g *generation, _ timing) bool { g.raw("zz\r\nbroken"); g.wait(time.Second); return false }), want: everywhere(safe)},
		{name: "no [DONE]", first: noDone, want: everywhere(pass)},
		{name: "context too long", first: func(timing) script {
			return func(g *generation) bool { return g.fail(400, "", "context_length_exceeded") }
		}, want: everywhere(pass)},
		{name: "content filter", first: filtered, run: (*bed).filtered, want: everywhere(pass)},
		{name: "flapping primary", first: func(t timing) script { return whole(0) }, run: (*bed).flap, want: everywhere(pass)},
		{name: "slow drip", first: dripping, want: everywhere(pass)},
		{name: "both down", first: refuses(503, ""), run: (*bed).bothDown, want: everywhere(pass)},
	}
}

func refuses(status int, fields string) func(timing) script {
	return func(timing) script {
		return func(g *generation) bool { return g.fail(status, fields, "scripted") }
	}
}

func failsOnce(t timing) script {
	var asked atomic.Int64
	return func(g *generation) bool {
		if asked.Add(1) == 1 {
			return g.fail(500, "", "scripted")
		}
		return whole(t.gap)(g)
	}
}

func silent(g *generation) bool {
	<-g.gone
	return false
}

func slowFirst(t timing) script {
	return func(g *generation) bool {
		return g.begin() && g.wait(5*t.firstToken) && g.say(0, words, t.gap) && g.end("stop", true)
	}
}

// broken says 40 words of 60, and then breaks off in some way.
func broken(how func(g *generation, t timing) bool) func(timing) script {
	return func(t timing) script {
		return func(g *generation) bool { return g.begin() && g.say(0, 40, t.gap) && how(g, t) }
	}
}

func noDone(t timing) script {
	return func(g *generation) bool { return g.begin() && g.say(0, words, t.gap) && g.end("stop", false) }
}

func filtered(t timing) script {
	return func(g *generation) bool { return g.begin() && g.say(0, 3, t.gap) && g.end("content_filter", true) }
}

func dripping(t timing) script {
	return func(g *generation) bool {
		return g.begin() && g.say(0, 1, t.gap) && g.say(1, t.dripped, t.drip) && g.say(t.dripped, words, 0) && g.end("stop", true)
	}
}

// once is one call.
func (b *bed) once() (verdict, string) {
	r := b.call("small", b.most())
	v, note := r.judge()
	if r.attempts != "" {
		note += ", attempts " + r.attempts
	}
	return v, note
}

// most is how long a call may take that does not hang.
func (b *bed) most() time.Duration {
	return 10*time.Second + b.firstToken + 2*b.interToken + words*b.gap + time.Duration(b.dripped)*b.drip
}

// refused is a call that is refused without a Retry-After, one with a short and one with a long one.
func (b *bed) refused() (verdict, string) {
	for _, fields := range []string{"", "Retry-After: 1\r\n", "Retry-After: 3600\r\n"} {
		s := refuses(429, fields)(b.timing)
		b.first.script.Store(&s)
		if v, note := b.once(); v != pass {
			return v, fields + note
		}
	}
	return pass, "with and without Retry-After"
}

// storm is many calls at once.
func (b *bed) storm() (verdict, string) {
	var wg sync.WaitGroup
	var served atomic.Int64
	for range b.timing.storm {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if r := b.call("small", b.most()+20*time.Second); r.whole() {
				served.Add(1)
			}
		}()
	}
	wg.Wait()
	note := fmt.Sprintf("%d of %d served", served.Load(), b.timing.storm)
	if served.Load() < int64(b.timing.storm) {
		return fail, note
	}
	return pass, note
}

// filtered is an answer that ends early because its provider wants it so: it is nobody else's to give.
func (b *bed) filtered() (verdict, string) {
	r := b.call("small", b.most())
	note := fmt.Sprintf("%q by %q, fallback asked %d times", r.text, r.finish, b.second.hits.Load())
	if r.err == nil && r.done && r.finish == "content_filter" && r.text == word(0)+word(1)+word(2) && b.second.hits.Load() == 0 {
		return pass, note
	}
	return fail, note
}

// bothDown is a clear error, soon.
func (b *bed) bothDown() (verdict, string) {
	s := refuses(503, "")(b.timing)
	b.second.script.Store(&s)
	r := b.call("small", b.most())
	v, note := r.judge()
	if v == safe && r.took < 5*time.Second {
		v = pass
	}
	return v, note
}

// maxProbes is how often a primary may be asked in an outage.
const maxProbes = 4

// flap has the primary go down, come up and go down again, while calls come one after the other.
func (b *bed) flap() (verdict, string) {
	up, down := whole(0), script(func(g *generation) bool { return g.fail(503, "", "down") })
	began := time.Now()
	served, was := 0, -1
	var probes [2][]string // when, in seconds of the outage
	for i := range b.timing.calls {
		time.Sleep(time.Until(began.Add(time.Duration(i) * 3 * b.outage / time.Duration(b.timing.calls))))
		phase := min(3, int(time.Since(began)/b.outage)) // the last one is for a machine that is late
		if phase != was {
			s := down
			if phase%2 == 1 {
				s = up
			}
			b.first.script.Store(&s)
			was = phase
		}
		hits, at := b.first.hits.Load(), time.Since(began)
		if r := b.call("small", b.most()); r.whole() {
			served++
		}
		for range b.first.hits.Load() - hits {
			if phase%2 == 0 {
				probes[phase/2] = append(probes[phase/2], fmt.Sprintf("%.1f", (at-time.Duration(phase)*b.outage).Seconds()))
			}
		}
	}
	note := fmt.Sprintf("%d of %d served, probes after %s s and %s s", served, b.timing.calls, strings.Join(probes[0], ", "), strings.Join(probes[1], ", "))
	if served < b.timing.calls || max(len(probes[0]), len(probes[1])) > maxProbes {
		return fail, note
	}
	return pass, note
}

// leaves is a client that leaves in the middle, or before anything has come: its generation ends with it.
func (b *bed) leaves() error {
	for _, s := range []script{silent, whole(50 * time.Millisecond)} {
		b.first.script.Store(&s)
		before := b.first.hits.Load()
		ctx, cancel := context.WithCancel(context.Background())
		q, err := http.NewRequestWithContext(ctx, http.MethodPost, b.url+"/v1/chat/completions", strings.NewReader(`{"messages":[],"model":"small","stream":true}`))
		if err != nil {
			cancel()
			return err
		}
		go func() {
			for b.first.hits.Load() == before && ctx.Err() == nil {
				time.Sleep(time.Millisecond)
			}
			cancel()
		}()
		if a, err := b.client.Do(q); err == nil {
			_ = a.Body.Close()
		}
		cancel()
		if left, _ := b.ledger.settle(10 * time.Second); left > 0 {
			return fmt.Errorf("a generation goes on without its client")
		}
	}
	return nil
}

package simulator

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"
)

// generation is the fate of one request to the model: drawn, then overruled by the request's switches.
type generation struct {
	id      string        // the tail of the answer's id
	model   string        // that answers
	latency time.Duration // before the answer
	pace    time.Duration // between two stream tokens
	tokens  int           // how many to answer with; negative: as many as the echo has
	status  int           // to fail with; 0: not to fail

	engine *clockwork // nil: none
	job    *Job       // of engine
	got    int        // tokens of it that were waited for

	cut      bool
	cutAfter int     // events or bytes before the cut; negative: cutShare of what there is
	cutShare float64 // from 0 to below 1
}

// errCut ends a handler whose generation was to break off.
var errCut = errors.New("cut by the simulator")

// draw is the n-th generation's fate. Everything is drawn every time and in one order, so that one option does not change
// what another one does.
func (o Options) draw(n uint64) generation {
	rng := rand.New(rand.NewPCG(o.Seed, n))
	g := generation{
		id:       fmt.Sprintf("%016x", rng.Uint64()),
		latency:  o.Latency[0] + time.Duration(rng.Int64N(int64(o.Latency[1]-o.Latency[0])+1)),
		pace:     o.TokenPace,
		tokens:   -1,
		cutAfter: -1,
	}
	if rng.Float64() < o.ErrorRate {
		g.status = o.ErrorStatus
	}
	g.cut = rng.Float64() < o.CutRate
	g.cutShare = rng.Float64()
	return g
}

// obey overrules the draw.
func (g *generation) obey(s switches) {
	if s.latency >= 0 {
		g.latency = s.latency
	}
	if s.pace >= 0 {
		g.pace = s.pace
	}
	if s.tokens >= 0 {
		g.tokens = s.tokens
	}
	if s.status >= 0 {
		g.status = s.status
	}
	if s.cut >= 0 {
		g.cut, g.cutAfter = true, s.cut
	}
}

// cutAt says after how many of n parts to break off. A drawn cut leaves at least one part out and, of two or more, one in.
func (g generation) cutAt(n int) (at int, cut bool) {
	switch {
	case !g.cut:
		return 0, false
	case g.cutAfter >= 0:
		return min(g.cutAfter, n), true
	case n < 2:
		return 0, true
	default:
		return 1 + int(g.cutShare*float64(n-1)), true
	}
}

// An inquiry is what a body asks for, in any dialect.
type inquiry interface {
	named() string // the model, "" if any will do
}

// accept is how every dialect with a JSON body begins: the body is read, decoded, its model found, and the generation made. Each
// of them may refuse, with a *fault.
func accept[Q inquiry](s *Simulator, w http.ResponseWriter, r *http.Request, decode func([]byte) (Q, error)) (q Q, g generation, err error) {
	body, err := readBody(w, r)
	if err != nil {
		return q, g, err
	}
	if q, err = decode(body); err != nil {
		return q, g, err
	}
	g, err = s.work(r, q.named(), body)
	return q, g, err
}

// work is a generation by the model of this name, as the request's switches want it. body is what it has to read; nil: it is none for an engine.
func (s *Simulator) work(r *http.Request, name string, body []byte) (generation, error) {
	model, err := s.resolve(name)
	if err != nil {
		return generation{}, err
	}
	demanded, err := readSwitches(r.Header)
	if err != nil {
		return generation{}, err
	}
	g, err := s.generate(r.Context(), demanded, body)
	g.model = model
	return g, err
}

// generate starts a generation and returns when it has its answer, which may be a *fault, or when nobody waits for it.
func (s *Simulator) generate(ctx context.Context, demanded switches, body []byte) (generation, error) {
	g := s.options.draw(s.generations.Add(1))
	g.obey(demanded)
	select {
	case <-s.loaded:
	case <-ctx.Done():
		return g, context.Cause(ctx)
	}
	if err := s.begin(ctx, &g, demanded, body); err != nil {
		return g, err
	}
	if g.status != 0 {
		s.errors.Add(1)
		return g, &fault{status: g.status, code: "simulated_error", message: "The simulator was asked to fail."}
	}
	return g, nil
}

// begin waits until the answer begins: for the first token of an engine, or else for the latency that was drawn or demanded.
func (s *Simulator) begin(ctx context.Context, g *generation, demanded switches, body []byte) (err error) {
	if s.engine == nil || body == nil || demanded.latency >= 0 {
		return pause(ctx, g.latency)
	}
	if g.job, err = s.engine.submit(ctx, body); err != nil {
		return err
	}
	g.engine, g.got = s.engine, 1
	return g.engine.wait(ctx, g.job, g.got)
}

// next waits for the next token.
func (g *generation) next(ctx context.Context) error {
	if g.engine == nil {
		return pause(ctx, g.pace)
	}
	g.got++
	return g.engine.wait(ctx, g.job, g.got)
}

// pause waits, or returns early with the reason why ctx ended.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return context.Cause(ctx)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

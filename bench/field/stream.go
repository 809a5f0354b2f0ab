package main

import (
	"fmt"
	"time"

	"aigateway/bench/drive"
	"aigateway/bench/internal/process"
)

// measureFirst takes what a peer adds until the first token, at one client.
func measureFirst(b *bench, r *running, f *figure) error {
	return b.added(r, f, func(r *running) (*drive.Histogram, error) {
		p := r.plan(1, r.chat(chat{size: 1 << 10, tokens: 2, pace: 5}, r.peer.direct+"/v1"))
		s, err := b.saturate(r, p, passed)
		if err != nil {
			return nil, err
		}
		return &s.Event, nil
	})
}

// measureFrames takes what a peer adds to the time between two tokens: both sides have the same 20 ms and the same jitter.
func measureFrames(b *bench, r *running, f *figure) error {
	return b.added(r, f, func(r *running) (*drive.Histogram, error) {
		const tokens, pace = 64, 20
		p := r.plan(1, r.chat(chat{size: 1 << 10, tokens: tokens, pace: pace}, r.peer.direct+"/v1"))
		p.Most = max(int64(b.time/(tokens*pace*time.Millisecond)), 1)
		s, err := r.meter(p)
		if err != nil {
			return nil, err
		}
		if s.Due != s.Status[200] || s.Events < s.Done*tokens {
			return nil, fmt.Errorf("%d events of %d streams came; %v, failed: %v", s.Events, s.Due, s.Status, s.Errors)
		}
		return &s.Gap, nil
	})
}

// added takes the median and p99 of a peer less those of the upstream itself, asked right before.
func (b *bench) added(r *running, f *figure, of func(*running) (*drive.Histogram, error)) error {
	without, err := of(b.itself())
	if err != nil {
		return err
	}
	with, err := of(r)
	if err != nil {
		return err
	}
	for name, q := range map[string]float64{"p50": .5, "p99": .99} {
		w, d := µs(with.Quantile(q)), µs(without.Quantile(q))
		f.Values[name], f.Values["direct_"+name] = w-d, d
	}
	return nil
}

const (
	heldPace   = 1000 // milliseconds: the cell is about how many, not how fast
	heldTokens = 6
	stallTimes = 10 // a gap that is so many times the pace is a stall
)

// heldMost is how many streams are tried at most.
const heldMost = 10_000

// measureHeld climbs to as many streams as are held with every frame and without a stall. Both sides of a stream are an
// open file of the peer: what one process may not have is tried with two.
func measureHeld(b *bench, r *running, f *figure) error {
	of, v := r.peer, variant{many: true}
	if of.variant == nil || !of.variant(v) {
		v = variant{} // then as it is
	}
	rungs := heldRungs(b.files)
	if err := b.with(of, v, func(r *running) error { return b.climb(r, f, rungs) }); err != nil {
		return err
	}
	if f.Values["streams"] == 0 {
		return fmt.Errorf("not even %d streams came whole", rungs[0])
	}
	v.workers = 2
	if f.Values["streams"] != float64(rungs[len(rungs)-1]) || f.Values["streams"] == heldMost || of.variant == nil || !of.variant(v) {
		return nil
	}
	one := f.Values["streams"]
	err := b.with(of, v, func(r *running) error { return b.climb(r, f, []int{heldMost}) })
	if f.Values["streams"] > one {
		f.Note = fmt.Sprintf("%.0f by one process, which may have %d files open here, and %d by two", one, b.files, heldMost)
	}
	return err
}

// climb holds more and more streams, and keeps what came of the last that were held.
func (b *bench) climb(r *running, f *figure, rungs []int) error {
	idle := settled(r)
	for _, n := range rungs {
		held, memory, err := b.hold(r, n)
		if held == nil || err != nil {
			return err
		}
		f.Values["streams"], f.Values["kb"] = float64(n), float64(memory-idle)/float64(n)/1024
		f.Values["stall"] = held.Gap.Max().Seconds() * 1e3
	}
	return nil
}

// heldRungs are the numbers of streams that are tried, as far as a process may have files: two a stream.
func heldRungs(files int) (rungs []int) {
	most := max((files-200)/2/100*100, 100)
	for _, n := range []int{512, 1000, 2500, 5000, heldMost} {
		if n >= most {
			return append(rungs, most)
		}
		rungs = append(rungs, n)
	}
	return rungs
}

// hold has so many streams read at once; the result is nil if a frame was lost or a stream stalled. memory is the most
// that the peer had.
func (b *bench) hold(r *running, n int) (res *drive.Result, memory int64, err error) {
	p := r.plan(n, r.chat(chat{size: 1 << 10, tokens: heldTokens, pace: heldPace}, r.peer.direct+"/v1"))
	p.Most, p.Timeout = int64(n), heldTokens*heldPace*time.Millisecond+patience
	p.Every, p.Progress = time.Second, func(time.Duration, *drive.Result) { memory = max(memory, process.Memory(r.process.PID)) }
	res, err = drive.Run(p)
	if err != nil {
		b.say("  %-13s %-10s %d streams: %v", r.peer.name, "held", n, err)
		return nil, memory, nil
	}
	if whole(res, n) {
		return res, memory, nil
	}
	b.say("  %-13s %-10s %d streams: %d events, longest gap %v, %v, failed: %v", r.peer.name, "held", n, res.Events, res.Gap.Max(), res.Status, res.Errors)
	return nil, memory, nil
}

// whole tells whether n streams came with every frame and none stalled.
func whole(res *drive.Result, n int) bool {
	return res.Status[200] == int64(n) && res.Failed() == 0 && res.Events >= int64(n)*heldTokens &&
		res.Gap.Max() <= stallTimes*heldPace*time.Millisecond
}

// measureEvents counts the events of 1,000 streams that begin together, one every 50 ms in each.
func measureEvents(b *bench, r *running, f *figure) error {
	const streams, pace = 1000, 50
	plan := func(tokens int) drive.Plan {
		p := r.plan(streams, r.chat(chat{size: 1 << 10, tokens: tokens, pace: pace}, r.peer.direct+"/v1"))
		p.Most, p.Timeout = streams, b.time+2*patience
		return p
	}
	if _, err := drive.Run(plan(2)); err != nil { // connections to the upstream, threads, buffers
		return err
	}
	tokens := max(int(b.time.Milliseconds()/pace), 2)
	s, err := r.meter(plan(tokens))
	if err != nil {
		return err
	}
	if s.Status[200] != streams || s.Events < int64(tokens)*streams {
		return fmt.Errorf("%d of %d events came; %v, failed: %v", s.Events, tokens*streams, s.Status, s.Errors)
	}
	f.Values["cpu"] = s.cpu * float64(s.Done) / float64(s.Events)
	return nil
}

// measureHeadOfLine has eight clients post, first alone and then while another reads a stream that hardly moves and
// comes whole nevertheless.
func measureHeadOfLine(b *bench, r *running, f *figure) error {
	plan := r.plan(8, r.chat(chat{size: 1 << 10}, "/v1"))
	alone, err := b.saturate(r, plan, passed)
	if err != nil {
		return err
	}
	slow := r.plan(1, r.chat(chat{size: 1 << 10, tokens: max(int((b.time+b.warm)/(200*time.Millisecond)), 2), pace: 200}, r.peer.direct+"/v1"))
	slow.Most, slow.Timeout = 1, b.time+2*patience
	done := make(chan error, 1)
	go func() {
		res, err := drive.Run(slow)
		if err == nil && res.Status[200] != 1 {
			err = fmt.Errorf("the slow stream: %v, failed: %v", res.Status, res.Errors)
		}
		done <- err
	}()
	beside, err := b.saturate(r, plan, expected{status: 200, passed: -1})
	if e := <-done; err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	for name, s := range map[string]*spent{"alone": alone, "beside": beside} {
		f.Values[name], f.Values[name+"_p50"] = µs(s.Latency.Quantile(.99)), µs(s.Latency.Quantile(.5))
	}
	return nil
}

package main

import (
	"fmt"
	"time"

	"aigateway/bench/drive"
	"aigateway/bench/internal/process"
)

// A cell is something that is measured of every peer that does it.
type cell struct {
	name    string
	title   string
	columns []column
	own     bool // starts the peer itself
	once    bool // in the first round only
	measure func(*bench, *running, *figure) error
}

// A column is one value of a cell. What has a chart is drawn in the cell's.
type column struct {
	key, head string
	format    string
	chart     bool
	more      bool // more is better
}

func cellNames(all []cell) (n []string) {
	for _, c := range all {
		n = append(n, c.name)
	}
	return n
}

// cells in the order in which a peer does them.
var cells = []cell{
	{name: "latency", title: "added latency at one client, µs", measure: measureLatency, columns: []column{
		{key: "p50", head: "added p50 µs", format: "%.0f", chart: true}, {key: "p99", head: "added p99 µs", format: "%.0f", chart: true}}},
	{name: "cpu", title: "CPU a chat completion of 1 KB, µs", measure: measureCPU, columns: []column{
		{key: "1", head: "1 client: CPU µs", format: "%.1f", chart: true}, {key: "8", head: "8 clients: CPU µs", format: "%.1f", chart: true},
		{key: "64", head: "64 clients: CPU µs", format: "%.1f", chart: true}, {key: "rate", head: "64 clients: a second", format: "%.0f"}}},
	{name: "frontier", title: "most requests a second", measure: measureFrontier, columns: []column{
		{key: "1ms", head: "p99 ≤ 1 ms: a second", format: "%.0f", chart: true, more: true},
		{key: "5ms", head: "p99 ≤ 5 ms: a second", format: "%.0f", chart: true, more: true},
		{key: "10ms", head: "p99 ≤ 10 ms: a second", format: "%.0f", chart: true, more: true}}},
	{name: "first", title: "first token of a stream, one client, µs added", measure: measureFirst, columns: []column{
		{key: "p50", head: "added p50 µs", format: "%.0f", chart: true}, {key: "p99", head: "added p99 µs", format: "%.0f", chart: true}}},
	{name: "frames", title: "gap between 64 tokens, 20 ms apart, µs added", measure: measureFrames, columns: []column{
		{key: "p50", head: "added p50 µs", format: "%.0f"}, {key: "p99", head: "added p99 µs", format: "%.0f", chart: true}}},
	{name: "held", title: "streams held with every frame", measure: measureHeld, own: true, columns: []column{
		{key: "streams", head: "streams", format: "%.0f", chart: true, more: true}, {key: "kb", head: "KB a stream", format: "%.1f", chart: true},
		{key: "stall", head: "longest gap ms", format: "%.0f"}}},
	{name: "events", title: "event of one of 1,000 streams, µs of CPU", measure: measureEvents, columns: []column{
		{key: "cpu", head: "CPU µs", format: "%.1f", chart: true}}},
	{name: "memory", title: "resident memory, MiB", measure: measureMemory, own: true, once: true, columns: []column{
		{key: "idle", head: "idle MiB", format: "%.1f", chart: true}, {key: "loaded", head: "loaded MiB", format: "%.1f", chart: true},
		{key: "after", head: "afterwards MiB", format: "%.1f", chart: true}}},
	{name: "prompts", title: "CPU a prompt, 8 clients, µs", measure: measurePrompts, columns: []column{
		{key: "1", head: "1 KB: CPU µs", format: "%.1f", chart: true}, {key: "10", head: "10 KB: CPU µs", format: "%.1f", chart: true},
		{key: "100", head: "100 KB: CPU µs", format: "%.0f", chart: true}, {key: "400", head: "400 KB: CPU µs", format: "%.0f", chart: true}}},
	{name: "hit", title: "cache hit of 2 KB, µs of CPU", measure: measureHit, columns: []column{
		{key: "cpu", head: "CPU µs", format: "%.1f", chart: true}, {key: "rate", head: "a second", format: "%.0f"}}},
	{name: "refusal", title: "refusal by a limit, µs of CPU", measure: measureRefusal, columns: []column{
		{key: "cpu", head: "CPU µs", format: "%.1f", chart: true}, {key: "rate", head: "a second", format: "%.0f"}}},
	{name: "flood", title: "a flood of invalid keys", measure: measureFlood, own: true, columns: []column{
		{key: "cpu", head: "CPU µs a wrong key", format: "%.1f", chart: true}, {key: "rate", head: "wrong keys a second", format: "%.0f"},
		{key: "p99", head: "right key beside it: p99 µs", format: "%.0f", chart: true}}},
	{name: "headofline", title: "posts beside one slow stream, µs", measure: measureHeadOfLine, columns: []column{
		{key: "alone", head: "alone: p99 µs", format: "%.0f"}, {key: "beside", head: "beside it: p99 µs", format: "%.0f", chart: true}}},
	{name: "tls", title: "TLS 1.3, µs of CPU", measure: measureTLS, own: true, columns: []column{
		{key: "kept", head: "kept connections: CPU µs a request", format: "%.1f", chart: true},
		{key: "ecdsa", head: "ECDSA handshake: CPU µs", format: "%.0f", chart: true}, {key: "ecdsa_rate", head: "ECDSA handshakes a second", format: "%.0f"},
		{key: "rsa", head: "RSA handshake: CPU µs", format: "%.0f", chart: true}, {key: "rsa_rate", head: "RSA handshakes a second", format: "%.0f"},
		{key: "both", head: "with both certificates: CPU µs", format: "%.0f", chart: true},
		{key: "resumed", head: "resumed: CPU µs", format: "%.0f", chart: true}, {key: "resumed_rate", head: "resumed a second", format: "%.0f"}}},
	{name: "cores", title: "one core and two, of which the load has the second as well", measure: measureCores, own: true, columns: []column{
		{key: "1", head: "one core: posts a second", format: "%.0f", chart: true, more: true}, {key: "2", head: "two: posts a second", format: "%.0f", chart: true, more: true},
		{key: "1cpu", head: "one core: CPU µs a post", format: "%.1f"}, {key: "2cpu", head: "two: CPU µs a post", format: "%.1f"},
		{key: "hit1", head: "one core: hits a second", format: "%.0f", chart: true, more: true}, {key: "hit2", head: "two: hits a second", format: "%.0f", chart: true, more: true},
		{key: "rsa1", head: "one core: RSA handshakes a second", format: "%.0f", chart: true, more: true}, {key: "rsa2", head: "two: RSA handshakes a second", format: "%.0f", chart: true, more: true}}},
	{name: "processes", title: "one process, and four that accept from one port, on one core", measure: measureProcesses, own: true, columns: []column{
		{key: "1cpu", head: "one: CPU µs", format: "%.1f", chart: true}, {key: "4cpu", head: "four: CPU µs", format: "%.1f", chart: true},
		{key: "1", head: "one: a second", format: "%.0f"}, {key: "4", head: "four: a second", format: "%.0f"}, {key: "share", head: "four: the busiest one's share", format: "%.2f"},
		{key: "1mib", head: "one: MiB", format: "%.1f"}, {key: "4mib", head: "four: MiB", format: "%.1f"}}},
	{name: "idle", title: "idle connections", measure: measureIdle, own: true, once: true, columns: []column{
		{key: "10000", head: "10,000: KB each", format: "%.1f", chart: true}, {key: "40000", head: "40,000: KB each", format: "%.1f", chart: true},
		{key: "alone", head: "8 clients alone: CPU µs", format: "%.1f"}, {key: "beside", head: "beside 10,000: CPU µs", format: "%.1f", chart: true},
		{key: "beside40000", head: "beside 40,000: CPU µs", format: "%.1f"}}},
	{name: "million", title: "a million answers in memory", measure: measureMillion, own: true, once: true, columns: []column{
		{key: "cpu", head: "hit: CPU µs", format: "%.1f", chart: true}, {key: "few", head: "hit of sixteen: CPU µs", format: "%.1f", chart: true},
		{key: "mib", head: "MiB", format: "%.0f"}, {key: "kept", head: "share that was a hit", format: "%.3f"}}},
	{name: "keys", title: "a million keys of clients", measure: measureKeys, own: true, once: true, columns: []column{
		{key: "one", head: "one key: CPU µs", format: "%.1f", chart: true}, {key: "cpu", head: "a million: CPU µs", format: "%.1f", chart: true},
		{key: "mib1", head: "one key: MiB", format: "%.0f"}, {key: "mib", head: "a million: MiB", format: "%.0f", chart: true},
		{key: "start", head: "a million: s to the first answer", format: "%.1f"}}},
	{name: "redis", title: "hit in Redis and in memory, 2 KB", measure: measureRedis, own: true, columns: []column{
		{key: "cpu", head: "Redis: CPU µs", format: "%.1f", chart: true}, {key: "memcpu", head: "memory: CPU µs", format: "%.1f", chart: true},
		{key: "rate", head: "Redis: a second", format: "%.0f"}, {key: "memrate", head: "memory: a second", format: "%.0f"},
		{key: "p50", head: "Redis: p50 µs, 8 clients", format: "%.0f"}, {key: "memp50", head: "memory: p50 µs, 8 clients", format: "%.0f"}}},
}

// measureLatency takes what a peer adds at one client: the same closed loop, right before, without it.
func measureLatency(b *bench, r *running, f *figure) error {
	quantiles := func(r *running) (p50, p99 float64, err error) {
		s, err := b.saturate(r, r.plan(1, r.chat(chat{size: 1 << 10}, "/v1")), passed)
		if err != nil {
			return 0, 0, err
		}
		return µs(s.Latency.Quantile(.5)), µs(s.Latency.Quantile(.99)), nil
	}
	d50, d99, err := quantiles(b.itself())
	if err != nil {
		return err
	}
	p50, p99, err := quantiles(r)
	f.Values["p50"], f.Values["p99"], f.Values["direct_p50"], f.Values["direct_p99"] = p50-d50, p99-d99, d50, d99
	return err
}

func measureCPU(b *bench, r *running, f *figure) error {
	for _, conns := range []int{1, 8, 64} {
		s, err := b.saturate(r, r.plan(conns, r.chat(chat{size: 1 << 10}, "/v1")), passed)
		if err != nil {
			return fmt.Errorf("%d clients: %w", conns, err)
		}
		f.Values[fmt.Sprint(conns)], f.Values["rate"], f.Values["busy"] = s.cpu, s.Per(s.Done), s.busy
	}
	return nil
}

// A rung is one window of the sweep of which the frontier is read.
type rung struct {
	conns  int
	rate   float64
	p99    time.Duration
	failed int64
}

// frontier is the highest rate of the rungs that failed nothing and had their p99 within a bound; 0 if none had.
func frontier(rungs []rung, bound time.Duration) (rate float64) {
	for _, g := range rungs {
		if g.failed == 0 && g.p99 <= bound {
			rate = max(rate, g.rate)
		}
	}
	return rate
}

// measureFrontier sweeps once over the number of clients; all bounds are read of the same windows.
func measureFrontier(b *bench, r *running, f *figure) error {
	var rungs []rung
	for conns := 1; conns <= 512; conns *= 2 {
		p := r.plan(conns, r.chat(chat{size: 1 << 10}, "/v1"))
		p.Time = b.time / 2
		res, err := drive.Run(p)
		if err != nil {
			return err
		}
		g := rung{conns, res.Per(res.Done), res.Latency.Quantile(.99), res.Due - res.Status[200]}
		rungs = append(rungs, g)
		f.Values[fmt.Sprintf("rate_%d", conns)], f.Values[fmt.Sprintf("p99_%d", conns)] = g.rate, µs(g.p99)
		if g.failed > 0 || g.p99 > 10*time.Millisecond && conns >= 4 { // more clients wait longer
			break
		}
	}
	for _, bound := range []time.Duration{1, 5, 10} {
		f.Values[fmt.Sprintf("%dms", bound)] = frontier(rungs, bound*time.Millisecond)
	}
	return nil
}

// measurePrompts has prompts of several sizes sent by eight clients, their bodies passed on as they come where a peer
// can choose.
func measurePrompts(b *bench, r *running, f *figure) error {
	for _, kb := range []int{1, 10, 100, 400} {
		s, err := b.saturate(r, r.plan(8, r.chat(chat{size: kb << 10}, r.peer.direct+"/v1")), passed)
		if err != nil {
			return fmt.Errorf("%d KB: %w", kb, err)
		}
		f.Values[fmt.Sprint(kb)], f.Values[fmt.Sprintf("p50_%d", kb)] = s.cpu, µs(s.Latency.Quantile(.5))
	}
	return nil
}

func measureHit(b *bench, r *running, f *figure) error {
	var requests [][]byte
	for k := range 16 {
		requests = append(requests, message("GET", fmt.Sprintf("/v1/cached/2048?k=%d", k), "", ""))
	}
	return b.price(r, f, r.plan(64, requests...), expected{status: 200})
}

func measureRefusal(b *bench, r *running, f *figure) error {
	m := message("POST", "/tight/body/1024", "", chat{size: 1 << 10}.body())
	first := r.plan(1, m) // it is let in
	first.Most = 1
	if _, err := drive.Run(first); err != nil {
		return err
	}
	return b.price(r, f, r.plan(64, m), expected{status: 429})
}

// price measures what each of a kind of requests costs.
func (b *bench) price(r *running, f *figure, p drive.Plan, want expected) error {
	s, err := b.saturate(r, p, want)
	if err != nil {
		return err
	}
	f.Values["cpu"], f.Values["rate"] = s.cpu, s.Per(s.Done)
	return nil
}

// measureFlood has 63 clients show wrong keys, and meanwhile one the right one.
func measureFlood(b *bench, r *running, f *figure) error {
	r, err := b.start(r.peer, variant{keys: 1})
	if err != nil {
		return err
	}
	defer b.stop(r)
	if err := r.proves(); err != nil {
		return err
	}
	var requests [][]byte
	for i := range 63 {
		requests = append(requests, r.chat(chat{size: 1 << 10, token: fmt.Sprintf("sk-wrong-%016d", i)}, "/v1"))
	}
	before, err := b.counts()
	if err != nil {
		return err
	}
	type outcome struct {
		*drive.Result
		error
	}
	right := make(chan outcome, 1)
	go func() {
		p := r.plan(1, r.chat(chat{size: 1 << 10}, "/v1"))
		p.Time = b.time
		res, err := drive.Run(p)
		right <- outcome{res, err}
	}()
	p := r.plan(63, requests...)
	p.Time = b.time
	s, err := r.meter(p)
	beside := <-right
	if err != nil || beside.error != nil {
		return fmt.Errorf("%w, %w", err, beside.error)
	}
	after, err := b.counts()
	if err != nil {
		return err
	}
	for status, n := range s.Status {
		if status < 400 || status > 499 {
			return fmt.Errorf("it answers %d wrong keys with %d", n, status)
		}
	}
	if n := after.Body - before.Body; s.Failed() > 0 || beside.Due != beside.Status[200] || n != beside.Done {
		return fmt.Errorf("wrong keys failed: %v; right ones %v, failed %v; %d reached the upstream", s.Errors, beside.Status, beside.Errors, n)
	}
	all := s.cpu * float64(s.Done) // what the right ones cost is in it: a 64th
	f.Values["cpu"], f.Values["rate"] = all/float64(s.Done+beside.Done), s.Per(s.Done)
	f.Values["p50"], f.Values["p99"] = µs(beside.Latency.Quantile(.5)), µs(beside.Latency.Quantile(.99))
	return nil
}

// measureMemory reads the memory of a peer that has answered nothing, of one at work, and of one that has rested.
func measureMemory(b *bench, r *running, f *figure) error {
	r, err := b.start(r.peer, variant{})
	if err != nil {
		return err
	}
	defer b.stop(r)
	const mib = 1 << 20
	f.Values["idle"] = float64(settled(r)) / mib
	if err := r.proves(); err != nil {
		return err
	}
	p := r.plan(64, r.chat(chat{size: 10 << 10}, "/v1"))
	p.Time = max(2*b.time, b.time)
	var loaded int64
	p.Every, p.Progress = p.Time/4, func(time.Duration, *drive.Result) { loaded = max(loaded, process.Memory(r.process.PID)) }
	res, err := drive.Run(p)
	if err != nil {
		return err
	}
	if res.Due != res.Status[200] {
		return fmt.Errorf("%d of %d answers were 200; others: %v, failed: %v", res.Status[200], res.Due, res.Status, res.Errors)
	}
	f.Values["loaded"] = float64(loaded) / mib
	time.Sleep(b.after)
	f.Values["after"] = float64(process.Memory(r.process.PID)) / mib
	return nil
}

// settled is the memory of a peer once it has stopped to change, in bytes.
func settled(r *running) int64 {
	return r.process.Settled(10, 300*time.Millisecond)
}

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"aigateway/bench/drive"
	"aigateway/bench/internal/process"
	"aigateway/bench/upstream"
)

// A work is what every peer has to do. check makes sure that a peer really does it, with a few requests; measure then
// finds out what it costs.
type work struct {
	name    string
	title   string
	check   func(*bench, string) error
	measure func(*bench, *running, *figures) error
}

// works in the order in which a peer does them. Memory comes first, in a process that has done nothing yet: later,
// idle connections would live in what others left.
var works = []work{
	{"idle", "idle connections", checkPost, measureIdle},
	{"post", "proxied POST, 1 KB each way", checkPost, measurePost},
	{"hit", "cache hit, 2 KB", checkHit, measureHit},
	{"refuse", "refusal by a limit", checkRefuse, measureRefuse},
	{"pace", "proxied POST at a fixed rate", checkPost, measurePace},
	{"stream", "1,000 streams at a time", checkStream, measureStream},
}

// figures is one measurement. What a work does not measure is zero.
type figures struct {
	Peer     string  `json:"peer"`
	Work     string  `json:"work"`
	Round    int     `json:"round"`
	Requests int64   `json:"requests,omitempty"` // or events of streams
	Rate     float64 `json:"per_second,omitempty"`
	CPU      float64 `json:"cpu_us,omitempty"` // of the proxy's processes, user and system, per request or event
	Busy     float64 `json:"busy,omitempty"`   // share of its core
	P50      float64 `json:"p50_us,omitempty"`
	P99      float64 `json:"p99_us,omitempty"`
	Memory   float64 `json:"memory_mb,omitempty"`
	PerConn  float64 `json:"memory_kb_per_connection,omitempty"`
	Fault    string  `json:"fault,omitempty"` // why the figures do not count
}

const (
	postBody    = 1 << 10
	hitBody     = 2 << 10
	hitKeys     = 16
	loadConns   = 64
	streamConns = 1000
	streamPace  = 50 // milliseconds between two events
	idleConns   = 2000
	patience    = 10 * time.Second
	host        = "gateway.example" // of every request: a proxy must not care
)

// message is a request as a usual SDK sends it.
func message(method, target string, body int) []byte {
	b := fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: %s\r\nAccept: application/json\r\nConnection: keep-alive\r\n"+
		"User-Agent: bench/1.0\r\n", method, target, host)
	if body > 0 {
		b = fmt.Appendf(b, "Content-Type: application/json\r\nContent-Length: %d\r\n", body)
	}
	b = append(b, "\r\n"...)
	if body > 0 {
		b = append(b, content(body)...)
	}
	return b
}

func content(n int) string { return `{"prompt":"` + strings.Repeat("q", n-13) + `"}` }

func postTarget() string { return fmt.Sprintf("/v1/body/%d", postBody) }

func targetsOf(addr string, requests ...[]byte) (all []drive.Target) {
	for _, r := range requests {
		all = append(all, drive.Target{Addr: addr, Request: r})
	}
	return all
}

func postPlan(addr string) drive.Plan {
	return drive.Plan{Targets: targetsOf(addr, message("POST", postTarget(), postBody)), Conns: loadConns, Timeout: patience}
}

func measurePost(b *bench, r *running, f *figures) error {
	return b.saturate(r, f, postPlan(r.addr), expected{status: 200, body: postBody, upstream: 1})
}

func measureHit(b *bench, r *running, f *figures) error {
	var requests [][]byte
	for k := range hitKeys {
		requests = append(requests, message("GET", fmt.Sprintf("/v1/cached/%d?k=%d", hitBody, k), 0))
	}
	plan := drive.Plan{Targets: targetsOf(r.addr, requests...), Conns: loadConns, Timeout: patience}
	return b.saturate(r, f, plan, expected{status: 200, body: hitBody})
}

func measureRefuse(b *bench, r *running, f *figures) error {
	plan := drive.Plan{Targets: targetsOf(r.addr, message("POST", fmt.Sprintf("/tight/body/%d", postBody), postBody)), Conns: loadConns, Timeout: patience}
	return b.saturate(r, f, plan, expected{status: 429, body: -1})
}

// measurePace finds what a peer adds to the time of an answer while it has half of what it could do.
func measurePace(b *bench, r *running, f *figures) error {
	plan := postPlan(r.addr)
	plan.Rate = b.paceOf(f.Peer)
	return b.saturate(r, f, plan, expected{status: 200, body: postBody, upstream: 1})
}

// measureStream counts events. All streams begin together and have as many events as fit into the time.
func measureStream(b *bench, r *running, f *figures) error {
	plan := func(events int) drive.Plan {
		return drive.Plan{Targets: targetsOf(r.addr, message("POST", fmt.Sprintf("/v1/events/%d/%d", events, streamPace), postBody)),
			Conns: streamConns, Most: streamConns, Timeout: b.time + patience}
	}
	if _, err := drive.Run(plan(2)); err != nil { // connections to the upstream, threads, buffers
		return err
	}
	events := max(int(b.time.Milliseconds()/streamPace), 2)
	res, err := b.metered(r, f, plan(events))
	if err != nil {
		return err
	}
	want := int64(events) * streamConns
	f.Requests, f.Rate = res.Events, res.Per(res.Events)
	f.CPU = f.CPU * float64(res.Done) / float64(max(res.Events, 1))
	f.P50, f.P99 = 0, 0 // the length of a stream
	if res.Events != want || res.Failed() > 0 || res.Body != want*upstream.EventSize {
		f.Fault = fmt.Sprintf("%d of %d events came; failed: %v", res.Events, want, res.Errors)
	}
	return nil
}

// measureIdle finds what a connection takes while nothing happens on it, after one request.
func measureIdle(b *bench, r *running, f *figures) error {
	conns, err := hold(r.addr, 1)
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	if err != nil {
		return err
	}
	before := settled(r)
	more, err := hold(r.addr, idleConns)
	conns = append(conns, more...)
	if err != nil {
		return err
	}
	after := settled(r)
	f.Requests, f.Memory = idleConns, float64(before)/(1<<20)
	f.PerConn = float64(after-before) / idleConns / 1024
	return nil
}

// settled is the memory of a peer once it has stopped to change.
func settled(r *running) int64 { return r.process.Settled(5, 150*time.Millisecond) }

// hold opens connections and has one request answered on each.
func hold(addr string, n int) (conns []net.Conn, err error) {
	request := message("POST", postTarget(), postBody)
	buf := make([]byte, 64<<10)
	for range n {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return conns, err
		}
		conns = append(conns, c)
		_ = c.SetDeadline(time.Now().Add(patience))
		if _, err := c.Write(request); err != nil {
			return conns, err
		}
		for got := 0; !bytes.HasSuffix(buf[:got], []byte(`the end"}`)); {
			m, err := c.Read(buf[got:])
			if err != nil {
				return conns, err
			}
			got += m
		}
	}
	return conns, nil
}

// expected is what each answer has to be, and how many requests of one reach the upstream.
type expected struct {
	status   int
	body     int64 // bytes; -1: any
	upstream int64
}

// saturate measures a plan, after a while that does not count.
func (b *bench) saturate(r *running, f *figures, p drive.Plan, want expected) error {
	p.Time = b.warm
	if _, err := drive.Run(p); err != nil {
		return err
	}
	p.Time = b.time
	before, err := b.counts()
	if err != nil {
		return err
	}
	res, err := b.metered(r, f, p)
	if err != nil {
		return err
	}
	after, err := b.counts()
	if err != nil {
		return err
	}
	asked := after.Body + after.Cached - before.Body - before.Cached
	switch n := res.Status[want.status]; {
	case n != res.Due:
		f.Fault = fmt.Sprintf("%d of %d answers were %d; others: %v, failed: %v", n, res.Due, want.status, res.Status, res.Errors)
	case want.body >= 0 && res.Body != n*want.body:
		f.Fault = fmt.Sprintf("%d bytes of bodies instead of %d", res.Body, n*want.body)
	case asked != n*want.upstream:
		f.Fault = fmt.Sprintf("%d of %d requests reached the upstream", asked, n)
	case !p.Fresh && res.Dialed > int64(p.Conns):
		f.Fault = fmt.Sprintf("it closed %d connections", res.Dialed-int64(p.Conns))
	}
	return nil
}

// metered runs a plan and reads what it cost the peer. Without a peer the plan goes to the upstream itself.
func (b *bench) metered(r *running, f *figures, p drive.Plan) (*drive.Result, error) {
	var cpu time.Duration
	if r.process != nil {
		cpu = process.CPU(r.process.PID)
	}
	res, err := drive.Run(p)
	if err != nil {
		return nil, err
	}
	f.Requests, f.Rate = res.Done, res.Per(res.Done)
	f.P50, f.P99 = float64(res.Latency.Quantile(.5))/1e3, float64(res.Latency.Quantile(.99))/1e3
	if r.process != nil {
		cpu = process.CPU(r.process.PID) - cpu
		f.CPU = float64(cpu) / 1e3 / float64(max(res.Done, 1))
		f.Busy = cpu.Seconds() / res.Elapsed.Seconds()
		f.Memory = float64(process.Memory(r.process.PID)) / (1 << 20)
	}
	return res, nil
}

// counts asks the upstream what reached it.
func (b *bench) counts() (c upstream.Counts, err error) {
	r, err := client.Get("http://" + b.upstream + "/count")
	if err != nil {
		return c, err
	}
	defer r.Body.Close()
	return c, json.NewDecoder(r.Body).Decode(&c)
}

var client = &http.Client{Timeout: patience}

func send(method, url, body string) (*http.Response, error) {
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Host = host
	return client.Do(req)
}

// ask sends a request and returns the status and body of the answer.
func ask(method, url, body string) (int, string, error) {
	r, err := send(method, url, body)
	if err != nil {
		return 0, "", err
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	return r.StatusCode, string(text), err
}

// same asks for what the upstream itself answers and wants the same from the peer.
func (b *bench) same(method, addr, target, body string) error {
	_, want, err := ask(method, "http://"+b.upstream+target, body)
	if err != nil {
		return err
	}
	status, got, err := ask(method, "http://"+addr+target, body)
	switch {
	case err != nil:
		return err
	case status != 200:
		return fmt.Errorf("it answers %d", status)
	case got != want:
		return fmt.Errorf("it answers %d bytes that are not the %d of the upstream", len(got), len(want))
	}
	return nil
}

func checkPost(b *bench, addr string) error {
	before, err := b.counts()
	if err != nil {
		return err
	}
	const n = 5
	for range n {
		if err := b.same("POST", addr, postTarget(), content(postBody)); err != nil {
			return err
		}
	}
	after, err := b.counts()
	if err == nil && after.Body-before.Body != 2*n { // once without the peer
		return fmt.Errorf("%d of %d POSTs reached the upstream", after.Body-before.Body-n, n)
	}
	return err
}

func checkHit(b *bench, addr string) error {
	before, err := b.counts()
	if err != nil {
		return err
	}
	const n = 10
	for range n {
		if err := b.same("GET", addr, fmt.Sprintf("/v1/cached/%d?k=check", hitBody), ""); err != nil {
			return err
		}
	}
	after, err := b.counts()
	if err == nil && after.Cached-before.Cached != n+1 {
		return fmt.Errorf("%d of %d equal GETs reached the upstream", after.Cached-before.Cached-n, n)
	}
	return err
}

// checkRefuse lets the first request through, if the peer does, and wants all others refused before the upstream.
func checkRefuse(b *bench, addr string) error {
	url := fmt.Sprintf("http://%s/tight/body/%d", addr, postBody)
	if _, _, err := ask("POST", url, content(postBody)); err != nil {
		return err
	}
	before, err := b.counts()
	if err != nil {
		return err
	}
	for range 5 {
		status, _, err := ask("POST", url, content(postBody))
		if err != nil {
			return err
		}
		if status != http.StatusTooManyRequests {
			return fmt.Errorf("it answers %d", status)
		}
	}
	after, err := b.counts()
	if err == nil && after.Body != before.Body {
		return fmt.Errorf("%d refused requests reached the upstream", after.Body-before.Body)
	}
	return err
}

// checkStream wants every event, and the first long before the last is made. A machine that is busy may be to blame
// for that, so there are three tries.
func checkStream(_ *bench, addr string) (err error) {
	for range 3 {
		if err = checkOneStream(addr); err == nil {
			return nil
		}
	}
	return err
}

func checkOneStream(addr string) error {
	const events, pace = 5, 80
	r, err := send("POST", fmt.Sprintf("http://%s/v1/events/%d/%d", addr, events, pace), content(postBody))
	if err != nil {
		return err
	}
	defer r.Body.Close()
	var first, last time.Time
	n, size := 0, 0
	for in := bufio.NewReader(r.Body); ; {
		line, err := in.ReadString('\n')
		size += len(line)
		if strings.HasPrefix(line, "data: ") {
			if last = time.Now(); n == 0 {
				first = last
			}
			n++
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	switch {
	case r.StatusCode != 200:
		return fmt.Errorf("it answers %d", r.StatusCode)
	case n != events || size != events*upstream.EventSize:
		return fmt.Errorf("%d events of %d came, %d bytes", n, events, size)
	case last.Sub(first) < events*pace/2*time.Millisecond:
		return fmt.Errorf("it holds events back: all came within %v", last.Sub(first))
	}
	return nil
}

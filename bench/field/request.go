package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"aigateway/bench/drive"
	"aigateway/bench/internal/process"
	"aigateway/bench/upstream"
)

const (
	patience = 20 * time.Second
	host     = "gateway.example" // of every request: a proxy must not care
)

// chat is a request for a chat completion.
type chat struct {
	size   int // bytes of its body
	tokens int // of a stream; 0: no stream
	pace   int // milliseconds between them
	token  string
}

// body is what a usual SDK sends: the messages first.
func (c chat) body() string {
	end := `"}],"model":"tiny"}`
	if c.tokens > 0 {
		end = fmt.Sprintf(`"}],"model":"tiny","stream":true,"max_tokens":%d,"seed":%d}`, c.tokens, c.pace)
	}
	const first = `{"messages":[{"role":"user","content":"`
	return first + strings.Repeat("q", max(c.size-len(first)-len(end), 1)) + end
}

// chat is a request as a whole message; below is what stands before /chat/completions.
func (r *running) chat(c chat, below string) []byte {
	fields := ""
	if r.peer.fields != nil {
		fields = r.peer.fields(&r.site)
	}
	if c.token == "" {
		c.token = token
	}
	return message("POST", below+"/chat/completions", "Authorization: Bearer "+c.token+"\r\n"+fields, c.body())
}

func message(method, target, fields, body string) []byte {
	m := fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: %s\r\nAccept: application/json\r\nConnection: keep-alive\r\nUser-Agent: bench/1.0\r\n%s",
		method, target, host, fields)
	if body != "" {
		m = fmt.Appendf(m, "Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	}
	return append(append(m, "\r\n"...), body...)
}

// plan asks for the same, over and over again.
func (r *running) plan(conns int, requests ...[]byte) drive.Plan {
	p := drive.Plan{Conns: conns, Timeout: patience}
	for _, m := range requests {
		p.Targets = append(p.Targets, drive.Target{Addr: r.addr, Request: m})
	}
	return p
}

// spent is what a measurement came to.
type spent struct {
	*drive.Result
	cpu  float64 // µs of the peer's processes, user and system, a request
	busy float64 // share of a core
}

// saturate has a plan done for the time of a measurement, after a while that does not count. All answers must have this
// status, and passed requests must reach the upstream.
func (b *bench) saturate(r *running, p drive.Plan, want expected) (*spent, error) {
	p.Time = b.warm
	if _, err := drive.Run(p); err != nil {
		return nil, err
	}
	p.Time = b.time
	before, err := b.counts()
	if err != nil {
		return nil, err
	}
	s, err := r.meter(p)
	if err != nil {
		return nil, err
	}
	after, err := b.counts()
	if err != nil {
		return nil, err
	}
	asked := after.Body + after.Cached + after.Streams - before.Body - before.Cached - before.Streams
	switch n := s.Status[want.status]; {
	case n != s.Due || n == 0:
		return nil, fmt.Errorf("%d of %d answers were %d; others: %v, failed: %v", n, s.Due, want.status, s.Status, s.Errors)
	case want.passed >= 0 && asked != n*want.passed:
		return nil, fmt.Errorf("%d of %d requests reached the upstream", asked, n)
	}
	return s, nil
}

// expected is what each answer has to be, and how many requests of one reach the upstream; -1: any number.
type expected struct {
	status int
	passed int64
}

var passed = expected{status: 200, passed: 1}

// meter has a plan done and reads what it cost the peer. Without a process it is the upstream itself.
func (r *running) meter(p drive.Plan) (*spent, error) {
	var cpu time.Duration
	if r.process != nil {
		cpu = process.CPU(r.process.PID)
	}
	res, err := drive.Run(p)
	if err != nil {
		return nil, err
	}
	s := &spent{Result: res}
	if r.process != nil {
		cpu = process.CPU(r.process.PID) - cpu
		s.cpu = float64(cpu) / 1e3 / float64(max(res.Done, 1))
		s.busy = cpu.Seconds() / res.Elapsed.Seconds()
	}
	return s, nil
}

// itself is the upstream, as if it was a peer.
func (b *bench) itself() *running {
	return &running{peer: &peer{name: "direct"}, addr: b.upstream}
}

// counts asks the upstream what reached it.
func (b *bench) counts() (c upstream.Counts, err error) {
	client := http.Client{Timeout: patience}
	r, err := client.Get("http://" + b.upstream + "/count")
	if err != nil {
		return c, err
	}
	defer r.Body.Close()
	return c, json.NewDecoder(r.Body).Decode(&c)
}

func µs(d time.Duration) float64 { return float64(d) / 1e3 }

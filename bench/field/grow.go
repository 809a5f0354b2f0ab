package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
	"time"

	"aigateway/bench/drive"
	"aigateway/bench/internal/local"
	"aigateway/bench/internal/process"
)

// measureCores gives a peer one core and then both; the load and the upstream have the second one also then.
func measureCores(b *bench, r *running, f *figure) error {
	of := r.peer
	for _, cores := range []int{1, 2} {
		v := variant{}
		if cores > 1 {
			v.cores = cores
		}
		r, err := b.start(of, v)
		if err != nil {
			return err
		}
		var s *spent
		if err = r.proves(); err == nil {
			s, err = b.saturate(r, r.plan(64, r.chat(chat{size: 1 << 10}, "/v1")), passed)
		}
		b.stop(r)
		if err != nil {
			return err
		}
		f.Values[fmt.Sprint(cores)], f.Values[fmt.Sprintf("%dcpu", cores)] = s.Per(s.Done), s.cpu
	}
	return nil
}

// measureProcesses gives the same load to one process of a peer and to four on the same core.
func measureProcesses(b *bench, r *running, f *figure) error {
	if r.peer.name != "gateway" {
		return errLacks("its workers are what the cell cores is about")
	}
	of := r.peer
	for _, n := range []int{1, 4} {
		if err := b.measureReplicas(of, f, n); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) measureReplicas(of *peer, f *figure, n int) error {
	var plan drive.Plan
	var all []*running
	for range n {
		r, err := b.start(of, variant{})
		if err != nil {
			return err
		}
		defer b.stop(r)
		if err := r.proves(); err != nil {
			return err
		}
		plan.Targets = append(plan.Targets, r.plan(1, r.chat(chat{size: 1 << 10}, "/v1")).Targets...)
		all = append(all, r)
	}
	plan.Conns, plan.Timeout = 64, patience
	cpu := func() (t time.Duration) {
		for _, r := range all {
			t += process.CPU(r.process.PID)
		}
		return t
	}
	before := cpu()
	s, err := b.saturate(&running{peer: of}, plan, passed)
	if err != nil {
		return err
	}
	warm := float64(b.warm) / float64(b.warm+b.time) // its part of the CPU time
	f.Values[fmt.Sprint(n)] = s.Per(s.Done)
	f.Values[fmt.Sprintf("%dcpu", n)] = µs(cpu()-before) * (1 - warm) / float64(s.Done)
	return nil
}

// measureIdle finds what a connection takes while nothing happens on it, after one request.
func measureIdle(b *bench, r *running, f *figure) error {
	of := r.peer
	for _, n := range []int{10_000, 40_000} {
		if most := b.files - 300; n > most {
			if n > 10_000 {
				b.say("  %-13s %-10s %d connections: a process may have %d files open here", of.name, "idle", n, b.files)
				return nil
			}
			n = most
		}
		r, err := b.start(of, variant{many: true})
		if err != nil {
			return err
		}
		each, err := b.idle(r, n)
		b.stop(r)
		if err != nil {
			return err
		}
		f.Values[fmt.Sprint(n)] = each / 1024
	}
	return nil
}

// idle is the bytes that each of n idle connections takes.
func (b *bench) idle(r *running, n int) (float64, error) {
	if err := r.proves(); err != nil {
		return 0, err
	}
	before := settled(r)
	conns, err := r.open(n)
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	if err != nil {
		return 0, errLacks(fmt.Sprintf("takes %d connections: %v", len(conns)-1, err))
	}
	return float64(settled(r)-before) / float64(n), nil
}

// open opens connections and has one request answered on each. A source address has ports for 20,000.
func (r *running) open(n int) (conns []net.Conn, err error) {
	request := r.chat(chat{size: 1 << 10}, "/v1")
	buf := make([]byte, 64<<10)
	for i := range n {
		from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i/20_000))}, Timeout: patience}
		c, err := from.Dial("tcp", r.addr)
		if err != nil {
			return conns, err
		}
		conns = append(conns, c)
		_ = c.SetDeadline(time.Now().Add(patience))
		if _, err := c.Write(request); err != nil {
			return conns, err
		}
		for got := 0; !bytes.HasSuffix(bytes.TrimRight(buf[:got], "0\r\n"), []byte("}}")); { // the end of a completion, chunked or not
			m, err := c.Read(buf[got:])
			if err != nil {
				return conns, err
			}
			got += m
		}
	}
	return conns, nil
}

// keyed is a client that asks for one of many answers each time, one after the other or at random.
func (r *running) keyed(conns, keys, size int) drive.Plan {
	const digits = 8
	p := drive.Plan{Conns: conns, Timeout: patience}
	var turn int
	for range conns {
		m := message("GET", fmt.Sprintf("/v1/cached/%d?k=%0*d", size, digits, 0), "", "")
		at := bytes.Index(m, []byte("?k=")) + 3
		p.Targets = append(p.Targets, drive.Target{Addr: r.addr, Next: func() []byte {
			k := turn
			if turn++; turn > keys {
				k = rand.IntN(keys)
			}
			for i := digits - 1; i >= 0; i-- {
				m[at+i] = byte('0' + k%10)
				k /= 10
			}
			return m
		}})
	}
	return p
}

// measureMillion fills the cache in memory and asks for what is in it, beside the same with sixteen answers.
func measureMillion(b *bench, r *running, f *figure) error {
	r, err := b.start(r.peer, variant{entries: b.keys + b.keys/4})
	if err != nil {
		return err
	}
	defer b.stop(r)
	few, err := b.saturate(r, r.keyed(64, 16, 200), expected{status: 200, passed: -1})
	if err != nil {
		return err
	}
	p := r.keyed(64, b.keys, 200)
	p.Most = int64(b.keys)
	if res, err := drive.Run(p); err != nil || res.Failed() > 0 {
		return fmt.Errorf("while it is filled: %w, failed: %v", err, res.Errors)
	}
	p.Most, p.Time = 0, b.time
	before, err := b.counts()
	if err != nil {
		return err
	}
	s, err := r.meter(p)
	if err != nil {
		return err
	}
	after, err := b.counts()
	f.Values["few"], f.Values["cpu"], f.Values["mib"] = few.cpu, s.cpu, float64(process.Memory(r.process.PID))/(1<<20)
	f.Values["kept"] = 1 - float64(after.Cached-before.Cached)/float64(max(s.Done, 1))
	return err
}

// measureRedis has a Redis hold answers for which the cache in memory has no room.
func measureRedis(b *bench, r *running, f *figure) error {
	of := r.peer
	if of.variant == nil || !of.variant(variant{redis: "x"}) {
		return errLacks("has no cache in Redis")
	}
	addr, end, err := b.redis()
	if err != nil {
		return errLacks(err.Error())
	}
	defer end()
	r, err = b.start(of, variant{entries: 16, redis: addr})
	if err != nil {
		return err
	}
	defer b.stop(r)
	const keys = 20_000
	fill := r.keyed(64, keys, 2048)
	fill.Most = keys
	if _, err := drive.Run(fill); err != nil {
		return err
	}
	for _, conns := range []int{8, 64} {
		p := r.keyed(conns, keys, 2048)
		s, err := b.saturate(r, p, expected{status: 200, passed: -1})
		if err != nil {
			return err
		}
		f.Values["cpu"], f.Values["rate"] = s.cpu, s.Per(s.Done)
		if conns == 8 {
			f.Values["p50"] = µs(s.Latency.Quantile(.5))
		}
	}
	return nil
}

// redis starts a Redis on the core of the load.
func (b *bench) redis() (addr string, end func(), err error) {
	port, err := local.FreePort()
	if err != nil {
		return "", nil, err
	}
	dir, err := b.alive.Directory("")
	if err != nil {
		return "", nil, err
	}
	cmd := exec.Command("redis-server", "--port", fmt.Sprint(port), "--bind", "127.0.0.1", "--save", "", "--dir", dir)
	p, err := b.alive.Launch(cmd, b.loadCore)
	if err != nil {
		return "", nil, err
	}
	addr = fmt.Sprintf("127.0.0.1:%d", port)
	if err := p.Await(addr, patience); err != nil {
		b.alive.End(p)
		return "", nil, err
	}
	return addr, func() { b.alive.End(p) }, nil
}

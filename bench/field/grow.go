package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"time"

	"aigateway/bench/internal/process"
)

// measureCores gives a peer one core and then both; the load and the upstream have the second one also then. How much a second core
// can do for it is little where the load costs as much as the proxy (posts), more with hits, and most with handshakes.
func measureCores(b *bench, r *running, f *figure) error {
	for _, cores := range []int{1, 2} {
		v := variant{}
		if cores > 1 {
			v.cores = cores
		}
		if err := b.with(r.peer, v, func(r *running) error { return b.measureWork(r, f, cores) }); err != nil {
			return err
		}
		v.tls = "rsa"
		if err := b.with(r.peer, v, func(r *running) error { return b.measureHandshakes(r, f, cores) }); err != nil {
			return err
		}
	}
	return nil
}

// with starts a peer for as long as something is measured of it.
func (b *bench) with(p *peer, v variant, measure func(*running) error) error {
	r, err := b.start(p, v)
	if err != nil {
		return err
	}
	defer b.stop(r)
	if v.tls == "" {
		if err := r.proves(); err != nil {
			return err
		}
	}
	return measure(r)
}

func (b *bench) measureWork(r *running, f *figure, cores int) error {
	s, err := b.saturate(r, r.plan(64, r.chat(chat{size: 1 << 10}, "/v1")), passed)
	if err != nil {
		return err
	}
	f.Values[fmt.Sprint(cores)], f.Values[fmt.Sprintf("%dcpu", cores)] = s.Per(s.Done), s.cpu
	if r.peer.lacks["hit"] != "" {
		return nil
	}
	if s, err = b.saturate(r, r.keyed(64, 16, 2048), expected{status: 200}); err != nil {
		return err
	}
	f.Values[fmt.Sprintf("hit%d", cores)] = s.Per(s.Done)
	return nil
}

func (b *bench) measureHandshakes(r *running, f *figure, cores int) error {
	c := &tlsClients{addr: r.addr, request: r.chat(chat{size: 1 << 10}, "/v1"), conns: 16, config: tlsConfig(nil)}
	if _, err := c.run(b.warm); err != nil {
		return err
	}
	began := time.Now()
	n, err := c.run(b.time)
	f.Values[fmt.Sprintf("rsa%d", cores)] = float64(n) / time.Since(began).Seconds()
	return err
}

// measureProcesses gives the same load to one process of a peer and to four on the same core.
func measureProcesses(b *bench, r *running, f *figure) error {
	for _, n := range []int{1, 4} {
		v := variant{}
		if n > 1 {
			v.workers = n
		}
		if err := b.with(r.peer, v, func(r *running) error { return b.measureWorkers(r, f, n) }); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) measureWorkers(r *running, f *figure, n int) error {
	settled(r) // all of them have begun
	before := spentByEach(r)
	s, err := b.saturate(r, r.plan(64, r.chat(chat{size: 1 << 10}, "/v1")), passed)
	if err != nil {
		return err
	}
	if n > 1 {
		var all, most time.Duration
		for pid, cpu := range spentByEach(r) {
			all += cpu - before[pid]
			most = max(most, cpu-before[pid])
		}
		f.Values["share"] = most.Seconds() / max(all.Seconds(), 1e-9)
	}
	f.Values[fmt.Sprint(n)], f.Values[fmt.Sprintf("%dcpu", n)] = s.Per(s.Done), s.cpu
	f.Values[fmt.Sprintf("%dmib", n)] = float64(process.Memory(r.process.PID)) / (1 << 20)
	return nil
}

// spentByEach is the CPU time that each process has used which a peer's first one has started.
func spentByEach(r *running) map[int]time.Duration {
	of := make(map[int]time.Duration)
	for _, pid := range process.Children(r.process.PID) {
		of[pid] = process.CPU(pid)
	}
	return of
}

// share makes a command so many processes that have one listening socket, as systemd passes one: sd_listen_fds(3). The caller closes
// it once they run.
func share(cmd *exec.Cmd, port, processes int) (*os.File, error) {
	ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return nil, err
	}
	defer ln.Close()
	socket, err := ln.(*net.TCPListener).File()
	if err != nil {
		return nil, err
	}
	const all = `for i in $(seq "$0"); do sh -c 'LISTEN_PID=$$ exec "$@"' sh "$@" & done; wait`
	of := exec.Command("sh", append([]string{"-c", all, strconv.Itoa(processes), cmd.Path}, cmd.Args[1:]...)...)
	of.ExtraFiles, of.Env = []*os.File{socket}, []string{"LISTEN_FDS=1"}
	*cmd = *of
	return socket, nil
}

// Command peers has the gateway and other proxies do the same work, one after the other in front of the same upstream
// on the same core, and tells what it cost each. `make peers` builds and runs it; bench/README.md explains the method.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"aigateway/bench/internal/process"
)

func main() {
	os.Exit(command(os.Args[1:]))
}

// Exit codes: 0 when all was measured, 1 when something could not be, 2 for flags that are wrong.
const (
	exitFailed = 1
	exitUsage  = 2
)

type options struct {
	role, listen, service string // of a process of the comparison; see play
	peers, works          string
	gateway, before, out  string
	limit                 time.Duration
}

func command(args []string) int {
	var o options
	b := &bench{could: make(map[string]float64), alive: new(process.Group)}
	set := flag.NewFlagSet("peers", flag.ContinueOnError)
	set.StringVar(&o.role, "role", "", "be one of the processes: upstream, fasthttp, httputil")
	set.StringVar(&o.listen, "listen", "127.0.0.1:0", "`address` of that process")
	set.StringVar(&o.service, "service", "", "`address` of the upstream of that process")
	set.StringVar(&o.peers, "peers", "", "only these, comma-separated: "+strings.Join(names(peers("")), ", ")+" (ours is the gateway)")
	set.StringVar(&o.works, "work", "", "only these, comma-separated: idle, post, hit, refuse, pace, stream")
	set.StringVar(&o.gateway, "gateway", ".bin/gateway", "the gateway's binary")
	set.StringVar(&o.before, "before", "", "another binary of the gateway, measured in turns with it as a peer of that name")
	set.StringVar(&o.out, "out", "bench/reports/peers", "`directory` of the report")
	set.IntVar(&b.rounds, "rounds", 5, "how often everything is measured; the medians count")
	set.DurationVar(&b.time, "time", 2*time.Second, "how long each measurement takes")
	set.Float64Var(&b.pace, "rate", 0, "requests per `second` of the work pace; 0: half of what the gateway can do")
	set.IntVar(&b.proxyCore, "proxy-core", 0, "the core of the proxies")
	set.IntVar(&b.loadCore, "load-core", 1, "the core of the load and the upstream")
	set.DurationVar(&o.limit, "limit", 20*time.Minute, "end everything after this")
	if err := set.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return exitUsage
	}
	if o.role != "" {
		fmt.Fprintln(os.Stderr, play(o.role, o.listen, o.service))
		return exitFailed
	}
	b.warm = min(b.time/4, 500*time.Millisecond)
	err := b.choose(&o)
	if err == nil && (b.rounds < 1 || b.time < 100*time.Millisecond) {
		err = errors.New("at least one round and 100ms are needed")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		return exitUsage
	}
	if err := process.PinSelf(b.loadCore); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		return exitFailed
	}
	return b.command(&o)
}

// command measures and writes the report, unless a signal or the limit comes first: then all that runs is ended.
func (b *bench) command(o *options) int {
	process.AllowOpenFiles()
	err := process.Until(o.limit, b.run)
	b.alive.Close()
	if err == nil {
		err = b.report(o.out)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		return exitFailed
	}
	for _, f := range b.figures {
		if f.Fault != "" {
			return exitFailed
		}
	}
	return 0
}

// bench is one run of the comparison.
type bench struct {
	peers               []peer
	works               []work
	rounds              int
	time, warm          time.Duration
	pace                float64 // requests per second
	proxyCore, loadCore int
	upstream            string // its address
	service             *process.Process
	alive               *process.Group

	could   map[string]float64 // requests per second, by peer, in the first try
	cannot  []gap
	figures []figures
}

// gap is a work that a peer does not do.
type gap struct {
	Peer string `json:"peer"`
	Work string `json:"work"`
	Why  string `json:"why"`
}

func names(all []peer) (n []string) {
	for _, p := range all {
		n = append(n, p.name)
	}
	return n
}

// choose keeps the peers and works that are asked for.
func (b *bench) choose(o *options) error {
	gateway, err := filepath.Abs(o.gateway)
	if err != nil {
		return err
	}
	b.peers, b.works = peers(gateway), works
	if o.before != "" {
		before := b.peers[0]
		before.name, before.of = "before", before.name
		if before.binary, err = filepath.Abs(o.before); err != nil {
			return err
		}
		b.peers = slices.Insert(b.peers, 1, before)
	}
	known := names(b.peers)
	if o.peers != "" {
		wanted := strings.Split(strings.ReplaceAll(o.peers, "ours", "gateway"), ",")
		for _, w := range wanted {
			if !slices.Contains(known, w) {
				return fmt.Errorf("there is no peer %q; there are %s", w, strings.Join(known, ", "))
			}
		}
		b.peers = slices.DeleteFunc(b.peers, func(p peer) bool { return !slices.Contains(wanted, p.name) })
	}
	if o.works != "" {
		wanted := strings.Split(o.works, ",")
		for _, w := range wanted {
			if !slices.ContainsFunc(works, func(k work) bool { return k.name == w }) {
				return fmt.Errorf("there is no work %q", w)
			}
		}
		b.works = slices.DeleteFunc(slices.Clone(works), func(w work) bool { return !slices.Contains(wanted, w.name) })
	}
	return nil
}

// run checks everybody, and then measures round by round.
func (b *bench) run() error {
	if err := b.serve(); err != nil {
		return err
	}
	say("checking that everybody does the work")
	b.peers = slices.DeleteFunc(b.peers, func(p peer) bool { return !b.try(&p) })
	if len(b.peers) == 0 {
		return errors.New("there is nobody to measure")
	}
	if b.pace == 0 {
		b.pace = b.could["gateway"] / 2
		for _, could := range b.could {
			if b.could["gateway"] == 0 {
				b.pace = max(b.pace, could/2)
			}
		}
		b.pace = float64(int(b.pace/1000)) * 1000
	}
	for i := range b.rounds {
		say("round %d of %d", i+1, b.rounds)
		if err := b.direct(i); err != nil {
			return err
		}
		for j := range b.peers { // everybody is first once
			if err := b.measure(i, &b.peers[(i+j)%len(b.peers)]); err != nil {
				return err
			}
		}
	}
	return nil
}

// serve starts the upstream on the core of the load.
func (b *bench) serve() error {
	addr, p, err := b.alive.Self(b.loadCore, patience, "-role", "upstream")
	b.upstream, b.service = addr, p
	return err
}

// try starts a peer, checks each work and finds out how much it can do. It tells whether the peer is there.
func (b *bench) try(p *peer) bool {
	if _, err := p.find(); err != nil {
		b.miss(gap{p.name, "all", err.Error()})
		return false
	}
	r, err := b.start(p)
	if err != nil {
		b.miss(gap{p.name, "all", err.Error()})
		return false
	}
	defer b.stop(r)
	for _, w := range b.works {
		why := p.lacks[w.name]
		if why == "" {
			if err := w.check(b, r.addr); err != nil {
				why = "fails the check: " + err.Error()
			}
		}
		if why != "" {
			b.miss(gap{p.name, w.name, why})
		}
	}
	if !b.does(p.name, "pace") {
		return true
	}
	f := &figures{Peer: p.name}
	short := *b
	short.time, short.warm = b.time/2, b.time/4
	if err := measurePost(&short, r, f); err != nil {
		b.miss(gap{p.name, "pace", err.Error()})
		return true
	}
	b.could[p.name] = f.Rate
	say("  %-14s %6.0f POSTs a second", p.name, f.Rate)
	return true
}

func (b *bench) miss(g gap) {
	b.cannot = append(b.cannot, g)
	say("  %-14s %s: %s", g.Peer, g.Work, g.Why)
}

// does tells whether a peer does a work that was asked for.
func (b *bench) does(peer, name string) bool {
	return slices.ContainsFunc(b.works, func(w work) bool { return w.name == name }) &&
		!slices.ContainsFunc(b.cannot, func(g gap) bool { return g.Peer == peer && (g.Work == name || g.Work == "all") })
}

// paceOf is the fixed rate of a peer: the same for all who can do twice as much, for the others half of what they can.
func (b *bench) paceOf(peer string) float64 {
	if could, tried := b.could[peer]; tried {
		return min(b.pace, float64(int(could/2000))*1000)
	}
	return b.pace
}

// direct measures the upstream alone, at every rate at which a peer is measured.
func (b *bench) direct(round int) error {
	var rates []float64
	for _, p := range b.peers {
		if rate := b.paceOf(p.name); b.does(p.name, "pace") && rate > 0 && !slices.Contains(rates, rate) {
			rates = append(rates, rate)
		}
	}
	for _, rate := range rates {
		f := figures{Peer: direct, Work: "pace", Round: round}
		at := *b
		at.pace = rate
		if err := measurePace(&at, &running{addr: b.upstream}, &f); err != nil {
			return err
		}
		f.Rate = rate
		b.keep(f)
	}
	return nil
}

// direct is the name under which the upstream itself is measured.
const direct = "direct"

// measure has a peer do all its works. One that does not start any more is a fault of each.
func (b *bench) measure(round int, p *peer) error {
	select {
	case <-b.service.Gone:
		return errors.New("the upstream has ended")
	default:
	}
	r, err := b.start(p)
	for _, w := range b.works {
		if !b.does(p.name, w.name) {
			continue
		}
		f := figures{Peer: p.name, Work: w.name, Round: round}
		e := err
		if e == nil {
			if w.name == "refuse" { // the first request is let in
				_ = w.check(b, r.addr)
			}
			e = w.measure(b, r, &f)
		}
		if e != nil {
			f.Fault = e.Error()
		}
		if w.name == "pace" {
			f.Rate = b.paceOf(p.name)
		}
		b.keep(f)
	}
	if err == nil {
		b.stop(r)
	}
	return nil
}

func (b *bench) keep(f figures) {
	b.figures = append(b.figures, f)
	switch {
	case f.Fault != "":
		say("  %-14s %-7s FAULT %s", f.Peer, f.Work, f.Fault)
	case f.Work == "idle":
		say("  %-14s %-7s %7.1f KB a connection, %.0f MB without", f.Peer, f.Work, f.PerConn, f.Memory)
	default:
		say("  %-14s %-7s %7.2f µs CPU %8.0f/s  %3.0f %% of the core  p50 %.0f µs  p99 %.0f µs  %.0f MB",
			f.Peer, f.Work, f.CPU, f.Rate, 100*f.Busy, f.P50, f.P99, f.Memory)
	}
}

var began = time.Now()

func say(format string, args ...any) {
	fmt.Printf("%4.0fs  "+format+"\n", append([]any{time.Since(began).Seconds()}, args...)...)
}

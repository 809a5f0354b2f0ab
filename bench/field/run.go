package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"aigateway/bench/internal/process"
)

// bench is one run.
type bench struct {
	out                 io.Writer
	began               time.Time
	command             string
	peers               []peer
	cells               []cell
	rounds              int
	time, warm, after   time.Duration
	keys, files         int
	proxyCore, loadCore int
	upstream            string // its address
	alive               *process.Group
	load                []string // of the machine, at the beginning of each round and at the end
	former              *report  // to which this run adds; nil: none

	cannot  []gap
	figures []figure
}

func newBench(out io.Writer) *bench {
	return &bench{out: out, began: time.Now(), alive: new(process.Group)}
}

// gap is a cell that a peer does not do.
type gap struct {
	Peer string `json:"peer"`
	Cell string `json:"cell"` // "all": it is not there
	Why  string `json:"why"`
}

// figure is what one measurement of a cell came to. Values go by the keys of the cell's columns.
type figure struct {
	Peer   string             `json:"peer"`
	Cell   string             `json:"cell"`
	Run    int                `json:"run"`
	Round  int                `json:"round"` // of this cell of this peer, over all runs
	Values map[string]float64 `json:"values"`
	Note   string             `json:"note,omitempty"`  // what a reader has to know of them
	Fault  string             `json:"fault,omitempty"` // why the values do not count
}

// errLacks is a cell that a peer does not do, which is no fault.
type errLacks string

func (e errLacks) Error() string { return string(e) }

// run finds out who is there, and then measures round by round.
func (b *bench) run() error {
	if err := b.serve(); err != nil {
		return err
	}
	b.say("looking who is there")
	b.peers = slices.DeleteFunc(b.peers, func(p peer) bool {
		if b.former.knows(p.name) {
			return false
		}
		err := b.introduce(&p)
		if err != nil {
			b.miss(p.name, "all", err)
		}
		return err != nil
	})
	if len(b.peers) == 0 {
		return errors.New("there is nobody to measure")
	}
	first := b.former.runs()
	for i := range b.rounds {
		b.load = append(b.load, loadAverage())
		b.say("round %d of %d, load %s", i+1, b.rounds, b.load[i])
		for j := range b.peers { // everybody is first once
			b.visit(i, &b.peers[(first+i+j)%len(b.peers)])
		}
	}
	b.load = append(b.load, loadAverage())
	return nil
}

// serve starts the upstream on the core of the load.
func (b *bench) serve() error {
	addr, _, err := b.alive.Self(b.loadCore, patience, "-upstream")
	b.upstream = addr
	return err
}

// introduce starts a peer and asks it for a chat completion.
func (b *bench) introduce(p *peer) error {
	if _, err := p.find(); err != nil {
		return err
	}
	r, err := b.start(p, variant{})
	if err != nil {
		return err
	}
	defer b.stop(r)
	return r.proves()
}

func (b *bench) miss(peer, cell string, why error) {
	b.cannot = append(b.cannot, gap{peer, cell, why.Error()})
	b.say("  %-13s %s: %s", peer, cell, why)
}

// does tells whether a peer has not said yet that it does not do a cell.
func (b *bench) does(peer, name string) bool {
	return !slices.ContainsFunc(b.cannot, func(g gap) bool { return g.Peer == peer && g.Cell == name })
}

// visit has a peer do all cells: those that ask nothing of its configuration in one process, the others each in one of
// its own.
func (b *bench) visit(round int, p *peer) {
	var shared *running
	var broken error
	for i := range b.cells {
		c := &b.cells[i]
		if !b.does(p.name, c.name) || c.once && round > 0 {
			continue
		}
		if why := p.lacks[c.name]; why != "" {
			b.miss(p.name, c.name, errLacks(why))
			continue
		}
		if c.own {
			b.take(round, c, &running{peer: p})
			continue
		}
		if shared == nil && broken == nil {
			if shared, broken = b.start(p, variant{}); broken == nil {
				broken = shared.proves()
			}
		}
		if broken != nil {
			b.keep(c, figure{Peer: p.name, Cell: c.name, Round: round, Fault: broken.Error()})
			continue
		}
		b.take(round, c, shared)
	}
	if shared != nil {
		b.stop(shared)
	}
}

// take measures one cell of one peer.
func (b *bench) take(round int, c *cell, r *running) {
	f := figure{Peer: r.peer.name, Cell: c.name, Round: round, Values: make(map[string]float64)}
	err := c.measure(b, r, &f)
	var lacks errLacks
	switch {
	case errors.As(err, &lacks):
		b.miss(f.Peer, c.name, err)
		return
	case err != nil:
		f.Fault = err.Error()
	}
	b.keep(c, f)
}

func (b *bench) keep(c *cell, f figure) {
	b.figures = append(b.figures, f)
	if f.Fault != "" {
		b.say("  %-13s %-10s FAULT %s", f.Peer, f.Cell, f.Fault)
		return
	}
	var line []string
	for _, col := range c.columns {
		if v, ok := f.Values[col.key]; ok {
			line = append(line, col.head+" "+fmt.Sprintf(col.format, v))
		}
	}
	b.say("  %-13s %-10s %s", f.Peer, f.Cell, strings.Join(line, " · "))
}

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(b.out, "%4.0fs  "+format+"\n", append([]any{time.Since(b.began).Seconds()}, args...)...)
}

func loadAverage() string {
	text, _ := os.ReadFile("/proc/loadavg")
	return strings.Join(strings.Fields(string(text))[:min(3, len(strings.Fields(string(text))))], " ")
}

// Command field measures the gateway on the terms of the field: what users of AI gateways feel, beside proxies and beside
// real AI gateways, all in front of the same upstream. `make field` builds and runs it; bench/field/README.md explains the
// cells and the method, and where its definitions come from.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"aigateway/bench/internal/process"
	"aigateway/bench/upstream"
)

func main() {
	os.Exit(command(os.Args[1:], os.Stdout))
}

// Exit codes: 0 when all was measured, 1 when something could not be, 2 for flags that are wrong.
const (
	exitFailed = 1
	exitUsage  = 2
)

type options struct {
	peers, cells          string
	gateway, out, install string
	add                   bool
	limit                 time.Duration
}

func command(args []string, out io.Writer) int {
	if len(args) == 3 && args[0] == "-upstream" && args[1] == "-listen" {
		fmt.Fprintln(os.Stderr, serveUpstream(args[2]))
		return exitFailed
	}
	if len(args) > 0 && args[0] == "-hold" {
		if err := holdConnections(args[1:], out); err != nil {
			fmt.Fprintln(out, err)
		}
		return exitFailed
	}
	o, b := options{}, newBench(out)
	set := flag.NewFlagSet("field", flag.ContinueOnError)
	set.StringVar(&o.peers, "peers", "", "only these, comma-separated: "+strings.Join(peerNames(peers("", "")), ", ")+" (ours is the gateway)")
	set.StringVar(&o.cells, "cells", "", "only these, comma-separated: "+strings.Join(cellNames(cells), ", "))
	set.StringVar(&o.gateway, "gateway", ".bin/gateway", "the gateway's binary")
	set.StringVar(&o.install, "field", ".bin/field", "`directory` of the others, as `make field-install` leaves it")
	set.StringVar(&o.out, "out", "bench/reports/field", "`directory` of the report")
	set.BoolVar(&o.add, "add", false, "add to the report that is in -out, which has to be of this machine and this gateway")
	set.IntVar(&b.rounds, "rounds", 5, "how often everything is measured; the medians count")
	set.DurationVar(&b.time, "time", 2*time.Second, "how long each measurement takes")
	set.DurationVar(&b.after, "after", time.Minute, "how long after the load memory is read again")
	set.IntVar(&b.keys, "keys", 1_000_000, "keys of the cell million")
	set.IntVar(&b.proxyCore, "proxy-core", 0, "the core of the proxies")
	set.IntVar(&b.loadCore, "load-core", 1, "the core of the load and the upstream")
	set.DurationVar(&o.limit, "limit", 3*time.Hour, "end everything after this")
	if err := set.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return exitUsage
	}
	b.command = strings.Join(append([]string{"field"}, args...), " ")
	b.warm = min(b.time/4, 500*time.Millisecond)
	err := b.choose(&o)
	if err == nil && (b.rounds < 1 || b.time < 50*time.Millisecond) {
		err = errors.New("at least one round and 50ms are needed")
	}
	if err == nil && o.add {
		b.former, err = readReport(o.out)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "field:", err)
		return exitUsage
	}
	if err := process.PinSelf(b.loadCore); err != nil {
		fmt.Fprintln(os.Stderr, "field:", err)
		return exitFailed
	}
	return b.runUntil(&o)
}

// choose keeps the peers and cells that are asked for.
func (b *bench) choose(o *options) error {
	gateway, err := filepath.Abs(o.gateway)
	if err != nil {
		return err
	}
	install, err := filepath.Abs(o.install)
	if err != nil {
		return err
	}
	b.peers, b.cells = peers(gateway, install), slices.Clone(cells)
	if o.peers != "" {
		wanted := strings.Split(strings.ReplaceAll(o.peers, "ours", "gateway"), ",")
		if w := unknown(wanted, peerNames(b.peers)); w != "" {
			return fmt.Errorf("there is no peer %q; there are %s", w, strings.Join(peerNames(b.peers), ", "))
		}
		b.peers = slices.DeleteFunc(b.peers, func(p peer) bool { return !slices.Contains(wanted, p.name) })
	}
	if o.cells != "" {
		wanted := strings.Split(o.cells, ",")
		if w := unknown(wanted, cellNames(b.cells)); w != "" {
			return fmt.Errorf("there is no cell %q; there are %s", w, strings.Join(cellNames(b.cells), ", "))
		}
		b.cells = slices.DeleteFunc(b.cells, func(c cell) bool { return !slices.Contains(wanted, c.name) })
	}
	return nil
}

// unknown is the first of the wanted names that is not among those that there are.
func unknown(wanted, known []string) string {
	for _, w := range wanted {
		if !slices.Contains(known, w) {
			return w
		}
	}
	return ""
}

// runUntil measures and writes the report, unless a signal or the limit comes first: then all that runs is ended.
func (b *bench) runUntil(o *options) int {
	b.files = process.AllowOpenFiles()
	if err := b.reportOf(o.install).follow(b.former, nil); err != nil { // before the work, not after it
		fmt.Fprintln(os.Stderr, "field:", err)
		return exitUsage
	}
	err := process.Until(o.limit, b.run)
	b.alive.Close()
	if err == nil {
		err = b.keepReport(o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "field:", err)
		return exitFailed
	}
	for _, f := range b.figures {
		if f.Fault != "" {
			return exitFailed
		}
	}
	return 0
}

// keepReport writes what was measured, with what was there.
func (b *bench) keepReport(o *options) error {
	r := b.reportOf(o.install)
	if err := r.follow(b.former, peers("", "")); err != nil {
		return err
	}
	return b.write(r, o.out)
}

// serveUpstream is this program as the upstream.
func serveUpstream(listen string) error {
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	f, err := ln.(*net.TCPListener).File()
	if err != nil {
		return err
	}
	return upstream.Serve(f)
}

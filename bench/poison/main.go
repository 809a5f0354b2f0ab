// Command poison measures what one client whose requests make an upstream fail does to the others.
//
//	go run ./bench/poison                         # builds the gateway; nginx beside it where it is installed; about three minutes
//	go run ./bench/poison -quick                  # a minute
//	go run ./bench/poison -gateway old=/tmp/old -gateway new=/tmp/new -nginx ''
//
// Ten clients read streams of five seconds, one after the other. One more sends requests on which the upstream closes without an
// answer, answers 503, or never answers, so many a second, or three of them at one moment. What fails of the ten's is the result,
// with one upstream and with three. A second table tells how soon an upstream of three that is really gone is left out.
// It writes both as text to stdout, and as JSON where -json says.
package main

import (
	"aigateway/bench/internal/local"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

func main() {
	os.Exit(command(os.Args[1:], os.Stdout, os.Stderr))
}

// Exit codes: 0 when the run took place, whatever failed in it; 1 when it could not; 2 for flags that are wrong.
const (
	exitFailed = 1
	exitUsage  = 2
)

type options struct {
	gateways gateways
	nginx    string
	json     string
	quick    bool
	time     time.Duration // of the poisoning in a cell
	stream   time.Duration // of each stream
	parallel int           // cells at once
}

// gateways are the binaries to measure, as name=path.
type gateways []string

func (g *gateways) String() string { return strings.Join(*g, ",") }

// Set adds one.
func (g *gateways) Set(v string) error {
	if name, path, ok := strings.Cut(v, "="); !ok || name == "" || path == "" {
		return errors.New("is not name=path")
	}
	*g = append(*g, v)
	return nil
}

func parse(args []string, stderr io.Writer) (*options, error) {
	var o options
	set := flag.NewFlagSet("poison", flag.ContinueOnError)
	set.SetOutput(stderr)
	set.Var(&o.gateways, "gateway", "measure the gateway at `name=path`; may be repeated (default: one built from this module)")
	set.StringVar(&o.nginx, "nginx", "nginx", "nginx to measure beside it; empty: none")
	set.StringVar(&o.json, "json", "", "write the figures to this `file`")
	set.BoolVar(&o.quick, "quick", false, "fewer and shorter cells")
	set.DurationVar(&o.time, "time", 12*time.Second, "how long each cell is poisoned")
	set.DurationVar(&o.stream, "stream", 5*time.Second, "how long each stream is")
	set.IntVar(&o.parallel, "parallel", 6, "cells at once, each with a proxy and upstreams of its own")
	if err := set.Parse(args); err != nil {
		return nil, err
	}
	if set.NArg() > 0 || o.time <= 0 || o.stream <= 0 || o.parallel < 1 {
		return nil, errors.New("cannot use these flags: times and -parallel are above zero, and there is nothing but flags")
	}
	if o.quick {
		o.time, o.stream = 5*time.Second, 2*time.Second
	}
	return &o, nil
}

func command(args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "poison:", err)
		return exitUsage
	}
	if err := o.run(stdout, stderr); err != nil {
		fmt.Fprintln(stderr, "poison:", err)
		return exitFailed
	}
	return 0
}

// A report is what came of a run.
type report struct {
	Poison []*cell  `json:"poison"`
	Dead   []*death `json:"dead"`
}

func (o *options) run(stdout, stderr io.Writer) error {
	dir, err := os.MkdirTemp("", "poison-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	subjects, err := o.subjects(dir, stderr)
	if err != nil {
		return err
	}
	r := o.plan(subjects)
	var works []func() error
	for _, c := range r.Poison {
		works = append(works, c.measure)
	}
	for _, d := range r.Dead {
		works = append(works, d.measure)
	}
	if err := o.all(works, stderr); err != nil {
		return err
	}
	r.show(stdout)
	return r.keep(o.json)
}

// subjects finds the proxies to measure.
func (o *options) subjects(dir string, stderr io.Writer) (all []*subject, err error) {
	for _, g := range o.gateways {
		name, path, _ := strings.Cut(g, "=")
		all = append(all, &subject{name: name, path: path, dir: dir, start: startGateway})
	}
	if len(all) == 0 {
		path := filepath.Join(dir, "gateway")
		fmt.Fprintln(stderr, "building the gateway …")
		if err := local.BuildGateway(path); err != nil {
			return nil, err
		}
		all = append(all, &subject{name: "gateway", path: path, dir: dir, start: startGateway})
	}
	if o.nginx == "" {
		return all, nil
	}
	path, err := exec.LookPath(o.nginx)
	if err != nil {
		fmt.Fprintln(stderr, "nginx is not measured: it is not installed")
		return all, nil
	}
	return append(all, &subject{name: "nginx", path: path, dir: dir, start: startNginx}), nil
}

// plan lists the cells.
func (o *options) plan(subjects []*subject) *report {
	r := &report{}
	rates := []float64{1, 3, 5, 10, atOnce}
	if o.quick {
		rates = []float64{3, 10, atOnce}
	}
	for _, mode := range []string{"closes", "503", "time-out"} {
		for _, n := range []int{1, 3} {
			for _, rate := range rates {
				for _, s := range subjects {
					r.Poison = append(r.Poison, &cell{Proxy: s.name, Mode: mode, Upstreams: n, Rate: rate, subject: s, time: o.time, stream: o.stream})
				}
			}
		}
	}
	for _, kind := range []string{"refuses", "hangs"} {
		for _, s := range subjects {
			r.Dead = append(r.Dead, &death{Proxy: s.name, Kind: kind, subject: s})
		}
	}
	return r
}

// all does the works, some at once, and returns the first error.
func (o *options) all(works []func() error, stderr io.Writer) error {
	next := make(chan func() error)
	failed := make(chan error, len(works))
	var wg sync.WaitGroup
	for range o.parallel {
		wg.Go(func() {
			for work := range next {
				if err := work(); err != nil {
					failed <- err
				}
				fmt.Fprint(stderr, ".")
			}
		})
	}
	for _, work := range works {
		next <- work
	}
	close(next)
	wg.Wait()
	fmt.Fprintln(stderr)
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// show writes the tables.
func (r *report) show(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "upstream\tupstreams\ta second\tproxy\tothers' requests\tfailed\t%\t")
	for _, c := range r.Poison {
		rate := fmt.Sprint(c.Rate)
		if c.Rate == atOnce {
			rate = "3 at once"
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%d\t%d\t%.1f\t\n", c.Mode, c.Upstreams, rate, c.Proxy, c.Requests, c.Failed, c.percent())
	}
	_ = w.Flush()
	fmt.Fprintln(out)
	fmt.Fprintln(w, "one of three\tproxy\trequests after it\tfailed or stuck\tthe last of them after\t")
	for _, d := range r.Dead {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%v\t\n", d.Kind, d.Proxy, d.Requests, d.Lost, time.Duration(d.LastMS)*time.Millisecond)
	}
	_ = w.Flush()
}

// keep writes the figures to a file.
func (r *report) keep(name string) error {
	if name == "" {
		return nil
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(name, append(text, '\n'), 0o644)
}

// Command failover measures what a gateway makes of sixteen ways in which a provider of generations fails, with another one beside it.
//
//	go run ./bench/failover           # about a minute; builds the gateway
//	go run ./bench/failover -short    # some seconds
//
// Each scenario has a gateway and two scripted providers of its own. Its client either gets a whole answer (pass), or knows that it has
// none (safe); a short answer that looks whole, a wrong one or none at all is fail. The providers count the generations that are alive
// at once for each request id, and those that go on without a client: both make a scenario fail. The table is written to stdout; the
// exit code is 1 if a scenario is not what is expected of it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"text/tabwriter"
	"time"

	"aigateway/bench/internal/local"
)

func main() {
	os.Exit(command(os.Args[1:], os.Stdout, os.Stderr))
}

// Exit codes: 1 when something is not as expected or the run could not take place, 2 for flags that are wrong.
const (
	exitFailed = 1
	exitUsage  = 2
)

type options struct {
	gateway  string
	short    bool
	parallel int
}

func command(args []string, stdout, stderr io.Writer) int {
	var o options
	set := flag.NewFlagSet("failover", flag.ContinueOnError)
	set.SetOutput(stderr)
	set.StringVar(&o.gateway, "gateway", "", "the `binary` to measure (default: one built from this module)")
	set.BoolVar(&o.short, "short", false, "short times")
	set.IntVar(&o.parallel, "parallel", 4, "scenarios at once")
	if err := set.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil || set.NArg() > 0 || o.parallel < 1 {
		return exitUsage
	}
	dir, err := os.MkdirTemp("", "failover-")
	if err != nil {
		fmt.Fprintln(stderr, "failover:", err)
		return exitFailed
	}
	defer os.RemoveAll(dir)
	if o.gateway == "" {
		o.gateway = filepath.Join(dir, "gateway")
		if err := local.BuildGateway(o.gateway); err != nil {
			fmt.Fprintln(stderr, "failover:", err)
			return exitFailed
		}
	}
	return o.run(dir, stdout, stderr)
}

// policies are those of the routes that are measured.
var policies = []string{"safe", "reattempt"}

// A row is what came of a scenario under a policy.
type row struct {
	scenario
	policy string
	seen   verdict
	note   string
	err    error
}

func (o *options) run(dir string, stdout, stderr io.Writer) int {
	t := full
	if o.short {
		t = short
	}
	rows := o.rows(dir, t)
	bad := 0
	for _, r := range rows {
		if r.err != nil {
			fmt.Fprintf(stderr, "failover: %s, %s: %v\n", r.name, r.policy, r.err)
		}
		if r.err != nil || r.seen != r.want[r.policy] {
			bad++
		}
	}
	print(stdout, rows)
	if !o.short {
		if err := o.costs(dir, t, stdout); err != nil {
			fmt.Fprintln(stderr, "failover:", err)
			bad++
		}
	}
	if bad > 0 {
		return exitFailed
	}
	return 0
}

// rows runs all scenarios under all policies.
func (o *options) rows(dir string, t timing) []*row {
	var rows []*row
	for _, s := range scenarios() {
		for _, policy := range policies {
			rows = append(rows, &row{scenario: s, policy: policy})
		}
	}
	slots := make(chan struct{}, o.parallel)
	var wg sync.WaitGroup
	for _, r := range rows {
		wg.Add(1)
		go func() {
			defer wg.Done()
			slots <- struct{}{}
			defer func() { <-slots }()
			r.seen, r.note, r.err = r.play(o.gateway, dir, r.policy, t)
		}()
	}
	wg.Wait()
	return rows
}

// play runs the scenario under a policy.
func (s *scenario) play(binary, dir, policy string, t timing) (verdict, string, error) {
	b, err := start(binary, dir, policy, t, s.first(t), whole(min(t.gap, 5*time.Millisecond)))
	if err != nil {
		return fail, "", err
	}
	defer b.end()
	run := s.run
	if run == nil {
		run = (*bed).once
	}
	v, note := run(b)
	switch left, twice := b.ledger.settle(10 * time.Second); {
	case twice > 0:
		return fail, fmt.Sprintf("%s; %d requests alive twice", note, twice), nil
	case left > 0:
		return fail, fmt.Sprintf("%s; %d generations go on for nobody", note, left), nil
	}
	return v, note, b.leaves()
}

// print writes the table.
func print(w io.Writer, rows []*row) {
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tab, "scenario\tretry\texpected\tseen\t")
	sums := make(map[string]map[verdict]int)
	for _, r := range rows {
		fmt.Fprintf(tab, "%s\t%s\t%s\t%s\t%s\n", r.name, r.policy, r.want[r.policy], r.seen, r.note)
		if sums[r.policy] == nil {
			sums[r.policy] = make(map[verdict]int)
		}
		sums[r.policy][r.seen]++
	}
	_ = tab.Flush()
	for _, policy := range policies {
		fmt.Fprintf(w, "%s: %d pass, %d safe, %d fail\n", policy, sums[policy][pass], sums[policy][safe], sums[policy][fail])
	}
}

// costs measures what a rescue costs: calls that a provider refuses beside calls for the one that rescues them, in turn.
func (o *options) costs(dir string, t timing, w io.Writer) error {
	b, err := start(o.gateway, dir, "safe", t, refuses(429, "")(t), whole(0))
	if err != nil {
		return err
	}
	defer b.end()
	var straight, rescued []time.Duration
	for range 200 {
		for model, list := range map[string]*[]time.Duration{"large": &straight, "small": &rescued} {
			r := b.call(model, b.most())
			if !r.whole() {
				return fmt.Errorf("a call was not served: %+v", r)
			}
			*list = append(*list, r.first)
		}
	}
	slices.Sort(straight)
	slices.Sort(rescued)
	fmt.Fprintf(w, "a rescue costs %v (median of %d; first byte after %v and %v)\n", (rescued[100] - straight[100]).Round(time.Microsecond), len(rescued),
		straight[100].Round(time.Microsecond), rescued[100].Round(time.Microsecond))
	return nil
}

// Command fair measures who gets the places of a pool that too many want, in real time over loopback.
//
//	go run ./bench/scheduling/fair                # a minute; HAProxy beside it where it is installed
//	go run ./bench/scheduling/fair -time 20s -json out.json
//
// An upstream takes eight requests at once, and 50 to 150 ms for each. In one load, A keeps as many requests open as -flood says, and B asks for
// one at a time; in the other, eight tenants keep 8, 16, … 64 open. Tenants are told by X-Forwarded-For. How much B waits, and Jain's
// index of what the eight get, are the result. What weights, classes and deadlines do is simulated: gateway/proxy, admission_test.go.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"text/tabwriter"
	"time"
)

func main() { os.Exit(command(os.Args[1:], os.Stdout, os.Stderr)) }

// Exit codes: 0 when the run took place, 1 when it could not, 2 for flags that are wrong.
const (
	exitFailed = 1
	exitUsage  = 2
)

// The upstream.
const (
	places  = 8
	service = 100 * time.Millisecond
)

// A result is one proxy under one load.
type result struct {
	Proxy, Load string
	P50, P99    float64 // of B, waiting, in service times
	Share       float64 // of B, of what it could have if it never waited
	Jain        float64 // of the eight
	Busy        float64 // the share of the upstream's time that was used
	Failed      int
}

func command(args []string, stdout, stderr io.Writer) int {
	set := flag.NewFlagSet("fair", flag.ContinueOnError)
	set.SetOutput(stderr)
	length := set.Duration("time", 10*time.Second, "of each load")
	flood := set.Int("flood", 400, "requests that A keeps open")
	haproxy := set.String("haproxy", "haproxy", "the rival's binary; empty: none")
	file := set.String("json", "", "write the figures to this `file`")
	if err := set.Parse(args); err != nil || set.NArg() > 0 || *length <= 0 || *flood < 1 {
		if err == nil {
			fmt.Fprintln(stderr, errors.New("cannot use these flags: numbers are above zero, and there is nothing but flags"))
		}
		return exitUsage
	}
	results, err := measure(*length, *flood, *haproxy)
	if err == nil {
		table(stdout, results)
		if *file != "" {
			var text []byte
			if text, err = json.MarshalIndent(results, "", "  "); err == nil {
				err = os.WriteFile(*file, append(text, '\n'), 0o644)
			}
		}
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		return exitFailed
	}
	return 0
}

func measure(length time.Duration, flood int, haproxy string) (results []result, err error) {
	kinds := []func(upstream string) (*subject, error){startGateway}
	if path, err := exec.LookPath(haproxy); haproxy != "" && err == nil {
		kinds = append(kinds, func(upstream string) (*subject, error) { return startHAProxy(path, upstream) })
	}
	for _, start := range kinds {
		up, err := startUpstream()
		if err != nil {
			return nil, err
		}
		s, err := start(up.addr)
		if err != nil {
			up.stop()
			return nil, err
		}
		results = append(results, floods(s, up, length, flood), shares(s, up, length))
		s.stop()
		up.stop()
	}
	return results, nil
}

func table(w io.Writer, results []result) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "proxy\tload\tB waits, p50\tp99\tB gets\tJain of 8\tplaces busy\tfailed\t")
	for _, r := range results {
		b, jain := fmt.Sprintf("%.2f\t%.2f\t%.2f", r.P50, r.P99, r.Share), ""
		if r.Jain > 0 {
			b, jain = "\t\t", fmt.Sprintf("%.4f", r.Jain)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%.0f %%\t%d\t\n", r.Proxy, r.Load, b, jain, 100*r.Busy, r.Failed)
	}
	_ = t.Flush()
	fmt.Fprintln(w, "B waits: beyond the upstream's own time, in service times. B gets: of what it would get if it never waited.")
}

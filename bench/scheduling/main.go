// Command scheduling measures how well requests are spread over inference engines whose prefix caches differ, in simulated time.
//
//	go run ./bench/scheduling                     # the table; some seconds
//	go run ./bench/scheduling -json out.json -seeds 10
//
// Eight engines as gateway/simulator models them, 200 conversations of ten turns, which share system prompts by Zipf's law. The choice is
// the gateway's own code: its hashes of the bodies, its table, its ways to balance. Beside it stands an oracle that knows what each engine has
// in its cache and still has to do, and sends each request where its first token would come first.
// It writes the table to stdout, and as JSON where -json says.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
)

func main() { os.Exit(command(os.Args[1:], os.Stdout, os.Stderr)) }

// Exit codes: 0 when the run took place, 1 when it could not, 2 for flags that are wrong.
const (
	exitFailed = 1
	exitUsage  = 2
)

func command(args []string, stdout, stderr io.Writer) int {
	set := flag.NewFlagSet("scheduling", flag.ContinueOnError)
	set.SetOutput(stderr)
	seeds := set.Int("seeds", 5, "how many workloads")
	people := set.Int("conversations", 200, "how many there are in each")
	file := set.String("json", "", "write the figures to this `file`")
	if err := set.Parse(args); err != nil || set.NArg() > 0 || *seeds < 1 || *people < 1 {
		if err == nil {
			fmt.Fprintln(stderr, errors.New("cannot use these flags: numbers are above zero, and there is nothing but flags"))
		}
		return exitUsage
	}
	results := measure(*seeds, *people)
	table(stdout, results)
	if *file == "" {
		return 0
	}
	text, err := json.MarshalIndent(results, "", "  ")
	if err == nil {
		err = os.WriteFile(*file, append(text, '\n'), 0o644)
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		return exitFailed
	}
	return 0
}

// measure runs every schedule on the same workloads.
func measure(seeds, people int) []result {
	var results []result
	for _, p := range policies() {
		r := result{Policy: p.name}
		for seed := range uint64(seeds) {
			r.add(run(newWork(seed, people), p, seed))
		}
		r.finish()
		results = append(results, r)
	}
	return results
}

func table(w io.Writer, results []result) {
	oracle := results[0]
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "schedule\tfound\tof oracle\tmost/mean\tTTFT p50\tp90\tp99\tp90 of oracle\t")
	for _, r := range results {
		fmt.Fprintf(t, "%s\t%.3f\t%.3f\t%.2f\t%.0f ms\t%.0f ms\t%.0f ms\t%.2f\t\n", r.Policy, r.Found, r.Found/oracle.Found, r.MostByMean,
			r.P50, r.P90, r.P99, r.P90/oracle.P90)
	}
	_ = t.Flush()
}

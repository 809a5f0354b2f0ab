// Command refusals counts who is refused though he asks for a fifth of his limit, while Redis, which keeps the limits, is in
// one bad state after the other.
//
//	go run ./bench/refusals                      every state, about three minutes
//	go run ./bench/refusals -quick -json r.json  every state, less than one
//	go run ./bench/refusals -gateway ./old -states pause
//
// For each state it starts a redis-server and a gateway of its own on free ports, and ends them. Nobody here sends twice within
// the time of five tokens, however slow the machine is: every 429 is one too many.
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
	"time"
)

func main() {
	os.Exit(command(os.Args[1:], os.Stdout, os.Stderr))
}

// Exit codes: 0 when nobody was refused, 1 when somebody was, or the run could not take place; 2 for flags that are wrong.
const (
	exitFailed = 1
	exitUsage  = 2
)

type options struct {
	gateway string
	json    string
	states  string
	quick   bool
}

// A row is what came of one state.
type row struct {
	State   string  `json:"state"`
	Sent    int64   `json:"sent"`
	Refused int64   `json:"refused"`
	Failed  int64   `json:"failed"` // neither admitted nor refused
	Slowest float64 `json:"slowest_ms"`
}

func command(args []string, stdout, stderr io.Writer) int {
	var o options
	flags := flag.NewFlagSet("refusals", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.gateway, "gateway", "", "the gateway's `binary`; it is built if there is none")
	flags.StringVar(&o.json, "json", "", "write the rows to this `file` too")
	flags.StringVar(&o.states, "states", "", "only states with this `word` in their names")
	flags.BoolVar(&o.quick, "quick", false, "3 s a state instead of 10")
	if err := flags.Parse(args); err != nil {
		return exitUsage
	}
	rows, err := run(o, stdout)
	if err == nil && o.json != "" {
		err = write(o.json, rows)
	}
	if err != nil {
		fmt.Fprintln(stderr, "refusals:", err)
		return exitFailed
	}
	for _, r := range rows {
		if r.Refused+r.Failed > 0 {
			return exitFailed
		}
	}
	return 0
}

func run(o options, stdout io.Writer) ([]row, error) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		return nil, errors.New("there is no redis-server here (apt-get install redis-server)")
	}
	dir, err := os.MkdirTemp("", "refusals")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if o.gateway == "" {
		o.gateway = filepath.Join(dir, "gateway")
		if err := local.BuildGateway(o.gateway); err != nil {
			return nil, err
		}
	}
	during := 10 * time.Second
	if o.quick {
		during = 3 * time.Second
	}
	fmt.Fprintf(stdout, "| Redis | sent | refused | failed | slowest |\n|---|---|---|---|---|\n")
	var rows []row
	for _, s := range states() {
		if !strings.Contains(s.name, o.states) {
			continue
		}
		r, err := s.run(o.gateway, dir, during)
		if err != nil {
			return rows, fmt.Errorf("%s: %w", s.name, err)
		}
		rows = append(rows, r)
		fmt.Fprintf(stdout, "| %s | %d | %d | %d | %.0f ms |\n", r.State, r.Sent, r.Refused, r.Failed, r.Slowest)
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("no state is named like %q", o.states)
	}
	return rows, nil
}

func write(file string, rows []row) error {
	text, err := json.MarshalIndent(rows, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}

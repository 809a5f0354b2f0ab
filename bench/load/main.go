// Command load sends HTTP/1.1 requests at a constant rate and measures the answers from when the requests were due.
//
//	go run ./bench/load -rate 10000 -time 10s http://127.0.0.1:8080/limited
//	go run ./bench/load -rate 2000 -body 1024 -json result.json http://127.0.0.1:8080/infer/python
//	go run ./bench/load -conns 1000 -rate 0 -body @chat.json http://127.0.0.1:8080/v1/chat/completions
//
// It tells on stderr how it goes, and at the end on stdout what came of it. See bench/README.md for the method.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"aigateway/bench/drive"
)

func main() {
	os.Exit(command(os.Args[1:], os.Stdout, os.Stderr))
}

// Exit codes: 0 when the run took place, whatever was answered; 1 when it could not; 2 for flags that are wrong.
const (
	exitFailed = 1
	exitUsage  = 2
)

func command(args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "load:", err)
		return exitUsage
	}
	r, err := o.run(stderr)
	if err == nil {
		show(stdout, r)
		err = keep(o.json, r)
	}
	if err != nil {
		fmt.Fprintln(stderr, "load:", err)
		return exitFailed
	}
	return 0
}

type options struct {
	plan drive.Plan
	warm time.Duration
	json string
}

// message is what the flags say about the requests.
type message struct {
	method, body string
	fields       []string
}

func parse(args []string, stderr io.Writer) (*options, error) {
	var o options
	var m message
	p := &o.plan
	set := flag.NewFlagSet("load", flag.ContinueOnError)
	set.SetOutput(stderr)
	set.Usage = func() {
		fmt.Fprintln(stderr, "usage: load [flags] URL...\nSeveral URLs take turns, a connection each.")
		set.PrintDefaults()
	}
	set.Float64Var(&p.Rate, "rate", 1000, "requests per `second`, whether or not they are answered; 0: each connection as fast as it is answered")
	set.DurationVar(&p.Time, "time", 10*time.Second, "how long")
	set.Int64Var(&p.Most, "n", 0, "at most so many requests; 0: no bound")
	set.IntVar(&p.Conns, "conns", 64, "connections at most")
	set.BoolVar(&p.Fresh, "fresh", false, "a new connection for every request")
	set.DurationVar(&p.Leave, "leave", 0, "the client closes this long after it has sent a request; 0: never")
	set.DurationVar(&p.Timeout, "timeout", 10*time.Second, "an answer that takes longer is an error")
	set.DurationVar(&p.Every, "progress", time.Second, "how often to say how it goes; 0: never")
	set.DurationVar(&o.warm, "warm", 0, "send this long before anything counts")
	set.StringVar(&o.json, "json", "", "write the result to this `file` too")
	set.StringVar(&m.method, "method", "", "GET, or POST if there is a body")
	set.StringVar(&m.body, "body", "", "of each request: @file, or so many `bytes`")
	set.Func("header", "a `field` of each request, as \"Name: value\"; may be repeated", func(s string) error {
		if !strings.Contains(s, ":") || strings.ContainsAny(s, "\r\n") {
			return errors.New("not \"Name: value\"")
		}
		m.fields = append(m.fields, s)
		return nil
	})
	if err := set.Parse(args); err != nil {
		return nil, err
	}
	body, err := m.content()
	if err != nil {
		return nil, err
	}
	if set.NArg() == 0 {
		return nil, errors.New("a URL is needed; -help says more")
	}
	for _, raw := range set.Args() {
		t, err := m.target(raw, body)
		if err != nil {
			return nil, err
		}
		p.Targets = append(p.Targets, t)
	}
	return &o, nil
}

// content is the body that -body stands for.
func (m *message) content() ([]byte, error) {
	if name, ok := strings.CutPrefix(m.body, "@"); ok {
		return os.ReadFile(name)
	}
	if m.body == "" {
		return nil, nil
	}
	n, err := strconv.Atoi(m.body)
	if err != nil || n < 0 || n > 1<<30 {
		return nil, fmt.Errorf("-body is @file or a number of bytes up to 1 GiB, not %q", m.body)
	}
	if n < len(`{"prompt":""}`) {
		return []byte(strings.Repeat("q", n)), nil
	}
	return []byte(`{"prompt":"` + strings.Repeat("q", n-len(`{"prompt":""}`)) + `"}`), nil
}

// target is the request for a URL, and where to send it.
func (m *message) target(raw string, body []byte) (t drive.Target, err error) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" || u.Host == "" {
		return t, fmt.Errorf("%q is not a URL that begins with http://", raw)
	}
	port := u.Port()
	if port == "" {
		port = "80"
	}
	// The first address, IPv4 before IPv6: every connection goes to the same.
	ips, err := net.LookupIP(u.Hostname())
	if err != nil {
		return t, fmt.Errorf("there is no host %q", u.Hostname())
	}
	ip := ips[max(slices.IndexFunc(ips, func(ip net.IP) bool { return ip.To4() != nil }), 0)]
	t.Addr = net.JoinHostPort(ip.String(), port)

	method := m.method
	if method == "" {
		method = "GET"
		if body != nil {
			method = "POST"
		}
	}
	t.HEAD = method == "HEAD"
	b := fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, u.RequestURI(), u.Host)
	if body != nil {
		b = fmt.Appendf(b, "Content-Length: %d\r\n", len(body))
		if !m.has("content-type") {
			b = append(b, "Content-Type: application/json\r\n"...)
		}
	}
	for _, f := range m.fields {
		b = append(append(b, f...), "\r\n"...)
	}
	t.Request = append(append(b, "\r\n"...), body...)
	return t, nil
}

func (m *message) has(name string) bool {
	return slices.ContainsFunc(m.fields, func(f string) bool {
		n, _, _ := strings.Cut(f, ":")
		return strings.EqualFold(n, name)
	})
}

func (o *options) run(stderr io.Writer) (*drive.Result, error) {
	p := o.plan
	if o.warm > 0 {
		warm := p
		warm.Time, warm.Most, warm.Every = o.warm, 0, 0
		if _, err := drive.Run(warm); err != nil {
			return nil, err
		}
	}
	var before int64
	p.Progress = func(at time.Duration, so *drive.Result) {
		fmt.Fprintf(stderr, "%5.1fs  %8d answered (%.0f/s), %d failed, p99 %v\n",
			at.Seconds(), so.Done, float64(so.Done-before)/p.Every.Seconds(), so.Failed(), round(so.Latency.Quantile(.99)))
		before = so.Done
	}
	return drive.Run(p)
}

func keep(name string, r *drive.Result) error {
	if name == "" {
		return nil
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(name, append(text, '\n'), 0o666)
}

// show writes the result for people.
func show(w io.Writer, r *drive.Result) {
	fmt.Fprintf(w, "requests    %d due in %v: %d answered (%.0f/s), %d failed, %d left early\n",
		r.Due, round(r.Elapsed), r.Done, r.Per(r.Done), r.Failed(), r.Left)
	fmt.Fprintf(w, "received    %d bytes of bodies", r.Body)
	if r.Events > 0 {
		fmt.Fprintf(w, ", %d events (%.0f/s)", r.Events, r.Per(r.Events))
	}
	fmt.Fprintf(w, ", over %d connections\n", r.Dialed)
	for _, s := range slices.Sorted(maps.Keys(r.Status)) {
		fmt.Fprintf(w, "status      %d  %d\n", s, r.Status[s])
	}
	for _, k := range slices.Sorted(maps.Keys(r.Errors)) {
		fmt.Fprintf(w, "error       %s  %d\n", k, r.Errors[k])
	}
	fmt.Fprintf(w, "%-11s %9s %9s %9s %9s %9s %9s\n", "from due to", "p50", "p90", "p99", "p99.9", "max", "mean")
	for _, line := range []struct {
		name string
		h    *drive.Histogram
	}{{"sent", &r.Lag}, {"first byte", &r.FirstByte}, {"last byte", &r.Latency}} {
		h := line.h
		fmt.Fprintf(w, "%-11s", line.name)
		for _, d := range []time.Duration{h.Quantile(.5), h.Quantile(.9), h.Quantile(.99), h.Quantile(.999), h.Max(), h.Mean()} {
			fmt.Fprintf(w, " %9v", round(d))
		}
		fmt.Fprintln(w)
	}
}

// round keeps about three digits.
func round(d time.Duration) time.Duration {
	for unit := time.Second; unit >= time.Microsecond; unit /= 10 {
		if d >= 10*unit {
			return d.Round(unit / 10)
		}
	}
	return d
}

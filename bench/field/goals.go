package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// A goal is a bound on a value of the gateway, or on how many times a rival's it is.
type goal struct {
	row       string // of the table of goals
	cell, key string
	rivals    []string // of which the best counts; none: the bound is on the value itself
	most      float64
	atLeast   bool // the value is to be at least that much
	why       string
}

// best stands for the gateways for inference that are there, but ours.
const best = "AI gateway"

var goals = []goal{
	{row: "added latency, one client", cell: "latency", key: "p50", most: 60, why: whyWake},
	{row: "added latency, one client", cell: "latency", key: "p99", most: 120, why: whyWake},
	{row: "added latency, one client", cell: "latency", key: "p50", rivals: []string{"nginx"}, most: 1, why: whyWake},
	{row: "added latency, one client", cell: "latency", key: "p99", rivals: []string{"nginx"}, most: 1, why: whyWake},
	{row: "CPU a request", cell: "cpu", key: "1", rivals: []string{"nginx"}, most: 1, why: whyWake},
	{row: "CPU a request", cell: "cpu", key: "8", rivals: []string{"nginx"}, most: 1, why: whyWake},
	{row: "CPU a request", cell: "cpu", key: "1", rivals: []string{best}, most: .3, why: whyCalls},
	{row: "CPU a request", cell: "cpu", key: "8", rivals: []string{best}, most: .3, why: whyCalls},
	{row: "stream event, 1,000 streams", cell: "events", key: "cpu", rivals: []string{"nginx"}, most: .7, why: whyEvents},
	{row: "stream event, 1,000 streams", cell: "events", key: "cpu", rivals: []string{"haproxy"}, most: .8, why: whyEvents},
	{row: "streams held with every frame", cell: "held", key: "streams", most: 10_000, atLeast: true, why: "two open files a stream: the run says how many a process may have"},
	{row: "streams held with every frame", cell: "held", key: "kb", most: 24, why: "a stream that waits has no buffer; a third of it is a stack of 8 KB"},
	{row: "POST 1 KB at saturation", cell: "cpu", key: "64", rivals: []string{"nginx"}, most: .9, why: whyCalls},
	{row: "POST 1 KB at saturation", cell: "cpu", key: "64", rivals: []string{"haproxy"}, most: .8, why: whyCalls},
	{row: "hit 2 KB", cell: "hit", key: "cpu", rivals: []string{"nginx"}, most: .7, why: whyCalls},
	{row: "refusal", cell: "refusal", key: "cpu", rivals: []string{"nginx"}, most: .85, why: whyCalls},
	{row: "TLS", cell: "tls", key: "kept", rivals: []string{"nginx"}, most: .95, why: "Go's AES-GCM allocates nothing and costs about what OpenSSL's does: what differs is the rest of the request"},
	{row: "TLS", cell: "tls", key: "ecdsa", rivals: []string{"nginx"}, most: .75, why: "over half is Go's cryptography: X25519 a third, for making a key has no table there, the signature an eighth"},
	{row: "TLS", cell: "tls", key: "rsa", rivals: []string{"nginx"}, most: .75, why: "Go's RSA signs in constant time and without the assembly that OpenSSL has"},
	{row: "100 KB prompts", cell: "prompts", key: "100", rivals: []string{"nginx"}, most: 1.1, why: "the body is held and read before an upstream is asked: its model stands behind the messages"},
	{row: "idle RSS", cell: "memory", key: "idle", most: 16, why: "the binary's own pages, and what Go's runtime takes"},
	{row: "idle RSS", cell: "memory", key: "after", rivals: []string{"gateway:idle"}, most: 1.5, why: "buffers in pools go after two collections of garbage, and an idle process collects every two minutes"},
}

const (
	whyWake   = "a request of one client wakes a thread for each side, and Go's poller reads once more before each wait"
	whyCalls  = "most of it are system calls, as many as the rival's or two more"
	whyEvents = "an event is two system calls, as with the rivals, and they are three quarters of it: a loop on raw epoll alone costs 0.8 of ours (bench/tried.md)"
)

// verdict is what came of a goal.
type verdict struct {
	goal
	value, rival float64
	against      string // the rival
	spread       string // of how many times, from round to round
	known        bool
	reached      bool
}

// judge holds the medians against the goals.
func judge(r *report) (all []verdict) {
	for _, g := range goals {
		v := verdict{goal: g}
		v.value, v.known = r.value("gateway", g.cell, g.key)
		measured := v.value
		if len(g.rivals) > 0 && v.known {
			v.against, v.rival, v.known = r.rivalOf(g)
			measured, v.spread = v.value/v.rival, r.spreadOf(g, v.against)
		}
		if !v.known {
			if r.measures(g.cell) {
				all = append(all, v)
			}
			continue
		}
		v.reached = measured <= g.most
		if g.atLeast {
			v.reached = measured >= g.most
		}
		all = append(all, v)
	}
	return all
}

// rivalOf is the rival of a goal who does best, and its value.
func (r *report) rivalOf(g goal) (name string, value float64, ok bool) {
	value = math.Inf(1)
	for _, rival := range g.rivals {
		if of, key, own := strings.Cut(rival, ":"); own {
			v, ok := r.value(of, g.cell, key)
			return key, v, ok && v > 0
		}
		for _, p := range r.peers {
			if p.name != rival && (rival != best || !p.ai || p.name == "gateway") {
				continue
			}
			if v, is := r.value(p.name, g.cell, g.key); is && v > 0 && v < value {
				name, value, ok = p.name, v, true
			}
		}
	}
	return name, value, ok
}

// spreadOf is the least and the most that a value was of a rival's in the same round; "" of a single one.
func (r *report) spreadOf(g goal, rival string) string {
	ours, theirs := r.byRound("gateway", g), r.byRound(rival, g)
	var all []float64
	for round, v := range ours {
		if other := theirs[round]; other > 0 {
			all = append(all, v/other)
		}
	}
	if len(all) < 2 {
		return ""
	}
	return fmt.Sprintf(", by rounds %.2f–%.2f", slices.Min(all), slices.Max(all))
}

func (r *report) byRound(peer string, g goal) map[int]float64 {
	of := make(map[int]float64)
	for _, f := range r.Figures {
		if v, is := f.Values[g.key]; is && f.Peer == peer && f.Cell == g.cell && f.Fault == "" {
			of[f.Round] = v
		}
	}
	return of
}

// goalTable is the table of goals. What is missed stays, with the reason.
func goalTable(all []verdict) string {
	if len(all) == 0 {
		return ""
	}
	var s strings.Builder
	s.WriteString("| goal | value | wanted | is | |\n|---|---|---|---|---|\n")
	for _, v := range all {
		sign, times, is := "≤", "", "–"
		if v.atLeast {
			sign = "≥"
		}
		if len(v.rivals) > 0 {
			times = " × " + strings.ReplaceAll(strings.Join(v.rivals, ", "), "gateway:", "")
		}
		if v.known {
			if is = fmt.Sprintf("%.4g", v.value); v.against != "" {
				is = fmt.Sprintf("%.2f × (%.4g; %s %.4g)%s", v.value/v.rival, v.value, v.against, v.rival, v.spread)
			}
		}
		end := "reached"
		switch {
		case !v.known:
			end = "not measured"
		case !v.reached:
			end = "missed: " + v.why
		}
		fmt.Fprintf(&s, "| %s | %s | %s %g%s | %s | %s |\n", v.row, headOf(v.cell, v.key), sign, v.most, times, is, end)
	}
	return s.String() + "\n"
}

func headOf(cellName, key string) string {
	for _, c := range cells {
		for _, col := range c.columns {
			if c.name == cellName && col.key == key {
				return col.head
			}
		}
	}
	return ""
}

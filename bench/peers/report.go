package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"aigateway/bench/internal/chart"
	"aigateway/bench/internal/local"
)

// A report is what the raw data says, all of it.
type report struct {
	Time     string            `json:"time"`
	Machine  string            `json:"machine"`
	Versions map[string]string `json:"versions"`
	Rounds   int               `json:"rounds"`
	Duration string            `json:"duration_of_a_measurement"`
	Cannot   []gap             `json:"cannot"`
	Figures  []figures         `json:"figures"`

	peers []string
	works []string
}

func (b *bench) report(dir string) error {
	r := &report{Time: time.Now().UTC().Format(time.RFC3339), Machine: local.Machine(), Rounds: b.rounds, Duration: b.time.String(),
		Versions: make(map[string]string), Cannot: b.cannot, Figures: b.figures, peers: names(b.peers)}
	for _, w := range b.works {
		r.works = append(r.works, w.name)
	}
	for _, p := range b.peers {
		if v := p.tell(); v != "" {
			r.Versions[p.name] = v
		}
	}
	raw, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	table := r.markdown()
	fmt.Printf("\n%s", table)
	if err := local.Write(dir, map[string]string{"peers.json": string(raw) + "\n", "peers.md": table, "peers.svg": r.chart()}); err != nil {
		return err
	}
	say("written: peers.md, peers.json, peers.svg in %s", dir)
	return nil
}

// median is the median of a figure over the rounds without a fault, and in how many rounds there was one.
func (r *report) median(peer, work string, of func(*figures) float64) (m float64, faults, rounds int) {
	var all []float64
	for i := range r.Figures {
		f := &r.Figures[i]
		if f.Peer != peer || f.Work != work {
			continue
		}
		rounds++
		if f.Fault != "" {
			faults++
			continue
		}
		all = append(all, of(f))
	}
	if len(all) == 0 {
		return 0, faults, rounds
	}
	slices.Sort(all)
	n := len(all)
	return (all[(n-1)/2] + all[n/2]) / 2, faults, rounds
}

// added returns a quantile above that of the upstream alone, at the same rate and in the same round.
func (r *report) added(of func(*figures) float64) func(*figures) float64 {
	return func(f *figures) float64 {
		for i := range r.Figures {
			if d := &r.Figures[i]; d.Peer == direct && d.Round == f.Round && d.Rate == f.Rate {
				return of(f) - of(d)
			}
		}
		return of(f)
	}
}

func cpu(f *figures) float64     { return f.CPU }
func rate(f *figures) float64    { return f.Rate }
func p50(f *figures) float64     { return f.P50 }
func p99(f *figures) float64     { return f.P99 }
func perConn(f *figures) float64 { return f.PerConn }
func memory(f *figures) float64  { return f.Memory }

// A column is a figure of a work, for the table and, if it has a title, for the chart.
type column struct {
	work, head, title string
	of                func(*figures) float64
	format            string
}

func (r *report) columns() []column {
	all := []column{
		{"post", "POST: CPU µs", "proxied POST, 1 KB each way: µs of CPU a request", cpu, "%.1f"},
		{"post", "per second", "", rate, "%.0f"},
		{"hit", "cache hit: CPU µs", "cache hit, 2 KB: µs of CPU a request", cpu, "%.1f"},
		{"hit", "per second", "", rate, "%.0f"},
		{"refuse", "refusal: CPU µs", "refusal by a limit: µs of CPU a request", cpu, "%.1f"},
		{"refuse", "per second", "", rate, "%.0f"},
		{"stream", "stream: CPU µs per event", "1,000 streams: µs of CPU an event", cpu, "%.1f"},
		{"stream", "MB with 1,000 streams", "", memory, "%.0f"},
		{"pace", "fixed rate, per second", "", rate, "%.0f"},
		{"pace", "added p50 µs", "added latency at a fixed rate: p50 in µs", r.added(p50), "%.0f"},
		{"pace", "added p99 µs", "added latency at a fixed rate: p99 in µs", r.added(p99), "%.0f"},
		{"idle", "KB per idle connection", "KB of memory an idle connection", perConn, "%.1f"},
		{"idle", "MB at rest", "", memory, "%.0f"},
	}
	return slices.DeleteFunc(all, func(c column) bool { return !slices.Contains(r.works, c.work) })
}

// cell is a figure of the table, or a reference to the note that says why there is none.
func (r *report) cell(peer string, c column, notes *[]string) string {
	m, faults, rounds := r.median(peer, c.work, c.of)
	mark := ""
	note := func(why string) {
		i := slices.Index(*notes, why)
		if i < 0 {
			i = len(*notes)
			*notes = append(*notes, why)
		}
		mark = fmt.Sprintf(" [%d]", i+1)
	}
	for _, g := range r.Cannot {
		if g.Peer == peer && g.Work == c.work {
			note(fmt.Sprintf("%s, %s: %s", peer, c.work, g.Why))
		}
	}
	if faults > 0 {
		for _, f := range r.Figures {
			if f.Peer == peer && f.Work == c.work && f.Fault != "" {
				note(fmt.Sprintf("%s, %s: %d of %d measurements do not count, the first because %s", peer, c.work, faults, rounds, f.Fault))
				break
			}
		}
	}
	if rounds == faults {
		return "–" + mark
	}
	return fmt.Sprintf(c.format, m) + mark
}

func (r *report) markdown() string {
	var s strings.Builder
	columns := r.columns()
	fmt.Fprintf(&s, "Measured %s on %s: medians of %d rounds, %s each. CPU is that of the proxy's processes, user and system, on a core of their own.\n\n",
		r.Time, r.Machine, r.Rounds, r.Duration)
	s.WriteString("| proxy |")
	for _, c := range columns {
		s.WriteString(" " + c.head + " |")
	}
	s.WriteString("\n|---|" + strings.Repeat("---:|", len(columns)) + "\n")
	var notes []string
	for _, p := range r.peers {
		fmt.Fprintf(&s, "| %s |", p)
		for _, c := range columns {
			fmt.Fprintf(&s, " %s |", r.cell(p, c, &notes))
		}
		s.WriteString("\n")
	}
	for _, g := range r.Cannot {
		if g.Work == "all" {
			notes = append(notes, fmt.Sprintf("%s was not measured: %s", g.Peer, g.Why))
		}
	}
	if len(notes) > 0 {
		s.WriteString("\n")
	}
	for i, n := range notes {
		fmt.Fprintf(&s, "[%d] %s  \n", i+1, n)
	}
	s.WriteString("\n")
	for _, p := range r.peers {
		if v := r.Versions[p]; v != "" {
			fmt.Fprintf(&s, "- %s: %s\n", p, v)
		}
	}
	return s.String()
}

// chart is a picture of bars, a panel for each column that has a title.
func (r *report) chart() string {
	var panels []chart.Panel
	for _, c := range r.columns() {
		if c.title != "" {
			panels = append(panels, r.panel(c))
		}
	}
	return chart.SVG(panels, fmt.Sprintf("%s. Shorter is better. Medians of %d rounds.", r.Machine, r.Rounds))
}

func (r *report) panel(c column) chart.Panel {
	panel := chart.Panel{Title: c.title}
	for _, p := range r.peers {
		if v, faults, rounds := r.median(p, c.work, c.of); faults < rounds {
			label := fmt.Sprintf(c.format, v)
			if c.work == "pace" { // who can do little has little to do
				at, _, _ := r.median(p, c.work, rate)
				label += fmt.Sprintf(" at %.0fk/s", at/1000)
			}
			panel.Bars = append(panel.Bars, chart.Bar{Name: p, Label: label, Value: v, Ours: p == "gateway"})
		}
	}
	return panel
}

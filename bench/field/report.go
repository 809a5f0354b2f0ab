package main

import (
	"cmp"
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
	Command  string            `json:"command"`
	Machine  string            `json:"machine"`
	Files    int               `json:"open_files"`
	Load     []string          `json:"load"` // averages at the beginning of each round and at the end
	Versions map[string]string `json:"versions"`
	Rounds   int               `json:"rounds"`
	Duration string            `json:"duration_of_a_measurement"`
	Cannot   []gap             `json:"cannot"`
	Figures  []figure          `json:"figures"`

	peers []peer
	cells []cell
}

func (b *bench) reportOf(installed string) *report {
	r := &report{Time: b.began.UTC().Format(time.RFC3339), Command: b.command, Machine: local.Machine(), Files: b.files, Load: b.load,
		Versions: make(map[string]string), Rounds: b.rounds, Duration: b.time.String(), Cannot: b.cannot, Figures: b.figures,
		peers: b.peers, cells: b.cells}
	for _, p := range b.peers {
		if v := p.tell(installed); v != "" {
			r.Versions[p.name] = v
		}
	}
	return r
}

// write prints the tables and keeps them, the charts and all that was measured.
func (b *bench) write(r *report, dir string) error {
	raw, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	text := r.markdown()
	fmt.Fprintf(b.out, "\n%s", text)
	files := map[string]string{"field.json": string(raw) + "\n", "field.md": text}
	for i := range r.cells {
		if picture := r.picture(&r.cells[i]); picture != "" {
			files[r.cells[i].name+".svg"] = picture
		}
	}
	if err := local.Write(dir, files); err != nil {
		return err
	}
	b.say("written: field.md, field.json and %d charts in %s", len(files)-2, dir)
	return nil
}

// value is the median of a value over the rounds without a fault.
func (r *report) value(peer, cell, key string) (float64, bool) {
	var all []float64
	for i := range r.Figures {
		f := &r.Figures[i]
		if v, is := f.Values[key]; is && f.Peer == peer && f.Cell == cell && f.Fault == "" {
			all = append(all, v)
		}
	}
	return median(all)
}

// median is the middle of all values, or between the two in the middle.
func median(all []float64) (float64, bool) {
	if len(all) == 0 {
		return 0, false
	}
	all = slices.Sorted(slices.Values(all))
	n := len(all)
	return (all[(n-1)/2] + all[n/2]) / 2, true
}

func (r *report) measures(cell string) bool {
	return slices.Contains(cellNames(r.cells), cell)
}

// note is why there is no value, or why not of all rounds; "" when there is nothing to say.
func (r *report) note(peer, cell string) string {
	for _, g := range r.Cannot {
		if g.Peer == peer && g.Cell == cell {
			return fmt.Sprintf("%s, %s: %s", peer, cell, g.Why)
		}
	}
	faults, rounds, first := 0, 0, ""
	for _, f := range r.Figures {
		if f.Peer == peer && f.Cell == cell {
			if rounds++; f.Fault != "" {
				faults, first = faults+1, cmp.Or(first, f.Fault)
			}
		}
	}
	if faults == 0 {
		return ""
	}
	return fmt.Sprintf("%s, %s: %d of %d measurements do not count, the first because %s", peer, cell, faults, rounds, first)
}

// markdown is one table: a line for each value of each cell, a column for each peer; and the table of goals.
func (r *report) markdown() string {
	var s strings.Builder
	fmt.Fprintf(&s, "Measured %s on %s: medians of %d rounds, %s each. Load of the machine (1, 5 and 15 minutes) at the beginning of each round and at the end: %s.\n\n    %s\n\n",
		r.Time, r.Machine, r.Rounds, r.Duration, strings.Join(r.Load, "; "), r.Command)
	var notes []string
	s.WriteString("| cell | value |")
	for _, p := range r.peers {
		s.WriteString(" " + p.name + " |")
	}
	s.WriteString("\n|---|---|" + strings.Repeat("---:|", len(r.peers)) + "\n")
	for _, c := range r.cells {
		for i, col := range c.columns {
			fmt.Fprintf(&s, "| %s | %s |", map[bool]string{true: c.name}[i == 0], col.head)
			for _, p := range r.peers {
				text := "–"
				if v, ok := r.value(p.name, c.name, col.key); ok {
					text = fmt.Sprintf(col.format, v)
				}
				if why := r.note(p.name, c.name); why != "" {
					if !slices.Contains(notes, why) {
						notes = append(notes, why)
					}
					text += fmt.Sprintf(" [%d]", slices.Index(notes, why)+1)
				}
				s.WriteString(" " + text + " |")
			}
			s.WriteString("\n")
		}
	}
	for _, g := range r.Cannot {
		if g.Cell == "all" {
			notes = append(notes, fmt.Sprintf("%s was not measured: %s", g.Peer, g.Why))
		}
	}
	s.WriteString("\n")
	for i, n := range notes {
		fmt.Fprintf(&s, "[%d] %s  \n", i+1, n)
	}
	s.WriteString("\n" + goalTable(judge(r)))
	for _, p := range r.peers {
		if v := r.Versions[p.name]; v != "" {
			fmt.Fprintf(&s, "- %s: %s\n", p.name, v)
		}
	}
	return s.String()
}

// picture is a cell's chart, a panel for each of its values that has one; "" without any.
func (r *report) picture(c *cell) string {
	var panels []chart.Panel
	for _, col := range c.columns {
		if !col.chart {
			continue
		}
		p := chart.Panel{Title: col.head, LongBest: col.more}
		for _, of := range r.peers {
			if v, ok := r.value(of.name, c.name, col.key); ok {
				p.Bars = append(p.Bars, chart.Bar{Name: of.name, Label: fmt.Sprintf(col.format, v), Value: v, Ours: of.name == "gateway"})
			}
		}
		if len(p.Bars) > 0 {
			panels = append(panels, p)
		}
	}
	if len(panels) == 0 {
		return ""
	}
	return chart.SVG(panels, fmt.Sprintf("%s. %s. Medians of %d rounds.", c.title, r.Machine, r.Rounds))
}

package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"aigateway/bench/internal/chart"
	"aigateway/bench/internal/local"
)

// A report is what the raw data says, all of it.
type report struct {
	Machine  string            `json:"machine"`
	Files    int               `json:"open_files"`
	Versions map[string]string `json:"versions"`
	Runs     []run             `json:"runs"`
	Cannot   []gap             `json:"cannot"`
	Figures  []figure          `json:"figures"`

	peers []peer
	cells []cell
}

// A run is one that added to a report.
type run struct {
	Time     string   `json:"time"`
	Command  string   `json:"command"`
	Load     []string `json:"load"` // averages at the beginning of each round and at the end
	Rounds   int      `json:"rounds"`
	Duration string   `json:"duration_of_a_measurement"`
}

func (b *bench) reportOf(installed string) *report {
	r := &report{Machine: local.Machine(), Files: b.files, Versions: make(map[string]string), Cannot: b.cannot, Figures: b.figures,
		Runs:  []run{{b.began.UTC().Format(time.RFC3339), b.command, b.load, b.rounds, b.time.String()}},
		peers: b.peers, cells: b.cells}
	for _, p := range b.peers {
		if v := p.tell(installed); v != "" {
			r.Versions[p.name] = v
		}
	}
	return r
}

const rawName = "field.json"

// readReport reads the report that is in a directory; without one it is empty.
func readReport(dir string) (*report, error) {
	text, err := os.ReadFile(filepath.Join(dir, rawName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r := new(report)
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	if len(r.Runs) == 0 {
		return nil, fmt.Errorf("the report in %s is none that can be added to", dir)
	}
	return r, nil
}

// runs is how many there were; a report that is not there had none.
func (r *report) runs() int {
	if r == nil {
		return 0
	}
	return len(r.Runs)
}

// knows tells whether a peer has been measured.
func (r *report) knows(peer string) bool {
	return r != nil && slices.ContainsFunc(r.Figures, func(f figure) bool { return f.Peer == peer })
}

// follow puts what was there in front. Figures of another machine, or of another version of somebody, are no part of the same table.
func (r *report) follow(former *report, everybody []peer) error {
	if former == nil {
		return nil
	}
	if former.Machine != r.Machine {
		return fmt.Errorf("what is there was measured on %s", former.Machine)
	}
	for name, v := range r.Versions {
		if was := former.Versions[name]; was != "" && was != v {
			return fmt.Errorf("what is there was measured with %s, this is %s", was, v)
		}
	}
	maps.Copy(r.Versions, former.Versions)
	done := make(map[[2]string]int)
	for _, f := range former.Figures {
		done[[2]string{f.Peer, f.Cell}]++
	}
	for i := range r.Figures {
		f := &r.Figures[i]
		f.Run = len(former.Runs)
		f.Round += done[[2]string{f.Peer, f.Cell}]
	}
	for _, g := range former.Cannot {
		if !slices.Contains(r.Cannot, g) {
			r.Cannot = append(r.Cannot, g)
		}
	}
	r.Runs, r.Figures = append(former.Runs, r.Runs...), append(former.Figures, r.Figures...)
	r.peers = slices.DeleteFunc(everybody, func(p peer) bool { return !r.knows(p.name) })
	r.cells = slices.DeleteFunc(slices.Clone(cells), func(c cell) bool {
		return !slices.ContainsFunc(r.Figures, func(f figure) bool { return f.Cell == c.name })
	})
	return nil
}

// write prints the tables and keeps them, the charts and all that was measured.
func (b *bench) write(r *report, dir string) error {
	raw, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	text := r.markdown()
	fmt.Fprintf(b.out, "\n%s", text)
	files := map[string]string{rawName: string(raw) + "\n", "field.md": text}
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

// values are those of a value in the measurements without a fault, in their order.
func (r *report) values(peer, cell, key string) (all []float64) {
	for i := range r.Figures {
		f := &r.Figures[i]
		if v, is := f.Values[key]; is && f.Peer == peer && f.Cell == cell && f.Fault == "" {
			all = append(all, v)
		}
	}
	return all
}

// value is the median of a value.
func (r *report) value(peer, cell, key string) (float64, bool) {
	return median(r.values(peer, cell, key))
}

// show is the median of a value and, of several, the least and the most.
func (r *report) show(peer, cell string, col column) string {
	all := r.values(peer, cell, col.key)
	middle, ok := median(all)
	switch {
	case !ok:
		return "–"
	case len(all) == 1:
		return fmt.Sprintf(col.format, middle)
	}
	return fmt.Sprintf(col.format+" ("+col.format+"–"+col.format+")", middle, slices.Min(all), slices.Max(all))
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
	faults, rounds, first, said := 0, 0, "", ""
	for _, f := range r.Figures {
		if f.Peer == peer && f.Cell == cell {
			if rounds++; f.Fault != "" {
				faults, first = faults+1, cmp.Or(first, f.Fault)
			}
			said = cmp.Or(f.Note, said)
		}
	}
	if faults == 0 && said != "" {
		return fmt.Sprintf("%s, %s: %s", peer, cell, said)
	}
	if faults == 0 {
		return ""
	}
	return fmt.Sprintf("%s, %s: %d of %d measurements do not count, the first because %s", peer, cell, faults, rounds, first)
}

// head tells where, when and how all was measured.
func (r *report) head() string {
	var s strings.Builder
	last := r.Runs[len(r.Runs)-1]
	fmt.Fprintf(&s, "Measured on %s, a process may have %d open files. Medians; in brackets, where something was measured more than once, the least and the most.\n\n",
		r.Machine, r.Files)
	times := make(map[string]int)
	var commands []string
	for _, u := range r.Runs {
		if times[u.Command]++; times[u.Command] == 1 {
			commands = append(commands, u.Command)
		}
	}
	for _, c := range commands {
		fmt.Fprintf(&s, "    %s%s\n", c, map[bool]string{true: fmt.Sprintf("  # %d times", times[c])}[times[c] > 1])
	}
	fmt.Fprintf(&s, "\n%d runs, the first at %s, the last at %s; load of the machine in the minute before each: %s.\n\n", len(r.Runs), r.Runs[0].Time, last.Time, r.loads())
	return s.String()
}

// loads is what the machine had to do in the minute before each run.
func (r *report) loads() string {
	var all []string
	for _, u := range r.Runs {
		if len(u.Load) > 0 {
			minute, _, _ := strings.Cut(u.Load[0], " ")
			all = append(all, minute)
		}
	}
	return strings.Join(all, ", ")
}

// markdown is one table: a line for each value of each cell, a column for each peer; and the table of goals.
func (r *report) markdown() string {
	var s strings.Builder
	s.WriteString(r.head())
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
				text := r.show(p.name, c.name, col)
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
	return chart.SVG(panels, fmt.Sprintf("%s. %s. Medians.", c.title, r.Machine))
}

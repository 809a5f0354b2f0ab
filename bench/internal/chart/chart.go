// Package chart draws bars as SVG, which follows the reader's preference for light or dark.
package chart

import (
	"cmp"
	"fmt"
	"html"
	"slices"
	"strings"
)

// A Bar is one line of a panel.
type Bar struct {
	Name, Label string
	Value       float64
	Ours        bool
}

// A Panel is one picture of bars, of which the best comes first.
type Panel struct {
	Title    string
	Bars     []Bar
	LongBest bool // the longest bar is the best one; else the shortest
}

const (
	width    = 420
	bar      = 22
	left     = 100
	right    = 100
	gapAbove = 44
)

// SVG draws panels, two beside each other, and a line below them.
func SVG(panels []Panel, footer string) string {
	tallest := 0
	for _, p := range panels {
		tallest = max(tallest, gapAbove+bar*len(p.Bars)+12)
	}
	across := min(2, max(len(panels), 1))
	rows := (len(panels) + across - 1) / across
	var s strings.Builder
	fmt.Fprintf(&s, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="system-ui, sans-serif" font-size="12">
<style>
:root { --paper: #ffffff; --ink: #1f2328; --faint: #59636e; --bar: #a8b3bf; --ours: #0969da }
@media (prefers-color-scheme: dark) { :root { --paper: #0d1117; --ink: #f0f6fc; --faint: #9198a1; --bar: #4a525c; --ours: #4493f8 } }
text { fill: var(--ink) } .faint { fill: var(--faint) } .title { font-weight: 600; font-size: 13px } .bar { fill: var(--bar) } .ours { fill: var(--ours) }
</style>
<rect width="100%%" height="100%%" fill="var(--paper)"/>
`, across*width, rows*tallest+28)
	for i := range panels {
		fmt.Fprintf(&s, "<g transform=\"translate(%d %d)\">\n%s</g>\n", i%across*width, i/across*tallest, panels[i].draw())
	}
	fmt.Fprintf(&s, "<text class=\"faint\" x=\"12\" y=\"%d\">%s</text>\n</svg>\n", rows*tallest+16, html.EscapeString(footer))
	return s.String()
}

func (p *Panel) draw() string {
	bars := slices.Clone(p.Bars)
	slices.SortStableFunc(bars, func(a, b Bar) int { return cmp.Compare(a.Value, b.Value) })
	if p.LongBest {
		slices.Reverse(bars)
	}
	longest := 1e-9
	for _, b := range bars {
		longest = max(longest, b.Value)
	}
	var s strings.Builder
	fmt.Fprintf(&s, "<text class=\"title\" x=\"12\" y=\"%d\">%s</text>\n", gapAbove-16, html.EscapeString(p.Title))
	for i, b := range bars {
		y := gapAbove + i*bar
		class := "bar"
		if b.Ours {
			class = "ours"
		}
		length := max(b.Value, 0) / longest * (width - left - right)
		fmt.Fprintf(&s, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text><rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" rx=\"2\"/><text class=\"faint\" x=\"%.1f\" y=\"%d\">%s</text>\n",
			left-8, y+15, html.EscapeString(b.Name), class, left, y+4, max(length, 1), bar-7, left+length+6, y+15, html.EscapeString(b.Label))
	}
	return s.String()
}

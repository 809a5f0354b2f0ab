package chart

import (
	"encoding/xml"
	"io"
	"strings"
	"testing"
)

func TestSVG(t *testing.T) {
	bars := []Bar{{Name: "b <c>", Label: "3 & 4", Value: 3}, {Name: "a", Label: "1", Value: 1, Ours: true}, {Name: "z", Label: "-1", Value: -1}}
	text := SVG([]Panel{{Title: "up", Bars: bars}, {Title: "down", Bars: bars, LongBest: true}, {Title: "none"}}, "by <us>")
	for in := xml.NewDecoder(strings.NewReader(text)); ; {
		if _, err := in.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	up, down, _ := strings.Cut(text, ">down<")
	if strings.Index(up, ">a<") > strings.Index(up, "&lt;c&gt;") || strings.Index(down, ">a<") < strings.Index(down, "&lt;c&gt;") {
		t.Error("the best does not come first")
	}
	if strings.Count(text, `class="ours"`) != 2 {
		t.Error(text)
	}
}

package server

import (
	"fmt"
	"log/slog"
	"testing"

	"aigateway/gateway/config"
)

// BenchmarkRoute is what finding a prefix route costs, the longest of so many first, and what its target costs.
func BenchmarkRoute(b *testing.B) {
	for _, n := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("prefixes=%d", n), func(b *testing.B) {
			file := "routes:\n"
			for i := range n - 1 { // beside /v1/*
				file += fmt.Sprintf("  - {path: \"/service-%d/*\", pool: llm}\n", i)
			}
			if n == 1 {
				file = ""
			}
			s, _, err := config.Load(config.Input{Environ: []string{"LLM_SERVICE_URL=http://127.0.0.1:9"}, File: "f.yaml",
				ReadFile: func(string) ([]byte, error) { return []byte(file), nil }})
			if err != nil {
				b.Fatal(err)
			}
			g, err := New(s, Options{Log: slog.New(slog.DiscardHandler)})
			if err != nil {
				b.Fatal(err)
			}
			defer g.Close()
			path, buf := []byte("/v1/chat/completions"), make([]byte, 0, 256)
			b.ReportAllocs()
			for b.Loop() {
				r := g.plan.Load().match(path)
				if r == nil || climbs(path[len(r.prefix):]) {
					b.Fatal("no route")
				}
				buf = r.appendTarget(buf[:0], path)
			}
		})
	}
}

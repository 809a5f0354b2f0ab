package routing

import (
	"fmt"
	"testing"

	"aigateway/gateway/config"
)

// BenchmarkRoute is what finding a prefix route costs, the longest of so many first, and what its target costs.
func BenchmarkRoute(b *testing.B) {
	for _, n := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("prefixes=%d", n), func(b *testing.B) {
			t := tableOf(n)
			path, buf := []byte("/v1/chat/completions"), make([]byte, 0, 256)
			b.ReportAllocs()
			for b.Loop() {
				r := t.Match(path)
				if r == nil || Climbs(path[len(r.Prefix):]) {
					b.Fatal("no route")
				}
				buf = r.AppendTarget(buf[:0], path)
			}
		})
	}
}

// tableOf is a table of so many prefixes, the last of which is /v1/*.
func tableOf(n int) *Table[*Route] {
	t := new(Table[*Route])
	for i := range n {
		r := New(config.Route{Path: fmt.Sprintf("/service-%d/*", i)})
		if i == n-1 {
			r = New(config.Route{Path: "/v1/*"})
		}
		t.Add(&r, &r)
	}
	t.Seal()
	return t
}

func TestTableAlloc(t *testing.T) {
	table := tableOf(10)
	exact := New(config.Route{Path: "/a%2Fb"})
	table.Add(&exact, &exact)
	table.Seal()
	path, odd, buffer := []byte("/v1/chat/completions"), []byte("/v1/%61"), make([]byte, 0, 64)
	r := table.Match(path)
	if n := testing.AllocsPerRun(100, func() {
		_, elsewhere := table.Elsewhere(buffer, odd, r)
		if table.Exact(path) != nil || table.Match(path) != r || !table.Has(path) || elsewhere {
			t.Error("wrong route")
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

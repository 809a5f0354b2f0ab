package keys

import (
	"slices"
	"strconv"

	"aigateway/gateway/config"
)

// Changes are the ids in which two sets differ, sorted.
type Changes struct{ Added, Removed, Changed []string }

// None tells whether there are none.
func (c Changes) None() bool { return len(c.Added)+len(c.Removed)+len(c.Changed) == 0 }

// Attrs are the changes for a line of the log, with as many ids as fit into one.
func (c Changes) Attrs() []any {
	return []any{"added", shortList(c.Added), "removed", shortList(c.Removed), "changed", shortList(c.Changed)}
}

func shortList(ids []string) []string {
	const most = 100
	if len(ids) > most {
		return append(slices.Clone(ids[:most]), "and "+strconv.Itoa(len(ids)-most)+" more")
	}
	return ids
}

// Changes tells what next, which may be nil as s may, has in place of s.
func (s *Set) Changes(next *Set) (c Changes) {
	before, after := s.stated(), next.stated()
	for id, is := range after {
		if was, ok := before[id]; !ok {
			c.Added = append(c.Added, id)
		} else if !equal(&was, &is) {
			c.Changed = append(c.Changed, id)
		}
	}
	for id := range before {
		if _, ok := after[id]; !ok {
			c.Removed = append(c.Removed, id)
		}
	}
	slices.Sort(c.Added)
	slices.Sort(c.Removed)
	slices.Sort(c.Changed)
	return c
}

// equal tells whether the file says the same of two tenants.
func equal(a, b *config.Key) bool {
	return a.ID == b.ID && slices.Equal(a.Sums, b.Sums) && slices.Equal(a.Models, b.Models) && (a.Models == nil) == (b.Models == nil) &&
		a.Limits == b.Limits && a.Priority == b.Priority && a.Weight == b.Weight && a.Expires.Equal(b.Expires) && a.Disabled == b.Disabled
}

// stated is what the file said, by id.
func (s *Set) stated() map[string]config.Key {
	if s == nil {
		return nil
	}
	return s.byID
}

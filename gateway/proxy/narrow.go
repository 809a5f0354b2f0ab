package proxy

import (
	"slices"
	"strings"
)

// A listing is which upstreams of a pool list which models. It never changes.
type listing struct {
	byModel map[string]int    // the set of those that list it; models of all upstreams are not in it
	sets    [][]*Upstream     // in the order of the pool
	all     map[string]string // each by itself, for who has it only as bytes
}

// newListing puts the lists of a pool's upstreams together; nil if no upstream has told one.
func newListing(upstreams []*Upstream) *listing {
	having := make(map[string][]*Upstream)
	known := false
	for _, u := range upstreams {
		names, ok := u.Models()
		known = known || ok
		for _, name := range names {
			having[name] = append(having[name], u)
		}
	}
	if !known {
		return nil
	}
	for name, of := range having { // Ollama lists with a tag what is asked for without one
		if short, ok := strings.CutSuffix(name, ":latest"); ok {
			for _, u := range of {
				if !slices.Contains(having[short], u) {
					having[short] = append(having[short], u)
				}
			}
		}
	}
	l := &listing{byModel: make(map[string]int), all: make(map[string]string)}
	for name, of := range having {
		l.all[name] = name
		if len(of) < len(upstreams) {
			l.byModel[name] = l.setOf(upstreams, of)
		}
	}
	return l
}

// setOf is the number of a set of upstreams.
func (l *listing) setOf(upstreams, of []*Upstream) int {
	var set []*Upstream
	for _, u := range upstreams {
		if slices.Contains(of, u) {
			set = append(set, u)
		}
	}
	same := func(s []*Upstream) bool { return slices.Equal(s, set) }
	if i := slices.IndexFunc(l.sets, same); i >= 0 {
		return i
	}
	l.sets = append(l.sets, set)
	return len(l.sets) - 1
}

// relist takes in what the pool's upstreams list now.
func (p *Pool) relist() { p.listing.Store(newListing(p.Upstreams)) }

// Discovers tells whether the pool's upstreams are asked for their models.
func (p *Pool) Discovers() bool { return p != nil && p.settings.Discover == "on" }

// Narrows tells whether it matters which model a request is for: not every upstream of the pool lists the same.
func (p *Pool) Narrows() bool {
	if p == nil {
		return false
	}
	l := p.listing.Load()
	return l != nil && len(l.sets) > 0
}

// Listed is the name of a model that an upstream of the pool lists; "": none does.
func (p *Pool) Listed(model []byte) (name string) {
	if p == nil {
		return ""
	}
	l := p.listing.Load()
	if l == nil {
		return ""
	}
	return l.all[string(model)]
}

// Models are those that healthy upstreams of the pool list, sorted; known tells whether any upstream has told a list at all.
func (p *Pool) Models() (names []string, known bool) {
	if p == nil {
		return nil, false
	}
	for _, u := range p.Upstreams {
		list, ok := u.Models()
		if known = known || ok; u.Healthy() {
			names = append(names, list...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), known
}

// Serves tells whether a healthy upstream of the pool has the model: it lists it, or nobody has told what it lists.
func (p *Pool) Serves(model []byte) bool {
	if p == nil {
		return false
	}
	l := p.listing.Load()
	if l == nil || l.all[string(model)] == "" {
		return p.Healthy()
	}
	set := p.Upstreams
	if i, narrow := l.byModel[string(model)]; narrow {
		set = l.sets[i]
	}
	return slices.ContainsFunc(set, (*Upstream).Healthy)
}

// narrow makes the pickers for those models that not every upstream lists.
func (r *picker) narrow(l *listing) {
	if l == nil {
		return
	}
	r.listing = l
	for _, set := range l.sets {
		var in []candidate
		for _, c := range r.candidates {
			if slices.Contains(set, c.Upstream) {
				in = append(in, c)
			}
		}
		n := newPicker(r.balance, r.load, in)
		n.some = true
		for _, u := range r.lastResort {
			if slices.Contains(set, u) {
				n.lastResort = append(n.lastResort, u)
			}
		}
		r.narrowed = append(r.narrowed, n)
	}
}

// pickerFor is the picker for requests that are for a model; nil: for any.
func (p *Pool) pickerFor(model []byte) *picker {
	r := p.picker.Load()
	if model == nil || r.narrowed == nil {
		return r
	}
	if i, narrow := r.listing.byModel[string(model)]; narrow {
		return r.narrowed[i]
	}
	return r
}

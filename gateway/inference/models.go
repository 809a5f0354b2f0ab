package inference

import "aigateway/gateway/config"

// A Table leads names to models. It never changes, so that a request may keep what it found. A nil Table has no models.
type Table struct {
	models   []entry
	byName   map[string]*entry // names and aliases
	upstream map[string]bool   // names that upstreams know
	sole     *entry            // the one that is meant if none is stated
}

// entry is a model with what a request needs of it made ready.
type entry struct {
	config.Model
	written  [writings][]byte // its name upstream
	fallback []*config.Model
	place    int // in the table
}

// NewTable makes a table of models that were checked; nil of none.
func NewTable(models []config.Model) *Table {
	if len(models) == 0 {
		return nil
	}
	t := &Table{models: make([]entry, len(models)), byName: make(map[string]*entry), upstream: make(map[string]bool)}
	for i, m := range models {
		e := &t.models[i]
		e.Model, e.place = m, i
		name := e.Asked()
		e.written = [writings][]byte{Quoted: appendString(nil, name), Plain: []byte(name), Escaped: appendEscaped(nil, name)}
		t.upstream[name] = true
		t.byName[m.Name] = e
		for _, alias := range m.Aliases {
			t.byName[alias] = e
		}
	}
	for i := range t.models {
		for _, name := range t.models[i].Fallback {
			t.models[i].fallback = append(t.models[i].fallback, &t.byName[name].Model)
		}
	}
	t.sole = t.onlyOne()
	return t
}

// onlyOne is the one model that a client can know, nil if there are more.
func (t *Table) onlyOne() (only *entry) {
	for i := range t.models {
		if e := &t.models[i]; !e.Hidden {
			if only != nil {
				return nil
			}
			only = e
		}
	}
	return only
}

// Models are all models, in the order of the settings.
func (t *Table) Models() []*config.Model {
	if t == nil {
		return nil
	}
	all := make([]*config.Model, len(t.models))
	for i := range t.models {
		all[i] = &t.models[i].Model
	}
	return all
}

// A Verdict is what a name led to.
type Verdict uint8

// The verdicts.
const (
	Found     Verdict = iota
	Concealed         // there is such a model, and it is hidden: Unknown for who may not know it
	Unknown           // there is none
	Unstated          // no model was stated, and there is not a sole one
)

// String is the verdict's name.
func (v Verdict) String() string { return [...]string{"found", "concealed", "unknown", "unstated"}[v] }

// A Result is a model that was found by a name.
type Result struct {
	Verdict Verdict
	Model   *config.Model // nil if Unknown or Unstated
	entry   *entry
}

// Place is where the model stands among those of the table, which has to have found one.
func (r Result) Place() int { return r.entry.place }

// Resolve finds a model by a name or an alias. The name is borrowed.
func (t *Table) Resolve(name []byte) Result {
	if t == nil {
		return Result{Verdict: Unknown}
	}
	return found(t.byName[string(name)], Unknown)
}

// Sole is the model that is meant where none is stated.
func (t *Table) Sole() Result {
	if t == nil {
		return Result{Verdict: Unstated}
	}
	return found(t.sole, Unstated)
}

func found(e *entry, otherwise Verdict) Result {
	if e == nil {
		return Result{Verdict: otherwise}
	}
	r := Result{Model: &e.Model, entry: e}
	if e.Hidden {
		r.Verdict = Concealed
	}
	return r
}

// Of is the result that a model of the table is to itself: for its fallbacks.
func (t *Table) Of(m *config.Model) Result {
	return Result{Model: m, entry: t.byName[m.Name]}
}

// Fallback are the models to ask instead of this one, in their order.
func (r Result) Fallback() []*config.Model {
	if r.entry == nil {
		return nil
	}
	return r.entry.fallback
}

// A Writing is how a name is written where it stands.
type Writing uint8

// The writings.
const (
	Quoted  Writing = iota // as a JSON string
	Plain                  // as it is, in a form
	Escaped                // as a value in a query
	writings
)

// Written is the model's name upstream, as it is written there. It is the table's.
func (r Result) Written(w Writing) []byte { return r.entry.written[w] }

// Longest is how many bytes the longest name upstream has that is written into a request.
func (t *Table) Longest() (n int) {
	for i := range t.models {
		for _, text := range t.models[i].written {
			n = max(n, len(text))
		}
	}
	return n
}

// Mentions tells whether the table says something of a name: it is a model's, an alias, or what upstreams call a model.
func (t *Table) Mentions(name []byte) bool {
	return t.byName[string(name)] != nil || t.upstream[string(name)]
}

// appendEscaped appends a name as the value of a query: all but what RFC 3986 §2.3 calls unreserved is in per cent.
func appendEscaped(dst []byte, name string) []byte {
	for i := range len(name) {
		c := name[i]
		switch {
		case 'a' <= c|0x20 && c|0x20 <= 'z', '0' <= c && c <= '9', c == '-', c == '.', c == '_', c == '~':
			dst = append(dst, c)
		default:
			dst = append(dst, '%', "0123456789ABCDEF"[c>>4], "0123456789ABCDEF"[c&15])
		}
	}
	return dst
}

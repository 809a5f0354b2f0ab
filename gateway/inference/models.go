package inference

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// A Model is a name that clients may ask for, and where it leads.
type Model struct {
	Name       string
	Aliases    []string
	Pool       string
	Upstream   string   // what its upstreams call it; empty: as it is called here
	Fallback   []string // models to ask instead, in this order; names or aliases
	ContextMax int      // tokens of its context; 0: not known
	Hidden     bool     // not listed, and not there for who may not know it
}

// A Table leads names to models. It never changes, so that a request may keep what it found. A nil Table has no models.
type Table struct {
	models []entry
	byName map[string]*entry // names and aliases
	sole   *entry            // the one that is meant if none is stated
}

// entry is a model with what a request needs of it made ready.
type entry struct {
	Model
	plain    []byte // its name upstream
	quoted   []byte // as a JSON string
	escaped  []byte // as a value in a query
	fallback []*Model
}

// NewTable makes a table, or names all that is wrong with the models.
func NewTable(models []Model) (*Table, []error) {
	t := &Table{models: make([]entry, len(models)), byName: make(map[string]*entry)}
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	for i, m := range models {
		e := &t.models[i]
		e.Model = m
		e.plain, e.quoted, e.escaped = []byte(e.Asked()), appendString(nil, e.Asked()), appendEscaped(nil, e.Asked())
		if why := badName(m.Name); why != "" {
			fault("models: the name %s %s", shown(m.Name), why)
		}
		if m.Upstream != "" && badName(m.Upstream) != "" {
			fault("models: %s: upstream_model %s %s", shown(m.Name), shown(m.Upstream), badName(m.Upstream))
		}
		if t.byName[m.Name] != nil {
			fault("models: two models have the name %s", shown(m.Name))
			continue
		}
		t.byName[m.Name] = e
	}
	faults = append(faults, t.addAliases()...)
	faults = append(faults, t.linkFallbacks()...)
	if len(faults) > 0 {
		return nil, faults
	}
	t.sole = t.onlyOne()
	return t, nil
}

// addAliases comes after all names, so that what an alias says wrongly does not depend on the order of the models.
func (t *Table) addAliases() (faults []error) {
	for i := range t.models {
		e := &t.models[i]
		for _, alias := range e.Aliases {
			other, name := t.byName[alias], shown(e.Name)
			switch {
			case badName(alias) != "":
				faults = append(faults, fmt.Errorf("models: %s: the alias %s %s", name, shown(alias), badName(alias)))
			case other == nil:
				t.byName[alias] = e
			case other == e && alias == e.Name:
				faults = append(faults, fmt.Errorf("models: %s: its own name is among its aliases", name))
			case other == e:
				faults = append(faults, fmt.Errorf("models: %s: the alias %s is listed twice", name, shown(alias)))
			case alias == other.Name:
				faults = append(faults, fmt.Errorf("models: %s: the alias %s is the name of another model", name, shown(alias)))
			default:
				faults = append(faults, fmt.Errorf("models: %s and %s both have the alias %s", shown(other.Name), name, shown(alias)))
			}
		}
	}
	return faults
}

// linkFallbacks leads the names of fallbacks to models, and finds those that lead back.
func (t *Table) linkFallbacks() (faults []error) {
	for i := range t.models {
		e := &t.models[i]
		for _, name := range e.Fallback {
			to := t.byName[name]
			switch {
			case to == nil:
				faults = append(faults, fmt.Errorf("models: %s: there is no model %s to fall back to", shown(e.Name), shown(name)))
			case slices.Contains(e.fallback, &to.Model):
				faults = append(faults, fmt.Errorf("models: %s: the fallback %s is listed twice", shown(e.Name), shown(name)))
			default:
				e.fallback = append(e.fallback, &to.Model)
			}
		}
	}
	done := make(map[*Model]bool)
	for i := range t.models {
		if circle := t.circle(&t.models[i].Model, nil, done); circle != nil {
			faults = append(faults, fmt.Errorf("models: the fallbacks go in a circle: %s", strings.Join(circle, " → ")))
		}
	}
	return faults
}

// circle follows the fallbacks of m, which was come to by way, and returns the first circle, once for each.
func (t *Table) circle(m *Model, way []*Model, done map[*Model]bool) []string {
	if i := slices.Index(way, m); i >= 0 {
		var names []string
		for _, m := range append(way[i:], m) {
			names = append(names, shown(m.Name))
		}
		return names
	}
	if done[m] {
		return nil
	}
	done[m] = true
	way = append(way, m)
	for _, to := range t.find(m.Name).fallback {
		if names := t.circle(to, way, done); names != nil {
			return names
		}
	}
	return nil
}

// find is for a model of the table itself; of two with one name it is the first.
func (t *Table) find(name string) *entry { return t.byName[name] }

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
func (t *Table) Models() []*Model {
	if t == nil {
		return nil
	}
	all := make([]*Model, len(t.models))
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
	Model   *Model // nil if Unknown or Unstated
	entry   *entry
}

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
func (t *Table) Of(m *Model) Result {
	return Result{Model: m, entry: t.byName[m.Name]}
}

// Fallback are the models to ask instead of this one, in their order.
func (r Result) Fallback() []*Model {
	if r.entry == nil {
		return nil
	}
	return r.entry.fallback
}

// Asked is what the model is called upstream.
func (m *Model) Asked() string {
	if m.Upstream != "" {
		return m.Upstream
	}
	return m.Name
}

// A Rewrite says which bytes of a body or a query are replaced. The zero value replaces none.
type Rewrite struct {
	From, To int64
	With     []byte // the table's; nil: nothing is replaced
}

// Length is how long what had n bytes is now.
func (w Rewrite) Length(n int64) int64 {
	if w.With == nil {
		return n
	}
	return n - (w.To - w.From) + int64(len(w.With))
}

// RewriteJSON says how the model that was scanned becomes the one that upstreams know. It leaves the name if it is that already, and
// if there is none.
func (r Result) RewriteJSON(s *Scanner) Rewrite {
	name, stated := s.Model()
	if !stated || r.entry == nil || string(name) == r.entry.Asked() {
		return Rewrite{}
	}
	v, _ := s.Value(ModelMember)
	return Rewrite{From: v.From, To: v.To, With: r.entry.quoted}
}

// RewriteForm is RewriteJSON for the parts of a form.
func (r Result) RewriteForm(f *Form) Rewrite {
	name, stated := f.Model()
	if !stated || r.entry == nil || string(name) == r.entry.Asked() {
		return Rewrite{}
	}
	from, to := f.Span()
	return Rewrite{From: from, To: to, With: r.entry.plain}
}

// RewriteQuery is RewriteJSON for a query.
func (r Result) RewriteQuery(q QueryModel) Rewrite {
	if !q.Stated || r.entry == nil || string(q.Name) == r.entry.Asked() {
		return Rewrite{}
	}
	return Rewrite{From: int64(q.From), To: int64(q.To), With: r.entry.escaped}
}

// badName says what is wrong with a name that an operator gave to a model; empty if nothing is.
func badName(name string) string {
	switch {
	case name == "":
		return "is empty"
	case len(name) > MaxName:
		return fmt.Sprintf("is longer than %d bytes", MaxName)
	case !Printable([]byte(name)):
		return "has characters that cannot be printed"
	case name[0] == ' ' || name[len(name)-1] == ' ':
		return "begins or ends with a space"
	}
	return ""
}

// shown is a name in a message: quoted, and not longer than it may be.
func shown(name string) string {
	if len(name) > MaxName {
		name = name[:MaxName]
		for !utf8.ValidString(name) && len(name) > MaxName-utf8.UTFMax {
			name = name[:len(name)-1]
		}
	}
	return fmt.Sprintf("%q", name)
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

// Package routing is where a path leads, as far as the head of a request says, and which pages of other origins may follow it there.
//
// Its door is [Table]: what a path leads to is the caller's, whatever it is. Paths are matched as bytes; whether somebody behind reads
// them as another route's is [Table.Elsewhere].
package routing

import (
	"bytes"
	"cmp"
	"iter"
	"maps"
	"slices"
	"strings"

	"aigateway/gateway/config"
)

// A Route is a path, or all that begin so, and what becomes of a target there. Provisioned once; read by every request.
type Route struct {
	Path    string   // as configured: the label of metrics and logs
	Prefix  string   // what a prefix route's paths begin with, "" for an exact one
	Methods []string // that are answered; none: all that the request policy lets in
	Rewrite string   // replaces the path, or the prefix; "" leaves the target as it came

	plain string // the path or the prefix, decoded and without dot segments
}

// New is a configured route.
func New(c config.Route) Route {
	r := Route{Path: c.Path, Methods: c.Methods, Rewrite: c.Rewrite}
	if prefix, ok := strings.CutSuffix(c.Path, "*"); ok {
		r.Prefix = prefix
		r.Rewrite = strings.TrimSuffix(c.Rewrite, "*")
	}
	return r
}

// Takes tells whether the route answers the method. No list Takes every method that the policy lets in.
func (r *Route) Takes(method []byte) bool {
	if len(r.Methods) == 0 {
		return true
	}
	for _, m := range r.Methods {
		if m == string(method) || m == "GET" && string(method) == "HEAD" {
			return true
		}
	}
	return false
}

// AppendTarget appends the target as the upstream gets it: the bytes as they came, or with the route's path
// or prefix replaced.
func (r *Route) AppendTarget(dst, target []byte) []byte {
	if r.Rewrite == "" {
		return append(dst, target...)
	}
	dst = append(dst, r.Rewrite...)
	if r.Prefix != "" {
		return append(dst, target[len(r.Prefix):]...)
	}
	if i := bytes.IndexByte(target, '?'); i >= 0 {
		dst = append(dst, target[i:]...)
	}
	return dst
}

// LeavesOrigin tells whether the rewrite of a path with an empty segment names an authority.
func (r *Route) LeavesOrigin(target []byte) bool {
	if r.Prefix == "" || r.Rewrite == "" {
		return false
	}
	rest := target[len(r.Prefix):]
	return r.Rewrite == "/" && len(rest) > 0 && (rest[0] == '/' || rest[0] == '\\')
}

// A Table finds routes by paths. T is what a path leads to, for the caller; its zero value is nothing.
type Table[T any] struct {
	exact    map[string]entry[T] // by path
	prefixes []entry[T]          // longest first
	spelled  []entry[T]          // those whose own paths are not plain

	looksAtAll bool // a path that is plain may be one of them too
}

type entry[T any] struct {
	*Route
	prefix string // Route's, where the search has it at hand
	to     T
}

// Add puts a route in, in place of another one of the same path. [Table.Seal] ends it.
func (t *Table[T]) Add(r *Route, to T) {
	e := entry[T]{r, r.Prefix, to}
	if r.Prefix != "" {
		t.prefixes = append(t.prefixes, e)
		slices.SortStableFunc(t.prefixes, func(a, b entry[T]) int { return cmp.Compare(len(b.Prefix), len(a.Prefix)) })
		return
	}
	if t.exact == nil {
		t.exact = make(map[string]entry[T])
	}
	t.exact[r.Path] = e
}

// All are what the routes lead to.
func (t *Table[T]) All() iter.Seq[T] {
	return func(yield func(T) bool) {
		for _, e := range t.entries() {
			if !yield(e.to) {
				return
			}
		}
	}
}

// Paths are those of all routes, as they are configured, sorted.
func (t *Table[T]) Paths() (paths []string) {
	for _, e := range t.entries() {
		paths = append(paths, e.Path)
	}
	slices.Sort(paths)
	return paths
}

func (t *Table[T]) entries() []entry[T] {
	return slices.Concat(t.prefixes, slices.Collect(maps.Values(t.exact)))
}

// Exact is where a path leads by itself, and not by how it begins.
func (t *Table[T]) Exact(path []byte) T { return t.exact[string(path)].to }

// Match is where a path leads by how it begins: the longest prefix has it.
func (t *Table[T]) Match(path []byte) (to T) {
	e, _ := t.match(path)
	return e.to
}

func (t *Table[T]) match(path []byte) (e entry[T], ok bool) {
	for i := range t.prefixes {
		if p := t.prefixes[i].prefix; len(path) >= len(p) && string(path[:len(p)]) == p {
			return t.prefixes[i], true
		}
	}
	return e, false
}

// Has tells whether a path leads anywhere.
func (t *Table[T]) Has(path []byte) bool { return t.find(path).Route != nil }

func (t *Table[T]) find(path []byte) entry[T] {
	e, ok := t.exact[string(path)]
	if !ok {
		e, _ = t.match(path)
	}
	return e
}

// LooksAtAll tells whether also a path that is plain may be another route's than it seems to be.
func (t *Table[T]) LooksAtAll() bool { return t.looksAtAll }

// Elsewhere tells whether a path that leads to r is another route's to anybody behind. The caller brings the buffer.
func (t *Table[T]) Elsewhere(buffer, path []byte, r *Route) (_ []byte, elsewhere bool) {
	buffer = appendDecoded(buffer[:0], path)
	if !hasDotsOrGaps(buffer) { // there is one other reading, as of a model's id with %2F in it
		return buffer, !t.leads(buffer, r)
	}
	return buffer, !AllReadings(path, func(reading []byte) bool { return t.leads(reading, r) })
}

// leads tells whether a reading of a path is r's. A route whose path is itself not plain is found by what it is once decoded.
func (t *Table[T]) leads(reading []byte, r *Route) bool {
	found := t.find(reading).Route
	for _, s := range t.spelled {
		if (found == nil || len(s.plain) > len(found.plain)) && s.plainly(reading) {
			found = s.Route
		}
	}
	return found == r || found != nil && found.plain == r.plain && (found.Prefix == "") == (r.Prefix == "")
}

// plainly tells whether a path is the route's, once both are plain.
func (r *Route) plainly(path []byte) bool {
	return string(path) == r.plain || r.Prefix != "" && bytes.HasPrefix(path, []byte(r.plain))
}

// Seal ends the adding, and notes which routes have paths that are not plain. What a path holds only percent-encoded, such as "é", may come
// as it is: then a path without any sign of it may be such a route's, and all are looked at. A slash may not.
func (t *Table[T]) Seal() {
	for _, r := range t.entries() {
		path := strings.TrimSuffix(r.Path, "*")
		r.plain = string(appendPlain(nil, []byte(path)))
		if r.plain != path {
			t.spelled = append(t.spelled, r)
			t.looksAtAll = t.looksAtAll || !strings.Contains(strings.ToLower(path), "%2f")
		}
	}
}

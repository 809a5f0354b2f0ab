package ops

import (
	"net/url"
	"strings"

	"aigateway/gateway/cache"
)

// A purgeWant is what the query of a purge asks for, each as it may be spelled.
type purgeWant struct {
	paths, keys     map[string]bool
	prefixes        []string
	models, tenants map[string]bool
}

// purgeMatch is what the query of a purge asks for: any number of ?path= without its query, ?prefix= of a target, ?key= a
// target with its query, ?model= a model and ?key_id= a tenant. None is everything, a nil function.
func purgeMatch(query []byte) (match func(key []byte) bool, ok bool) {
	if len(query) == 0 {
		return nil, true
	}
	w := purgeWant{paths: map[string]bool{}, keys: map[string]bool{}, models: map[string]bool{}, tenants: map[string]bool{}}
	list, ok := cutPurge(string(query))
	if !ok {
		return nil, false
	}
	for i, p := range list {
		if p.value == "" { // a parameter of the target before it
			continue
		}
		w.add(p.kind, p.value)
		if !strings.Contains(p.value, "?") {
			continue
		}
		// A target that was copied with its query may have parameters that are named as ours.
		whole := p.value
		for _, next := range list[i+1 : min(len(list), i+1+maxOwn)] {
			whole += "&" + next.kind + "=" + next.value
			w.add(p.kind, whole)
		}
	}
	return func(text []byte) bool {
		_, target, rest, ok := cache.SplitKey(text)
		return ok && (w.matches(target) || w.matchesAsker(rest))
	}, true
}

// maxOwn bounds how many parameters of a target's own are looked for that are named as a purge's.
const maxOwn = 8

// A purgeParameter is one of a purge, as it was written.
type purgeParameter struct{ kind, value string }

// cutPurge cuts the query of a purge where one of our names begins. What is between belongs to the target before it, which has
// a query of its own; ok is false if it has none, and for what has no value.
func cutPurge(query string) (list []purgeParameter, ok bool) {
	for part := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(part, "=")
		switch {
		case name == "path" || name == "prefix" || name == "key" || name == "model" || name == "key_id":
			list = append(list, purgeParameter{name, value})
		case len(list) == 0:
			return nil, false
		default:
			last := &list[len(list)-1]
			if strings.Contains(part, "=") && !strings.Contains(last.value, "?") {
				return nil, false
			}
			last.value += "&" + part
		}
	}
	for i, p := range list {
		if p.value == "" && (i == 0 || !strings.Contains(list[i-1].value, "?")) {
			return nil, false
		}
	}
	return list, true
}

func (w *purgeWant) add(kind, value string) {
	for _, text := range spellings(value) {
		switch kind {
		case "model":
			w.models[text] = true
			continue
		case "key_id":
			w.tenants[text] = true
			continue
		}
		switch text = withoutOrigin(text); kind {
		case "path":
			w.paths[text] = true
		case "key":
			w.keys[text] = true
		default:
			w.prefixes = append(w.prefixes, text)
		}
	}
}

// spellings are what a text may be meant for: itself, and decoded once, as a path and as a form's value. What is copied from
// a log line or a browser may be encoded once or not.
func spellings(text string) (all []string) {
	all = append(all, text)
	if s, err := url.PathUnescape(text); err == nil {
		all = append(all, s)
	}
	if s, err := url.QueryUnescape(text); err == nil {
		all = append(all, s)
	}
	return all
}

// withoutOrigin is the target of a URL: what a browser shows. A target is itself.
func withoutOrigin(text string) string {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok || !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") {
		return text
	}
	if i := strings.IndexAny(rest, "/?"); i >= 0 && rest[i] == '/' {
		return rest[i:]
	} else if i >= 0 {
		return "/" + rest[i:]
	}
	return "/"
}

// matchesAsker tells whether an answer is wanted by whose it is, or by the model that has given it: rest is what its key has behind the
// target.
func (w *purgeWant) matchesAsker(rest []byte) bool {
	if len(w.tenants) > 0 && w.tenants[string(cache.TenantOf(rest))] {
		return true
	}
	if len(w.models) == 0 {
		return false
	}
	p, ok := cache.SplitPost(rest)
	return ok && w.models[string(p.Model)]
}

// matches tells whether a target is wanted. A parameter may be encoded once more than the target is, or once less.
func (w *purgeWant) matches(target []byte) bool {
	for _, is := range spellings(string(target)) {
		path, _, _ := strings.Cut(is, "?")
		if w.keys[is] || w.paths[path] {
			return true
		}
		for _, want := range w.prefixes {
			if strings.HasPrefix(is, want) {
				return true
			}
		}
	}
	return false
}

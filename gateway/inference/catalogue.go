package inference

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// Bounds of what an upstream may tell about its models.
const (
	MaxCatalogue       = 256 << 10 // bytes of the answer
	MaxCatalogueModels = 4096
)

// A Listed is a model as clients see it in a list.
type Listed struct {
	ID      string
	Owner   string
	Created int64 // seconds since 1970
}

// ParseCatalogue reads the names of the models from an upstream's answer to GET /v1/models: OpenAI's {"data":[{"id"}]}, and what llama.cpp
// says its models answer to as well, "aliases" beside "id". They are copied, sorted, each once. It takes all or nothing: what is too long, not
// whole, or names a model that no request could, is no list; such an alias is none.
func ParseCatalogue(answer []byte) (names []string, ok bool) {
	if len(answer) > MaxCatalogue || !json.Valid(answer) {
		return nil, false
	}
	data := member(object(answer), "data")
	if len(data) == 0 || data[0] != '[' {
		return nil, false
	}
	for w := walkOf(data); ; {
		_, model, more := w.next()
		if !more {
			break
		}
		id, ok := nameOf(member(model, "id"))
		if !ok {
			return nil, false
		}
		names = appendAliases(append(names, id), member(model, "aliases"))
		if len(names) > MaxCatalogueModels {
			return nil, false
		}
	}
	slices.Sort(names)
	return slices.Compact(names), true
}

// appendAliases appends the names in a list of them, if it is one.
func appendAliases(names []string, list []byte) []string {
	if len(list) == 0 || list[0] != '[' {
		return names
	}
	for w := walkOf(list); ; {
		_, v, more := w.next()
		if !more {
			return names
		}
		if alias, ok := nameOf(v); ok {
			names = append(names, alias)
		}
	}
}

// nameOf is a JSON string as the name of a model, if a request could name one so.
func nameOf(v []byte) (name string, ok bool) {
	var b [MaxName + 1]byte
	text := decodeString(b[:0], v)
	if len(text) == 0 || len(text) > MaxName || !Printable(text) {
		return "", false
	}
	return string(text), true
}

// decodeString appends the text of a JSON string to dst, as far as there is room; nil if v is no string.
func decodeString(dst, v []byte) []byte {
	if len(v) < 2 || v[0] != '"' {
		return nil
	}
	var d decoder
	room := dst[:cap(dst)]
	for _, c := range v[1:] {
		if d.take(room, c) {
			break
		}
	}
	if d.broken {
		return nil
	}
	return room[:min(d.n, len(room))]
}

// Lists tells whether a sorted list of names has that one: exactly, or as Ollama names what is asked for without a tag.
func Lists(names []string, model string) bool {
	if _, ok := slices.BinarySearch(names, model); ok {
		return true
	}
	_, ok := slices.BinarySearchFunc(names, model, compareLatest)
	return ok
}

// compareLatest compares a name with the model's and ":latest".
func compareLatest(name, model string) int {
	n := min(len(name), len(model))
	if c := strings.Compare(name[:n], model); c != 0 {
		return c
	}
	return strings.Compare(name[n:], ":latest")
}

// AppendModels appends the answer to GET /v1/models. The models are sorted in place.
func AppendModels(dst []byte, models []Listed) []byte {
	slices.SortFunc(models, func(a, b Listed) int { return strings.Compare(a.ID, b.ID) })
	dst = append(dst, `{"object":"list","data":[`...)
	for i, m := range models {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendModel(dst, m)
	}
	return append(dst, "]}"...)
}

// AppendModel appends the answer to GET /v1/models/{id}.
func AppendModel(dst []byte, m Listed) []byte {
	dst = appendString(append(dst, `{"id":`...), m.ID)
	dst = strconv.AppendInt(append(dst, `,"object":"model","created":`...), m.Created, 10)
	return append(appendString(append(dst, `,"owned_by":`...), m.Owner), '}')
}

// ModelOfPath is the id in /v1/models/{id}, whose slashes may be written as %2F, decoded into buf if it has to be; nil if the path is
// another, or its id no model's name.
func ModelOfPath(buf, path []byte) []byte {
	id, ok := bytes.CutPrefix(path, []byte("/v1/models/"))
	if !ok || len(id) == 0 {
		return nil
	}
	id = unescape(buf[:0], id, '+')
	if len(id) > MaxName || !Printable(id) {
		return nil
	}
	return id
}

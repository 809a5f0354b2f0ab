package ops

import (
	"bytes"
	_ "embed"
	"net/http"
	"slices"
	"strings"
	"time"
)

// A Request is what a page may know of who asks for it. Slices are borrowed until the page has answered.
type Request struct {
	Method, Target []byte
	Field          func(lower string) (value []byte, ok bool) // the first one of that name
	Operator       bool                                       // it came by the admin listener
	Public         bool                                       // nobody knows who asks, and that is kept from strangers
}

// A Page is a reply as a value, whoever writes it.
type Page struct {
	Status int
	Type   string  // Content-Type
	Fields []Field // beside it
	Body   []byte
	Fault  *Fault // in place of Type and Body
}

// A Field is a name and a value.
type Field struct{ Name, Value string }

// A Fault is why there is no page: a code for programs and a message for people.
type Fault struct{ Code, Message string }

// A Route is where a page is.
type Route struct {
	Path    string
	Methods []string // GET implies HEAD
	Reply   func(*Request) Page

	Operators bool // where clients have keys, only an operator may see it
}

// Takes tells whether the page answers the method.
func (r *Route) Takes(method string) bool {
	return slices.Contains(r.Methods, method) || method == http.MethodHead && slices.Contains(r.Methods, http.MethodGet)
}

// Allow lists the methods for an Allow field. GET implies HEAD: RFC 9110 §9.3.2.
func Allow(methods []string) string {
	list := slices.Clone(methods)
	if slices.Contains(list, http.MethodGet) && !slices.Contains(list, http.MethodHead) {
		list = append(list, http.MethodHead)
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

//go:embed index.html
var index []byte

// Pages are those that clients may see.
func (o *Ops) Pages() []Route {
	return []Route{
		{Path: "/", Methods: []string{"GET"}, Operators: true,
			Reply: func(*Request) Page { return Page{Status: 200, Type: "text/html; charset=utf-8", Body: index} }},
		get("/healthz", func(r *Request) Page {
			if r.Public && !o.ShowsToken(r.Field) {
				return state(200, o.healthAlone(time.Now()))
			}
			return state(200, o.Health(time.Now()))
		}),
		get("/livez", o.live),
		get("/readyz", func(*Request) Page {
			ready, body := o.Ready()
			if !ready {
				return state(503, body)
			}
			return state(200, body)
		}),
	}
}

// Doors are where engines say that they live, and clients look before they begin. A configured route of such a path, or a
// route of everything, goes before them.
func (o *Ops) Doors() []Route { return []Route{get("/health", o.live), get("/ping", o.live)} }

// AdminPages are those that ADMIN_ADDR moves to a listener of their own.
func (o *Ops) AdminPages() []Route {
	pages := append(o.dashboardPages(), get("/metrics", o.metrics), Route{Path: "/cachez", Methods: []string{"GET", "DELETE"}, Reply: o.cachez}, get("/usagez", o.usagez))
	for i := range pages {
		pages[i].Operators = true
	}
	return pages
}

func (o *Ops) live(*Request) Page { return state(200, marshal(map[string]bool{"ok": true})) }

func (o *Ops) metrics(*Request) Page {
	var b bytes.Buffer
	o.options.Metrics.WritePrometheus(&b)
	return Page{Status: 200, Type: "text/plain; version=0.0.4; charset=utf-8", Body: b.Bytes()}
}

func get(path string, reply func(*Request) Page) Route {
	return Route{Path: path, Methods: []string{"GET"}, Reply: reply}
}

// state is a page about this moment.
func state(status int, body []byte) Page {
	return Page{Status: status, Type: "application/json", Fields: []Field{{"Cache-Control", "no-store"}}, Body: body}
}

// faulty is a page that is not there.
func faulty(status int, f Fault) Page { return Page{Status: status, Fault: &f} }

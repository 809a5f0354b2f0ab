package config

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// The file of -config. The YAML library yields the tree; the walk over it is
// ours, because a decoder stops at the first fault and forgets the lines.

// filePool is a pool as the file states it, and where.
type filePool struct {
	Pool
	where string
}

// fileRoute is a route of the file, and where it stands.
type fileRoute struct {
	Route
	where string
}

// reference is where the file names a pool.
type reference struct{ where, pool string }

// node is one value of the file.
type node struct {
	draft *draft
	body  ast.Node // nil: no value
	file  string
	line  int
	path  string // "pools.llm.upstreams[0].url"
	place string // the same without numbers and names: "pools.*.upstreams[].url"
	depth int    // how many aliases have led here

	secret bool // it is the value of a setting that is

	schema *schema // nil: the file is read; else what may stand here is noted, and nothing is read
}

// parseFile reads the text of the file into the draft.
func (d *draft) parseFile(name string, text []byte) {
	text = bytes.TrimPrefix(text, []byte("\ufeff")) // a byte order mark, from editors of Windows
	tree, err := parser.ParseBytes(text, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		d.fault(syntaxFault(name, text, err))
		return
	}
	root := node{draft: d, file: name, line: 1}
	for _, doc := range tree.Docs {
		_, directive := doc.Body.(*ast.DirectiveNode) // %YAML: of the version, which changes nothing here
		switch {
		case doc.Body == nil, directive && root.body == nil:
		case root.body != nil:
			root.line = doc.Body.GetToken().Position.Line
			root.fault("a second document begins here; the file has one")
			return
		default:
			root.body = doc.Body
		}
	}
	if root.body != nil {
		ast.Walk(&d.anchors, root.body)
	}
	readSettings(root)
}

// syntaxFault says where and what, without the library's excerpt of the file,
// which could show a secret.
func syntaxFault(name string, text []byte, err error) (where, what string) {
	at, ok := errors.AsType[yaml.Error](err)
	if !ok || at.GetToken() == nil {
		return name, "is not YAML"
	}
	message, _, _ := strings.Cut(at.GetMessage(), `: "`) // what follows is of the file, too
	line := at.GetToken().Position.Line
	return fmt.Sprintf("%s:%d", name, line), "is not YAML: " + hintOfSyntax(text, line, message)
}

func readSettings(n node) {
	known := map[string]func(node){"pools": readPools, "routes": readRoutes, "models": readModels,
		"tokens": func(n node) { n.draft.settings.Tokens = readTokens(n) },
		"cors":   func(n node) { n.draft.settings.CORS = readCORS(n) }}
	for _, s := range declarations() {
		known[strings.ToLower(s.name)] = func(n node) {
			if n.schema != nil {
				n.schema.setting(n.draft, s)
				return
			}
			n.secret = s.secret
			n.draft.set(s, n.where(), value{n.listText(), byFile})
		}
	}
	if n.schema != nil {
		n.schema.object(n, known)
		n.schema.Patterns = map[string]*schema{"^x-": {}}
		return
	}
	n.entries(func(key string, n node) {
		if strings.HasPrefix(key, "x-") {
			return // a place for what is named with & and used elsewhere, as in compose files
		}
		n.known(key, known)
	})
}

func readPools(n node) {
	n.entries(func(name string, n node) {
		if !poolName(name) {
			n.fault(`the name of a pool is of letters, digits, ".", "_" and "-", begins with a letter or digit and has at most 63`)
		}
		n.place = "pools.*"
		p := &filePool{Pool: Pool{Name: name}, where: n.where()}
		readPool(n, &p.Pool)
		n.draft.pools = append(n.draft.pools, p)
	})
}

// poolName accepts what can be a metric label and a YAML key without quotes.
func poolName(name string) bool {
	return wordOf(name) && len(name) <= 63 && !strings.Contains("._-", name[:1])
}

func readPool(n node, p *Pool) {
	n.fields(map[string]func(node){
		"upstreams": func(n node) { p.Upstreams = readUpstreams(n) },
		"balance":   to(&p.Balance, balance),
		"hash":      func(n node) { readHash(n, &p.Hash) },
		"fallback":  func(n node) { p.Fallback = readReference(n) },
		"queue": func(n node) {
			n.fields(map[string]func(node){
				"size": to(&p.Queue.Size, integer(1, maxQueue, "number of requests")),
				"wait": to(&p.Queue.Wait, duration(minDuration)),
			})
		},
		"waiting_room": func(n node) { readWaitingRoom(n, &p.WaitingRoom) },
		"max_inflight": to(&p.MaxInflight, integer(1, maxInflight, "number of requests")),
		"hedge":        to(&p.Hedge, duration(minDuration)),
		"refusals":     func(n node) { p.Refusals = readRefusals(n) },
		"discover":     to(&p.Discover, onOff),
		"usage":        to(&p.Usage, usage),
		"engine":       to(&p.Engine, engine),
		"tls":          func(n node) { readTLS(n, &p.TLS) },
		"credential":   func(n node) { readCredential(n, &p.Credential) },
		"health": func(n node) {
			n.fields(map[string]func(node){
				"path":     to(&p.Health.Path, plainPath),
				"interval": to(&p.Health.Interval, duration(minInterval)),
			})
		},
		"timeouts": func(n node) {
			n.fields(map[string]func(node){
				"connect":  to(&p.Timeouts.Connect, duration(minDuration)),
				"response": to(&p.Timeouts.Response, duration(minDuration)),
				"idle":     to(&p.Timeouts.Idle, duration(minDuration)),

				"first_token": to(&p.Timeouts.FirstToken, duration(minDuration)),
				"inter_token": to(&p.Timeouts.InterToken, duration(minDuration)),
			})
		},
	})
}

// readWaitingRoom reads the bounds of a waiting room. To name it is to want it.
func readWaitingRoom(n node, r *WaitingRoom) {
	*r = WaitingRoom{Size: 1000, Wait: time.Minute}
	n.fields(map[string]func(node){
		"size": to(&r.Size, integer(1, maxRoom, "number of requests")),
		"wait": to(&r.Wait, duration(minDuration)),
		"wake": to(&r.Wake, wakeURL),
	})
}

// readRefusals reads the statuses that say that nothing was executed; an empty list is none.
func readRefusals(n node) []int {
	if n.empty() {
		return nil
	}
	list := []int{}
	n.items(func(n node) {
		var status int
		to(&status, refusal)(n)
		if status != 0 && slices.Contains(list, status) {
			n.fault(strconv.Itoa(status) + " is named twice")
		}
		list = append(list, status)
	})
	slices.Sort(list)
	return list
}

// readHash reads what requests are hashed by: a header or a query parameter has a name, the others none.
func readHash(n node, h *Hash) {
	before := len(n.draft.faults)
	n.fields(map[string]func(node){
		"by":   to(&h.By, hashBy),
		"name": to(&h.Name, hashName),
	})
	switch named := h.By == HashHeader || h.By == HashQuery; {
	case len(n.draft.faults) > before:
	case h.By == "":
		n.fault("needs by: client, header, query or path")
	case named && h.Name == "":
		n.fault("needs the name of the " + string(h.By) + " to go by")
	case !named && h.Name != "":
		n.fault("has a name, but " + string(h.By) + " needs none")
	case h.By == HashHeader:
		h.Name = strings.ToLower(h.Name)
	}
}

// readTLS reads how upstreams prove who they are. The file of certificates is read now, so that what is wrong
// with it is known before the first request.
func readTLS(n node, t *UpstreamTLS) {
	n.fields(map[string]func(node){
		"ca_file": func(n node) {
			if t.CAFile = n.text(); t.CAFile == "" {
				return
			}
			text, err := n.draft.read(t.CAFile)
			if err != nil {
				n.fault("cannot be read: " + err.Error())
				return
			}
			if t.Authorities = string(text); !x509.NewCertPool().AppendCertsFromPEM(text) {
				n.fault(fmt.Sprintf("%q holds no certificate in PEM", t.CAFile))
			}
		},
		"server_name": to(&t.ServerName, serverName),
	})
}

// readUpstreams returns nil only if the file states no list, not for a bad one.
func readUpstreams(n node) []Upstream {
	if n.empty() {
		return nil
	}
	list, before := []Upstream{}, len(n.draft.faults)
	n.items(func(n node) {
		u, before := Upstream{Weight: 1}, len(n.draft.faults)
		n.fields(map[string]func(node){
			"url":    to(&u.URL, upstreamURL),
			"weight": to(&u.Weight, integer(1, 1000, "weight")),
		})
		switch {
		case len(n.draft.faults) > before:
		case u.URL == nil:
			n.fault("needs a url")
		case named(list, u.URL):
			n.fault(errTwice(u.URL).Error())
		default:
			list = append(list, u)
		}
	})
	if len(list) == 0 && len(n.draft.faults) == before {
		n.fault("needs at least one upstream")
	}
	return list
}

func readRoutes(n node) {
	n.items(func(n node) {
		r, before := fileRoute{where: n.where()}, len(n.draft.faults)
		readRoute(n, &r.Route)
		switch {
		case len(n.draft.faults) > before:
		case r.Path == "":
			n.fault("needs a path")
		case r.Pool == "":
			n.fault("needs a pool, whose upstreams answer it")
		}
		n.draft.routes = append(n.draft.routes, r)
	})
}

func readRoute(n node, r *Route) {
	n.fields(map[string]func(node){
		"path":     to(&r.Path, pattern),
		"methods":  func(n node) { r.Methods = readMethods(n) },
		"pool":     func(n node) { r.Pool = readReference(n) },
		"fallback": func(n node) { r.Fallback = readReference(n) },
		"rewrite":  to(&r.Rewrite, pattern),
		"retry":    to(&r.Retry, retry),
		"cache":    func(n node) { readCache(n, &r.Cache) },
		"limit":    func(n node) { readLimit(n, &r.Limit) },
		"cors":     func(n node) { r.CORS = readCORS(n) },
	})
}

// readLimit reads a route's own limit: its rate and its burst, or what a request costs, or both.
func readLimit(n node, l *Limit) {
	var rps *float64
	before := len(n.draft.faults)
	n.fields(map[string]func(node){
		"client_rps":   to(&rps, func(text string) (*float64, error) { v, err := rate(text); return &v, err }),
		"client_burst": to(&l.ClientBurst, burst),
		"cost":         to(&l.Cost, integer(1, 1_000_000, "number of tokens")),
	})
	switch {
	case len(n.draft.faults) > before:
	case (rps == nil) != (l.ClientBurst == 0):
		n.fault("client_rps and client_burst go together")
	case rps != nil:
		l.ClientRPS = *rps
	}
}

// readReference reads the name of a pool, which may stand further down.
func readReference(n node) string {
	name := n.text()
	if name != "" {
		n.draft.references = append(n.draft.references, reference{n.where(), name})
	}
	return name
}

func readMethods(n node) []string {
	var list []string
	n.items(func(n node) {
		var m string
		to(&m, method)(n)
		if m != "" && slices.Contains(list, m) {
			n.fault(m + " is named twice")
		}
		list = append(list, m)
	})
	slices.Sort(list)
	return list
}

// to makes the reader of a field that holds one plain value. A field without
// a value is not stated and keeps what it has.
func to[T any](field *T, parse func(string) (T, error)) func(node) {
	return func(n node) {
		if n.schema != nil {
			_, err := parse(noValue)
			n.schema.taken(err)
			return
		}
		text := n.text()
		if text == "" {
			return
		}
		v, err := parse(text)
		n.draft.faultErr(n.where(), err)
		if err == nil {
			*field = v
		}
	}
}

// where is the beginning of a fault: "gateway.yaml:12: routes[1].path".
func (n node) where() string {
	where := n.file + ":" + strconv.Itoa(n.line)
	if n.path != "" {
		where += ": " + n.path
	}
	return where
}

func (n node) fault(what string) { n.draft.fault(n.where(), what) }

// empty tells whether the file states a key without a value: "pools:".
func (n node) empty() bool {
	_, null := n.body.(*ast.NullNode)
	return n.schema == nil && (null || n.body == nil)
}

// fields reads a mapping whose keys are known, each at most once.
func (n node) fields(known map[string]func(node)) {
	if n.schema != nil {
		n.schema.object(n, known)
		return
	}
	n.entries(func(key string, n node) { n.known(key, known) })
}

// known reads the value of a key, if it is one of those that are known.
func (n node) known(key string, known map[string]func(node)) {
	if read := known[key]; read != nil {
		read(n)
		return
	}
	n.fault("there is no such key here; " + meant(n.place, key, slices.Sorted(maps.Keys(known))))
}

// fewKeys are as many as a fault lists.
const fewKeys = 20

// meant says what is to be written in place of a key that is not there.
func meant(place, key string, known []string) string {
	if hint := hintOfKey(place); hint != "" {
		return hint
	}
	near := nearest(strings.ToLower(key), known)
	switch few := len(known) <= fewKeys; {
	case near != "" && few:
		return "did you mean " + near + "? There are " + strings.Join(known, ", ")
	case near != "":
		return "did you mean " + near + "?"
	case few:
		return "there are " + strings.Join(known, ", ")
	}
	return "gateway -print-config shows all that there are"
}

// entries reads a mapping with keys of any name, each once.
func (n node) entries(read func(key string, n node)) {
	if n.schema != nil {
		n.schema.mapping(n, read)
		return
	}
	if n.empty() {
		return
	}
	pairs, ok := n.pairs()
	if !ok {
		return
	}
	seen := map[string]int{}
	for _, p := range pairs {
		if line := seen[p.key]; line > 0 {
			p.child.fault(fmt.Sprintf("stands here a second time; the first is in line %d", line))
			continue
		}
		seen[p.key] = p.child.line
		read(p.key, p.child)
	}
}

// items reads a list.
func (n node) items(read func(node)) {
	if n.schema != nil {
		n.schema.list(n, read)
		return
	}
	if n.empty() {
		return
	}
	n, ok := n.resolved()
	if !ok {
		return
	}
	list, ok := n.body.(*ast.SequenceNode)
	if !ok {
		n.unlike("is not a list")
		return
	}
	for i, item := range list.Values {
		child := n
		child.body, child.path, child.place = item, fmt.Sprintf("%s[%d]", n.path, i), n.place+"[]"
		if item != nil {
			child.line = item.GetToken().Position.Line
		}
		read(child)
	}
}

// unlike is the fault of a value of another form than its place wants, with an example.
func (n node) unlike(what string) {
	if example := examples[n.place]; example != "" {
		what += ", such as " + example
	}
	n.fault(what)
}

// text reads one plain value as it is written; "" when there is none.
func (n node) text() string {
	if n.schema != nil {
		n.schema.scalar()
		return ""
	}
	if n.empty() {
		return ""
	}
	n, ok := n.resolved()
	if !ok || n.empty() {
		return ""
	}
	switch body := n.body.(type) {
	case *ast.LiteralNode:
		return body.Value.Value
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return body.GetToken().Value
	}
	n.fault("is not one plain value")
	return ""
}

// listText reads one plain value or a list of them, which is another way to
// write commas.
func (n node) listText() string {
	value, ok := n.resolved()
	if !ok {
		return ""
	}
	if n = value; !n.isList() {
		return n.text()
	}
	var texts []string
	n.items(func(n node) { texts = append(texts, n.text()) })
	return strings.Join(texts, ",")
}

func (n node) isList() bool {
	_, ok := n.body.(*ast.SequenceNode)
	return ok
}

// quoteKey keeps a fault on its one line whatever the file calls its keys.
func quoteKey(key string) string {
	if wordOf(key) {
		return key
	}
	return strconv.Quote(key)
}

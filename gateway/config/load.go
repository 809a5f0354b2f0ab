package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

// A source is where a value comes from; each beats the one before.
type source string

const (
	byDefault source = "default"
	byDemo    source = "demo"
	byFile    source = "file"
	byEnviron source = "environment"
)

// A value is what an operator wrote for one setting.
type value struct {
	text string // trimmed
	from source
}

// given is what the settings were made from.
type given struct {
	values map[string]value // by variable name; each setting has one
	pools  map[string]Pool  // as the file states them: a zero field is one it does not state
}

// upstreamsFrom tells who decided on a pool's upstreams: the environment,
// then the pool in the file, then the variable in the file or its default.
func (g given) upstreamsFrom(pool string) source {
	s, builtin := variable(pool)
	from := g.values[s.name].from
	if !builtin || from != byEnviron && g.pools[pool].Upstreams != nil {
		return byFile
	}
	return from
}

// draft is Settings in the making.
type draft struct {
	settings    *Settings
	read        func(name string) ([]byte, error)
	services    map[string][]Upstream // by built-in pool: what its variable says
	pools       []*filePool
	routes      []fileRoute
	models      []fileModel
	references  []reference
	anchors     anchors
	merged      int                           // how many keys merge keys have brought in
	credentials []func(env map[string]string) // what reads them, once the environment is known
	faults      []string
	warnings    []string
}

// Load reads the settings: file over default, environment over file. It
// returns them with warnings for what is allowed but odd, or a *Faults that
// holds everything that is wrong.
func Load(in Input) (*Settings, []string, error) {
	d := &draft{
		settings: &Settings{Tokens: Tokens{1, 1, 1}, given: given{values: map[string]value{}, pools: map[string]Pool{}}},
		services: map[string][]Upstream{},
	}
	d.readDefaults()
	d.readDemo(in.Demo)
	d.readFile(in)
	d.readEnviron(in.Environ)
	d.makePools()
	d.makeRoutes()
	d.check()
	d.checkTLS(in.ReadFile)
	d.checkRedis(in.ReadFile)
	d.readKeys(in)
	if len(d.faults) > 0 {
		return nil, nil, &Faults{List: d.faults}
	}
	return d.settings, d.warnings, nil
}

func (d *draft) readDefaults() {
	for _, s := range declarations() {
		d.settings.given.values[s.name] = value{from: byDefault}
		d.set(s, "BUG: default of "+s.name, value{s.standard, byDefault})
	}
}

func (d *draft) readDemo(demo map[string]string) {
	unknown := maps.Clone(demo)
	for _, s := range declarations() {
		d.set(s, "-demo: "+s.name, value{demo[s.name], byDemo})
		delete(unknown, s.name)
	}
	for _, name := range slices.Sorted(maps.Keys(unknown)) {
		d.fault("-demo: "+name, "there is no such setting")
	}
}

func (d *draft) readFile(in Input) {
	if in.File == "" {
		if in.DemoFile != "" {
			d.parseFile("-demo", []byte(in.DemoFile))
		}
		return
	}
	d.read = in.ReadFile
	if d.read == nil {
		d.read = os.ReadFile
	}
	text, err := d.read(in.File)
	if why := (*fs.PathError)(nil); errors.As(err, &why) {
		err = why.Err // without the path a second time
	}
	if err != nil {
		d.fault("-config", fmt.Sprintf("cannot read %q: %v", in.File, err))
		return
	}
	d.parseFile(in.File, text)
}

func (d *draft) readEnviron(environ []string) {
	env := map[string]string{}
	for _, entry := range environ {
		name, text, _ := strings.Cut(entry, "=")
		if _, twice := env[name]; !twice { // the first counts, as for os.Getenv
			env[name] = text
		}
	}
	for _, s := range declarations() {
		d.set(s, s.name, value{env[s.name], byEnviron})
	}
	for _, read := range d.credentials {
		read(env)
	}
	d.warnMisspelled(env)
}

// warnMisspelled names variables that are called almost like a setting. Others are somebody else's.
func (d *draft) warnMisspelled(env map[string]string) {
	var names []string
	for _, s := range declarations() {
		names = append(names, s.name)
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		const short, slip = 8, 2      // letters: shorter names are like each other by chance
		const other = "SSL_CERT_FILE" // of crypto/x509
		if env[name] == "" || len(name) < short || name == other || slices.Contains(names, name) {
			continue
		}
		if near := nearest(name, names); near != "" && env[near] == "" && slips(name, near) <= slip {
			d.warnings = append(d.warnings, fmt.Sprintf("%s: is set, but there is no such setting; did you mean %s?", name, near))
		}
	}
}

// set puts a value into the draft, over the one before. An empty one is unset
// and changes nothing; a bad one is a fault at where, though a later source
// may hide it: what is wrong today is in force tomorrow.
func (d *draft) set(s setting, where string, v value) {
	v.text = strings.TrimSpace(v.text)
	if v.text == "" {
		return
	}
	d.settings.given.values[s.name] = v
	d.faultErr(where, s.read(d, v.text))
}

func (d *draft) fault(where, what string) {
	d.faults = append(d.faults, where+": "+what)
}

// faultErr records an error; joined ones each for themselves.
func (d *draft) faultErr(where string, err error) {
	if err == nil {
		return
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		d.fault(where, err.Error())
		return
	}
	for _, one := range joined.Unwrap() {
		d.fault(where, one.Error())
	}
}

// makePools joins the built-in pools and those of the file.
func (d *draft) makePools() {
	s := d.settings
	for _, p := range d.pools {
		s.given.pools[p.Name] = p.Pool
	}
	made := maps.Clone(s.given.pools)
	for name, p := range made {
		p.Explicit = true
		made[name] = p
	}
	for _, b := range declarations() {
		v := s.given.values[b.name]
		p, inFile := made[b.pool]
		if b.pool == "" || v.text == "" && !inFile {
			continue
		}
		p.Name = b.pool
		p.Explicit = inFile || v.from != byDefault
		if s.given.upstreamsFrom(p.Name) == v.from {
			p.Upstreams = d.services[p.Name]
		}
		made[p.Name] = p
	}
	generates := d.generatingPools()
	for _, name := range slices.Sorted(maps.Keys(made)) {
		p := made[name]
		if d.hasEngines(name) {
			p.Health = p.Health.ofEngine()
		}
		if s.given.values["RESPONSE_TIMEOUT"].from == byDefault {
			p.Timeouts.Generation = cmp.Or(p.Timeouts.Response, generationTimeout)
		}
		if generates[name] {
			p.Timeouts.Response = cmp.Or(p.Timeouts.Response, p.Timeouts.Generation)
		}
		s.Pools = append(s.Pools, s.complete(p))
	}
}

// What generations need unless the operator says otherwise: engines answer whole ones at once, for which the OpenAI SDKs
// wait ten minutes, and take recordings of 25 MB.
const (
	generationTimeout = 10 * time.Minute
	generationBody    = 64 << 20
)

// generatingPools are those to which nothing but OpenAI's API leads: llm, and those of routes below /v1 in the file alone.
func (d *draft) generatingPools() map[string]bool {
	pools := map[string]bool{"llm": true}
	for _, m := range d.models {
		pools[m.Pool] = true
	}
	for _, r := range d.routes {
		if isGenerating(r.Path) {
			pools[r.Pool], pools[r.Fallback] = true, true
		}
	}
	pools["python"], pools["node"] = false, false // of /infer
	for _, r := range d.routes {
		if !isGenerating(r.Path) {
			pools[r.Pool], pools[r.Fallback] = false, false
		}
	}
	return pools
}

// isGenerating tells whether OpenAI's API is below the path of a route.
func isGenerating(path string) bool { return strings.HasPrefix(path, "/v1/") }

// hasEngines tells whether a pool is of engines: llm, and those that models lead to.
func (d *draft) hasEngines(pool string) bool {
	return pool == "llm" || slices.ContainsFunc(d.models, func(m fileModel) bool { return m.Pool == pool })
}

// ofEngine is where engines are asked for their health, unless the operator says where: vLLM and its like have the first page,
// some that speak like them the other.
func (h Health) ofEngine() Health {
	h.Path = cmp.Or(h.Path, "/health")
	if h.Path == "/health" {
		h.Else = "/healthz"
	}
	return h
}

// complete fills in what nobody stated of a pool.
func (s *Settings) complete(p Pool) Pool {
	p.Balance = cmp.Or(p.Balance, P2C)
	if p.Balance == ByHash {
		p.Hash.By = cmp.Or(p.Hash.By, HashClient)
	}
	if p.Balance == ByPrefix {
		p.Engine = cmp.Or(p.Engine, AutoEngine)
	}
	p.Engine = cmp.Or(p.Engine, NoEngine)
	p.MaxInflight = cmp.Or(p.MaxInflight, maxInflight)
	p.Queue.Size = cmp.Or(p.Queue.Size, 64)
	p.Queue.Wait = cmp.Or(p.Queue.Wait, time.Second)
	if p.Name == "llm" {
		p.Discover = cmp.Or(p.Discover, "on")
	}
	p.Discover = cmp.Or(p.Discover, "off")
	if p.Refusals == nil {
		p.Refusals = []int{429, 503}
	}
	p.Health.Path = cmp.Or(p.Health.Path, "/healthz")
	p.Health.Interval = cmp.Or(p.Health.Interval, 5*time.Second)
	p.Timeouts.Connect = cmp.Or(p.Timeouts.Connect, s.ConnectTimeout)
	p.Timeouts.Response = cmp.Or(p.Timeouts.Response, s.ResponseTimeout)
	p.Timeouts.Generation = cmp.Or(p.Timeouts.Generation, p.Timeouts.Response)
	p.Timeouts.Idle = cmp.Or(p.Timeouts.Idle, s.IdleTimeout)
	return p
}

// makeRoutes joins the routes of the file and the built-in ones whose paths
// it leaves alone, in the order in which they match.
func (d *draft) makeRoutes() {
	for _, r := range d.routes {
		d.settings.Routes = append(d.settings.Routes, r.Route)
	}
	engines := d.settings.pool("llm") != nil
	for _, r := range builtinRoutes(d.settings) {
		// Without engines, "/version" and its like are those of who is behind "/*".
		wins := func(of fileRoute) bool { return of.Path == r.Path || of.Path == "/*" && r.OpenAI && !engines }
		if !slices.ContainsFunc(d.routes, wins) {
			d.settings.Routes = append(d.settings.Routes, r)
		}
	}
	for i := range d.settings.Routes {
		r := &d.settings.Routes[i]
		r.OpenAI = r.OpenAI || isGenerating(r.Path)
		if r.OpenAI || r.Path == "/infer" || strings.HasPrefix(r.Path, "/infer/") {
			r.Retry = cmp.Or(r.Retry, RetrySafe)
		}
		r.MaxBodyBytes = d.settings.MaxBodyBytes
		if r.CORS == nil {
			r.CORS = d.settings.CORS
		}
		if r.OpenAI && d.settings.given.values["MAX_BODY_BYTES"].from == byDefault {
			r.MaxBodyBytes = generationBody
		}
	}
	slices.SortStableFunc(d.settings.Routes, matchOrder)
}

// matchOrder puts the longest literal path first, and of two equals the exact
// one, so that the first route that matches is the most specific.
func matchOrder(a, b Route) int {
	literal := func(r Route) string { return strings.TrimSuffix(r.Path, "*") }
	return cmp.Or(
		cmp.Compare(len(literal(b)), len(literal(a))),
		cmp.Compare(len(a.Path), len(b.Path)),
		cmp.Compare(a.Path, b.Path),
	)
}

// IsDefault tells whether nobody has set a setting, by its variable's name.
func (s *Settings) IsDefault(name string) bool { return s.given.values[name].from == byDefault }

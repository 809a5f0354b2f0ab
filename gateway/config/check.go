package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Operations are the paths at which the gateway shows itself. A file route
// may not take them; "/*" may stand behind them.
func Operations() []string {
	return []string{"/", "/healthz", "/livez", "/readyz", "/cachez", "/metrics", "/usagez",
		"/dashboard", "/dashboard/data",
		"/dashboard/app.js", "/dashboard/charts.js", "/dashboard/generations.js", "/dashboard/app.css"}
}

// check finds what is wrong between settings that are each fine alone.
func (d *draft) check() {
	for _, r := range d.references {
		d.checkReference(r)
	}
	for _, p := range d.pools {
		d.checkPool(*p)
	}
	for i, r := range d.routes {
		d.checkRoute(r)
		first := slices.IndexFunc(d.routes, func(of fileRoute) bool { return of.Path == r.Path })
		if r.Path != "" && first < i {
			d.fault(r.where, fmt.Sprintf("the path %q has a route already, routes[%d]", r.Path, first))
		}
	}
	d.checkModels()
	d.checkAdmin()
	if s := d.settings; s.BodyBufferTotal > 0 && s.BodyBuffer > s.BodyBufferTotal {
		d.fault("BODY_BUFFER_TOTAL", "is less than BODY_BUFFER; not one long body could be held")
	}
	d.warnProxies()
	d.warnUnusedPools()
	d.warnLimits()
	d.warnUnread()
}

// checkAdmin refuses two listeners on one port: the main one listens on every address.
func (d *draft) checkAdmin() {
	_, port, _ := strings.Cut(d.settings.Admin.Addr, ":")
	if i := strings.LastIndexByte(port, ':'); i >= 0 { // an IPv6 address has more of them
		port = port[i+1:]
	}
	if port != "" && port == strconv.Itoa(d.settings.Port) {
		d.fault("ADMIN_ADDR", "has the port of PORT; it needs one of its own")
	}
}

func (d *draft) checkPool(p filePool) {
	s, builtin := variable(p.Name)
	v := d.settings.given.values[s.name]
	switch {
	case p.Upstreams == nil && !builtin:
		d.fault(p.where, "needs upstreams")
	case p.Upstreams == nil && v.text == "":
		d.fault(p.where, "needs upstreams, here or in "+s.name)
	case p.Upstreams != nil && v.from == byFile:
		d.fault(p.where+".upstreams", "are named by "+strings.ToLower(s.name)+" as well; neither can be said to win")
	}
	if balance := cmp.Or(p.Balance, P2C); p.Hash != (Hash{}) && balance != ByHash {
		d.fault(p.where+".hash", "is for balance: hash, but the balance is "+string(balance))
	}
	if p.TLS != (UpstreamTLS{}) && !speaksTLS(d.settings.pool(p.Name)) {
		d.fault(p.where+".tls", "is for https upstreams, but the pool has none")
	}
	if made := d.settings.pool(p.Name); made != nil && made.Timeouts.Response > 0 && made.Hedge >= made.Timeouts.Response {
		d.fault(p.where+".hedge", fmt.Sprintf("is %s, but an answer has no more than %s to begin, by timeouts.response or RESPONSE_TIMEOUT",
			short(made.Hedge), short(made.Timeouts.Response)))
	}
	circle := d.settings.circle(p.Name)
	if len(circle) > 0 && slices.Min(circle) == p.Name { // once, not once a member
		d.fault(p.where+".fallback", "leads in a circle: "+strings.Join(append(circle, p.Name), " → "))
	}
}

func speaksTLS(p *Pool) bool {
	return slices.ContainsFunc(p.Upstreams, func(u Upstream) bool { return u.URL.Scheme == "https" })
}

func (d *draft) checkRoute(r fileRoute) {
	if r.Fallback != "" && r.Fallback == r.Pool {
		d.fault(r.where+".fallback", fmt.Sprintf("%q is the route's own pool", r.Fallback))
	}
	if slices.Contains(Operations(), r.Path) {
		d.fault(r.where+".path", fmt.Sprintf("%q is the gateway's own page, which no route may take; choose another path", r.Path))
	}
	if r.Path != "" && r.Rewrite != "" && isPrefix(r.Path) != isPrefix(r.Rewrite) {
		d.fault(r.where+".rewrite", fmt.Sprintf(`%q and the path %q must either both end in "/*" or neither`, r.Rewrite, r.Path))
	}
	d.checkPost(&r)
}

// checkReference refuses the name of a pool that is not there.
func (d *draft) checkReference(r reference) {
	if d.settings.pool(r.pool) != nil {
		return
	}
	what := fmt.Sprintf("there is no pool %q", r.pool)
	var names []string
	for _, p := range d.settings.Pools {
		names = append(names, p.Name)
	}
	s, builtin := variable(r.pool)
	switch near := nearest(r.pool, names); {
	case builtin:
		what += "; " + s.name + " is unset"
	case near != "":
		what += "; did you mean " + near + "?"
	case len(names) <= fewKeys:
		what += "; there are " + strings.Join(names, ", ")
	}
	d.fault(r.where, what)
}

// pool returns the pool of that name, or nil.
func (s *Settings) pool(name string) *Pool {
	i := slices.IndexFunc(s.Pools, func(p Pool) bool { return p.Name == name })
	if i < 0 {
		return nil
	}
	return &s.Pools[i]
}

// circle returns the pools on the way from one back to itself over the
// fallbacks; none if the way ends or never comes back.
func (s *Settings) circle(name string) []string {
	var way []string
	for at := s.pool(name); at != nil && !slices.Contains(way, at.Name); at = s.pool(at.Fallback) {
		way = append(way, at.Name)
		if at.Fallback == name {
			return way
		}
	}
	return nil
}

// warnProxies names the prefixes with which any peer could call itself any client.
func (d *draft) warnProxies() {
	for _, p := range d.settings.TrustedProxies {
		if p.Bits() == 0 {
			d.warnings = append(d.warnings, fmt.Sprintf(
				"TRUSTED_PROXIES: with %v every client can name its own address in X-Forwarded-For", p))
		}
	}
}

// warnLimits names a client's limit that the global one makes pointless.
func (d *draft) warnLimits() {
	r := d.settings.RateLimit
	if r.Enabled && (r.ClientRPS > r.GlobalRPS || r.ClientBurst > r.GlobalBurst) {
		d.warnings = append(d.warnings, fmt.Sprintf(
			"CLIENT_RPS and CLIENT_BURST (%v, %d) exceed GLOBAL_RPS and GLOBAL_BURST (%v, %d): one client can take everything",
			r.ClientRPS, r.ClientBurst, r.GlobalRPS, r.GlobalBurst))
	}
}

// warnUnread names the ways to engines past what budgets say: tokens are counted at the paths of the API.
func (d *draft) warnUnread() {
	if !d.settings.CountsTokens() {
		return
	}
	for _, r := range d.routes {
		if d.hasEngines(r.Pool) && !strings.Contains(r.Path, "/v1/") && !strings.Contains(r.Rewrite, "/v1/") {
			d.warnings = append(d.warnings, fmt.Sprintf(
				"%s.path: by %s, engines can be asked past the limits of tokens, which are counted where they are asked at the paths of the API", r.where, r.Path))
		}
	}
}

func (d *draft) warnUnusedPools() {
	used := map[string]bool{"": true}
	use := func(name string) {
		for !used[name] { // a circle ends here too
			used[name] = true
			if p := d.settings.pool(name); p != nil {
				name = p.Fallback
			}
		}
	}
	for _, r := range d.settings.Routes {
		use(r.Pool)
		use(r.Fallback)
	}
	for _, m := range d.models {
		use(m.Pool)
	}
	for _, p := range d.settings.Pools {
		if p.Explicit && !used[p.Name] {
			d.warnings = append(d.warnings, fmt.Sprintf("pool %s: no route and no model uses it", p.Name))
		}
	}
}

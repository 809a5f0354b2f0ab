package config

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// Table is the settings as a Markdown table, for the README. It marks what a reload cannot change.
func Table() string {
	var b strings.Builder
	b.WriteString("| variable | default | |\n|---|---|---|\n")
	for _, s := range declarations() {
		standard := "unset"
		if s.standard != "" {
			standard = "`" + s.standard + "`"
		}
		meaning := s.meaning
		if s.restart {
			meaning += " *(restart)*"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", s.name, standard, meaning)
	}
	return b.String()
}

// Print writes what is in force in the form of the file, each line with its
// source. Loaded as a file, it makes the same settings: what a file cannot
// say (the built-in pools and routes, secrets) is in comments.
func (s *Settings) Print(w io.Writer) {
	p := &page{settings: s}
	for _, one := range declarations() {
		p.setting(one)
	}
	p.live("pools:", "")
	for _, pool := range s.Pools {
		p.pool(pool)
	}
	if len(s.Models) > 0 {
		p.live("models:", "")
	}
	for _, m := range s.Models {
		p.live(m.line(), byFile)
	}
	if line := s.Tokens.line(); line != "" {
		p.live(line, byFile)
	}
	if cors := s.CORS.fields(); cors != "" {
		p.live("cors: {"+cors+"}", byFile)
	}
	p.live("routes:", "")
	for _, r := range s.Routes {
		p.route(r)
	}
	_, _ = w.Write(p.Bytes()) // a closed stdout is not ours to report
}

// page is the output of Print in the making.
type page struct {
	bytes.Buffer
	settings *Settings
}

// live writes a line that the file form reads, note one that it does not.
func (p *page) live(line string, from source) {
	if from == "" {
		fmt.Fprintln(p, line)
		return
	}
	fmt.Fprintf(p, "%-60s # %s\n", line, from)
}

func (p *page) note(line string, from source) { p.live("# "+line, from) }

func (p *page) setting(s setting) {
	v := p.settings.given.values[s.name]
	write, text := p.live, scalar(v.text)
	if s.pool != "" && (v.from == byDefault || v.from != p.settings.given.upstreamsFrom(s.pool)) {
		write = p.note // as a live line it would make the pool explicit, or contradict it
	}
	if s.loose && v.from == byDefault {
		write = p.note
	}
	if s.secret && v.text != "" {
		write, text = p.note, "********"
	}
	write(strings.ToLower(s.name)+": "+text, v.from)
}

func (p *page) pool(pool Pool) {
	stated, write, upstreams := p.settings.given.pools[pool.Name], p.live, p.live
	from := p.settings.given.upstreamsFrom(pool.Name)
	if stated.Upstreams == nil || from != byFile {
		upstreams = p.note // they come from the variable
	}
	if !pool.Explicit {
		write, upstreams = p.note, p.note
	}
	write("  "+pool.Name+":", "")
	upstreams("    upstreams:", from)
	for _, u := range pool.Upstreams {
		upstreams(fmt.Sprintf("      - {url: %q, weight: %d}", u.URL, u.Weight), from)
	}
	write("    balance: "+string(pool.Balance), either(stated.Balance, byDefault))
	if pool.Hash.By != "" {
		text := "by: " + string(pool.Hash.By)
		if pool.Hash.Name != "" {
			text += ", name: " + strconv.Quote(pool.Hash.Name)
		}
		write("    hash: {"+text+"}", either(stated.Hash, byDefault))
	}
	if pool.Engine != NoEngine || stated.Engine != "" {
		write("    engine: "+string(pool.Engine), either(stated.Engine, byDefault))
	}
	if pool.Fallback != "" {
		write("    fallback: "+strconv.Quote(pool.Fallback), byFile)
	}
	write("    health:", "")
	write("      path: "+strconv.Quote(pool.Health.Path), either(stated.Health.Path, byDefault))
	write("      interval: "+short(pool.Health.Interval), either(stated.Health.Interval, byDefault))
	write(fmt.Sprintf("    max_inflight: %d", pool.MaxInflight), either(stated.MaxInflight, byDefault))
	write("    queue:", "")
	write(fmt.Sprintf("      size: %d", pool.Queue.Size), either(stated.Queue.Size, byDefault))
	write("      wait: "+short(pool.Queue.Wait), either(stated.Queue.Wait, byDefault))
	if room := pool.WaitingRoom; room.Size > 0 {
		room.describe(write, p.note)
	}
	if pool.Hedge > 0 {
		write("    hedge: "+short(pool.Hedge), byFile)
	}
	if pool.Usage != "" {
		write("    usage: "+string(pool.Usage), byFile)
	}
	if stated.Refusals != nil {
		write("    refusals: ["+numbers(pool.Refusals)+"]", byFile)
	}
	if pool.Discover == "on" || stated.Discover != "" {
		write(fmt.Sprintf("    discover: %t", pool.Discover == "on"), either(stated.Discover, byDefault))
	}
	pool.TLS.describe(write)
	if credential := pool.Credential.fields(); credential != "" {
		write("    credential: {"+credential+"}", byFile)
	}
	p.timeouts(pool, write)
}

func (c UpstreamTLS) describe(write func(line string, from source)) {
	if c != (UpstreamTLS{}) {
		write("    tls:", "")
	}
	if c.CAFile != "" {
		write("      ca_file: "+strconv.Quote(c.CAFile), byFile)
	}
	if c.ServerName != "" {
		write("      server_name: "+strconv.Quote(c.ServerName), byFile)
	}
}

func (p *page) timeouts(pool Pool, write func(line string, from source)) {
	stated := p.settings.given.pools[pool.Name]
	write("    timeouts:", "")
	values := p.settings.given.values
	write("      connect: "+short(pool.Timeouts.Connect), either(stated.Timeouts.Connect, values["CONNECT_TIMEOUT"].from))
	response := write
	if pool.Timeouts.Generation != pool.Timeouts.Response {
		response = p.note // as a live line it would be that of generations too
	}
	response("      response: "+short(pool.Timeouts.Response), either(stated.Timeouts.Response, values["RESPONSE_TIMEOUT"].from))
	write("      idle: "+short(pool.Timeouts.Idle), either(stated.Timeouts.Idle, values["IDLE_TIMEOUT"].from))
	if pool.Timeouts.FirstToken > 0 {
		write("      first_token: "+short(pool.Timeouts.FirstToken), byFile)
	}
	if pool.Timeouts.InterToken > 0 {
		write("      inter_token: "+short(pool.Timeouts.InterToken), byFile)
	}
}

// describe writes a waiting room. What stands in the query of its wake URL may be secret.
func (r WaitingRoom) describe(write, note func(line string, from source)) {
	text := fmt.Sprintf("size: %d, wait: %s", r.Size, short(r.Wait))
	if r.Wake != nil {
		wake := *r.Wake
		if wake.RawQuery != "" {
			wake.RawQuery, write = "********", note
		}
		text += ", wake: " + strconv.Quote(wake.String())
	}
	write("    waiting_room: {"+text+"}", byFile)
}

// either is the file for what a pool in it states, or the source otherwise.
func either[T comparable](stated T, otherwise source) source {
	var zero T
	if stated != zero {
		return byFile
	}
	return otherwise
}

func numbers(list []int) string {
	texts := make([]string, len(list))
	for i, n := range list {
		texts[i] = strconv.Itoa(n)
	}
	return strings.Join(texts, ", ")
}

func (p *page) route(r Route) {
	fields := []string{"path: " + strconv.Quote(r.Path)}
	add := func(key, text string) {
		if text != "" {
			fields = append(fields, key+": "+strconv.Quote(text))
		}
	}
	if len(r.Methods) > 0 {
		fields = append(fields, "methods: ["+strings.Join(r.Methods, ", ")+"]")
	}
	add("pool", r.Pool)
	add("fallback", r.Fallback)
	add("rewrite", r.Rewrite)
	if r.Retry != "" && r.Local == "" {
		fields = append(fields, "retry: "+string(r.Retry))
	}
	add("local", r.Local)
	if limit := r.Limit.fields(); limit != "" {
		fields = append(fields, "limit: {"+limit+"}")
	}
	if cache := r.Cache.fields(); cache != "" {
		fields = append(fields, "cache: {"+cache+"}")
	}
	if cors := r.CORS.fields(); cors != "" && r.CORS != p.settings.CORS {
		fields = append(fields, "cors: {"+cors+"}")
	}
	line := "  - {" + strings.Join(fields, ", ") + "}"
	if r.Builtin {
		p.note(line, byDefault)
		return
	}
	p.live(line, byFile)
}

// fields is a limit in the file's form.
func (l Limit) fields() string {
	var list []string
	if l.ClientBurst > 0 {
		list = append(list, fmt.Sprintf("client_rps: %v, client_burst: %d", l.ClientRPS, l.ClientBurst))
	}
	if l.Cost > 0 {
		list = append(list, fmt.Sprintf("cost: %d", l.Cost))
	}
	return strings.Join(list, ", ")
}

// fields is a route's cache in the file's form.
func (c RouteCache) fields() string {
	if c.Off {
		return "enabled: false"
	}
	var list []string
	for _, d := range []struct {
		name string
		time.Duration
	}{{"ttl", c.TTL}, {"negative_ttl", c.NegativeTTL}, {"stale_if_error", c.StaleIfError}} {
		if d.Duration > 0 {
			list = append(list, d.name+": "+short(d.Duration))
		}
	}
	for _, f := range []struct {
		name  string
		names []string
	}{{"key_fields", c.KeyFields}, {"ignore_fields", c.IgnoreFields}} {
		if len(f.names) > 0 {
			list = append(list, f.name+": ["+strings.Join(f.names, ", ")+"]")
		}
	}
	if c.Shared {
		list = append(list, "scope: "+string(SharedScope))
	}
	return strings.Join(append(list, c.Post.fields()...), ", ")
}

// short writes a duration as an operator would: 1m, not 1m0s.
func short(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// scalar quotes a text for YAML where it may need it.
func scalar(text string) string {
	if wordOf(text) {
		return text
	}
	return strconv.Quote(text)
}

// Explain says what a setting is, by its variable's name or its key in the file, what it is set to and by whom. A name that is not
// there is an error that names the nearest.
func (s *Settings) Explain(name string) (string, error) {
	upper := strings.ToUpper(name)
	var names []string
	for _, one := range declarations() {
		if one.name == upper {
			return s.explain(one), nil
		}
		names = append(names, one.name)
	}
	if near := nearest(upper, names); near != "" {
		return "", fmt.Errorf("there is no setting %s; did you mean %s?", name, near)
	}
	return "", fmt.Errorf("there is no setting %s; -print-config shows all", name)
}

func (s *Settings) explain(one setting) string {
	v, standard := s.given.values[one.name], one.standard
	text := v.text
	if one.secret && text != "" {
		text = "********"
	}
	shown := func(text string) string {
		if text == "" {
			return "unset"
		}
		return text
	}
	when := "a reload (SIGHUP, or the file's change) puts another value into force"
	if one.restart {
		when = "another value needs a restart"
	}
	return fmt.Sprintf("%s\n  %s\n  in the file: %s\n  default:     %s\n  now:         %s (%s)\n  %s\n",
		one.name, strings.ReplaceAll(one.meaning, "`", ""), strings.ToLower(one.name), shown(standard), shown(text), v.from, when)
}

package main

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"aigateway/gateway/config"
	"aigateway/gateway/simulator"
)

// A demo is what -demo brings along: simulated upstreams, and where all of them are simulated, a configuration with models, budgets and
// two tenants, who come and ask.
type demo struct {
	sims     map[string][]*simulator.Simulator // by the variable that names the service
	chat     []*simulator.Simulator            // the engines of the pool chat
	deserted bool                              // nobody comes unasked
	stdout   io.Writer                         // of the greeting
	visitors *visitors
}

// demoServices are the services of -demo: an echo in two languages, and three engines with a model each.
var demoServices = []struct {
	variable, name string
	models         []string // nil: one, by the service's name
}{
	{"PY_SERVICE_URL", "python", nil},
	{"NODE_SERVICE_URL", "node", nil},
	{"LLM_SERVICE_URL", "llm", []string{"sim-llm"}},
	{"LLM_SERVICE_URL", "small", []string{"sim-small"}},
	{"LLM_SERVICE_URL", "embed", []string{"sim-embed"}},
}

// chatEngines are two that tell what they have to do. The second one says every now and then that it has too much: then the first one, or
// another model, stands in.
var chatEngines = []simulator.Options{
	{Name: "chat", Seed: 11, Models: []string{chatModel}, Family: "vllm", Engine: simulator.EngineOptions{Batch: 6, KVBlocks: 700, PerStep: 15 * time.Millisecond}},
	{Name: "chat", Seed: 12, Models: []string{chatModel}, Family: "vllm", Engine: simulator.EngineOptions{Batch: 6, KVBlocks: 700, PerStep: 15 * time.Millisecond},
		ErrorRate: 0.15, ErrorStatus: 503},
}

// The model of these engines, and the keys of the two tenants. They are no secrets: they open nothing that is not open without.
const (
	chatModel  = "sim-chat"
	demoKeyOfA = "sk-demo-team-a"
	demoKeyOfB = "sk-demo-team-b"
)

// demoFile is the configuration of -demo where nobody names another one.
const demoFile = `
models:
  - {name: sim-chat, pool: chat, fallback: [sim-llm]}
  - {name: sim-llm, pool: llm}
pools:
  chat: {upstreams: [{url: %q}, {url: %q}], engine: vllm, balance: prefix, max_inflight: 3, queue: {size: 100, wait: 10s}}
routes:
  - {path: "/v1/*", pool: llm, cache: {post: true}}
`

// demoKeys are its tenants: one with room, and one whose budget is small.
func demoKeys() string {
	line := func(id, key, more string) string {
		return fmt.Sprintf("  - {id: %s, sha256: [%x], %s}\n", id, sha256.Sum256([]byte(key)), more)
	}
	return "keys:\n" +
		line("team-a", demoKeyOfA, "limits: {tpm: 60000, tpd: 20000000, concurrency: 16}, priority: interactive, weight: 2") +
		line("team-b", demoKeyOfB, "limits: {rpm: 60, tpm: 6000}, priority: batch")
}

// startDemo starts a simulated upstream for each service that the environment does not name.
func startDemo(environ []string, stdout io.Writer) (*demo, error) {
	d := &demo{stdout: stdout, sims: make(map[string][]*simulator.Simulator)}
	for i, service := range demoServices {
		if slices.ContainsFunc(environ, func(e string) bool {
			v, ok := strings.CutPrefix(e, service.variable+"=")
			return ok && strings.TrimSpace(v) != "" // as config reads it
		}) {
			continue
		}
		sim, err := simulator.Start(simulator.Options{Name: service.name, Seed: uint64(i) + 1, Models: service.models})
		if err != nil {
			d.close()
			return nil, fmt.Errorf("cannot start the simulated %s backend: %w", service.name, err)
		}
		d.sims[service.variable] = append(d.sims[service.variable], sim)
	}
	return d, nil
}

// furnish adds to what settings are read from: simulated upstreams in place of defaults, and the rest of the demo, if nothing is said of
// where requests go or who may ask.
func (d *demo) furnish(in *config.Input) error {
	in.Demo = make(map[string]string)
	for variable, of := range d.sims {
		var list []string
		for _, sim := range of {
			list = append(list, sim.URL())
		}
		in.Demo[variable] = strings.Join(list, ",")
	}
	hasKeys := slices.ContainsFunc(in.Environ, func(e string) bool { return strings.HasPrefix(e, "KEYS_FILE=") && e != "KEYS_FILE=" })
	if in.File != "" || hasKeys || len(d.sims) < 3 {
		return nil
	}
	for _, o := range chatEngines {
		sim, err := simulator.Start(o)
		if err != nil {
			return fmt.Errorf("cannot start a simulated engine: %w", err)
		}
		d.chat = append(d.chat, sim)
	}
	in.DemoFile, in.DemoKeys = fmt.Sprintf(demoFile, d.chat[0].URL(), d.chat[1].URL()), demoKeys()
	return nil
}

func (d *demo) close() {
	d.leave()
	for _, of := range d.sims {
		for _, sim := range of {
			_ = sim.Close()
		}
	}
	for _, sim := range d.chat {
		_ = sim.Close()
	}
}

// open lets the tenants in, once the gateway listens on the port. A nil demo has none.
func (d *demo) open(s *config.Settings, port int) {
	if d == nil {
		return
	}
	if len(d.chat) > 0 && !d.deserted && len(s.TLS.Certificates) == 0 {
		d.visitors = startVisitors(fmt.Sprintf("http://127.0.0.1:%d", port), d.chat[0].URL())
	}
	go func() { fmt.Fprint(d.stdout, welcome(s, port, d.engines(s))) }() // whoever reads it may take their time
}

// leave has the tenants go.
func (d *demo) leave() {
	if d != nil && d.visitors != nil {
		d.visitors.close()
	}
}

// engines asks those engines of -demo that are not simulated.
func (d *demo) engines(settings *config.Settings) []finding {
	if d.sims["LLM_SERVICE_URL"] != nil {
		return nil
	}
	own := *settings
	own.Pools = slices.DeleteFunc(slices.Clone(own.Pools), func(p config.Pool) bool { return p.Name != "llm" })
	own.RateLimit.Enabled, own.Cache.Enabled = false, false
	return survey(context.Background(), &own)
}

// welcome says what is there, what to try next, and which limits are on.
func welcome(s *config.Settings, port int, engines []finding) string {
	limits := "No rate limit is on."
	if r := s.RateLimit; r.Enabled {
		limits = fmt.Sprintf("Limits: %v requests a second (bursts of %d) for one client, %v (%d) for all together.\n"+
			"For a load test: RATE_LIMIT_ENABLED=false make run", r.ClientRPS, r.ClientBurst, r.GlobalRPS, r.GlobalBurst)
	}
	scheme, backends, model := "http", "with simulated backends. Try:", "sim-llm"
	if len(s.TLS.Certificates) > 0 {
		scheme = "https"
	}
	if engines != nil {
		var found strings.Builder
		tell(&found, engines)
		backends = "in front of\n\n" + indent(strings.TrimSpace(found.String())) + "\n\nThe other backends are simulated. Try:"
	}
	for _, f := range slices.Backward(engines) {
		if len(f.models) > 0 {
			model = f.models[0]
		}
	}
	ask, key := "curl ", ""
	if s.Keys != nil && !s.Keys.Optional {
		ask, key = `curl -H "x-api-key: $KEY" `, "Who asks needs a key of KEYS_FILE: export KEY=sk-…\n\n  "
		if len(s.Models) > 0 {
			model = s.Models[0].Name
		}
	}
	tenants := ""
	if s.Keys != nil && s.Keys.Optional {
		tenants = "Two tenants ask all the time (-visitors=false: nobody does). As one of them, whose budget is small:\n\n  " +
			"curl -i -H 'x-api-key: " + demoKeyOfB + `' -d '{"model":"` + chatModel + `","messages":[{"role":"user","content":"hi"}]}' ` + "\\\n" +
			"       http://localhost:PORT/v1/chat/completions\n\n"
	}
	taken := ""
	if port != s.Port {
		taken = fmt.Sprintf(" (port %d is taken; PORT sets another)", s.Port)
	}
	text := strings.NewReplacer("TENANTS", tenants, "DASHBOARD", dashboardAt(s)).Replace(greeting)
	return strings.NewReplacer("http:", scheme+":", "PORTTAKEN", strconv.Itoa(port)+taken, "PORT", strconv.Itoa(port), "LIMITS", limits, "BACKENDS", backends, "MODEL", model, "KEY", key, "curl ", ask).Replace(text)
}

// dashboardAt says where the dashboard is, and what it wants.
func dashboardAt(s *config.Settings) string {
	switch keyed := s.Keys != nil && !s.Keys.Optional; {
	case s.Admin.Addr != "":
		return "/dashboard of ADMIN_ADDR, " + s.Admin.Addr
	case keyed && s.Admin.Token == "":
		return "http://localhost:PORT/dashboard, once ADMIN_TOKEN is set"
	case keyed:
		return "http://localhost:PORT/dashboard (any name, and ADMIN_TOKEN as the password)"
	}
	return "http://localhost:PORT/dashboard"
}

const greeting = `
aigateway is listening on http://localhost:PORTTAKEN, BACKENDS

  KEYcurl http://localhost:PORT/healthz
  curl -d '{"prompt":"hello"}' http://localhost:PORT/infer/python
  curl 'http://localhost:PORT/infer?prompt=hello'
  curl http://localhost:PORT/v1/models
  curl -N -d '{"model":"MODEL","stream":true,"messages":[{"role":"user","content":"tell me a story"}]}' \
       http://localhost:PORT/v1/chat/completions

TENANTSSee it at work: DASHBOARD
LIMITS
Ctrl-C ends it.

`

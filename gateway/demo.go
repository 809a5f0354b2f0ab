package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"aigateway/gateway/config"
	"aigateway/gateway/simulator"
)

// simulators are the upstreams of -demo, by the variable that names the service.
type simulators map[string][]*simulator.Simulator

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

// startSimulators starts a simulated upstream for each service that the environment does not name.
func startSimulators(environ []string) (simulators, error) {
	sims := make(simulators)
	for i, service := range demoServices {
		if slices.ContainsFunc(environ, func(e string) bool {
			v, ok := strings.CutPrefix(e, service.variable+"=")
			return ok && strings.TrimSpace(v) != "" // as config reads it
		}) {
			continue
		}
		sim, err := simulator.Start(simulator.Options{Name: service.name, Seed: uint64(i) + 1, Models: service.models})
		if err != nil {
			sims.close()
			return nil, fmt.Errorf("cannot start the simulated %s backend: %w", service.name, err)
		}
		sims[service.variable] = append(sims[service.variable], sim)
	}
	return sims, nil
}

func (s simulators) urls() map[string]string {
	urls := make(map[string]string)
	for variable, of := range s {
		var list []string
		for _, sim := range of {
			list = append(list, sim.URL())
		}
		urls[variable] = strings.Join(list, ",")
	}
	return urls
}

func (s simulators) close() {
	for _, of := range s {
		for _, sim := range of {
			_ = sim.Close()
		}
	}
}

// engines asks those engines of -demo that are not simulated.
func (s simulators) engines(settings *config.Settings) []finding {
	if s["LLM_SERVICE_URL"] != nil {
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
	if s.TLS.Certificate != nil {
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
	if s.Keys != nil {
		ask, key = `curl -H "x-api-key: $KEY" `, "Who asks needs a key of KEYS_FILE: export KEY=sk-…\n\n  "
	}
	taken := ""
	if port != s.Port {
		taken = fmt.Sprintf(" (port %d is taken; PORT sets another)", s.Port)
	}
	return strings.NewReplacer("http:", scheme+":", "PORTTAKEN", strconv.Itoa(port)+taken, "PORT", strconv.Itoa(port), "LIMITS", limits, "BACKENDS", backends, "MODEL", model, "KEY", key, "curl ", ask).Replace(`
aigateway is listening on http://localhost:PORTTAKEN, BACKENDS

  KEYcurl http://localhost:PORT/healthz
  curl -d '{"prompt":"hello"}' http://localhost:PORT/infer/python
  curl 'http://localhost:PORT/infer?prompt=hello'
  curl http://localhost:PORT/v1/models
  curl -N -d '{"model":"MODEL","stream":true,"messages":[{"role":"user","content":"tell me a story"}]}' \
       http://localhost:PORT/v1/chat/completions

LIMITS
Ctrl-C ends it.

`)
}

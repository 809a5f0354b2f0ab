package main

import (
	"fmt"
	"slices"
	"strings"

	"aigateway/gateway/simulator"
)

// simulators are the upstreams of -demo, by the variable that names the service.
type simulators map[string]*simulator.Simulator

// startSimulators starts a simulated upstream for each service that the environment does not name.
func startSimulators(environ []string) (simulators, error) {
	sims := make(simulators)
	for i, service := range []struct{ variable, name string }{
		{"PY_SERVICE_URL", "python"}, {"NODE_SERVICE_URL", "node"}, {"LLM_SERVICE_URL", "llm"},
	} {
		if slices.ContainsFunc(environ, func(e string) bool {
			v, ok := strings.CutPrefix(e, service.variable+"=")
			return ok && v != ""
		}) {
			continue
		}
		sim, err := simulator.Start(simulator.Options{Name: service.name, Seed: uint64(i) + 1})
		if err != nil {
			sims.close()
			return nil, fmt.Errorf("cannot start the simulated %s backend: %w", service.name, err)
		}
		sims[service.variable] = sim
	}
	return sims, nil
}

func (s simulators) urls() map[string]string {
	urls := make(map[string]string)
	for variable, sim := range s {
		urls[variable] = sim.URL()
	}
	return urls
}

func (s simulators) close() {
	for _, sim := range s {
		_ = sim.Close()
	}
}

// welcome says what to try next.
func welcome(port int) string {
	return strings.ReplaceAll(`
aigateway is listening on http://localhost:PORT, with simulated backends. Try:

  curl http://localhost:PORT/healthz
  curl -d '{"prompt":"hello"}' http://localhost:PORT/infer/python
  curl 'http://localhost:PORT/infer?prompt=hello'
  curl http://localhost:PORT/v1/models
  curl -N -d '{"model":"sim-llm","stream":true,"messages":[{"role":"user","content":"tell me a story"}]}' \
       http://localhost:PORT/v1/chat/completions

No rate limits are on in this build, so nothing has to be lifted for a load test. Ctrl-C ends it.

`, "PORT", fmt.Sprint(port))
}

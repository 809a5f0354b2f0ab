package stack

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

// project loads files of compose/ as an engine does: checked against the schema, interpolated, merged, and every
// reference between services, networks and volumes resolved.
func project(t *testing.T, env []string, files ...string) *types.Project {
	t.Helper()
	paths := make([]string, len(files))
	for i, file := range files {
		paths[i] = at("compose", file)
	}
	options, err := cli.NewProjectOptions(paths, cli.WithEnv(env), cli.WithProfiles([]string{"k6"}), cli.WithResolvedPaths(true))
	if err != nil {
		t.Fatal(err)
	}
	p, err := options.LoadProject(context.Background())
	if err != nil {
		t.Fatalf("%s: %v", strings.Join(files, " and "), err)
	}
	return p
}

var stacks = [][]string{{"compose.yaml"}, {"compose.yaml", "replicas.yaml"}}

// Every service is as closed as it can be, is watched, comes back and cannot take the machine.
func TestComposeServices(t *testing.T) {
	for _, files := range stacks {
		for name, s := range project(t, nil, files...).Services {
			fault := func(what string) { t.Errorf("%s, service %s: %s", files[len(files)-1], name, what) }
			once := slices.Contains(s.Profiles, "k6")
			if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || len(s.CapAdd) > 0 || s.Privileged ||
				!slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
				fault("is not read-only, without capabilities and new privileges")
			}
			if user := s.User; s.Build == nil && (user == "" || user == "root" || strings.HasPrefix(user, "0")) {
				fault("may run as root")
			}
			if !once && (s.HealthCheck == nil || len(s.HealthCheck.Test) == 0 || s.HealthCheck.Disable) {
				fault("has no health check")
			}
			if want := map[bool]string{false: "unless-stopped", true: "no"}[once]; s.Restart != want {
				fault("restarts " + s.Restart)
			}
			if s.Deploy == nil || s.Deploy.Resources.Limits == nil || s.Deploy.Resources.Limits.MemoryBytes == 0 || s.Deploy.Resources.Limits.NanoCPUs == 0 {
				fault("has no limit of memory or CPU")
			}
			if image := s.Image; !strings.Contains(image, ":") || strings.HasSuffix(image, ":latest") {
				fault("has no version: " + image)
			}
			for _, port := range s.Ports {
				if port.HostIP != "127.0.0.1" {
					fault("is reached from outside at " + port.Published)
				}
			}
			for _, v := range s.Volumes {
				if _, err := os.Stat(v.Source); v.Type == "bind" && (err != nil && !once || !v.ReadOnly) {
					fault("mounts " + v.Source + ", which is missing or not read-only")
				}
			}
			for other, d := range s.DependsOn {
				if d.Condition != types.ServiceConditionHealthy {
					fault("does not wait until " + other + " is healthy")
				}
			}
		}
	}
}

// An operator can set everything from outside, and what he does not set is the gateway's own default.
func TestComposeSettings(t *testing.T) {
	here := map[string]string{ // what a demo wants otherwise
		"PORT": "8080", "CACHE_BACKEND": "redis", "ADMIN_TOKEN": "demo", "REDIS_ADDR": "redis:6379",
		"PY_SERVICE_URL": "http://service-python:8001", "NODE_SERVICE_URL": "http://service-node:8002", "LLM_SERVICE_URL": "http://service-python:8001",
	}
	var env []string
	for _, name := range settings(t) {
		env = append(env, name+"=from outside")
	}
	plain, set := project(t, nil, "compose.yaml").Services["gateway"], project(t, env, "compose.yaml").Services["gateway"]
	for _, name := range settings(t) {
		value := plain.Environment[name]
		if value == nil {
			t.Errorf("%s is missing", name)
			continue
		}
		if *value != here[name] {
			t.Errorf("%s is %q, want %q", name, *value, here[name])
		}
		if got := *set.Environment[name]; got != "from outside" && name != "PORT" {
			t.Errorf("%s cannot be set: it is %q", name, got)
		}
	}
}

// The default of SHUTDOWN_GRACE is 30s. Whoever is given less is cut.
func TestComposeGrace(t *testing.T) {
	for name, s := range project(t, nil, "compose.yaml").Services {
		built := s.Build != nil
		if built && (s.StopGracePeriod == nil || time.Duration(*s.StopGracePeriod) < 35*time.Second) {
			t.Errorf("service %s has no time for its open requests", name)
		}
	}
}

func TestComposeNetworks(t *testing.T) {
	p := project(t, nil, stacks[1]...)
	if !p.Networks["services"].Internal {
		t.Error("the services' network is open")
	}
	for _, name := range []string{"redis", "service-python", "service-node"} {
		s := p.Services[name]
		if len(s.Networks) != 1 || len(s.Ports) != 0 {
			t.Errorf("service %s can be reached from outside", name)
		}
		if _, inside := s.Networks["services"]; !inside {
			t.Errorf("service %s is not among the services", name)
		}
	}
}

// Two gateways are the same but for their port, and share what the second file is about.
func TestComposeReplicas(t *testing.T) {
	p := project(t, nil, stacks[1]...)
	one, two := p.Services["gateway"], p.Services["gateway-2"]
	for name, value := range one.Environment {
		if other := two.Environment[name]; other == nil || *other != *value {
			t.Errorf("%s differs between the gateways", name)
		}
	}
	for _, s := range []types.ServiceConfig{one, two} {
		if *s.Environment["RL_BACKEND"] != "redis" || *s.Environment["CACHE_BACKEND"] != "redis" || len(s.Ports) != 1 {
			t.Errorf("%s: RL_BACKEND=%s CACHE_BACKEND=%s, %d ports", s.Name, *s.Environment["RL_BACKEND"], *s.Environment["CACHE_BACKEND"], len(s.Ports))
		}
	}
	if one.Ports[0].Published == two.Ports[0].Published || p.Services["balancer"].Ports[0].Published != "8080" {
		t.Error("gateways and balancer are not on three ports")
	}
	for _, server := range []string{"gateway:8080", "gateway-2:8080"} {
		if !strings.Contains(read(t, "compose/haproxy.cfg"), " "+server) || !strings.Contains(read(t, "compose/prometheus.targets.replicas.yml"), `"`+server+`"`) {
			t.Errorf("%s is unknown to the balancer or to Prometheus", server)
		}
	}
}

// What is built runs without root and without a shell in between, brings a check of its health along, and is sent only
// what it is built from.
func TestDockerfiles(t *testing.T) {
	f := func(file, ignore, command string) {
		t.Helper()
		text := read(t, file)
		last := text[strings.LastIndex(text, "\nFROM "):]
		for _, line := range []string{"\nUSER 65532:65532\n", "\nHEALTHCHECK --", "\nEXPOSE 80", command} {
			if !strings.Contains(last, line) {
				t.Errorf("%s: the last stage has no %q", file, line)
			}
		}
		if !strings.Contains(read(t, ignore), "\n*\n!") {
			t.Errorf("%s lets in more than it names", ignore)
		}
	}
	f("compose/gateway.Dockerfile", ".dockerignore", `ENTRYPOINT ["/gateway"]`)
	f("backends/python/Dockerfile", "backends/python/.dockerignore", `CMD ["python", "-m", "app"]`)
	f("backends/node/Dockerfile", "backends/node/.dockerignore", `CMD ["node", "src/server.js"]`)
}

package config

import (
	"encoding/json"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// A wrong configuration, and what its operator is told: where it stands, what is wrong there, and what to write instead.
type wrong struct {
	environ    []string
	file, keys string // gw.yaml and keys.yaml; "": there is none
	says       []string
}

const (
	onePool = "pools:\n  llm:\n    upstreams: [{url: \"http://a:8000\"}]\n"
	oneKey  = "keys:\n  - {id: a, sha256: [" + sumA + "]"
)

// What people write who have not read the page, and what they read then. Each message is to be read as a stranger does.
var wrongs = []struct {
	what string
	wrong
}{
	{"a word for a number", wrong{environ: []string{`PORT=eighty`}, says: []string{`PORT: "eighty" is not a port number between 1 and 65535`}}},
	{"an address without a scheme", wrong{environ: []string{`PY_SERVICE_URL=localhost:8001`}, says: []string{`PY_SERVICE_URL: "localhost:8001" begins with neither http:// nor https://; write http://localhost:8001`}}},
	{"a base URL as SDKs have it", wrong{environ: []string{`LLM_SERVICE_URL=http://localhost:8000/v1`}, says: []string{`LLM_SERVICE_URL: "http://localhost:8000/v1" has a path, which requests bring along; write http://localhost:8000`}}},
	{"a time without a unit", wrong{environ: []string{`RESPONSE_TIMEOUT=30`}, says: []string{`RESPONSE_TIMEOUT: "30" is not a duration between 1ms and 24h, such as 500ms, 5s or 1m30s; if seconds are meant, write 30s`}}},
	{"bytes with a unit", wrong{environ: []string{`CACHE_MEMORY_BYTES=256MB`}, says: []string{`CACHE_MEMORY_BYTES: "256MB" is not a number of bytes between 1048576 and 1099511627776; written out it is 268435456`}}},
	{"seconds with a unit", wrong{environ: []string{`CACHE_TTL_SECONDS=5m`}, says: []string{`CACHE_TTL_SECONDS: "5m" is not a number of seconds between 0 and 31536000; written out it is 300`}}},
	{"thousands", wrong{environ: []string{`GLOBAL_TPM=200k`}, says: []string{`GLOBAL_TPM: "200k" is not a number of tokens between 0 and 1000000000000; written out it is 200000`}}},
	{"a rate with a unit", wrong{environ: []string{`CLIENT_RPS=20/s`}, says: []string{`CLIENT_RPS: "20/s" is not a rate: 0, or a number between 0.000001 and 1000000000, of requests a second`}}},
	{"a word in another case", wrong{environ: []string{`CACHE_BACKEND=Redis`}, says: []string{`CACHE_BACKEND: "Redis" is none of memory, redis; did you mean redis?`}}},
	{"another word for no", wrong{environ: []string{`RATE_LIMIT_ENABLED=disabled`}, says: []string{`RATE_LIMIT_ENABLED: "disabled" is none of true, false, 1, 0, yes, no, on, off`}}},
	{"Redis without a port", wrong{environ: []string{`REDIS_ADDR=redis`, `CACHE_BACKEND=redis`}, says: []string{`REDIS_ADDR: "redis" is not a host and port such as redis:6379`}}},
	{"Redis with its password", wrong{environ: []string{`REDIS_ADDR=redis://:secret@redis:6379`, `CACHE_BACKEND=redis`}, says: []string{`REDIS_ADDR: has an @: the password goes into REDIS_PASSWORD`}}},
	{"a network that is too narrow", wrong{environ: []string{`TRUSTED_PROXIES=10.0.0.0/33`}, says: []string{`TRUSTED_PROXIES: "10.0.0.0/33" is not loopback, private, none, an address or a CIDR such as 10.0.0.0/8`}}},
	{"half of HTTPS", wrong{environ: []string{`TLS_CERT_FILE=cert.pem`}, says: []string{`TLS_CERT_FILE: is set and TLS_KEY_FILE is not; HTTPS needs both`}}},
	{"files that are not there", wrong{environ: []string{`TLS_CERT_FILE=cert.pem`, `TLS_KEY_FILE=key.pem`}, says: []string{`TLS_CERT_FILE: cannot read "cert.pem": no such file or directory`, `TLS_KEY_FILE: cannot read "key.pem": no such file or directory`}}},
	{"a port alone", wrong{environ: []string{`ADMIN_ADDR=9090`}, says: []string{`ADMIN_ADDR: "9090" is not an address to listen on, as 127.0.0.1:9090 or :9090`}}},
	{"one port twice", wrong{environ: []string{`ADMIN_ADDR=:8080`}, says: []string{`ADMIN_ADDR: has the port of PORT; it needs one of its own`}}},
	{"a collector without a scheme", wrong{environ: []string{`OTEL_EXPORTER_OTLP_ENDPOINT=collector:4317`}, says: []string{`OTEL_EXPORTER_OTLP_ENDPOINT: "collector:4317" is not a URL such as http://collector:4318`}}},
	{"a file of keys that is not there", wrong{environ: []string{`KEYS_FILE=absent.yaml`}, says: []string{`KEYS_FILE: cannot read "absent.yaml": no such file or directory`}}},
	{"a tab", wrong{file: "pools:\n\tllm: {}\n", says: []string{`gw.yaml:2: is not YAML: there is a tab on this line; only spaces may stand before a key`}}},
	{"a variable in the file", wrong{file: "PORT: 8080\n", says: []string{`gw.yaml:1: PORT: there is no such key here; did you mean port?`}}},
	{"a key of another program", wrong{file: "server:\n  port: 8080\n", says: []string{`gw.yaml:1: server: there is no such key here; gateway -print-config shows all that there are`}}},
	{"a key twice", wrong{file: "port: 8080\nport: 9090\n", says: []string{`gw.yaml:2: port: stands here a second time; the first is in line 1`}}},
	{"the singular", wrong{file: "pool:\n  llm: {upstreams: [{url: \"http://a:1\"}]}\n", says: []string{`gw.yaml:1: pool: there is no such key here; did you mean pools?`}}},
	{"pools as a list", wrong{file: "pools:\n  - {name: llm, upstreams: [{url: \"http://a:1\"}]}\n", says: []string{`gw.yaml:1: pools: is not a mapping of keys to values, such as {llm: {upstreams: [{url: "http://service:8000"}]}}`}}},
	{"upstreams as plain addresses", wrong{file: "pools:\n  llm:\n    upstreams: [\"http://a:8000\"]\n", says: []string{`gw.yaml:3: pools.llm.upstreams[0]: is not a mapping of keys to values, such as {url: "http://service:8000"}`}}},
	{"a pool with a url", wrong{file: "pools:\n  p:\n    url: http://a:8000\n    upstreams: [{url: \"http://a:8000\"}]\n", says: []string{`gw.yaml:3: pools.p.url: there is no such key here; a pool has upstreams: [{url: "http://service:8000"}]`}}},
	{"a slip of the keyboard", wrong{file: "pools:\n  llm:\n    upstreams: [{url: \"http://a:8000\", weigth: 2}]\n", says: []string{`gw.yaml:3: pools.llm.upstreams[0].weigth: there is no such key here; did you mean weight? There are url, weight`}}},
	{"a hyphen", wrong{file: onePool + "    balance: round-robin\n", says: []string{`gw.yaml:4: pools.llm.balance: "round-robin" is none of p2c, round_robin, least_requests, hash, prefix; did you mean round_robin?`}}},
	{"an engine without metrics", wrong{file: onePool + "    engine: ollama\n", says: []string{`gw.yaml:4: pools.llm.engine: "ollama" is none of auto, vllm, sglang, llamacpp, trtllm, none; for any other leave it out: its metrics are not read`}}},
	{"a time-out without a unit", wrong{file: onePool + "    timeouts: {first_token: 20}\n", says: []string{`gw.yaml:4: pools.llm.timeouts.first_token: "20" is not a duration between 1ms and 24h, such as 500ms, 5s or 1m30s; if seconds are meant, write 20s`}}},
	{"a queue as a number", wrong{file: onePool + "    queue: 100\n", says: []string{`gw.yaml:4: pools.llm.queue: is not a mapping of keys to values, such as {size: 100, wait: 10s}`}}},
	{"a health page as a URL", wrong{file: onePool + "    health: {path: \"http://a:8000/health\"}\n", says: []string{`gw.yaml:4: pools.llm.health.path: "http://a:8000/health" does not begin with a single "/"; write "/health"`}}},
	{"a credential in the file", wrong{file: onePool + "    credential: {token: sk-secret}\n", says: []string{`gw.yaml:4: pools.llm.credential.token: there is no such key here; a secret does not stand in this file: env names a variable, or file a file, that holds it`}}},
	{"a credential that is not set", wrong{file: onePool + "    credential: {env: VLLM_KEY}\n", says: []string{`gw.yaml:4: pools.llm.credential: env: the variable VLLM_KEY is not set`}}},
	{"a fallback that is not there", wrong{file: onePool + "    fallback: pyton\n", says: []string{`gw.yaml:4: pools.llm.fallback: there is no pool "pyton"; did you mean python?`}}},
	{"a model of a pool that is not there", wrong{file: onePool + "models:\n  - {name: llama, pool: lmm}\n", says: []string{`gw.yaml:5: models[0].pool: there is no pool "lmm"; did you mean llm?`}}},
	{"models as a mapping", wrong{file: onePool + "models: {llama: {pool: llm}}\n", says: []string{`gw.yaml:4: models: is not a list, such as [{name: llama-8b, pool: llm}]`}}},
	{"a name twice", wrong{file: onePool + "models:\n  - {name: a, pool: llm, aliases: [gpt]}\n  - {name: b, pool: llm, aliases: [gpt]}\n", says: []string{`gw.yaml:6: models[1].aliases: "gpt" is an alias of the model "a" already`}}},
	{"fallbacks in a circle", wrong{file: onePool + "models:\n  - {name: a, pool: llm, fallback: [b]}\n  - {name: b, pool: llm, fallback: [a]}\n", says: []string{`gw.yaml:5: models[0].fallback: leads in a circle: a → b → a`}}},
	{"a budget with a unit", wrong{file: onePool + "models:\n  - {name: a, pool: llm, limits: {tpm: 20k}}\n", says: []string{`gw.yaml:5: models[0].limits.tpm: "20k" is not a number of tokens between 1 and 1000000000; written out it is 20000`}}},
	{"a path without a slash", wrong{file: onePool + "routes:\n  - {path: \"v1/*\", pool: llm}\n", says: []string{`gw.yaml:5: routes[0].path: "v1/*" does not begin with a single "/"; write "/v1/*"`}}},
	{"a star too early", wrong{file: onePool + "routes:\n  - {path: \"/v1*\", pool: llm}\n", says: []string{`gw.yaml:5: routes[0].path: "/v1*" has a "*" elsewhere than in a "/*" at the end; write "/v1/*"`}}},
	{"the gateway's own page", wrong{file: onePool + "routes:\n  - {path: /metrics, pool: llm}\n", says: []string{`gw.yaml:5: routes[0].path: "/metrics" is the gateway's own page, which no route may take; choose another path`}}},
	{"a key's limit at a route", wrong{file: onePool + "routes:\n  - {path: \"/v1/*\", pool: llm, limit: {rps: 5}}\n", says: []string{`gw.yaml:5: routes[0].limit.rps: there is no such key here; it is client_rps, with client_burst: a route's limit is of each client`}}},
	{"half a limit", wrong{file: onePool + "routes:\n  - {path: \"/v1/*\", pool: llm, limit: {client_rps: 5}}\n", says: []string{`gw.yaml:5: routes[0].limit: client_rps and client_burst go together`}}},
	{"a cache as a word", wrong{file: onePool + "routes:\n  - {path: \"/v1/*\", pool: llm, cache: true}\n", says: []string{`gw.yaml:5: routes[0].cache: is not a mapping of keys to values, such as {ttl: 60s}`}}},
	{"a cache for POST that is off", wrong{file: onePool + "routes:\n  - {path: \"/v1/*\", pool: llm, cache: {when: always}}\n", says: []string{`gw.yaml:5: routes[0].cache: when is about answers to POST, which are kept with post: true`}}},
	{"a cache for POST without POST", wrong{file: onePool + "routes:\n  - {path: \"/v1/*\", pool: llm, methods: [GET], cache: {post: true}}\n", says: []string{`gw.yaml:5: routes[0].cache.post: the route's methods do not have POST`}}},
	{"retries as a number", wrong{file: onePool + "routes:\n  - {path: \"/v1/*\", pool: llm, retry: 3}\n", says: []string{`gw.yaml:5: routes[0].retry: "3" is none of never, safe, reattempt`}}},
	{"an origin without a scheme", wrong{file: onePool + "cors: {origins: [app.example]}\n", says: []string{`gw.yaml:4: cors.origins[0]: "app.example" is no origin, such as https://app.example or http://localhost:3000`}}},
	{"credentials for everybody", wrong{file: onePool + "cors: {origins: [\"*\"], credentials: true}\n", says: []string{`gw.yaml:4: cors: credentials for all origins is what no browser allows: name them`}}},
	{"a key itself", wrong{keys: "keys:\n  - {id: a, sha256: [sk-secret]}\n", says: []string{`keys.yaml:2: keys[0].sha256[0]: is a key itself; only its hash belongs here, and who may read this file knows the key now`}}},
	{"a key beside its hash", wrong{keys: "keys:\n  - {id: a, key: sk-secret, sha256: [9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08]}\n", says: []string{`keys.yaml:2: keys[0].key: there is no such key here; a key does not stand in this file: sha256 has its hash; gateway keygen prints both`}}},
	{"half a hash", wrong{keys: "keys:\n  - {id: a, sha256: [9f86d0]}\n", says: []string{`keys.yaml:2: keys[0].sha256[0]: is not a SHA-256 hash, which is 64 hexadecimal digits; gateway keygen prints one`}}},
	{"two tenants of one name", wrong{keys: oneKey + "}\n  - {id: a, sha256: [1f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08]}\n", says: []string{`keys.yaml:3: keys[1]: has the id that keys[0] in line 2 has already`}}},
	{"a limit beside limits", wrong{keys: oneKey + ", tpm: 1000}\n", says: []string{`keys.yaml:2: keys[0].tpm: there is no such key here; it stands in limits: {tpm: …}`}}},
	{"a star without quotes", wrong{keys: oneKey + ", models: [*]}\n", says: []string{`keys.yaml:2: is not YAML: a * that stands alone is in quotes: "*"`}}},
	{"one model as a word", wrong{keys: oneKey + ", models: llama-8b}\n", says: []string{`keys.yaml:2: keys[0].models: is not a list, such as ["llama-*"]`}}},
	{"a date of elsewhere", wrong{keys: oneKey + ", expires: 01.01.2027}\n", says: []string{`keys.yaml:2: keys[0].expires: is not a date, such as 2027-01-01; it is meant in UTC`}}},
	{"a class that is none", wrong{keys: oneKey + ", priority: high}\n", says: []string{`keys.yaml:2: keys[0].priority: "high" is none of interactive, default, batch`}}},
	{"tenants as a mapping", wrong{keys: "keys:\n  team-a: {sha256: [9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08]}\n", says: []string{`keys.yaml:1: keys: is not a list, such as [{id: team-a, sha256: […]}]; gateway keygen prints a line of it`}}},
	{"an issuer for anybody", wrong{keys: "jwt: {issuer: \"https://idp.example\", jwks_url: \"https://idp.example/keys\"}\n", says: []string{`keys.yaml:1: jwt: needs audience: a token that was made for somebody else is none here`}}},
	{"an issuer without a scheme", wrong{keys: "jwt: {issuer: i, audience: a, jwks_url: idp.example/keys}\n", says: []string{`keys.yaml:1: jwt.jwks_url: is not a URL such as https://idp.example/keys, without a user`}}},
	{"an empty file", wrong{keys: "\n", says: []string{`keys.yaml:1: needs keys: a list, or [] if nobody has one`}}},
}

func TestWrongConfigurations(t *testing.T) {
	for _, w := range wrongs {
		files := map[string]string{"gw.yaml": w.file, "keys.yaml": w.keys}
		in := Input{Environ: w.environ, ReadFile: func(name string) ([]byte, error) {
			if text := files[name]; text != "" {
				return []byte(text), nil
			}
			return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.ENOENT}
		}}
		if w.file != "" {
			in.File = "gw.yaml"
		}
		if w.keys != "" {
			in.Environ = append(slices.Clone(in.Environ), "KEYS_FILE=keys.yaml")
		}
		_, _, err := Load(in)
		if got := faultsOf(t, err); !slices.Equal(got, w.says) || strings.Contains(strings.Join(got, ""), "secret@") {
			t.Errorf("%s:\n got %q\nwant %q", w.what, got, w.says)
		}
	}
}

// Every place of the configuration file that holds more than one plain value has an example, and the schema takes it there.
func TestExamplesOfPlaces(t *testing.T) {
	var root map[string]any
	if err := json.Unmarshal(Schema(), &root); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{"": true}
	var walk func(place string, s map[string]any)
	walk = func(place string, s map[string]any) {
		properties, _ := s["properties"].(map[string]any)
		others, _ := s["additionalProperties"].(map[string]any)
		items, _ := s["items"].(map[string]any)
		if place != "" && (properties != nil || others != nil || items != nil) {
			seen[place] = true
			wantExample(t, place, s)
		}
		for key, child := range properties {
			walk(strings.TrimPrefix(place+"."+key, "."), child.(map[string]any))
		}
		if others != nil {
			walk(place+".*", others)
		}
		if items != nil {
			walk(place+"[]", items)
		}
	}
	walk("", root)
	ofKeys := regexp.MustCompile(`^(keys|jwt)\b`)
	for place := range examples {
		if !seen[place] && !ofKeys.MatchString(place) {
			t.Errorf("there is no place %q for an example", place)
		}
	}
}

func wantExample(t *testing.T, place string, s map[string]any) {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	if err := c.AddResource(place, s); err != nil {
		t.Fatal(err)
	}
	compiled, err := c.Compile(place)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := yaml.Unmarshal([]byte(examples[place]), &v); err != nil || v == nil {
		t.Errorf("%s: no example: %q, %v", place, examples[place], err)
		return
	}
	if err := compiled.Validate(asJSON(t, examples[place])); err != nil {
		t.Errorf("%s: the example is wrong itself: %v", place, err)
	}
}

// The examples for KEYS_FILE are what its reader takes.
func TestExamplesOfKeys(t *testing.T) {
	for place, example := range examples {
		if place != "jwt" && place != "jwt.limits" && !strings.HasPrefix(place, "keys[].") {
			continue
		}
		text := "jwt: " + example
		switch _, key, _ := cutLast(place); {
		case place == "jwt.limits":
			text = strings.TrimSuffix("jwt: "+examples["jwt"], "}") + ", limits: " + example + "}"
		case place != "jwt":
			text = oneKey + ", " + key + ": " + example + "}"
		}
		if _, _, err := readKeys(text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// A variable that is called almost like a setting is told of, others are not.
func TestMisspelledVariables(t *testing.T) {
	f := func(entry string, want ...string) {
		t.Helper()
		_, warnings, err := load("", entry)
		if err != nil || !slices.Equal(warnings, want) {
			t.Errorf("%s: %q %v", entry, warnings, err)
		}
	}
	f("CLIENT_RSP=5", "CLIENT_RSP: is set, but there is no such setting; did you mean CLIENT_RPS?")
	f("KEYS_FLIE=x", "KEYS_FLIE: is set, but there is no such setting; did you mean KEYS_FILE?")
	f("CLIENT_RSP=")
	f("REDIS_PORT=tcp://10.0.0.1:6379") // as Kubernetes sets it for a Service
	f("HTTP_PROXY=http://proxy")
	f("GATEWAY_PORT=8080")
	f("PROT=80") // too short to be sure
}

func TestWrittenOut(t *testing.T) {
	f := func(text, what string, want int64) {
		t.Helper()
		n, ok := writtenOut(text, what)
		if ok != (want > 0) || ok && n != want {
			t.Errorf("%s: %d %t", text, n, ok)
		}
	}
	f("1.5G", "number of bytes", 3<<29)
	f("64KiB", "number of bytes", 64<<10)
	f("10 MB", "number of bytes", 10<<20)
	f("1,000,000", "number of tokens", 1_000_000)
	f("1_000", "number of tokens", 1000)
	f("2M", "number of tokens", 2_000_000)
	f("1m30s", "number of seconds", 90)
	f("1.5s", "number of seconds", 0)
	f("2MB", "number of tokens", 0)
	f("8080,8081", "port number", 0)
	f("1.2345k", "number of tokens", 0)
	f("9999999999999T", "number of bytes", 0)
	f("many", "number of bytes", 0)
}

package config

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// compiled is the schema as a validator has it.
func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := jsonschema.UnmarshalJSON(strings.NewReader(string(Schema())))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	if err := c.AddResource("schema.json", text); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// asJSON is a YAML text as a validator of JSON has it.
func asJSON(t *testing.T, text string) any {
	t.Helper()
	var v any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	made, err := jsonschema.UnmarshalJSON(strings.NewReader(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// What the reader refuses for its form, the schema refuses; what it takes, the schema takes.
func TestSchemaRefuses(t *testing.T) {
	s := compiled(t)
	f := func(text string, good bool) {
		t.Helper()
		if err := s.Validate(asJSON(t, text)); (err == nil) != good {
			t.Errorf("%s: %v", text, err)
		}
	}
	f("port: 8080", true)
	f("x-any: {what: ever}", true)
	f("pools: {a: {upstreams: [{url: http://a}], balance: round_robin, discover: yes, timeouts: {connect: 1m30s}}}", true)
	f("cache_enabled: no", true)
	f("pools:", true)
	f("prot: 8080", false)
	f("port: 99999", false)
	f("pools: {a: {upstreams: [{url: http://a}], balance: robin}}", false)
	f("pools: {a: {upstreams: [{url: http://a, weigth: 2}]}}", false)
	f("pools: {a: {timeouts: {connect: soon}}}", false)
	f("pools: {a: {timeouts: {connect: 5}}}", false)
	f("models: [{name: a, pool: b, visible: perhaps}]", false)
	f("routes: {path: /a}", false)
}

func TestNearest(t *testing.T) {
	names := []string{"pools", "port", "routes", "timeouts"}
	for name, want := range map[string]string{"prot": "port", "pool": "pools", "route": "routes", "time_outs": "timeouts", "x": "", "completely": "", strings.Repeat("p", 1000): ""} {
		if got := nearest(name, names); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

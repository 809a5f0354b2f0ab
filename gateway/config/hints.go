package config

import (
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What an operator probably meant by what is wrong, for the end of a fault: "", or what to write instead behind a semicolon.

// examples are what may stand in the places of the files that hold more than one plain value.
var examples = map[string]string{
	"":                     "port: 8080",
	"tokens":               "{input: 1, output: 1, cached: 1}",
	"cors":                 `{origins: ["https://app.example"]}`,
	"cors.origins":         `["https://app.example"]`,
	"cors.headers":         "[authorization, content-type]",
	"pools":                `{llm: {upstreams: [{url: "http://service:8000"}]}}`,
	"pools.*":              `{upstreams: [{url: "http://service:8000"}]}`,
	"pools.*.upstreams":    `[{url: "http://service:8000"}]`,
	"pools.*.upstreams[]":  `{url: "http://service:8000"}`,
	"pools.*.hash":         "{by: client}",
	"pools.*.health":       "{path: /health, interval: 5s}",
	"pools.*.timeouts":     "{response: 60s}",
	"pools.*.queue":        "{size: 100, wait: 10s}",
	"pools.*.waiting_room": "{size: 1000, wait: 60s}",
	"pools.*.tls":          "{ca_file: /etc/ssl/upstreams.pem}",
	"pools.*.credential":   "{env: NAME_OF_A_VARIABLE}",
	"pools.*.refusals":     "[429, 503]",
	"routes":               `[{path: "/v1/*", pool: llm}]`,
	"routes[]":             `{path: "/v1/*", pool: llm}`,
	"routes[].methods":     "[GET, POST]",
	"routes[].limit":       "{client_rps: 5, client_burst: 10}",
	"routes[].cors":        `{origins: ["https://app.example"]}`,
	"routes[].cache":       "{ttl: 60s}",
	"models":               "[{name: llama-8b, pool: llm}]",
	"models[]":             "{name: llama-8b, pool: llm}",
	"models[].aliases":     "[another-name]",
	"models[].fallback":    "[another-model]",
	"models[].timeouts":    "{first_token: 20s}",
	"models[].limits":      "{tpm: 100000}",
	"keys":                 "[{id: team-a, sha256: […]}]; gateway keygen prints a line of it",
	"keys[]":               "{id: team-a, sha256: […]}; gateway keygen prints one",
	"keys[].models":        `["llama-*"]`,
	"keys[].limits":        "{tpm: 200000}",
	"jwt":                  `{issuer: "https://idp.example", audience: gateway, jwks_url: "https://idp.example/keys"}`,
	"jwt.limits":           "{tpm: 20000}",

	"routes[].cors.origins":        `["https://app.example"]`,
	"routes[].cors.headers":        "[authorization, content-type]",
	"routes[].cache.key_fields":    "[x-tenant]",
	"routes[].cache.ignore_fields": "[x-csrf-token]",
}

// elsewhere is where a key belongs that is looked for in a place where it is not.
var elsewhere = map[string]string{
	"pools.*.url":              `a pool has upstreams: [{url: "http://service:8000"}]`,
	"pools.*.path":             "health: {path: …} says which page is asked for",
	"pools.*.api_key":          "credential: {env: NAME_OF_A_VARIABLE} shows upstreams a key",
	"pools.*.credential.key":   "a secret does not stand in this file: env names a variable, or file a file, that holds it",
	"pools.*.credential.token": "a secret does not stand in this file: env names a variable, or file a file, that holds it",
	"pools.*.credential.value": "a secret does not stand in this file: env names a variable, or file a file, that holds it",
	"models[].model":           "name is what clients ask for, upstream_model what upstreams call it",
	"models[].id":              "name is what clients ask for, upstream_model what upstreams call it",
	"routes[].limit.rps":       "it is client_rps, with client_burst: a route's limit is of each client",
	"routes[].upstreams":       "a route names a pool, and the pool has upstreams",
	"routes[].url":             "a route names a pool, and the pool has upstreams",
	"keys[].key":               "a key does not stand in this file: sha256 has its hash; gateway keygen prints both",
	"keys[].hash":              "it is sha256",
	"jwt.jwks":                 "it is jwks_url",
}

// hintOfKey says where a key belongs that is not known in its place; "" if that is not known either.
func hintOfKey(place string) string {
	if hint := elsewhere[place]; hint != "" {
		return hint
	}
	owner, key, _ := cutLast(place)
	if limits := []string{"rps", "burst", "rpm", "tpm", "tpm_burst", "tpd", "concurrency"}; slices.Contains(limits, key) && examples[owner+".limits"] != "" {
		return "it stands in limits: {" + key + ": …}"
	}
	return ""
}

func cutLast(place string) (owner, key string, ok bool) {
	i := strings.LastIndexByte(place, '.')
	if i < 0 {
		return "", place, false
	}
	return place[:i], place[i+1:], true
}

// hintOfWord names the word among those that are known that was meant.
func hintOfWord(text string, known []string) string {
	plain := strings.ReplaceAll(strings.ToLower(text), "-", "_")
	if near := nearest(plain, known); near != "" {
		return "; did you mean " + near + "?"
	}
	return ""
}

var withUnit = regexp.MustCompile(`^([0-9]+(?:[_,][0-9]{3})*(?:\.[0-9]+)?) ?([kKmMgGtT]?)(i?)([bB]?)$`)

// hintOfNumber writes a number out that has a unit or separators, if it is one from least to most of what: bytes by powers of 1024, all
// others by those of 1000, seconds as a time.
func hintOfNumber(text, what string, least, most int64) string {
	n, ok := writtenOut(text, what)
	if !ok || n < least || n > most {
		return ""
	}
	return "; written out it is " + strconv.FormatInt(n, 10)
}

func writtenOut(text, what string) (n int64, ok bool) {
	if d, err := time.ParseDuration(text); err == nil && what == "number of seconds" {
		return int64(d / time.Second), d%time.Second == 0
	}
	parts := withUnit.FindStringSubmatch(text)
	if parts == nil {
		return 0, false
	}
	base := 1000.0
	if what == "number of bytes" {
		base = 1024
	} else if parts[3] != "" || parts[4] != "" {
		return 0, false
	}
	v, err := strconv.ParseFloat(strings.NewReplacer("_", "", ",", "").Replace(parts[1]), 64)
	if unit := strings.ToLower(parts[2]); unit != "" {
		v *= math.Pow(base, float64(strings.Index("kmgt", unit)+1))
	}
	return int64(v), err == nil && v == math.Trunc(v) && v < 1<<53
}

// hintOfDuration is for a number without a unit.
func hintOfDuration(text string) string {
	if n, err := strconv.ParseUint(text, 10, 32); err == nil && n > 0 {
		return "; if seconds are meant, write " + text + "s"
	}
	return ""
}

// hintOfSyntax is for slips that YAML's own words do not explain, by the line on which it gave up.
func hintOfSyntax(text []byte, line int, message string) string {
	lines := strings.Split(string(text), "\n")
	if line < 1 || line > len(lines) {
		return message
	}
	switch here := lines[line-1]; {
	case strings.Contains(here, "\t"):
		return "there is a tab on this line; only spaces may stand before a key"
	case bareStar.MatchString(here):
		return `a * that stands alone is in quotes: "*"`
	}
	return message
}

var bareStar = regexp.MustCompile(`[\[,:] *\*[^a-zA-Z]|[\[,:] *\*$`)

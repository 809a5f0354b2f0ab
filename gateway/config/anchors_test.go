package config

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// Anchors, aliases, merge keys, tags and %YAML mean what YAML says.
func TestAnchors(t *testing.T) {
	s, _, err := load(`%YAML 1.2
---
x-timeouts: &slow
  timeouts: {connect: 2s, response: 5m}
  balance: round_robin
x-lists: [&urls [{url: "http://a:1"}, {url: "http://b:2"}]]
port: !!int &port 8081
max_body_bytes: *port
pools:
  one: {<<: *slow, upstreams: *urls}
  two:
    <<: [*slow, {hedge: 50ms, balance: p2c}]
    balance: least_requests
    upstreams: *urls
routes:
  - &route {path: /one, pool: one, methods: &methods [GET]}
  - {<<: *route, path: /two, pool: two}
  - {path: /three, pool: two, methods: *methods}
`)
	if err != nil {
		t.Fatal(err)
	}
	one, two := s.pool("one"), s.pool("two")
	switch {
	case s.Port != 8081 || s.MaxBodyBytes != 8081:
		t.Error(s.Port, s.MaxBodyBytes)
	case one.Balance != "round_robin" || one.Timeouts.Connect != 2*time.Second || one.Timeouts.Response != 5*time.Minute || len(one.Upstreams) != 2:
		t.Errorf("%+v", one)
	case two.Balance != "least_requests" || two.Timeouts.Response != 5*time.Minute || two.Hedge != 50*time.Millisecond:
		t.Errorf("%+v", two)
	}
	found := map[string]string{}
	for _, r := range s.Routes {
		found[r.Path] = r.Pool + " " + strings.Join(r.Methods, ",")
	}
	for path, want := range map[string]string{"/one": "one GET", "/two": "two GET", "/three": "two GET"} {
		if found[path] != want {
			t.Errorf("%s: %q, want %q", path, found[path], want)
		}
	}
}

// A name that is used before it is given, or in what it names, is a fault of its own.
func TestAnchorFaults(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		if _, _, err := load(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	f("port: *p", "gw.yaml:1: port: refers to p, which nothing before it is named")
	f("port: *p\nx-p: &p 80", "refers to p, which nothing before it is named")
	f("pools: &p {a: *p}", "gw.yaml:1: pools.a: ")
	f("routes: &r [*r]", "gw.yaml:1: routes[0]: ")
	f("x-a: &a {<<: *a}\npools: *a", "refers to itself")
	f("port: !secret 80", `gw.yaml:1: port: has the tag "!secret", which nothing here knows`)
	f("pools: {p: {<<: 1, upstreams: [{url: http://a}]}}", "pools.p: is not a mapping of keys to values")
	f("pools: {p: {<<: {nonsense: 1}, upstreams: [{url: http://a}]}}", "pools.p.nonsense: there is no such key here")
}

// A few lines that merge each other many times over are refused, and not read for hours.
func TestAnchorsWithoutEnd(t *testing.T) {
	var b strings.Builder
	b.WriteString("x-0: &m0 {balance: p2c}\n")
	for i := 1; i < 10; i++ {
		fmt.Fprintf(&b, "x-%d: &m%d {<<: [%s]}\n", i, i, strings.Repeat(fmt.Sprintf("*m%d, ", i-1), 40))
	}
	b.WriteString("pools: {p: {<<: *m9}}\n")
	if _, _, err := load(b.String()); err == nil || !strings.Contains(err.Error(), "merges more keys than can be meant") {
		t.Error(err)
	}
}

// A chain of merges is one, however long somebody makes it by hand.
func TestAnchorChain(t *testing.T) {
	var b strings.Builder
	b.WriteString("x-0: &m0 {balance: round_robin}\n")
	for i := 1; i < 12; i++ {
		fmt.Fprintf(&b, "x-%d: &m%d {<<: *m%d}\n", i, i, i-1)
	}
	b.WriteString("pools: {p: {<<: *m11, upstreams: [{url: http://a:1}]}}\nroutes: [{path: /x, pool: p}]\n")
	s, _, err := load(b.String())
	if err != nil {
		t.Fatal(err)
	}
	if p := s.pool("p"); p.Balance != "round_robin" {
		t.Errorf("%+v", p)
	}
}

// A password that YAML takes for something else is not shown.
func TestAnchorFaultsShowNoSecret(t *testing.T) {
	for _, text := range []string{"redis_password: *hunter2", "redis_password: !hunter2", "admin_token: !!hunter2 x", "admin_token: |hunter2", "redis_password: >hunter2"} {
		if _, _, err := load(text + "\nport: 80\n"); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

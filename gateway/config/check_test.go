package config

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func faultsOf(t *testing.T, err error) []string {
	t.Helper()
	faults, ok := errors.AsType[*Faults](err)
	if !ok {
		t.Errorf("got %v instead of faults", err)
		return nil
	}
	return faults.List
}

func TestFaultsOfEnvironment(t *testing.T) {
	f := func(entry string, want ...string) {
		t.Helper()
		s, warnings, err := load("", entry)
		if got := faultsOf(t, err); !slices.Equal(got, want) {
			t.Errorf("%s:\n got %q\nwant %q", entry, got, want)
		}
		if s != nil || warnings != nil {
			t.Errorf("%s: settings %v and warnings %v beside faults", entry, s, warnings)
		}
	}
	f("PORT=0", `PORT: "0" is not a port number between 1 and 65535`)
	f("PORT=65536", `PORT: "65536" is not a port number between 1 and 65535`)
	f("PORT=8080,8081", `PORT: "8080,8081" is not a port number between 1 and 65535`)
	f("MAX_BODY_BYTES=12x", `MAX_BODY_BYTES: "12x" is not a number of bytes between 1 and 1099511627776`)
	f("MAX_BODY_BYTES=-1", `MAX_BODY_BYTES: "-1" is not a number of bytes between 1 and 1099511627776`)
	f("MAX_HEADER_BYTES=1023", `MAX_HEADER_BYTES: "1023" is not a number of bytes between 1024 and 1048576`)
	f("MAX_HEADER_BYTES=99999999999999999999", `MAX_HEADER_BYTES: "99999999999999999999" is not a number of bytes between 1024 and 1048576`)

	const asDuration = ` is not a duration between 1ms and 24h, such as 500ms, 5s or 1m30s`
	const orSeconds = `; if seconds are meant, write `
	f("CONNECT_TIMEOUT=5", `CONNECT_TIMEOUT: "5"`+asDuration+orSeconds+"5s")
	f("RESPONSE_TIMEOUT=0s", `RESPONSE_TIMEOUT: "0s"`+asDuration)
	f("KEEPALIVE_TIMEOUT=75", `KEEPALIVE_TIMEOUT: "75"`+asDuration+orSeconds+"75s")
	f("MAX_CONNS_PER_CLIENT=-1", `MAX_CONNS_PER_CLIENT: "-1" is not a number of connections between 0 and 1048576`)
	f("IDLE_TIMEOUT=-1s", `IDLE_TIMEOUT: "-1s"`+asDuration)
	f("SHUTDOWN_GRACE=25h", `SHUTDOWN_GRACE: "25h"`+asDuration)
	f("LOG_LEVEL=loud", `LOG_LEVEL: "loud" is none of debug, info, warn, error`)

	f("CACHE_TTL_SECONDS=5m", `CACHE_TTL_SECONDS: "5m" is not a number of seconds between 0 and 31536000; written out it is 300`)
	f("CACHE_MEMORY_BYTES=1000", `CACHE_MEMORY_BYTES: "1000" is not a number of bytes between 1048576 and 1099511627776`)
	f("CACHE_BACKEND=disk", `CACHE_BACKEND: "disk" is none of memory, redis`)
	f("ADMIN_ADDR=9090", `ADMIN_ADDR: "9090" is not an address to listen on, as 127.0.0.1:9090 or :9090`)
	f("ADMIN_ADDR=a b:9090", `ADMIN_ADDR: "a b:9090" is not an address to listen on, as 127.0.0.1:9090 or :9090`)
	f("BODY_BUFFER_TOTAL=1000000", `BODY_BUFFER_TOTAL: is less than BODY_BUFFER; not one long body could be held`)
	f("ADMIN_ADDR=[::1]:8080", `ADMIN_ADDR: has the port of PORT; it needs one of its own`)
	f("ADMIN_TOKEN=my secret", `ADMIN_TOKEN: is not made of printable characters without spaces`)

	const asProxy = ` is not loopback, private, none, an address or a CIDR such as 10.0.0.0/8`
	f("TRUSTED_PROXIES=public", `TRUSTED_PROXIES: "public"`+asProxy)
	f("TRUSTED_PROXIES=10.0.0.0/33,fe80::1%eth0,", `TRUSTED_PROXIES: "10.0.0.0/33"`+asProxy,
		`TRUSTED_PROXIES: "fe80::1%eth0"`+asProxy, `TRUSTED_PROXIES: ""`+asProxy)
	f("TRUSTED_PROXIES=none,loopback", `TRUSTED_PROXIES: "none" stands alone or not at all`)
	f("TRUSTED_PROXIES=::ffff:0:0/90", `TRUSTED_PROXIES: "::ffff:0:0/90" is wider than all of IPv4; write the IPv4 and the IPv6 part`)
}

func TestFaultsOfUpstreamURLs(t *testing.T) {
	f := func(text string, want ...string) {
		t.Helper()
		for i := range want {
			want[i] = "LLM_SERVICE_URL: " + want[i]
		}
		_, _, err := load("", "LLM_SERVICE_URL="+text)
		if got := faultsOf(t, err); !slices.Equal(got, want) {
			t.Errorf("%s:\n got %q\nwant %q", text, got, want)
		}
	}
	f("a:8000", `"a:8000" begins with neither http:// nor https://; write http://a:8000`)
	f("//a:8000", `"//a:8000" begins with neither http:// nor https://`)
	f("ftp://a", `"ftp://a" begins with neither http:// nor https://`)
	f("http://", `"http://" names no host`)
	f("http://:80", `"http://:80" names no host`)
	f("http:a", `"http:a" names no host`)
	f("http://a:", `"http://a:" has a port that is not between 1 and 65535`)
	f("http://a:0", `"http://a:0" has a port that is not between 1 and 65535`)
	f("http://a:65536", `"http://a:65536" has a port that is not between 1 and 65535`)
	f("http://a:x", `"http://a:x" is not a URL such as http://service:8000`)
	f("http://a b", `"http://a b" is not a URL such as http://service:8000`)
	f("http://ä", `"http://ä" has a host that is neither a name nor an address`)
	f("http://-", `"http://-" has a host that is neither a name nor an address`)
	f("http://a/v1", `"http://a/v1" has a path, which requests bring along; write http://a`)
	f("http://a/v2", `"http://a/v2" has a path; a route's rewrite is the place to change paths`)
	f("http://a?x", `"http://a?x" has a query or fragment, which an upstream URL may not have`)
	f("http://a#x", `"http://a#x" has a query or fragment, which an upstream URL may not have`)
	f("http://a,", `"" begins with neither http:// nor https://`)
	f("http://A, http://a:80/", `"http://a:80" is named twice`)
	f("ftp://a,http://b,gopher://c", `"ftp://a" begins with neither http:// nor https://`, `"gopher://c" begins with neither http:// nor https://`)
	f("http://user:s3,cret@a", `has an @: an upstream URL may not carry a user name or password`)
}

func TestFaultsOfFile(t *testing.T) {
	f := func(file string, want ...string) {
		t.Helper()
		for i := range want {
			want[i] = "gw.yaml:" + want[i]
		}
		_, _, err := load(file)
		if got := faultsOf(t, err); !slices.Equal(got, want) {
			t.Errorf("%s:\n got %q\nwant %q", file, got, want)
		}
	}
	pool := func(text string) string { return "pools:\n  p:\n    upstreams: [{url: 'http://a'}]\n    " + text }
	route := func(text string) string { return "routes:\n- {pool: node, path: /a}\n- {pool: node, " + text + "}" }

	// the form
	f("port: [", "1: is not YAML: sequence end token ']' not found")
	f("port: 1\n---\nport: 2", "3: a second document begins here; the file has one")
	f("- 1", "1: is not a mapping of keys to values, such as port: 8080")
	f("port: {a: 1}", "1: port: is not one plain value")
	f("port: 1\nport: 2", "2: port: stands here a second time; the first is in line 1")
	f("\"po\\nrt\": 1", `1: "po\nrt": there is no such key here; did you mean port?`)
	f("# one\nport: 0x50", `2: port: "0x50" is not a port number between 1 and 65535`)
	f("port: [1, {}]", "1: port[1]: is not one plain value", `1: port: "1," is not a port number between 1 and 65535`)
	f("pools: 1\nroutes: {}", `1: pools: is not a mapping of keys to values, such as {llm: {upstreams: [{url: "http://service:8000"}]}}`,
		`2: routes: is not a list, such as [{path: "/v1/*", pool: llm}]`)

	// pools
	f("pools: {a b: {upstreams: [{url: 'http://a'}]}}", `1: pools."a b": the name of a pool is of letters, digits, ".", "_" and "-", begins with a letter or digit and has at most 63`)
	f("pools: {-a: {upstreams: [{url: 'http://a'}]}}", `1: pools.-a: the name of a pool is of letters, digits, ".", "_" and "-", begins with a letter or digit and has at most 63`)
	f("pools: {p: }", "1: pools.p: needs upstreams")
	f("pools: {llm: {balance: p2c}}", "1: pools.llm: needs upstreams, here or in LLM_SERVICE_URL")
	f("pools: {p: {upstreams: []}}", "1: pools.p.upstreams: needs at least one upstream")
	f("pools: {p: {upstreams: ['http://a']}}", `1: pools.p.upstreams[0]: is not a mapping of keys to values, such as {url: "http://service:8000"}`)
	f("pools: {p: {upstreams: }}", "1: pools.p: needs upstreams")
	f("pools: {p: {upstreams: [{url: 'http://u:secret@a'}]}}", "1: pools.p.upstreams[0].url: has an @: an upstream URL may not carry a user name or password")
	f("pools: {p: {upstreams: [{weight: 2}]}}", "1: pools.p.upstreams[0]: needs a url")
	f("pools: {p: {upstreams: [{url: 'http://a', weight: 0}]}}", `1: pools.p.upstreams[0].weight: "0" is not a weight between 1 and 1000`)
	f("pools: {p: {upstreams: [{url: 'http://a', weight: 1001}]}}", `1: pools.p.upstreams[0].weight: "1001" is not a weight between 1 and 1000`)
	f("pools:\n  p:\n    upstreams:\n    - url: http://a\n    - url: http://a:80", `5: pools.p.upstreams[1]: "http://a:80" is named twice`)
	f(pool("balance: random"), `4: pools.p.balance: "random" is none of p2c, round_robin, least_requests, hash, prefix`)
	f(pool("hash: {by: path}"), `2: pools.p.hash: is for balance: hash, but the balance is p2c`)
	f(pool("balance: hash\n    hash: {by: header}"), `5: pools.p.hash: needs the name of the header to go by`)
	f(pool("balance: hash\n    hash: {by: path, name: x}"), `5: pools.p.hash: has a name, but path needs none`)
	f(pool("balance: hash\n    hash: {name: x}"), `5: pools.p.hash: needs by: client, header, query or path`)
	f(pool("balance: hash\n    hash: {by: moon}"), `5: pools.p.hash.by: "moon" is none of client, header, query, path`)
	f(pool("balance: hash\n    hash: {by: query, name: 'a&b'}"), `5: pools.p.hash.name: "a&b" is not a name of letters, digits, ".", "_" and "-"`)
	f(pool("max_inflight: 0"), `4: pools.p.max_inflight: "0" is not a number of requests between 1 and 16384`)
	f(pool("queue: {size: 0}"), `4: pools.p.queue.size: "0" is not a number of requests between 1 and 65536`)
	f(pool("waiting_room: {size: 0}"), `4: pools.p.waiting_room.size: "0" is not a number of requests between 1 and 65536`)
	f(pool("waiting_room: {wait: 0s}"), `4: pools.p.waiting_room.wait: "0s" is not a duration between 1ms and 24h, such as 500ms, 5s or 1m30s`)
	f(pool("waiting_room: {wake: ftp://a/b}"), `4: pools.p.waiting_room.wake: "ftp://a" begins with neither http:// nor https://`)
	f(pool("waiting_room: {wake: 'http://a/b#c'}"), `4: pools.p.waiting_room.wake: "http://a/b#c" is not a URL such as http://scaler:8080/wake`)
	f(pool("waiting_room: {wake: 'http://a/b c'}"), `4: pools.p.waiting_room.wake: "http://a/b c" is not a URL such as http://scaler:8080/wake`)
	f(pool("waiting_room: {wake: 'http://u:p@a/b'}"), `4: pools.p.waiting_room.wake: has an @: an upstream URL may not carry a user name or password`)
	f(pool("hedge: 0s"), `4: pools.p.hedge: "0s" is not a duration between 1ms and 24h, such as 500ms, 5s or 1m30s`)
	f(pool("hedge: off"), `4: pools.p.hedge: "off" is not a duration between 1ms and 24h, such as 500ms, 5s or 1m30s`)
	f(pool("timeouts: {response: 1s}\n    hedge: 1s"), `2: pools.p.hedge: is 1s, but an answer has no more than 1s to begin, by timeouts.response or RESPONSE_TIMEOUT`)
	f(pool("tls: {server_name: a}"), `2: pools.p.tls: is for https upstreams, but the pool has none`)
	f(pool("tls: {ca_file: missing.pem}"), `4: pools.p.tls.ca_file: cannot be read: no such file`, `2: pools.p.tls: is for https upstreams, but the pool has none`)
	f(pool("tls: {ca_file: gw.yaml}"), `4: pools.p.tls.ca_file: "gw.yaml" holds no certificate in PEM`, `2: pools.p.tls: is for https upstreams, but the pool has none`)
	f(pool("fallback: q"), `4: pools.p.fallback: there is no pool "q"; there are node, p, python`)
	f(pool("fallback: llm"), `4: pools.p.fallback: there is no pool "llm"; LLM_SERVICE_URL is unset`)
	f(pool("fallback: p"), `2: pools.p.fallback: leads in a circle: p → p`)
	f("pools:\n  python: {fallback: p}\n  node: {fallback: python}\n  p: {fallback: node, upstreams: [{url: http://a}]}",
		`3: pools.node.fallback: leads in a circle: node → python → p → node`)
	f(pool("health: {path: healthz}"), `4: pools.p.health.path: "healthz" does not begin with a single "/"; write "/healthz"`)
	f(pool("health: {interval: 99ms}"), `4: pools.p.health.interval: "99ms" is not a duration between 100ms and 24h, such as 500ms, 5s or 1m30s`)
	f(pool("timeouts: {idle: 0s}"), `4: pools.p.timeouts.idle: "0s" is not a duration between 1ms and 24h, such as 500ms, 5s or 1m30s`)
	f(pool("timeouts: {total: 1s}"), `4: pools.p.timeouts.total: there is no such key here; there are connect, first_token, idle, inter_token, response`)
	f("py_service_url: http://a\npools:\n  python:\n    upstreams: [{url: 'http://b'}]",
		`3: pools.python.upstreams: are named by py_service_url as well; neither can be said to win`)

	// routes
	f("routes: [{pool: node}]", "1: routes[0]: needs a path")
	f("routes: [{path: /a}]", "1: routes[0]: needs a pool, whose upstreams answer it")
	f(route("path: /a"), `3: routes[1]: the path "/a" has a route already, routes[0]`)
	f(route("path: b"), `3: routes[1].path: "b" does not begin with a single "/"; write "/b"`)
	f(route("path: //b"), `3: routes[1].path: "//b" does not begin with a single "/"; write "/b"`)
	f(route("path: '/b*'"), `3: routes[1].path: "/b*" has a "*" elsewhere than in a "/*" at the end; write "/b/*"`)
	f(route("path: '/*/b'"), `3: routes[1].path: "/*/b" has a "*" elsewhere than in a "/*" at the end`)
	f(route("path: '/*/*'"), `3: routes[1].path: "/*/*" has a "*" elsewhere than in a "/*" at the end`)
	f(route("path: '/b?c'"), `3: routes[1].path: "/b?c" holds '?', which a path holds only percent-encoded`)
	f(route("path: '/u/{id}'"), `3: routes[1].path: "/u/{id}" holds '{', which a path holds only percent-encoded`)
	f(route("path: /ä"), `3: routes[1].path: "/ä" holds 'ä', which a path holds only percent-encoded`)
	f(route("path: /healthz"), `3: routes[1].path: "/healthz" is the gateway's own page, which no route may take; choose another path`)
	f(route("path: /"), `3: routes[1].path: "/" is the gateway's own page, which no route may take; choose another path`)
	f(route("path: /b, rewrite: '/c/*'"), `3: routes[1].rewrite: "/c/*" and the path "/b" must either both end in "/*" or neither`)
	f(route("path: '/b/*', rewrite: /c"), `3: routes[1].rewrite: "/c" and the path "/b/*" must either both end in "/*" or neither`)
	f(route("path: /b, fallback: node"), `3: routes[1].fallback: "node" is the route's own pool`)
	f(route("path: /b, fallback: c"), `3: routes[1].fallback: there is no pool "c"; there are node, python`)
	f(route("path: /b, methods: GET"), `3: routes[1].methods: is not a list, such as [GET, POST]`)
	f(route("path: /b, methods: [GET, get]"), `3: routes[1].methods[1]: GET is named twice`)
	f(route("path: /b, methods: [TRACE]"), `3: routes[1].methods[0]: TRACE is not passed on`)
	f(route("path: /b, local: slow"), `3: routes[1].local: there is no such key here; there are cache, cors, fallback, limit, methods, path, pool, retry, rewrite`)
	f(route("path: /b, cache: {ttl: soon}"), `3: routes[1].cache.ttl: "soon" is not a duration between 1s and 24h, such as 500ms, 5s or 1m30s`)
	f(route("path: /b, cache: {ttl: 60s, enabled: no}"), `3: routes[1].cache: a ttl and enabled: false contradict each other`)
	f(route("path: /b, cache: {negative_ttl: 60s, enabled: no}"), `3: routes[1].cache: a negative_ttl and enabled: false contradict each other`)
	f(route("path: /b, cache: {stale_if_error: 60s, enabled: no}"), `3: routes[1].cache: a stale_if_error and enabled: false contradict each other`)
	f(route("path: /b, cache: {key_fields: [a b]}"), `3: routes[1].cache.key_fields[0]: "a b" is not the name of a field`)
	f(route("path: /b, cache: {key_fields: [X-A, x-a]}"), `3: routes[1].cache.key_fields[1]: x-a is named twice`)
	f(route("path: /b, cache: {key_fields: [X-A], ignore_fields: [x-a]}"), `3: routes[1].cache: x-a cannot be both in key_fields and in ignore_fields`)
	f(route("path: /b, cache: {key_fields: [X-Forwarded-Proto]}"), `3: routes[1].cache.key_fields[0]: X-Forwarded-Proto is decided by the cache itself`)
	f(route("path: /b, cache: {ignore_fields: [Cookie]}"), `3: routes[1].cache.ignore_fields[0]: Cookie is decided by the cache itself`)
	f(route("path: /b, cache: {ignore_fields: X-A}"), `3: routes[1].cache.ignore_fields: is not a list, such as [x-csrf-token]`)
	f(route("path: /b, cache: {key_fields: [x], enabled: no}"), `3: routes[1].cache: a list of key_fields and enabled: false contradict each other`)
	f(route("path: /b, cache: {negative_ttl: 5ms}"), `3: routes[1].cache.negative_ttl: "5ms" is not a duration between 1s and 24h, such as 500ms, 5s or 1m30s`)
	f(route("path: /b, cache: {stale_if_error: -1s}"), `3: routes[1].cache.stale_if_error: "-1s" is not a duration between 1s and 24h, such as 500ms, 5s or 1m30s`)
	f(route("path: /b, cache: {post: maybe}"), `3: routes[1].cache.post: "maybe" is none of true, false, 1, 0, yes, no, on, off`)
	f(route("path: /b, cache: {post: true, enabled: no}"), `3: routes[1].cache: a post: true and enabled: false contradict each other`)
	f(route("path: /b, cache: {when: always, scope: shared}"), `3: routes[1].cache: when is about answers to POST, which are kept with post: true`)
	f(route("path: /b, cache: {post: false, tools: true}"), `3: routes[1].cache: tools is about answers to POST, which are kept with post: true`)
	f(route("path: /b, cache: {post: true, when: never}"), `3: routes[1].cache.when: "never" is none of deterministic, always, header`)
	f(route("path: /b, cache: {post: true, scope: key}"), `3: routes[1].cache.scope: "key" is none of tenant, shared`)
	f(route("path: /b, cache: {post: true, replay: slow}"), `3: routes[1].cache.replay: "slow" is none of fast, paced`)
	f(route("path: /b, methods: [GET], cache: {post: true}"), `3: routes[1].cache.post: the route's methods do not have POST`)
	f(route("path: /b, limit: {client_rps: 5}"), `3: routes[1].limit: client_rps and client_burst go together`)
	f(route("path: /b, limit: {client_rps: -5, client_burst: 10}"),
		`3: routes[1].limit.client_rps: "-5" is not a rate: 0, or a number between 0.000001 and 1000000000, of requests a second`)
	f(route("path: /b, limit: {cost: 0}"), `3: routes[1].limit.cost: "0" is not a number of tokens between 1 and 1000000`)
	f("routes:\n  - path: '/v1/*'\n    pool: llm", `3: routes[0].pool: there is no pool "llm"; LLM_SERVICE_URL is unset`)
}

func TestAllFaultsTogether(t *testing.T) {
	_, _, err := Load(Input{
		Demo: map[string]string{"LOG_LEVEL": "x", "NOPE": "1"},
		File: "gw.yaml",
		ReadFile: func(string) ([]byte, error) {
			return []byte("port: x\npools: {p: {}}\nroutes: [{path: /healthz, pool: q}]"), nil
		},
		Environ: []string{"PORT=80", "MAX_BODY_BYTES=12x"},
	})
	want := []string{
		`-demo: LOG_LEVEL: "x" is none of debug, info, warn, error`,
		`-demo: NOPE: there is no such setting`,
		`gw.yaml:1: port: "x" is not a port number between 1 and 65535`,
		`MAX_BODY_BYTES: "12x" is not a number of bytes between 1 and 1099511627776`,
		`gw.yaml:3: routes[0].pool: there is no pool "q"; there are node, p, python`,
		`gw.yaml:2: pools.p: needs upstreams`,
		`gw.yaml:3: routes[0].path: "/healthz" is the gateway's own page, which no route may take; choose another path`,
	}
	if err == nil || err.Error() != strings.Join(want, "\n") {
		t.Errorf("got\n%v\nwant\n%s", err, strings.Join(want, "\n"))
	}
}

func TestNoFaultFollowsFromAnother(t *testing.T) {
	_, _, err := load("routes: [{path: /a, pool: llm}]", "LLM_SERVICE_URL=ftp://a")
	if got := faultsOf(t, err); len(got) != 1 {
		t.Errorf("got %q", got)
	}
	_, _, err = load("{pools: {p: {upstreams: [{url: a}]}}, routes: [{path: /a, pool: p}]}")
	if got := faultsOf(t, err); len(got) != 1 {
		t.Errorf("got %q", got)
	}
}

func TestWarnings(t *testing.T) {
	f := func(file, environ string, want ...string) {
		t.Helper()
		_, got, err := load(file, environ)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("file %q, environment %q: got %q (%v), want %q", file, environ, got, err, want)
		}
	}
	f("", "")
	f("", "TRUSTED_PROXIES=0.0.0.0/0,::/0",
		"TRUSTED_PROXIES: with 0.0.0.0/0 every client can name its own address in X-Forwarded-For",
		"TRUSTED_PROXIES: with ::/0 every client can name its own address in X-Forwarded-For")
	f("pools: {p: {upstreams: [{url: http://a}]}}", "", "pool p: no route and no model uses it")
	f("pools: {p: {upstreams: [{url: http://a}]}, node: {fallback: p}}", "")
	f("{pools: {p: {upstreams: [{url: http://a}]}}, routes: [{path: /a, pool: node, fallback: p}]}", "")
	f("routes: [{path: '/v1/*', pool: node}]", "LLM_SERVICE_URL=http://a")
	f("routes: [{path: '/v1/*', pool: node}, {path: '/*', pool: node}]", "LLM_SERVICE_URL=http://a")
	taken := "{path: /tokenize, pool: node}, {path: /detokenize, pool: node}, {path: /version, pool: node}, {path: /rerank, pool: node}, {path: /score, pool: node}"
	f("routes: [{path: '/v1/*', pool: node}, "+taken+"]", "LLM_SERVICE_URL=http://a", "pool llm: no route and no model uses it")
}

// A way to engines on which no tokens are counted is told, where keys or budgets are there to be passed by.
func TestUnreadWays(t *testing.T) {
	const pools = "pools:\n  a: {upstreams: [{url: http://a:1}]}\n  b: {upstreams: [{url: http://b:1}]}\nmodels: [{name: m, pool: a}]\nroutes:\n"
	f := func(route string, warns bool) {
		t.Helper()
		for _, environ := range [][]string{{"GLOBAL_TPM=1000"}, nil} {
			_, warnings, err := load(pools+"  - "+route+"\n  - {path: /b, pool: b}\n", environ...)
			told := slices.ContainsFunc(warnings, func(w string) bool { return strings.Contains(w, ": routes[0].path: by ") })
			if err != nil || told != (warns && environ != nil) {
				t.Errorf("%s %v: %q %v", route, environ, warnings, err)
			}
		}
	}
	f(`{path: "/v1/*", pool: a}`, false)
	f(`{path: "/v1/*", pool: a, rewrite: "/openai/v1/*"}`, false)
	f(`{path: /v1/chat/completions, pool: a}`, false)
	f(`{path: "/openai/*", pool: a, rewrite: "/v1/*"}`, false)
	f(`{path: "/*", pool: a}`, true)
	f(`{path: "/v1/team/*", pool: a, rewrite: "/v1/*"}`, false)
	f(`{path: "/engine/*", pool: a, rewrite: "/*"}`, true)
	f(`{path: "/images/*", pool: b}`, false)
}

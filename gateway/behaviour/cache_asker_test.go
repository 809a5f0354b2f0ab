package behaviour

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"aigateway/gateway/testkit"
)

// The tests of who gets whose answer where freshness is our own idea. The upstream answers by the fields that a test is
// about, and says nothing of it.

// echo is an origin that answers with the values of a request's fields and the number of the request.
func echo(t *testing.T, lines ...string) *origin {
	var asked atomic.Int32
	return startOrigin(t, func(r testkit.Message, _ int) string {
		var said []string
		for line := range strings.SplitSeq(r.Head, "\n") {
			if _, value, ok := strings.Cut(strings.TrimSpace(line), ": echo "); ok {
				said = append(said, value)
			}
		}
		slices.Sort(said)
		return with(fmt.Sprintf("%d: %s", asked.Add(1)-1, strings.Join(said, " ")), lines...)
	})
}

// askers are fields by which gateways in front, meshes and applications tell who asks or what is wanted.
var askers = []string{
	"X-User-Id", "X-User", "Remote-User", "X-Remote-User", "X-Tenant-Id", "X-Org-Id", "X-Account", "X-Session-Id", "X-Customer", "X-Role",
	"OpenAI-Organization", "OpenAI-Project", "OpenAI-Beta", "Anthropic-Version", "X-Ms-Client-Principal", "X-Ms-Client-Principal-Name",
	"Cf-Access-Jwt-Assertion", "Cf-Access-Authenticated-User-Email", "X-Goog-Authenticated-User-Email", "X-Goog-Iap-Jwt-Assertion",
	"X-Consumer-Username", "X-Credential-Identifier", "X-Webauth-User", "X-Client-Cert", "X-Ssl-Client-S-Dn", "SSL-Client-Verify", "X-Tailscale-User",
	"Tailscale-User-Login", "X-Pomerium-Claim-Email", "From", "X-Device", "X-Feature-Flags", "X-Model", "X-Api-Version", "Api-Version", "Cf-Ipcountry",
	"Accept", "Accept-Language", "Accept-Version", "Origin", "X-Requested-With", "Save-Data", "Baggage", "Prefer", "Any", "X", "x-any-field-of-tomorrow",
	"X_User_Id", "User_Agent", "X_Tenant",
}

// Two who are told apart by a field that no list knows never get each other's answer, on a route with a ttl of the file
// and on a built-in one, nor does somebody without the field. Each gets its own again.
func TestCacheAskersApart(t *testing.T) {
	t.Parallel()
	o := echo(t)
	file := "pools: {p: {upstreams: [{url: \"" + o.URL + "\"}]}}\nroutes: [{path: \"/own/*\", pool: p, cache: {ttl: 60s}}]\n"
	g := startGatewayFile(t, file, "CACHE_ENABLED=true", "PY_SERVICE_URL="+o.URL)
	for i, name := range askers {
		for _, path := range []string{"/own/a", "/infer/python"} {
			target := fmt.Sprintf("%s?prompt=%d", path, i)
			seen := map[string]string{}
			for round, outcome := range []string{"MISS", "HIT", "HIT"} {
				for _, who := range []string{"anna", "", "ben", "Anna"} {
					if who == "Anna" && name == "Accept-Language" {
						continue // in which case means nothing
					}
					var lines []string
					if who != "" {
						lines = []string{name + ": echo " + who}
					}
					m := g.get(target, lines...)
					_, said, _ := strings.Cut(m.Body, ": ")
					if m.Err != nil || said != who || m.Field("X-Cache") != outcome || round > 0 && m.Body != seen[who] {
						t.Errorf("%s: %q asks in round %d: %s %q, %s", name, who, round, m.First, m.Body, m.Field("X-Cache"))
					}
					seen[who] = m.Body
				}
			}
		}
	}
}

// Where an answer states its freshness itself, it is for all, as RFC 9111 §4 has it.
func TestCacheAskersShareWhatStatesItsFreshness(t *testing.T) {
	o := echo(t, fresh)
	g := startRouted(t, o, "ttl: 60s")
	wantCached(t, g.get("/a", "X-User-Id: echo anna"), "MISS", 200, "0: anna")
	wantCached(t, g.get("/a", "X-User-Id: echo ben"), "HIT", 200, "0: anna")
	wantCached(t, g.get("/a"), "HIT", 200, "0: anna")
}

// What cannot matter splits nothing, or the cache would be of no use to browsers, SDKs and load tests.
func TestCacheWhatCannotMatter(t *testing.T) {
	o := startOrigin(t, func(_ testkit.Message, n int) string { return with(fmt.Sprint("answer ", n)) })
	g := startRouted(t, o, "ttl: 60s")
	wantCached(t, g.get("/a"), "MISS", 200, "answer 0")
	for _, line := range []string{
		"User-Agent: k6/2", "User-Agent: Mozilla/5.0", "Accept: */*", "Accept-Language: *", "Accept-Encoding: gzip, deflate, br, zstd", "Referer: http://a/b",
		"Via: 1.1 cdn", "Priority: u=1, i", "Sec-Fetch-Mode: cors", "Sec-Fetch-Site: none", `Sec-CH-UA: "a"`, "Sec-CH-UA-Mobile: ?0", "Content-Type: application/json",
		"X-Stainless-Lang: python", "X-Stainless-Retry-Count: 3", "X-Stainless-Package-Version: 1.99", "X-Request-ID: abc", "X-Correlation-ID: abc",
		"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tracestate: a=b", "X-B3-TraceId: 1", "b3: 1", "X-Datadog-Trace-Id: 1",
		"X-Cloud-Trace-Context: 1/2", "X-Amzn-Trace-Id: Root=1", "Sentry-Trace: 1-2", "Uber-Trace-Id: 1:2", "CF-Ray: 1", "CDN-Loop: cloudflare",
		"X-Forwarded-For: 203.0.113.7", "X-Forwarded-Port: 80", "X-Forwarded-Server: lb", "X-Forwarded-Proto: http", "Connection: X-Hop\r\nX-Hop: 1",
		"X-Forwarded-For: 203.0.113.7\r\nX-Real-IP: 203.0.113.7", "X-Forwarded-For: 2001:db8::7\r\nCF-Connecting-IP: 2001:DB8::7\r\nCF-Visitor: {\"scheme\":\"http\"}",
		"X-Real-IP: 127.0.0.1", "X-Scheme: http", "Front-End-Https: off",
	} {
		if m := g.get("/a", line); m.Field("X-Cache") != "HIT" || m.Body != "answer 0" {
			t.Errorf("%q: %s %q", line, m.Field("X-Cache"), m.Body)
		}
	}
	// An address that the gateway does not know to be the client's is a field like any other.
	for _, line := range []string{"X-Real-IP: 198.51.100.1", "X-Forwarded-For: 203.0.113.7\r\nTrue-Client-IP: 198.51.100.1", "X-Real-IP: me"} {
		if m := g.get("/a", line); m.Field("X-Cache") != "MISS" {
			t.Errorf("%q: %s %q", line, m.Field("X-Cache"), m.Body)
		}
	}
}

// Fields that gateways, browsers and SDKs set, whose answers are anybody's: none of them writes into the entry of those
// who do not send them.
func TestCacheForgedFields(t *testing.T) {
	for _, control := range []string{"X-Own: 1", fresh} {
		o := echo(t, control)
		g := startRouted(t, o, "ttl: 60s")
		for i, line := range []string{
			"X-Forwarded-Port: echo 1", "X-Forwarded-Scheme: echo https", "X-Forwarded-Ssl: echo on", "X-Forwarded-Prefix: echo /evil", "Front-End-Https: echo on", "X-Url-Scheme: echo https",
			"X-Script-Name: echo /evil", "X-Scheme: echo https", "X-Host: echo evil", "X-Original-URL: echo /admin", "X-Rewrite-URL: echo /admin", "Forwarded: echo host=evil",
			"X-HTTP-Method-Override: echo POST", "CF-Visitor: echo https", "CloudFront-Forwarded-Proto: echo https", "X-Path-Info: echo /evil", "X-Real-Host: echo evil",
		} {
			target := fmt.Sprint("/", i)
			if m := g.get(target, line); m.Field("X-Cache") != "BYPASS" {
				t.Errorf("%s, %q: %s %q", control, line, m.Field("X-Cache"), m.Body)
			}
			if m := g.get(target); m.Field("X-Cache") != "MISS" || !strings.HasSuffix(m.Body, ": ") {
				t.Errorf("%s, after %q: %s %q", control, line, m.Field("X-Cache"), m.Body)
			}
		}
	}
}

// A trusted peer says http or https; all else is as if it had said nothing, to the upstream as to the cache.
func TestCacheForwardedProto(t *testing.T) {
	f := func(trusted string, said []string, told string) {
		t.Helper()
		o := startOrigin(t, func(r testkit.Message, _ int) string { return with(r.Field("X-Forwarded-Proto"), fresh) })
		g := startCached(t, o, "TRUSTED_PROXIES="+trusted)
		lines := []string(nil)
		for _, s := range said {
			lines = append(lines, "X-Forwarded-Proto: "+s)
		}
		wantCached(t, g.get("/a", lines...), "MISS", 200, told)
		outcome := "MISS"
		if told == "http" {
			outcome = "HIT"
		}
		wantCached(t, g.get("/a"), outcome, 200, "http") // over http
		wantCached(t, g.get("/a", lines...), "HIT", 200, told)
	}
	f("loopback", []string{"https"}, "https")
	f("loopback", []string{"HTTPS"}, "https")
	f("loopback", []string{"Http"}, "http")
	f("loopback", []string{"https", "https"}, "https")
	for _, bad := range []string{"", "wss", "javascript", "https, http", "https://evil", "http\"><script>", "httpx", "xhttps", "evil"} {
		f("loopback", []string{bad}, "http")
	}
	f("loopback", []string{"https", "http"}, "http")
	f("loopback", []string{"https", "evil"}, "http")
	f("none", []string{"https"}, "http")
}

// key_fields are in the key whatever an answer says; ignore_fields are not, where it says nothing.
func TestCacheFieldsOfRoute(t *testing.T) {
	o := echo(t, fresh)
	g := startRouted(t, o, "ttl: 60s, key_fields: [X-Tenant, User-Agent]")
	wantCached(t, g.get("/a", "X-Tenant: echo one"), "MISS", 200, "0: one")
	wantCached(t, g.get("/a", "X-Tenant: echo two"), "MISS", 200, "1: two")
	wantCached(t, g.get("/a"), "MISS", 200, "2: ")
	wantCached(t, g.get("/a", "X-Tenant: "), "MISS", 200, "3: ")
	wantCached(t, g.get("/a", "User-Agent: echo one"), "MISS", 200, "4: one")
	wantCached(t, g.get("/a", "x-tenant: echo one", "X-Other: echo me"), "HIT", 200, "0: one")
	wantCached(t, g.get("/a"), "HIT", 200, "2: ")
	// Many of them share a URL without being in each other's way.
	for round, outcome := range []string{"MISS", "HIT"} {
		for i := range 100 {
			if m := g.get("/b", fmt.Sprint("X-Tenant: echo ", i)); m.Field("X-Cache") != outcome {
				t.Fatalf("round %d, tenant %d: %s", round, i, m.Field("X-Cache"))
			}
		}
	}
	// An unsafe request is of its tenant's.
	g.Do("POST /a HTTP/1.1\r\nHost: a\r\nX-Tenant: echo one\r\nContent-Length: 0\r\n\r\n")
	if m := g.get("/a", "X-Tenant: echo one"); m.Field("X-Cache") != "MISS" {
		t.Errorf("%s after a POST of its own", m.Field("X-Cache"))
	}
	wantCached(t, g.get("/a", "X-Tenant: echo two"), "HIT", 200, "1: two")

	o = echo(t)
	g = startRouted(t, o, "ttl: 60s, ignore_fields: [X-Trace, x-csrf-token], key_fields: [X-Api-Key]")
	wantCached(t, g.get("/a"), "MISS", 200, "0: ")
	wantCached(t, g.get("/a", "x-trace: 1", "X-CSRF-Token: 2"), "HIT", 200, "0: ")
	wantCached(t, g.get("/a", "X-Other: 1"), "MISS", 200, "1: ")
	wantCached(t, g.get("/a", "X-Api-Key: echo k"), "MISS", 200, "2: k") // told apart by the key, it is no secret that forbids
	wantCached(t, g.get("/a", "X-Api-Key: echo k"), "HIT", 200, "2: k")
	wantCached(t, g.get("/a", "X-Api-Key: echo l"), "MISS", 200, "3: l")
	wantCached(t, g.get("/a", "Cookie: echo c"), "MISS", 200, "4: c")
	wantCached(t, g.get("/a"), "HIT", 200, "0: ")
}

// What is done to a URL is done to the answers of all who ask.
func TestCacheAskersInvalidated(t *testing.T) {
	for what, request := range map[string]string{
		"POST":  "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
		"purge": "DELETE /cachez?path=/a HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer secret\r\n\r\n",
		"key":   "DELETE /cachez?key=/a HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer secret\r\n\r\n",
	} {
		for users := 1; users <= 3; users++ {
			o := echo(t)
			file := "pools: {p: {upstreams: [{url: \"" + o.URL + "\"}]}}\nroutes: [{path: \"/*\", pool: p, cache: {ttl: 60s}}]\n"
			g := startGatewayFile(t, file, "CACHE_ENABLED=true", "ADMIN_TOKEN=secret", "PY_SERVICE_URL="+o.URL)
			for _, outcome := range []string{"MISS", "HIT"} {
				for i := range users {
					if m := g.get("/a", fmt.Sprint("X-User: echo ", i)); m.Field("X-Cache") != outcome {
						t.Errorf("%d of %d: %s, want %s", i, users, m.Field("X-Cache"), outcome)
					}
				}
			}
			if m := g.Do(request); m.Status() != 200 {
				t.Errorf("%s: %s", what, m.First)
			}
			for i := range users {
				if m := g.get("/a", fmt.Sprint("X-User: echo ", i)); m.Field("X-Cache") != "MISS" {
					t.Errorf("%d of %d after %s: %s %q", i, users, what, m.Field("X-Cache"), m.Body)
				}
			}
		}
	}
}

// Many at once: who is the same makes one request, who is not gets none of the others' answers. More of them than a URL
// has variants push each other out, and are told apart all the same.
func TestCacheAskersAtOnce(t *testing.T) {
	begin := make(chan struct{})
	var asked atomic.Int32
	o := startOrigin(t, func(r testkit.Message, _ int) string {
		asked.Add(1)
		<-begin
		return with("for " + r.Field("X-User"))
	})
	g := startRouted(t, o, "ttl: 60s")
	who := func(i int) string { return fmt.Sprint("user ", i%4) }
	clients := g.crowd(24, func(i int) string { return getOf("/a", "X-User: "+who(i)) })
	close(begin)
	all(clients, func(i int, m testkit.Message) {
		if m.Err != nil || m.Body != "for "+who(i) {
			t.Errorf("%s got %s %q", who(i), m.First, m.Body)
		}
	})
	if n := asked.Load(); n != 4 {
		t.Errorf("the upstream was asked %d times for 4 users", n)
	}
	for range 3 {
		for i := range 40 {
			if m := g.get("/a", fmt.Sprint("X-User: ", i)); m.Body != fmt.Sprint("for ", i) {
				t.Fatalf("%d got %q", i, m.Body)
			}
		}
	}
}

// A coding that nobody said the answer depends on reaches only who can read it.
func TestCacheCodingOfTTL(t *testing.T) {
	o := startOrigin(t, func(r testkit.Message, n int) string {
		if strings.Contains(r.Field("Accept-Encoding"), "gzip") {
			return with("zipped", "Content-Encoding: gzip")
		}
		return with("plain")
	})
	g := startRouted(t, o, "ttl: 60s")
	wantCached(t, g.get("/a", "Accept-Encoding: gzip"), "MISS", 200, "zipped")
	wantCached(t, g.get("/a", "Accept-Encoding: gzip, deflate"), "HIT", 200, "zipped")
	if m := g.get("/a"); m.Body != "plain" {
		t.Errorf("%s %q", m.Field("X-Cache"), m.Body)
	}
	wantCached(t, g.get("/b"), "MISS", 200, "plain")
	wantCached(t, g.get("/b", "Accept-Encoding: gzip"), "HIT", 200, "plain") // who reads that reads this too
}

// An answer that may be used for requests with credentials, but does not say for how long, is for the same credentials.
func TestCachePublicWithoutFreshness(t *testing.T) {
	o := echo(t, "Cache-Control: public")
	g := startRouted(t, o, "ttl: 60s")
	wantCached(t, g.get("/a", "Authorization: echo anna"), "MISS", 200, "0: anna")
	wantCached(t, g.get("/a", "Authorization: echo ben"), "MISS", 200, "1: ben")
	wantCached(t, g.get("/a"), "MISS", 200, "2: ")
	wantCached(t, g.get("/a", "Authorization: echo anna"), "HIT", 200, "0: anna")
}

// A URL whose answers begin to state their freshness, or cease to, goes on well.
func TestCacheFreshnessChangesHands(t *testing.T) {
	var stated atomic.Bool
	o := startOrigin(t, func(r testkit.Message, n int) string {
		line := "X-Own: 1"
		if stated.Load() {
			line = fresh
		}
		return with(fmt.Sprint(n, " for ", r.Field("X-User")), line)
	})
	g := startRouted(t, o, "ttl: 60s")
	wantCached(t, g.get("/a", "X-User: anna"), "MISS", 200, "0 for anna")
	wantCached(t, g.get("/a", "X-User: ben"), "MISS", 200, "1 for ben")
	stated.Store(true)
	wantCached(t, g.get("/a", "X-User: carl"), "MISS", 200, "2 for carl")
	wantCached(t, g.get("/a", "X-User: ben"), "HIT", 200, "2 for carl") // the last one is for all
	stated.Store(false)
	wantCached(t, g.get("/a", "X-User: ben", "Cache-Control: no-cache"), "MISS", 200, "3 for ben")
	wantCached(t, g.get("/a", "X-User: ben"), "HIT", 200, "3 for ben")
	wantCached(t, g.get("/a", "X-User: anna"), "MISS", 200, "4 for anna")
	wantCached(t, g.get("/a", "X-User: ben"), "HIT", 200, "3 for ben")
}

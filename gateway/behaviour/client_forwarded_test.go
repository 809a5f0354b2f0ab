package behaviour

import (
	"regexp"
	"strings"
	"testing"

	"aigateway/gateway/testkit"
)

// What a client says of itself is continued if the peer is trusted, and begun anew if not.
func TestClientForwardedFields(t *testing.T) {
	up := testkit.StartRecorder(t)
	trusting := startGateway(t, "PY_SERVICE_URL="+up.URL, "TRUSTED_PROXIES=loopback")
	wary := startGateway(t, "PY_SERVICE_URL="+up.URL, "TRUSTED_PROXIES=none")
	other := startGateway(t, "PY_SERVICE_URL="+up.URL, "TRUSTED_PROXIES=10.0.0.0/8")
	for _, c := range []struct {
		name             string
		g                *testGateway
		fields           string
		xff, proto, host string
	}{
		{"nothing", trusting, "", "127.0.0.1", "http", "a"},
		{"one", trusting, "X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: b\r\n", "1.1.1.1, 127.0.0.1", "https", "b"},
		{"several lines", trusting, "X-Forwarded-For: 1.1.1.1\r\nX: y\r\nx-forwarded-for: 2.2.2.2, 3.3.3.3\r\n", "1.1.1.1, 2.2.2.2, 3.3.3.3, 127.0.0.1", "http", "a"},
		{"empty first line", trusting, "X-Forwarded-For:\r\nX-Forwarded-For: 2.2.2.2\r\n", "2.2.2.2, 127.0.0.1", "http", "a"},
		{"nominated", trusting, "Connection: X-Forwarded-For, X-Forwarded-Host\r\nX-Forwarded-For: 1.1.1.1\r\n", "1.1.1.1, 127.0.0.1", "http", "a"},
		{"untrusted", wary, "X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: b\r\nX-Forwarded-For: 2.2.2.2\r\n", "127.0.0.1", "http", "a"},
		{"another is trusted", other, "X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: b\r\n", "127.0.0.1", "http", "a"},
	} {
		up.Reset()
		c.g.Do("GET /infer/python HTTP/1.1\r\nHost: a\r\n" + c.fields + "\r\n")
		seen := up.Whole()
		if len(seen) != 1 {
			t.Fatalf("%s: the upstream saw %q", c.name, testkit.Firsts(seen))
		}
		for name, want := range map[string]string{"X-Forwarded-For": c.xff, "X-Forwarded-Proto": c.proto, "X-Forwarded-Host": c.host, "Via": "1.1 " + c.g.Parts().Via} {
			if got := seen[0].Fields(name); len(got) != 1 || got[0] != want {
				t.Errorf("%s: %s is %q, want %q once", c.name, name, got, want)
			}
		}
	}
	up.Reset()
	trusting.Do("GET /infer/python HTTP/1.1\r\nHost: a\r\nVia: 1.0 other\r\n\r\n")
	if got := up.Whole()[0].Fields("Via"); strings.Join(got, ", ") != "1.0 other, 1.1 "+trusting.Parts().Via {
		t.Errorf("Via is %q", got)
	}
}

// A well-formed id goes through both ways; any other is replaced.
func TestClientRequestID(t *testing.T) {
	up := testkit.StartRecorder(t)
	g := startGateway(t, "PY_SERVICE_URL="+up.URL)
	for id, kept := range map[string]bool{
		"abc": true, "A-b_c.d:e/f+g=@1": true, strings.Repeat("x", 128): true,
		"": false, strings.Repeat("x", 129): false, "a b": false, "a\"b": false, "a\\b": false, "<x>": false, "\xc3\xa9": false, "a,b": false, "a\tb": false,
	} {
		for _, path := range []string{"/infer/python", "/livez", "/nowhere"} {
			up.Reset()
			m := g.Do("GET " + path + " HTTP/1.1\r\nHost: a\r\nX-Request-ID: " + id + "\r\n\r\n")
			got := m.Fields("X-Request-ID")
			if len(got) != 1 || got[0] == "" || (got[0] == id) != kept {
				t.Errorf("%s: %.40q is answered %q", path, id, got)
			}
			for _, seen := range up.Whole() {
				if there := seen.Fields("X-Request-ID"); len(there) != 1 || there[0] != got[0] {
					t.Errorf("%.40q: the upstream got %q, the client %q", id, there, got)
				}
			}
		}
	}
}

// A valid traceparent is continued with its tracestate; with any other both are begun anew.
func TestClientTrace(t *testing.T) {
	up := testkit.StartRecorder(t)
	g := startGateway(t, "PY_SERVICE_URL="+up.URL)
	const id, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	for trace, kept := range map[string]bool{
		"00-" + id + "-" + parent + "-01":                          true,
		"00-" + id + "-" + parent + "-00":                          true,
		"cc-" + id + "-" + parent + "-01":                          true,
		"cc-" + id + "-" + parent + "-01-xy":                       true,
		"cc-" + id + "-" + parent + "-01xy":                        false,
		"00-" + id + "-" + parent + "-01-xy":                       false,
		"ff-" + id + "-" + parent + "-01":                          false,
		"00-" + strings.ToUpper(id) + "-" + parent + "-01":         false,
		"00-" + strings.Repeat("0", 32) + "-" + parent + "-01":     false,
		"00-" + id + "-" + strings.Repeat("0", 16) + "-01":         false,
		"00-" + id[1:] + "-" + parent + "-01":                      false,
		"00-" + id[:31] + "g-" + parent + "-01":                    false,
		"00_" + id + "_" + parent + "_01":                          false,
		"00-" + id + "-" + parent:                                  false,
		"":                                                         false,
		"00-" + id + "-" + parent + "-01, 00-" + id + "-" + parent: false,
	} {
		up.Reset()
		g.Do("GET /infer/python HTTP/1.1\r\nHost: a\r\ntracestate: a=1,b=2\r\nTraceParent: " + trace + "\r\n\r\n")
		seen := up.Whole()
		if len(seen) != 1 {
			t.Fatalf("the upstream saw %q", testkit.Firsts(seen))
		}
		parents, states := seen[0].Fields("traceparent"), seen[0].Fields("tracestate")
		if len(parents) != 1 || (parents[0] == trace) != kept || !validTraceParent(parents[0]) {
			t.Errorf("%q becomes %q", trace, parents)
		}
		if got := strings.Join(states, ","); kept && got != "a=1,b=2" || !kept && got != "" {
			t.Errorf("with %q tracestate becomes %q", trace, got)
		}
	}
	// W3C Trace Context §3.3.1: several lines are one list.
	up.Reset()
	g.Do("GET /infer/python HTTP/1.1\r\nHost: a\r\ntraceparent: 00-" + id + "-" + parent + "-01\r\ntracestate: a=1\r\ntracestate: b=2\r\n\r\n")
	if got := strings.ReplaceAll(strings.Join(up.Whole()[0].Fields("tracestate"), ","), " ", ""); got != "a=1,b=2" {
		t.Errorf("two lines of tracestate become %q", got)
	}
	// §3.2: and several of traceparent are none.
	up.Reset()
	g.Do("GET /infer/python HTTP/1.1\r\nHost: a\r\ntraceparent: 00-" + id + "-" + parent + "-01\r\ntraceparent: 00-" + id + "-1111111111111111-01\r\n\r\n")
	if got := up.Whole()[0].Field("traceparent"); strings.Contains(got, id) {
		t.Errorf("two lines of traceparent become %q", got)
	}
}

// wellFormed is what the recommendation lets a traceparent be; ids are not zero, and the version is not ff.
var wellFormed = regexp.MustCompile(`^([0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?)$`)

func validTraceParent(s string) bool {
	return wellFormed.MatchString(s) && s[:2] != "ff" && (s[:2] != "00" || len(s) == 55) && s[3:35] != strings.Repeat("0", 32) && s[36:52] != strings.Repeat("0", 16)
}

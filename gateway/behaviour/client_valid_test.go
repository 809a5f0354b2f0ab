package behaviour

import (
	"strings"
	"testing"

	"aigateway/gateway/testkit"
)

// To CGI and its descendants X_Locale is X-Locale. What they answer to it is not what somebody without the field gets, nor
// somebody with another value, where the answer says that it varies by X-Locale.
func TestCacheVaryByNameWithUnderscore(t *testing.T) {
	t.Parallel()
	o := echo(t, "Cache-Control: max-age=60", "Vary: X-Locale")
	g := startGatewayFile(t, "pools: {p: {upstreams: [{url: \""+o.URL+"\"}]}}\nroutes: [{path: \"/*\", pool: p}]\n", "CACHE_ENABLED=true")
	for _, c := range []struct{ line, want, outcome string }{
		{"X_Locale: echo evil", "0: evil", "MISS"},
		{"", "1: ", "MISS"},
		{"X-Locale: echo good", "2: good", "MISS"},
		{"X_locale: echo evil", "0: evil", "HIT"},
		{"", "1: ", "HIT"},
		{"x-locale: echo good", "2: good", "HIT"},
	} {
		var lines []string
		if c.line != "" {
			lines = []string{c.line}
		}
		if m := g.get("/a", lines...); m.Body != c.want || m.Field("X-Cache") != c.outcome {
			t.Errorf("%q: %s %q, %s; want %q, %s", c.line, m.First, m.Body, m.Field("X-Cache"), c.want, c.outcome)
		}
	}
}

// A target in absolute-form is that of its path everywhere: for the cache, for who is refused, and for the shape of a refusal.
func TestClientAbsoluteForm(t *testing.T) {
	t.Parallel()
	o := startOrigin(t, func(r testkit.Message, n int) string { return with(r.First+itoa(n), "Cache-Control: max-age=60") })
	g := startGatewayFile(t, "pools: {p: {upstreams: [{url: \""+o.URL+"\"}]}}\nroutes: [{path: \"/*\", pool: p}]\n", "CACHE_ENABLED=true", "LLM_SERVICE_URL="+o.URL)
	first := g.Do("GET http://b/x?y HTTP/1.1\r\nHost: a\r\n\r\n")
	for _, same := range []string{"GET /x?y HTTP/1.1\r\nHost: b\r\n\r\n", "GET HTTP://B/x?y HTTP/1.1\r\nHost: c\r\n\r\n", "GET http://b/x?y HTTP/1.0\r\n\r\n"} {
		if m := g.Do(same); m.Body != first.Body || m.Field("X-Cache") != "HIT" {
			t.Errorf("%q: %s %q, %s", same, m.First, m.Body, m.Field("X-Cache"))
		}
	}
	if m := g.Do("GET /x?y HTTP/1.1\r\nHost: a\r\n\r\n"); m.Body == first.Body {
		t.Error("an answer of the field's host is another one's")
	}
	if m := g.Do("PROPPATCH http://b/x?y HTTP/1.1\r\nHost: a\r\n\r\n"); m.Status() != 200 {
		t.Errorf("%s", m.First)
	}
	if m := g.Do("GET /x?y HTTP/1.1\r\nHost: b\r\n\r\n"); m.Field("X-Cache") != "MISS" {
		t.Errorf("a method nobody knows left what is stored: %s", m.Field("X-Cache"))
	}
	for _, c := range []struct {
		request string
		status  int
		code    string
	}{
		{"GET http://b/./metrics HTTP/1.1\r\nHost: a\r\n\r\n", 400, "ambiguous_path"},
		{"DELETE http://b/cachez HTTP/1.1\r\nHost: a\r\n\r\n", 401, "unauthorized"},
		{"GET http://b/ HTTP/2.0\r\nHost: a\r\n\r\n", 505, ""},
		{"POST http://b/v1/x HTTP/1.1\r\nHost: a\r\nX_Api_Key: 1\r\n\r\n", 400, `"param":null`},
		{"CONNECT b:443 HTTP/1.1\r\nHost: a\r\n\r\n", 501, ""},
		{"GET http://b:/x HTTP/1.1\r\nHost: a\r\n\r\n", 200, ""},
	} {
		if m := g.Do(c.request); m.Status() != c.status || !strings.Contains(m.Body, c.code) {
			t.Errorf("%q: %s %s", c.request, m.First, m.Body)
		}
	}
}

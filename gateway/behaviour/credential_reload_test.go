package behaviour

import (
	"strings"
	"testing"

	"aigateway/gateway/testkit"
)

// A credential that a reload brings while a body is held is longer than what there was room for.
func TestCredentialOfAReloadBeforeAHeldBody(t *testing.T) {
	o := startOrigin(t, func(testkit.Message, int) string { return with("ok") })
	file := func(more string) string {
		return "pools: {p: {upstreams: [{url: \"" + o.URL + "\"}]" + more + "}}\nroutes: [{path: \"/*\", pool: p}]\n"
	}
	g := startGatewayFile(t, file(""))
	c := g.client(false)
	c.Send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc")
	testkit.Eventually(t, "the request is under way", func() bool { return g.Parts().Open+g.Parts().Late > 0 })
	g.reload(file(", credential: {header: X-Key, env: UPSTREAM_KEY}"), "UPSTREAM_KEY="+strings.Repeat("k", 4000))
	c.Send("def")
	if r := c.ReadResponse(); r.Status() != 200 || r.Body != "ok" {
		t.Errorf("%q %q %v", r.First, r.Body, r.Err)
	}
	for _, r := range o.asked() {
		if r.Body != "abcdef" {
			t.Errorf("%q", r.Body)
		}
	}
}

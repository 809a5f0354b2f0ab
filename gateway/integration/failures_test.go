//go:build integration

package integration

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"aigateway/gateway/testkit"
)

// A user of the OpenAI SDK whose answer is not whole gets an exception of its own with the reason, never a short answer.
func TestOpenAISDKRaises(t *testing.T) {
	t.Parallel()
	over := make(chan struct{})
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		c.R.Peek(1)
		r := c.ReadRequest()
		begin := func(event string) {
			c.Send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(event), event)
		}
		const event = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"one \"}}]}\n\n"
		status := func(n int) {
			body := `{"error":{"message":"scripted","type":"error","param":null,"code":"x"}}`
			c.Send("HTTP/1.1 %d No\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", n, len(body), body)
		}
		switch strings.TrimPrefix(r.Name(), "case=") {
		case "cut":
			begin(event)
		case "stall":
			begin(event)
			<-over
		case "inside":
			begin(event + "data: {\"id\"")
		case "reset":
			c.Abort()
		case "500":
			status(500)
		case "503":
			status(503)
		case "429":
			status(429)
		}
	})
	defer close(over)
	g := startGateway(t, options{file: fmt.Sprintf("pools: {a: {upstreams: [{url: %q}], discover: false, timeouts: {inter_token: 500ms}}}\nroutes: [{path: \"/v1/*\", pool: a}]\n", up.URL)})
	script, err := filepath.Abs("testdata/sdk_failures.py")
	if err != nil {
		t.Fatal(err)
	}
	wants := map[string]struct {
		text, says string
		raised     []string
	}{
		"cut":    {"one ", "the upstream broke off in the middle of this answer", []string{"APIError"}},
		"stall":  {"one ", "the upstream fell silent in the middle of this answer", []string{"APIError"}},
		"inside": {"one ", "", []string{"RemoteProtocolError", "ReadError", "APIConnectionError"}}, // of its transport, by version
		"reset":  {"", "the upstream's response is broken", []string{"InternalServerError"}},
		"500":    {"", "scripted", []string{"InternalServerError"}},
		"503":    {"", "scripted", []string{"InternalServerError"}},
		"429":    {"", "scripted", []string{"RateLimitError"}},
	}
	c := command{name: "sdk_failures.py", path: pythonPath(t), args: []string{script, g.url + "/v1"}}
	for name := range wants {
		c.args = append(c.args, name)
	}
	r := c.run(t)
	if r.code == 77 {
		t.Skip(strings.TrimSpace(r.stdout))
	}
	seen := make(map[string]struct{ Text, Raised, Says string })
	if err := json.Unmarshal([]byte(r.stdout), &seen); err != nil || r.code != 0 {
		t.Fatalf("code %d, %v\n%s%s", r.code, err, r.stdout, r.stderr)
	}
	for name, want := range wants {
		if got := seen[name]; got.Text != want.text || !strings.Contains(got.Says, want.says) || !slices.Contains(want.raised, got.Raised) {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
}

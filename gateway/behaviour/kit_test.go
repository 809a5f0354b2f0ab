package behaviour

import (
	"strconv"
	"testing"
	"time"

	"aigateway/gateway/config"
	"aigateway/gateway/server"
	"aigateway/gateway/testkit"
)

func TestMain(m *testing.M) {
	testkit.Parallel("10") // most tests here wait for most of their time
	testkit.VerifyNoLeaks(m)
}

// A testGateway is a whole gateway that serves on loopback until the test ends.
type testGateway struct {
	*server.Gateway
	*testkit.Running
}

// startGateway starts a gateway with settings as the environment gives them, "NAME=value" each.
func startGateway(t *testing.T, environ ...string) *testGateway {
	t.Helper()
	return startGatewayFile(t, "", environ...)
}

// startGatewayFile does the same with a configuration file of that text.
func startGatewayFile(t *testing.T, file string, environ ...string) *testGateway {
	t.Helper()
	return serve(t, testkit.Settings(t, file, environ), server.Options{})
}

// serve starts a gateway with these settings and options. Its log is the kit's.
func serve(t *testing.T, s *config.Settings, o server.Options) *testGateway {
	t.Helper()
	log := &testkit.Log{}
	o.Log = log.Logger()
	g, err := server.New(s, o)
	if err != nil {
		t.Fatal(err)
	}
	return &testGateway{g, testkit.Serve(t, g, log)}
}

// client connects a client; with second, it has had an answer already, so that it and the upstream's
// connection are used ones.
func (g *testGateway) client(second bool) *testkit.Peer {
	g.T.Helper()
	g.T.Cleanup(g.settle) // after the clients have closed, before the shutdown
	c := g.Dial()
	for chance := 1; second; chance++ {
		c.Send("%s", testkit.Ask("GET", "warm"))
		r := c.ReadResponse()
		if r.Body == "warm" {
			break
		}
		if r.Status() != 504 || chance == 5 { // a machine that stands still makes it as late as the test wants others to be
			g.T.Fatalf("the first request got %q, body %q, %v", r.First, r.Body, r.Err)
		}
	}
	return c
}

// idle tells whether no request is under way in the gateway.
func (g *testGateway) idle() bool { p := g.Parts(); return p.Open == 0 && p.Late == 0 }

// settle waits until the gateway has noticed that its clients have closed. fasthttp's shutdown looks for
// that ten times a second only, which a thousand small tests would feel.
func (g *testGateway) settle() {
	for end := time.Now().Add(time.Second); g.Parts().Clients > 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
}

func itoa(n int) string { return strconv.Itoa(n) }

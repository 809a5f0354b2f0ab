package server

import (
	"testing"

	"aigateway/gateway/testkit"
)

func TestMain(m *testing.M) { testkit.VerifyNoLeaks(m) }

// A testGateway is a whole gateway that serves on loopback until the test ends. What can be seen from outside is tested in the
// room behaviour.
type testGateway struct {
	*Gateway
	*testkit.Running
}

// startGateway starts a gateway, changed before it serves, with settings of a file and of the environment.
func startGateway(t *testing.T, change func(*Gateway), file string, environ ...string) *testGateway {
	t.Helper()
	log := &testkit.Log{}
	g, err := New(testkit.Settings(t, file, environ), Options{Log: log.Logger()})
	if err != nil {
		t.Fatal(err)
	}
	change(g)
	return &testGateway{g, testkit.Serve(t, g, log)}
}

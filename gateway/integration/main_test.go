//go:build integration

package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"aigateway/gateway/testkit"
)

// binary is the gateway under test, built once by TestMain.
var binary string

// builtVersion is what the build tells the binary about itself, as the Makefile does.
const builtVersion = "v0.0.0-integration"

func TestMain(m *testing.M) {
	testkit.Parallel("6") // most tests here wait for most of their time
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "aigateway-integration-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "gateway")
	args := []string{"build", "-buildvcs=false", "-ldflags", "-X main.version=" + builtVersion, "-o", binary}
	if raceDetector {
		args = append(args, "-race") // a race in the gateway is a failure too, see gateway.end
	}
	build := exec.Command("go", append(args, "aigateway/gateway")...)
	if said, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "cannot build the gateway: %v\n%s", err, said)
		return 1
	}
	defer endShared()
	return m.Run()
}

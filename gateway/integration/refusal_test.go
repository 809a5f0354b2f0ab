//go:build integration

package integration

import (
	"os/exec"
	"strings"
	"testing"
)

// blindUpload sends 20 MB at 5 MB/s, looks for the answer only then, and prints its status.
const blindUpload = `
import sys, time, urllib.error, urllib.request

def body():
    for _ in range(80):
        yield b"x" * 250_000
        time.sleep(0.05)

request = urllib.request.Request(sys.argv[1], data=body(), headers={"Content-Length": "20000000"})
try:
    print(urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request).status)
except urllib.error.HTTPError as e:
    print(e.status)
`

// A client that does not look before it has sent everything learns why it was refused.
func TestBlindUploadSeesTheRefusal(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not in the PATH")
	}
	g := startGateway(t, options{env: []string{"MAX_BODY_BYTES=16000000"}})
	for path, status := range map[string]string{"/infer/python": "413", "/nowhere": "404"} {
		t.Run(status, func(t *testing.T) {
			t.Parallel()
			said, err := exec.Command(python, "-c", blindUpload, g.url+path).CombinedOutput()
			if got := strings.TrimSpace(string(said)); err != nil || got != status {
				t.Errorf("urllib saw %v, %s; want %s", err, got, status)
			}
		})
	}
}

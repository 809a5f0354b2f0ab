// Package local is what the commands of this folder need to start what they measure.
package local

import (
	"fmt"
	"net"
	"os/exec"
)

// FreePort finds a port of loopback that nobody listens on. Another process may take it before it is used.
func FreePort() (int, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return ln.Addr().(*net.TCPAddr).Port, ln.Close()
}

// BuildGateway builds the gateway of this module to this path. The error has what the compiler said.
func BuildGateway(path string) error {
	if out, err := exec.Command("go", "build", "-o", path, "aigateway/gateway").CombinedOutput(); err != nil {
		return fmt.Errorf("cannot build the gateway: %w\n%s", err, out)
	}
	return nil
}

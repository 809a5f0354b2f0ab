// Package local is what the commands of this folder need to start what they measure.
package local

import (
	"bytes"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"text/template"
)

// Templates are files to be filled in, in directories.
type Templates struct {
	Files fs.FS
	Mode  os.FileMode // of what is written
}

// Render writes the files of a directory into another one, with data filled in.
func (t Templates) Render(from, to string, data any) error {
	entries, err := fs.ReadDir(t.Files, from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		text, err := fs.ReadFile(t.Files, path.Join(from, e.Name()))
		if err != nil {
			return err
		}
		filled, err := template.New(e.Name()).Option("missingkey=error").Parse(string(text))
		if err != nil {
			return err
		}
		var out bytes.Buffer
		if err := filled.Execute(&out, data); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, e.Name()), out.Bytes(), t.Mode); err != nil {
			return err
		}
	}
	return nil
}

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

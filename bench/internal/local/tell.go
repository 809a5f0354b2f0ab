package local

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// Machine is a line about this one.
func Machine() string {
	kernel, _ := exec.Command("uname", "-r").Output()
	cpu, _ := os.ReadFile("/proc/cpuinfo")
	_, model, _ := strings.Cut(string(cpu), "model name\t: ")
	model, _, _ = strings.Cut(model, "\n")
	return fmt.Sprintf("%s, %d cores, Linux %s, %s", cmp.Or(model, runtime.GOARCH), max(bytes.Count(cpu, []byte("\nprocessor\t:"))+1, 1),
		strings.TrimSpace(string(kernel)), runtime.Version())
}

// FirstLine is the first line of what a program says, as about its version.
func FirstLine(file string, args ...string) string {
	out, _ := exec.Command(file, args...).CombinedOutput()
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}

// Said is the end of what a program has printed into a file, quoted.
func Said(path string) string {
	const most = 500
	text, _ := os.ReadFile(path)
	text = bytes.TrimSpace(text)
	return strconv.Quote(string(text[max(len(text)-most, 0):]))
}

// Write writes files, by their names, into a directory, which it makes.
func Write(dir string, files map[string]string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
			return err
		}
	}
	return nil
}

package testkit

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A Redis is a real one, on a port of its own.
type Redis struct {
	T    testing.TB
	Addr string

	program string
	args    []string // PORT stands for its port
	dir     string
	cmd     *exec.Cmd
}

// StartRedis starts a Redis without a disk, until the test ends; it skips the test where there is none.
func StartRedis(t testing.TB, args ...string) *Redis {
	t.Helper()
	return RunRedis(t, "redis-server", append([]string{"--port", "PORT", "--save", "", "--appendonly", "no"}, args...)...)
}

// RunRedis starts a program that is a Redis or a sentinel, with these arguments and no other but where to listen. PORT in them
// stands for its port. It skips the test where there is no such program.
func RunRedis(t testing.TB, program string, args ...string) *Redis {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("%s: no %s here", t.Name(), program)
	}
	r := &Redis{T: t, program: path, args: args, dir: t.TempDir()}
	t.Cleanup(func() {
		r.Kill()
		if t.Failed() {
			said := r.said()
			t.Logf("%s at %s said:\n%s", program, r.Addr, said[max(0, len(said)-4<<10):])
		}
	})
	for range 5 { // another may take the port first
		port := FreePort(t)
		for slices.Contains(args, "--cluster-enabled") && !busFree(port) {
			port = FreePort(t)
		}
		r.Addr = fmt.Sprintf("127.0.0.1:%d", port)
		if r.start() {
			return r
		}
	}
	t.Fatalf("%s does not start:\n%s", program, r.said())
	return nil
}

// Start starts it anew on its port, with nothing in it.
func (r *Redis) Start() {
	r.T.Helper()
	if !r.start() {
		r.T.Fatalf("it does not start again:\n%s", r.said())
	}
}

// start tells whether it came to be ready. What it says goes to a file, so that no goroutine waits for it.
func (r *Redis) start() bool {
	r.T.Helper()
	args := make([]string, 0, len(r.args)+4)
	for _, a := range r.args {
		args = append(args, strings.ReplaceAll(a, "PORT", r.Port()))
	}
	said, err := os.Create(filepath.Join(r.dir, "said"))
	if err != nil {
		r.T.Fatal(err)
	}
	defer said.Close()
	r.cmd = exec.Command(r.program, append(args, "--bind", "127.0.0.1", "--dir", r.dir)...)
	r.cmd.Stdout, r.cmd.Stderr, r.cmd.SysProcAttr = said, said, WithParent()
	if err := r.cmd.Start(); err != nil {
		r.T.Fatal(err)
	}
	for end := time.Now().Add(Patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		switch said := r.said(); {
		case strings.Contains(said, "Ready to accept connections") || strings.Contains(said, "+monitor master"):
			return true
		case strings.Contains(said, "Failed listening") || strings.Contains(said, "FATAL"):
			r.Kill()
			return false
		}
	}
	r.Kill()
	return false
}

// said is what it has said since it was started last.
func (r *Redis) said() string {
	text, _ := os.ReadFile(filepath.Join(r.dir, "said")) // what it cannot tell is not needed
	return string(text)
}

// Kill ends it at once, if it runs.
func (r *Redis) Kill() {
	if r.cmd != nil {
		_ = r.cmd.Process.Kill()
		_ = r.cmd.Wait()
		r.cmd = nil
	}
}

// Signal sends it a signal: SIGSTOP, say, and it stands still.
func (r *Redis) Signal(s syscall.Signal) {
	r.T.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		r.T.Fatal(err)
	}
}

// Port is where it listens.
func (r *Redis) Port() string { _, port, _ := net.SplitHostPort(r.Addr); return port }

// Do sends a command that must succeed and returns the reply as [RedisReply] has it.
func (r *Redis) Do(words ...string) string {
	r.T.Helper()
	reply, err := r.Try(words...)
	if err != nil || strings.HasPrefix(reply, "-") {
		r.T.Fatalf("%.80q: %s %v", words, reply, err)
	}
	return reply
}

// Try sends a command and returns the reply as [RedisReply] has it.
func (r *Redis) Try(words ...string) (string, error) { return RedisReply(r.Addr, words...) }

// RedisReply asks the Redis at an address: the first line of a simple reply, what is in a string, the strings of a list with
// spaces between them.
func RedisReply(addr string, words ...string) (string, error) {
	c, err := net.DialTimeout("tcp", addr, 2*time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(Patience))
	var b bytes.Buffer
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
	}
	if _, err := c.Write(b.Bytes()); err != nil {
		return "", err
	}
	return readReply(bufio.NewReader(c))
}

func readReply(in *bufio.Reader) (string, error) {
	line, err := in.ReadString('\n')
	line = strings.TrimSpace(line)
	if err != nil || line == "" {
		return line, err
	}
	n, isCount := strconv.Atoi(line[1:])
	switch {
	case isCount != nil || n < 0:
		return line, nil
	case line[0] == '$':
		text := make([]byte, n+2)
		_, err := io.ReadFull(in, text)
		return string(text[:n]), err
	case line[0] == '*':
		all := make([]string, n)
		for i := range all {
			if all[i], err = readReply(in); err != nil {
				break
			}
		}
		return strings.Join(all, " "), err
	}
	return line, nil
}

// FreePort finds a port that nobody listens on and that no outgoing connection of this machine will be given: Linux takes
// those from 32768 on. A process may so be restarted on its port.
func FreePort(t testing.TB) int {
	t.Helper()
	for range 200 {
		port := 20000 + rand.IntN(12000)
		if _, taken := portsGiven.LoadOrStore(port, true); taken {
			continue
		}
		ln, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		if err == nil {
			_ = ln.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

var portsGiven sync.Map

// busFree tells whether the nodes of a cluster can talk to one on this port: they do so 10000 above it, and below those ports
// that outgoing connections are given.
func busFree(port int) bool {
	ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port+10000))
	if err == nil {
		_ = ln.Close()
	}
	return err == nil && port+10000 < 32768
}

package main

import (
	"aigateway/bench/internal/local"
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// patience is how long anything here may take before it is given up.
const patience = 10 * time.Second

func await(what string, done func() bool) error {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if done() {
			return nil
		}
	}
	return fmt.Errorf("%s does not start", what)
}

// A redis is a server that keeps nothing on a disk.
type redis struct {
	port int
	dir  string
	args []string
	cmd  *exec.Cmd
}

func newRedis(dir string, args []string) (*redis, error) {
	port, err := local.FreePort()
	return &redis{port: port, dir: dir, args: args}, err
}

func (r *redis) addr() string { return "127.0.0.1:" + strconv.Itoa(r.port) }

func (r *redis) start() error {
	args := []string{"--port", strconv.Itoa(r.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", r.dir}
	r.cmd = exec.Command("redis-server", append(args, r.args...)...)
	if err := r.cmd.Start(); err != nil {
		return err
	}
	return await("redis-server", func() bool {
		line, err := r.ask("PING")
		return err == nil && (line == "+PONG" || strings.HasPrefix(line, "-NOAUTH"))
	})
}

func (r *redis) kill() {
	if r.cmd != nil {
		_ = r.cmd.Process.Kill()
		_ = r.cmd.Wait()
		r.cmd = nil
	}
}

// ask sends one command on a connection of its own and returns the first line of the answer.
func (r *redis) ask(words ...string) (string, error) {
	c, err := net.DialTimeout("tcp", r.addr(), patience)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(c, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(c, "$%d\r\n%s\r\n", len(w), w)
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSpace(line), err
}

func (r *redis) do(words ...string) error {
	line, err := r.ask(words...)
	if err == nil && strings.HasPrefix(line, "-") {
		err = fmt.Errorf("%s: %s", strings.Join(words, " "), line)
	}
	return err
}

type gateway struct {
	addr string
	cmd  *exec.Cmd
}

func startGateway(binary string, env []string) (*gateway, error) {
	port, err := local.FreePort()
	if err != nil {
		return nil, err
	}
	g := &gateway{addr: "127.0.0.1:" + strconv.Itoa(port), cmd: exec.Command(binary)}
	g.cmd.Env = append(os.Environ(),
		"PORT="+strconv.Itoa(port), "RATE_LIMIT_ENABLED=true", "RL_BACKEND=redis", "CACHE_ENABLED=false",
		"TRUSTED_PROXIES=127.0.0.1/32", "SHUTDOWN_GRACE=1s",
		"GLOBAL_RPS="+strconv.Itoa(allRate), "GLOBAL_BURST="+strconv.Itoa(allBurst),
		"CLIENT_RPS="+strconv.Itoa(clientRate), "CLIENT_BURST="+strconv.Itoa(clientBurst))
	g.cmd.Env = append(g.cmd.Env, env...)
	if err := g.cmd.Start(); err != nil {
		return nil, err
	}
	err = await("the gateway", func() bool {
		c, err := net.Dial("tcp", g.addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	if err != nil {
		g.end()
	}
	return g, err
}

func (g *gateway) end() {
	_ = g.cmd.Process.Signal(syscall.SIGTERM)
	late := time.AfterFunc(patience, func() { _ = g.cmd.Process.Kill() })
	defer late.Stop()
	_ = g.cmd.Wait()
}

type tally struct {
	sent, refused, failed int64
	slowest               time.Duration
}

func (t *tally) add(u tally) {
	t.sent, t.refused, t.failed = t.sent+u.sent, t.refused+u.refused, t.failed+u.failed
	t.slowest = max(t.slowest, u.slowest)
}

// A client has an address, a connection, and never more than one request under way.
type client struct {
	tally
	gateway *gateway
	name    string
	conn    net.Conn
	answers *bufio.Reader
}

func (g *gateway) client(i int) *client {
	return &client{gateway: g, name: fmt.Sprintf("10.%d.%d.%d", i>>16&255, i>>8&255, i&255)}
}

func (c *client) connect() {
	conn, err := net.DialTimeout("tcp", c.gateway.addr, patience)
	if err == nil {
		c.conn, c.answers = conn, bufio.NewReader(conn)
	}
}

func (c *client) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// ask sends one request and notes what is answered.
func (c *client) ask() {
	if c.conn == nil {
		c.connect()
	}
	c.sent++
	began := time.Now()
	code := c.exchange()
	c.slowest = max(c.slowest, time.Since(began))
	switch code {
	case http.StatusOK:
	case http.StatusTooManyRequests:
		c.refused++
	default:
		c.failed++
		c.close()
	}
}

func (c *client) exchange() int {
	if c.conn == nil {
		return 0
	}
	_ = c.conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(c.conn, "GET /limited HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: %s\r\n\r\n", c.name)
	a, err := http.ReadResponse(c.answers, nil)
	if err != nil {
		return 0
	}
	defer a.Body.Close()
	if _, err := io.Copy(io.Discard, a.Body); err != nil {
		return 0
	}
	return a.StatusCode
}

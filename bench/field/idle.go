package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"aigateway/bench/internal/process"
)

// measureIdle finds what a connection takes while nothing happens on it, after one request, and what others' requests cost meanwhile.
// Of more connections than a process may have open files several processes take their parts.
func measureIdle(b *bench, r *running, f *figure) error {
	for _, n := range []int{10_000, 40_000} {
		v := variant{many: true}
		if n > b.files-filesBeside {
			v.workers = 1 + n/(b.files/2) // they need not take equal parts
		}
		err := b.with(r.peer, v, func(r *running) error { return b.measureCrowd(r, f, n) })
		var lacks errLacks
		if n > 10_000 && (errors.As(err, &lacks) || err == nil) {
			f.Note = fmt.Sprintf("a process may have %d files open here, so that %d connections want %d of them", b.files, n, v.workers)
			err = nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// filesBeside is how many files a process may have open beside its connections.
const filesBeside = 300

func (b *bench) measureCrowd(r *running, f *figure, n int) error {
	cost := func(name string) error {
		s, err := b.saturate(r, r.plan(8, r.chat(chat{size: 1 << 10}, "/v1")), passed)
		if err == nil {
			f.Values[name] = s.cpu
		}
		return err
	}
	name := "beside"
	if n > 10_000 {
		name = fmt.Sprintf("beside%d", n)
	} else if err := cost("alone"); err != nil {
		return err
	}
	before := settled(r)
	end, err := b.crowd(r, n)
	defer end()
	if err != nil {
		return err
	}
	f.Values[fmt.Sprint(n)] = float64(settled(r)-before) / float64(n) / 1024
	return cost(name)
}

// crowd has processes hold n connections. A source address has ports for some 20,000 of them, and a process files for as many as
// it may have.
func (b *bench) crowd(r *running, n int) (end func(), err error) {
	var all []*process.Process
	end = func() {
		for _, p := range all {
			b.alive.End(p)
		}
	}
	file := filepath.Join(r.site.Dir, "request")
	if err := os.WriteFile(file, r.chat(chat{size: 1 << 10}, "/v1"), 0o600); err != nil {
		return end, err
	}
	self, err := os.Executable()
	if err != nil {
		return end, err
	}
	for i, most := 0, min(b.files-filesBeside, 20_000); n > 0; i++ {
		part := min(n, most)
		n -= part
		cmd := exec.Command(self, "-hold", strconv.Itoa(part), r.addr, fmt.Sprintf("127.0.0.%d", 2+i), file)
		says, out, err := os.Pipe()
		if err != nil {
			return end, err
		}
		cmd.Stdout, cmd.Stderr = out, out
		p, err := b.alive.Launch(cmd, b.loadCore)
		out.Close()
		if err != nil {
			return end, err
		}
		all = append(all, p)
		_ = says.SetReadDeadline(time.Now().Add(slowStart))
		line, _ := bufio.NewReader(says).ReadString('\n')
		says.Close()
		if line = strings.TrimSpace(line); line != holding {
			return end, fmt.Errorf("connections: %q", line)
		}
	}
	return end, nil
}

const holding = "holding"

// holdConnections is this program as the owner of connections: it opens them, has one request answered on each, says so, and stays.
func holdConnections(args []string, out io.Writer) error {
	if len(args) != 4 {
		return errors.New("-hold wants a number, an address, a source address and the file of a request")
	}
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	request, err := os.ReadFile(args[3])
	if err != nil {
		return err
	}
	process.AllowOpenFiles()
	ports := sourcePorts{IP: net.ParseIP(args[2])}
	conns, buf := make([]net.Conn, n), make([]byte, 64<<10)
	for i := range conns {
		if conns[i], err = ports.dial(args[1]); err == nil {
			err = exchange(conns[i], request, buf)
		}
		if err != nil {
			return fmt.Errorf("%d of %d: %w", i, n, err)
		}
	}
	fmt.Fprintln(out, holding)
	_, err = conns[0].Read(buf) // until this process is ended, or the connection
	return err
}

// sourcePorts is an address to connect from. Its ports are taken one after the other, below those that the kernel gives to everybody:
// it looks for a free one of them for milliseconds once most are taken.
type sourcePorts struct {
	IP   net.IP
	next int
}

func (s *sourcePorts) dial(to string) (net.Conn, error) {
	const first, last = 10_000, 32_000
	for port := first + s.next; port <= last; port++ {
		from := net.Dialer{LocalAddr: &net.TCPAddr{IP: s.IP, Port: port}, Timeout: patience}
		c, err := from.Dial("tcp", to)
		s.next = port + 1 - first
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err == nil {
			_ = c.(*net.TCPConn).SetLinger(0) // the port is free again at once
		}
		return c, err
	}
	return nil, fmt.Errorf("%v has no more ports", s.IP)
}

// exchange has a request for a chat completion answered; buf is space.
func exchange(c net.Conn, request, buf []byte) error {
	_ = c.SetDeadline(time.Now().Add(patience))
	defer c.SetDeadline(time.Time{})
	if _, err := c.Write(request); err != nil {
		return err
	}
	for got := 0; !bytes.HasSuffix(bytes.TrimRight(buf[:got], "0\r\n"), []byte("}}")); { // the end of a completion, chunked or not
		m, err := c.Read(buf[got:])
		if err != nil {
			return err
		}
		got += m
	}
	return nil
}

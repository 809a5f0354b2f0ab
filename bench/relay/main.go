// Command relay asks what a relay of event streams on raw epoll would save beside goroutines: the same streams through a
// loop of one thread, through two goroutines' worth of Go's poller, the same with the gateway's system calls and with one fewer, and through
// the gateway, all on one core in front of the same upstream. The relays do the least that a proxy must: a request goes on as it came, and each chunk of the
// response is looked at and sent on when it is there. None keeps deadlines, checks heads or counts anything.
//
//	go build -o .bin/relay ./bench/relay && .bin/relay -gateway .bin/gateway
package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"aigateway/bench/drive"
	"aigateway/bench/internal/local"
	"aigateway/bench/internal/process"
	"aigateway/bench/upstream"
)

const (
	streams = 1000
	pace    = 50 // milliseconds between two events of a stream
)

func main() {
	way := flag.String("way", "", "be one of the processes: upstream, epoll, goroutines, direct, held")
	listen := flag.String("listen", "", "`address` of that process")
	to := flag.String("to", "", "`address` of its upstream")
	gateway := flag.String("gateway", ".bin/gateway", "the gateway's binary")
	rounds := flag.Int("rounds", 5, "how often each is measured, in turns")
	most := flag.Duration("time", 3*time.Second, "how long the streams are")
	flag.Parse()
	if *way != "" {
		fmt.Fprintln(os.Stderr, play(*way, *listen, *to))
		os.Exit(1)
	}
	if err := process.PinSelf(1); err != nil {
		fmt.Fprintln(os.Stderr, "relay:", err)
		os.Exit(1)
	}
	process.AllowOpenFiles()
	alive := new(process.Group)
	err := compare(alive, *gateway, *rounds, *most)
	alive.Close()
	if err != nil {
		fmt.Fprintln(os.Stderr, "relay:", err)
		os.Exit(1)
	}
}

// play is this program as one of the processes.
func play(way, listen, to string) error {
	process.AllowOpenFiles()
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	if way == "goroutines" {
		return goroutines(ln, to)
	}
	if way == "direct" || way == "held" {
		return direct(ln, to, way == "held")
	}
	f, err := ln.(*net.TCPListener).File()
	if err != nil {
		return err
	}
	switch way {
	case "upstream":
		return upstream.Serve(f)
	case "epoll":
		return epoll(f, to)
	}
	return fmt.Errorf("there is no way %q", way)
}

// compare has each way relay the same, in turns, and tells the CPU time of an event.
func compare(alive *process.Group, gateway string, rounds int, most time.Duration) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	up, _, err := start(alive, 1, self, "-way", "upstream", "-listen", "ADDR")
	if err != nil {
		return err
	}
	spent := make(map[string][]float64)
	ways := []string{"epoll", "goroutines", "direct", "held", "gateway"}
	for range rounds {
		for _, way := range ways {
			args := []string{self, "-way", way, "-listen", "ADDR", "-to", up}
			if way == "gateway" {
				args = []string{"env", "GOMAXPROCS=1", "LLM_SERVICE_URL=http://" + up, "RATE_LIMIT_ENABLED=false", "LOG_LEVEL=error", "PORT=ADDR", gateway}
			}
			addr, p, err := start(alive, 0, args...)
			if err != nil {
				return fmt.Errorf("%s: %w", way, err)
			}
			cpu, writes, err := measure(addr, p, most)
			alive.End(p)
			if err != nil {
				return fmt.Errorf("%s: %w", way, err)
			}
			spent[way] = append(spent[way], cpu)
			fmt.Printf("%-10s %5.1f µs of CPU an event, %.2f writes\n", way, cpu, writes)
		}
		load, _ := os.ReadFile("/proc/loadavg")
		fmt.Printf("load %s\n", strings.Join(strings.Fields(string(load))[:1], ""))
	}
	for _, way := range ways {
		all := spent[way]
		slices.Sort(all)
		fmt.Printf("%-10s  median %5.1f  least %5.1f µs of CPU an event\n", way, all[len(all)/2], all[0])
	}
	return nil
}

// start starts a process on a core and waits until it listens; ADDR in its arguments is where, the port alone for PORT=.
func start(alive *process.Group, core int, args ...string) (string, *process.Process, error) {
	port, err := local.FreePort()
	if err != nil {
		return "", nil, err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	for i := range args {
		args[i] = strings.ReplaceAll(strings.ReplaceAll(args[i], "PORT=ADDR", fmt.Sprintf("PORT=%d", port)), "ADDR", addr)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stderr = os.Stderr
	p, err := alive.Launch(cmd, core)
	if err != nil {
		return "", nil, err
	}
	return addr, p, p.Await(addr, 10*time.Second)
}

// measure is the CPU time of an event in microseconds, with all streams at once, and how many writes it took: a relay that
// comes late finds several events in one read.
func measure(addr string, p *process.Process, most time.Duration) (cpu, writes float64, err error) {
	plan := func(events int) drive.Plan {
		request := fmt.Appendf(nil, "POST /v1/events/%d/%d HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}", events, pace)
		return drive.Plan{Targets: []drive.Target{{Addr: addr, Request: request}}, Conns: streams, Most: streams, Timeout: most + 20*time.Second}
	}
	if _, err := drive.Run(plan(2)); err != nil { // connections, buffers
		return 0, 0, err
	}
	events := int(most / (pace * time.Millisecond))
	spent, wrote := process.CPU(p.PID), writesOf(p.PID)
	res, err := drive.Run(plan(events))
	if err != nil {
		return 0, 0, err
	}
	spent, wrote = process.CPU(p.PID)-spent, writesOf(p.PID)-wrote
	if want := int64(events) * streams; res.Events != want || res.Failed() > 0 || res.Status[200] != streams {
		return 0, 0, fmt.Errorf("%d of %d events came; %v, failed: %v", res.Events, want, res.Status, res.Errors)
	}
	return float64(spent) / 1e3 / float64(res.Events), float64(wrote) / float64(res.Events), nil
}

// writesOf is how often a process has called write(2), by proc(5).
func writesOf(pid int) (n int64) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	_, rest, _ := strings.Cut(string(text), "syscw: ")
	line, _, _ := strings.Cut(rest, "\n")
	n, _ = strconv.ParseInt(line, 10, 64)
	return n
}

// A framer finds the end of a response in pieces of it, as far as the upstream of this comparison makes them: a head and
// chunks.
type framer struct {
	head  int   // bytes of the blank line behind the head that were seen
	left  int64 // of a chunk and its CR LF; -1: its size is being read
	size  int64
	begun bool // a digit of the size was read
}

var errFraming = errors.New("not a chunked response")

// feed looks at the next piece, and tells whether it ends the response.
func (f *framer) feed(p []byte) (ended bool, err error) {
	for i := 0; i < len(p); {
		switch {
		case f.head < 4:
			if p[i] == "\r\n\r\n"[f.head] {
				f.head++
			} else {
				f.head = 0
			}
			if f.left = -1; f.head == 4 {
				f.size, f.begun = 0, false
			}
			i++
		case f.left > 0:
			n := min(f.left, int64(len(p)-i))
			f.left -= n
			i += int(n)
			if f.left == 0 {
				if f.size == 0 {
					return true, nil
				}
				f.left, f.size, f.begun = -1, 0, false
			}
		default:
			if err := f.takeSize(p[i]); err != nil {
				return false, err
			}
			i++
		}
	}
	return false, nil
}

func (f *framer) takeSize(c byte) error {
	switch {
	case c >= '0' && c <= '9':
		f.size, f.begun = f.size<<4+int64(c-'0'), true
	case c >= 'a' && c <= 'f':
		f.size, f.begun = f.size<<4+int64(c-'a'+10), true
	case c == '\n' && f.begun:
		f.left = f.size + 2
	case c != '\r':
		return errFraming
	}
	return nil
}

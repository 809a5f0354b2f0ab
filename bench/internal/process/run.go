package process

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"aigateway/bench/internal/local"
)

// Until returns what run does, or that a signal or the limit came first. Then run still goes on: [Group.Close] ends what it waits for.
func Until(limit time.Duration, run func() error) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	done := make(chan error, 1)
	go func() { done <- run() }()
	select {
	case err := <-done:
		return err
	case s := <-signals:
		return fmt.Errorf("ended by %v", s)
	case <-time.After(limit):
		return fmt.Errorf("not done after %v", limit)
	}
}

// Self starts this program once more, on this core, with these arguments and, behind -listen, an address of loopback, and waits until it
// listens there.
func (g *Group) Self(core int, most time.Duration, args ...string) (addr string, p *Process, err error) {
	self, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	port, err := local.FreePort()
	if err != nil {
		return "", nil, err
	}
	addr = fmt.Sprintf("127.0.0.1:%d", port)
	cmd := exec.Command(self, append(args, "-listen", addr)...)
	cmd.Stderr = os.Stderr
	if p, err = g.Launch(cmd, core); err != nil {
		return "", nil, err
	}
	return addr, p, p.Await(addr, most)
}

// Directories makes one for a start of somebody, and one in memory, where the system has such a place.
func (g *Group) Directories() (dir, memory string, err error) {
	if dir, err = g.Directory(""); err != nil {
		return "", "", err
	}
	const place = "/dev/shm"
	if _, err := os.Stat(place); err != nil {
		memory, err = g.Directory("")
		return dir, memory, err
	}
	memory, err = g.Directory(place)
	return dir, memory, err
}

// Settled is the memory of a process once it has stopped to change, or after so many looks, in bytes.
func (p *Process) Settled(looks int, every time.Duration) int64 {
	const still = 64 << 10
	last := Memory(p.PID)
	for range looks {
		time.Sleep(every)
		now := Memory(p.PID)
		if now-last < still && last-now < still {
			return now
		}
		last = now
	}
	return last
}

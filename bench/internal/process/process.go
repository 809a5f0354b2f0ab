// Package process starts what is measured, each on cores of its own, reads what it takes of the machine, and ends all of
// it whatever happens.
package process

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"sync"
	"time"
)

// A Process is one that was started here, with all that descend from it. Gone is closed once it has ended.
type Process struct {
	PID  int
	Gone chan struct{}
}

// Await waits until it accepts connections.
func (p *Process) Await(addr string, most time.Duration) error {
	for deadline := time.Now().Add(most); ; time.Sleep(10 * time.Millisecond) {
		select {
		case <-p.Gone:
			return errors.New("ends at once")
		default:
		}
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			return conn.Close()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("does not listen after %v", most)
		}
	}
}

// Group is the processes that are to be ended, and the directories that are to be removed. The zero Group is empty.
type Group struct {
	mu    sync.Mutex
	all   []*Process
	dirs  []string
	ended bool
}

// Launch starts a command on these cores alone, unless all is over.
func (g *Group) Launch(cmd *exec.Cmd, cores ...int) (*Process, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended {
		return nil, errors.New("all is over")
	}
	p, err := launch(cmd, cores)
	if err == nil {
		g.all = append(g.all, p)
	}
	return p, err
}

// Directory makes a directory that lasts as long as the group.
func (g *Group) Directory(in string) (string, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	dir, err := os.MkdirTemp(in, "bench-")
	if err == nil {
		g.dirs = append(g.dirs, dir)
		err = os.Chmod(dir, 0o777) // some proxies drop their rights
	}
	return dir, err
}

// End ends one of its processes.
func (g *Group) End(p *Process) {
	p.end()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all = slices.DeleteFunc(g.all, func(q *Process) bool { return q == p })
}

// Close ends what still runs, and removes what is left of it. Nothing is launched any more.
func (g *Group) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range g.all {
		p.end()
	}
	for _, dir := range g.dirs {
		os.RemoveAll(dir)
	}
	g.all, g.dirs, g.ended = nil, nil, true
}

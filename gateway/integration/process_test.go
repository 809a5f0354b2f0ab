//go:build integration

package integration

import (
	"aigateway/gateway/testkit"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for something that takes as long as the machine is busy. No contract is measured with it.
const patience = 30 * time.Second

// A command is a program to start. Its environment is PATH and HOME and what is named here, so that neither the settings
// of whoever runs the tests nor their proxies get in.
type command struct {
	name string // in failures
	path string
	args []string
	dir  string
	env  []string

	files []*os.File // that the program gets, from descriptor 3 on

	within time.Duration // that a run may take; 0: patience
}

func (c command) prepare(ctx context.Context) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.path, c.args...)
	cmd.Dir, cmd.ExtraFiles = c.dir, c.files
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}, c.env...)
	cmd.SysProcAttr = testkit.WithParent()
	return cmd
}

// run runs a program to its end.
func (c command) run(t *testing.T) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), cmp.Or(c.within, patience))
	defer cancel()
	cmd := c.prepare(ctx)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && (!errors.As(err, &exit) || ctx.Err() != nil) {
		t.Fatalf("%s %q: %v\n%s%s", c.name, c.args, err, &stdout, &stderr)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

type result struct {
	code           int
	stdout, stderr string
}

// A process is a program that is running, and everything it has said.
type process struct {
	program string
	cmd     *exec.Cmd
	stdout  journal
	all     journal // stdout and stderr as they came
	ended   chan struct{}
}

// start starts a program. Whoever calls it sees to it that kill is called.
func (c command) start() (*process, error) {
	p := &process{program: c.name, cmd: c.prepare(context.Background()), ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &both{&p.stdout, &p.all}, &p.all
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", c.name, err)
	}
	go func() {
		_ = p.cmd.Wait() // its outcome is in ProcessState
		close(p.ended)
	}()
	return p, nil
}

// await waits until the process has said what find looks for.
func (p *process) await(what string, find func(said string) bool) error {
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		said, more := p.all.read()
		if find(said) {
			return nil
		}
		select {
		case <-more:
		case <-p.ended:
			if said, _ := p.all.read(); find(said) {
				return nil
			}
			return fmt.Errorf("%s ended with code %d before %s", p.program, p.cmd.ProcessState.ExitCode(), what)
		case <-late.C:
			return fmt.Errorf("%s: not %s in %v", p.program, what, patience)
		}
	}
}

func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatalf("cannot send %v to %s: %v", s, p.program, err)
	}
}

// exit waits for the process to end by itself, and returns its exit code.
func (p *process) exit(t *testing.T, within time.Duration) int {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(within):
		t.Fatalf("%s has not ended within %v", p.program, within)
	}
	return p.cmd.ProcessState.ExitCode()
}

// kill ends the process at once, in whatever state it is.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.ended
}

func (p *process) running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// showIfFailed has the test log what the process says from now on, should the test fail.
func (p *process) showIfFailed(t *testing.T) {
	before, _ := p.all.read()
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		said, _ := p.all.read()
		const most = 16 << 10
		said = said[len(before):]
		if len(said) > most {
			said = "…" + said[len(said)-most:]
		}
		t.Logf("%s (pid %d) said:\n%s", p.program, p.cmd.Process.Pid, said)
	})
}

// A journal is what a process said, readable while it goes on.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
	more chan struct{} // closed at the next line; nil if nobody waits
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.more != nil {
		close(j.more)
		j.more = nil
	}
	return j.text.Write(p)
}

// read returns the text so far, and a channel that is closed when there is more.
func (j *journal) read() (string, <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.more == nil {
		j.more = make(chan struct{})
	}
	return j.text.String(), j.more
}

type both struct{ a, b *journal }

func (w *both) Write(p []byte) (int, error) {
	_, _ = w.a.Write(p) // a journal takes everything
	return w.b.Write(p)
}

// eventually asks again until a condition holds.
func eventually(t *testing.T, within time.Duration, what string, holds func() bool) {
	t.Helper()
	by := time.Now().Add(within)
	for !holds() {
		if time.Now().After(by) {
			t.Fatalf("not within %v: %s", within, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

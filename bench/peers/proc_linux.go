package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// pinned is set in the environment of the process that is pinned already.
const pinned = "AIGATEWAY_PEERS_PINNED"

// pinSelf starts this program again on one core: a thread's core is inherited by what it becomes, and only a new
// process has all its threads there.
func pinSelf(core int) error {
	if os.Getenv(pinned) != "" {
		return nil
	}
	runtime.LockOSThread()
	if err := pin(core); err != nil {
		return fmt.Errorf("cannot run on core %d: %w", core, err)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return syscall.Exec(self, os.Args, append(os.Environ(), pinned+"=1"))
}

// pin keeps the calling thread, and what it starts, on a core.
func pin(core int) error {
	var set unix.CPUSet
	set.Set(core)
	return unix.SchedSetaffinity(0, &set)
}

// launch starts a command on a core, in a process group of its own. back is the core of this process.
func launch(cmd *exec.Cmd, core, back int) (*process, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := pin(core); err != nil {
		return nil, fmt.Errorf("cannot run on core %d: %w", core, err)
	}
	err := cmd.Start()
	if e := pin(back); err == nil {
		err = e
	}
	if err != nil {
		return nil, err
	}
	p := &process{pid: cmd.Process.Pid, gone: make(chan struct{})}
	go func() { _ = cmd.Wait(); close(p.gone) }()
	return p, nil
}

// family is a process and all that descend from it.
func family(root int) []int {
	parents := make(map[int]int)
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		if f := stat(dir); f != nil {
			pid, _ := strconv.Atoi(filepath.Base(dir))
			parents[pid], _ = strconv.Atoi(f[1])
		}
	}
	all := []int{root}
	for i := 0; i < len(all); i++ {
		for pid, parent := range parents {
			if parent == all[i] {
				all = append(all, pid)
			}
		}
	}
	return all
}

// stat is the fields of /proc/PID/stat behind the command, which may contain anything: the state is the first.
func stat(dir string) []string {
	text, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return nil
	}
	f := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(f) < 15 {
		return nil
	}
	return f
}

// cpuOf is the user and system time that a process and its descendants have used, with that of their children that
// have ended. The kernel counts it exactly and tells it in hundredths of a second.
func cpuOf(root int) (total time.Duration) {
	for _, pid := range family(root) {
		if f := stat(fmt.Sprintf("/proc/%d", pid)); f != nil {
			for _, ticks := range f[11:15] { // utime, stime, cutime, cstime
				n, _ := strconv.ParseInt(ticks, 10, 64)
				total += time.Duration(n) * time.Second / 100 // USER_HZ is 100 everywhere Go runs
			}
		}
	}
	return total
}

// memoryOf is what a process and its descendants have in memory, in bytes; pages that they share count once (Pss).
func memoryOf(root int) (total int64) {
	for _, pid := range family(root) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(text), "\nPss:")
		kb, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
		n, _ := strconv.ParseInt(kb, 10, 64)
		total += n << 10
	}
	return total
}

// end ends a process and its group, at first with a polite word, and waits until it is gone.
func (p *process) end() {
	_ = syscall.Kill(-p.pid, syscall.SIGTERM)
	select {
	case <-p.gone:
	case <-time.After(3 * time.Second):
	}
	_ = syscall.Kill(-p.pid, syscall.SIGKILL) // also whoever outlived the first of the group
	<-p.gone
}

// allowOpenFiles raises the bound of open files as far as it goes.
func allowOpenFiles() {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) == nil {
		l.Cur = l.Max
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l)
	}
}

package process

import (
	"fmt"
	"io/fs"
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
const pinned = "AIGATEWAY_BENCH_PINNED"

// PinSelf starts this program again on one core: a thread's core is inherited by what it becomes, and only a new
// process has all its threads there.
func PinSelf(core int) error {
	if os.Getenv(pinned) != "" {
		return nil
	}
	runtime.LockOSThread()
	if err := pin([]int{core}); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return syscall.Exec(self, os.Args, append(os.Environ(), pinned+"=1"))
}

// pin keeps the calling thread, and what it starts, on these cores.
func pin(cores []int) error {
	var set unix.CPUSet
	for _, c := range cores {
		set.Set(c)
	}
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("cannot run on core %v: %w", cores, err)
	}
	return nil
}

// launch starts a command on cores, in a process group of its own.
func launch(cmd *exec.Cmd, cores []int) (*Process, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var mine unix.CPUSet
	if err := unix.SchedGetaffinity(0, &mine); err != nil {
		return nil, err
	}
	if err := pin(cores); err != nil {
		return nil, err
	}
	err := cmd.Start()
	if e := unix.SchedSetaffinity(0, &mine); err == nil {
		err = e
	}
	if err != nil {
		return nil, err
	}
	p := &Process{PID: cmd.Process.Pid, Gone: make(chan struct{})}
	go func() { _ = cmd.Wait(); close(p.Gone) }()
	return p, nil
}

// family is a process and all that descend from it, by who is whose parent.
func family(root int, parents map[int]int) []int {
	all := []int{root}
	for i := 0; i < len(all); i++ {
		for pid, parent := range parents {
			if parent == all[i] && pid != parent {
				all = append(all, pid)
			}
		}
	}
	return all
}

// Children are the processes that one has started and that still run.
func Children(of int) (all []int) {
	for pid, parent := range parents() {
		if parent == of {
			all = append(all, pid)
		}
	}
	return all
}

// Occupied is what the files below a directory take, in bytes.
func Occupied(dir string) (total int64) {
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if info, err := e.Info(); err == nil {
			if s, ok := info.Sys().(*syscall.Stat_t); ok {
				total += s.Blocks * 512
			}
		}
		return nil
	})
	return total
}

// parents is who is whose parent on this machine.
func parents() map[int]int {
	of := make(map[int]int)
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		text, _ := os.ReadFile(dir + "/stat")
		if s, ok := parseStat(string(text)); ok {
			pid, _ := strconv.Atoi(filepath.Base(dir))
			of[pid] = s.parent
		}
	}
	return of
}

// stat is what is read of a /proc/PID/stat.
type stat struct {
	parent   int
	own      time.Duration // user and system, in hundredths of a second
	children time.Duration // of those that have ended and were waited for
}

// parseStat reads a line of proc(5). The command may contain anything, a parenthesis too: the last one ends it.
func parseStat(text string) (s stat, ok bool) {
	f := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(f) < 15 {
		return s, false
	}
	var n [5]int64
	for i, at := range []int{1, 11, 12, 13, 14} { // ppid, utime, stime, cutime, cstime
		var err error
		if n[i], err = strconv.ParseInt(f[at], 10, 64); err != nil {
			return s, false
		}
	}
	const tick = time.Second / 100 // USER_HZ is 100 everywhere Go runs
	return stat{int(n[0]), time.Duration(n[1]+n[2]) * tick, time.Duration(n[3]+n[4]) * tick}, true
}

// CPU is the user and system time that a process and its descendants have used, with that of their children that have
// ended. Those that run are asked by their clocks, to the nanosecond (clock_getcpuclockid(3)); those that have ended
// are known to hundredths of a second.
func CPU(root int) (total time.Duration) {
	for _, pid := range family(root, parents()) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		s, ok := parseStat(string(text))
		if !ok {
			continue
		}
		total += s.children
		const scheduler = 2 // CPUCLOCK_SCHED: all the time of all threads, also of those that have ended
		var t unix.Timespec
		if unix.ClockGettime(int32(^pid<<3|scheduler), &t) == nil {
			total += time.Duration(t.Nano())
		} else {
			total += s.own
		}
	}
	return total
}

// Memory is what a process and its descendants have in memory, in bytes; pages that they share count once (Pss).
func Memory(root int) (total int64) {
	for _, pid := range family(root, parents()) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err == nil {
			total += parsePss(string(text))
		}
	}
	return total
}

// parsePss reads the bytes of the line Pss in a smaps_rollup; 0 without it.
func parsePss(text string) int64 {
	_, rest, _ := strings.Cut(text, "\nPss:")
	kb, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	n, _ := strconv.ParseInt(kb, 10, 64)
	return n << 10
}

// end ends a process and its group, at first with a polite word, and waits until it is gone.
func (p *Process) end() {
	_ = syscall.Kill(-p.PID, syscall.SIGTERM)
	select {
	case <-p.Gone:
	case <-time.After(3 * time.Second):
	}
	_ = syscall.Kill(-p.PID, syscall.SIGKILL) // also whoever outlived the first of the group
	<-p.Gone
}

// AllowOpenFiles raises the bound of open files as far as it goes, for this process and those it starts, and returns it.
func AllowOpenFiles() int {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
		return 0
	}
	l.Cur = l.Max
	_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l)
	return int(min(l.Max, 1<<30))
}

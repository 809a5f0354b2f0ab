package process

import (
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	f := func(text string, want stat, ok bool) {
		t.Helper()
		if got, is := parseStat(text); got != want || is != ok {
			t.Errorf("%q: %+v %v, want %+v %v", text, got, is, want, ok)
		}
	}
	f("7 (a) S 3 7 7 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1 0 5", stat{3, 300 * time.Millisecond, 700 * time.Millisecond}, true)
	f("7 (a) (b) 9) R 12 7 7 0 -1 4194560 1 2 3 4 1 0 0 0 20 0 1 0 5", stat{12, 10 * time.Millisecond, 0}, true)
	f("7 (a) S 3 7 7 0 -1 4194560 1 2 3 4 10 20", stat{}, false)
	f("7 (a) S x 7 7 0 -1 4194560 1 2 3 4 10 20 30 40", stat{}, false)
	f("", stat{}, false)
}

func TestParsePss(t *testing.T) {
	f := func(text string, want int64) {
		t.Helper()
		if got := parsePss(text); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
	f("55d0-7ffe ---p 0 00:00 0 [rollup]\nRss:     1000 kB\nPss:      12 kB\nPss_Dirty: 7 kB\n", 12<<10)
	f("Rss: 1 kB\n", 0)
	f("", 0)
}

func TestFamily(t *testing.T) {
	got := family(1, map[int]int{1: 0, 2: 1, 3: 2, 4: 9, 5: 1, 9: 8, 0: 0})
	slices.Sort(got)
	if !slices.Equal(got, []int{1, 2, 3, 5}) {
		t.Error(got)
	}
}

// A process is started, found with all that descend from it, and ended with all of its group.
func TestTree(t *testing.T) {
	var g Group
	defer g.Close()
	p, err := g.Launch(exec.Command("/bin/sh", "-c", "sleep 1000 & while :; do :; done"), 0)
	if err != nil {
		t.Skip(err)
	}
	for deadline := time.Now().Add(time.Minute); CPU(p.PID) < 50*time.Millisecond || len(family(p.PID, parents())) != 2 || Memory(p.PID) < 1<<10; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("CPU %v, %d processes, %d bytes", CPU(p.PID), len(family(p.PID, parents())), Memory(p.PID))
		}
	}
	all := family(p.PID, parents())
	g.End(p)
	for _, pid := range all {
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
			text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
			if err != nil || strings.Contains(string(text), ") Z ") || strings.Contains(string(text), ") X ") {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d still runs", pid)
			}
		}
	}
	if err := p.Await("127.0.0.1:1", time.Minute); err == nil {
		t.Error("a process that has ended listens")
	}
}

func TestCPUIsThatOfTheKernel(t *testing.T) {
	for begin := time.Now(); time.Since(begin) < 30*time.Millisecond; {
	}
	text, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		t.Fatal(err)
	}
	s, ok := parseStat(string(text))
	got := CPU(os.Getpid())
	if !ok || got < s.own-20*time.Millisecond || got <= 0 {
		t.Errorf("%v, the kernel says %v", got, s.own)
	}
}

// Nothing starts once all is over, and nothing is left.
func TestGroupIsOver(t *testing.T) {
	var g Group
	dir, err := g.Directory(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	p, err := g.Launch(exec.Command("/bin/sleep", "1000"), 0)
	if err != nil {
		t.Skip(err)
	}
	g.Close()
	<-p.Gone
	if _, err := os.Stat(dir); err == nil {
		t.Error("the directory is still there")
	}
	if _, err := g.Launch(exec.Command("/bin/sleep", "1000"), 0); err == nil {
		t.Error("a process starts after the end")
	}
}

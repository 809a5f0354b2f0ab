package process

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func listen(t *testing.T, port int, path string) *Socket {
	t.Helper()
	s, err := Listen(nil, port, path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.EndOffer(); s.Close() })
	return s
}

func (s *Socket) serve(t *testing.T) {
	t.Helper()
	if err := s.Serving(); err != nil {
		t.Fatal(err)
	}
}

// A connection that nobody has accepted survives the process it came to.
func TestHandover(t *testing.T) {
	path := filepath.Join(t.TempDir(), "handover")
	first := listen(t, 0, path)
	first.serve(t)
	if first.Taken() || first.Inherited() {
		t.Error("a socket without a successor is taken")
	}
	second := listen(t, first.Port(), path)
	if second.Port() != first.Port() {
		t.Fatalf("port %d, want %d", second.Port(), first.Port())
	}
	client, err := net.Dial("tcp", second.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if first.Taken() {
		t.Error("taken before the successor serves")
	}
	second.serve(t)
	for end := time.Now().Add(10 * time.Second); !first.Taken(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the successor serves, and its predecessor does not know")
		}
	}
	first.Close()
	conn, err := second.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if conn.RemoteAddr().String() != client.LocalAddr().String() {
		t.Errorf("accepted %v, want %v", conn.RemoteAddr(), client.LocalAddr())
	}
	third := listen(t, second.Port(), path) // from the second, not from the first
	if third.Port() != second.Port() {
		t.Errorf("port %d, want %d", third.Port(), second.Port())
	}
	third.serve(t)
}

// What is at the path and is of no use keeps nobody from listening.
func TestHandoverOfNoUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "handover")
	f := func(name string, put func()) {
		t.Run(name, func(t *testing.T) {
			put()
			s := listen(t, 0, path)
			s.serve(t)
			if s.predecessor != nil {
				t.Error("it has a predecessor")
			}
		})
	}
	f("nothing", func() {})
	f("a socket of nobody", func() {})
	f("another port", func() { listen(t, 0, path).serve(t) })
	f("somebody who says nothing", func() {
		os.Remove(path)
		ln, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ln.Close() })
		go func() {
			for {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				conn.Close()
			}
		}()
	})
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s := listen(t, 0, file); s.Serving() == nil {
		t.Error("a socket is offered in the place of a file")
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "x" {
		t.Errorf("the file holds %q, %v", b, err)
	}
	s := &Socket{path: filepath.Join(t.TempDir(), "no", "such", "directory")}
	if s.Serving() == nil {
		t.Error("a socket is offered in a directory that is not there")
	}
}

func TestListenFDS(t *testing.T) {
	pid := "LISTEN_PID=" + strconv.Itoa(os.Getpid())
	if s, err := Listen([]string{"LISTEN_PID=1", "LISTEN_FDS=1"}, 0, ""); err != nil || s.Inherited() {
		t.Errorf("another process's socket: %v", err)
	} else {
		s.Close()
	}
	for _, count := range []string{"", "0", "2", "x"} {
		if _, err := Listen([]string{pid, "LISTEN_FDS=" + count}, 0, ""); err == nil {
			t.Errorf("LISTEN_FDS=%s is taken", count)
		}
	}
}

// systemd hears each state as a datagram of its own; nobody who does not listen is missed.
func TestNotifier(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	n := NewNotifier([]string{"A=b", "NOTIFY_SOCKET=" + path})
	n.Ready()
	b := make([]byte, 100)
	if k, err := systemd.Read(b); err != nil || string(b[:k]) != "READY=1" {
		t.Errorf("heard %q, %v", b[:k], err)
	}
	systemd.Close()
	n.Stopping()
	if NewNotifier(nil) != nil || NewNotifier([]string{"NOTIFY_SOCKET="}) != nil {
		t.Error("there is a Notifier without a socket")
	}
	(*Notifier)(nil).Ready()
	if n := NewNotifier([]string{"NOTIFY_SOCKET=@abstract"}); n.addr.Name != "\x00abstract" {
		t.Errorf("an abstract socket is %q", n.addr.Name)
	}
}

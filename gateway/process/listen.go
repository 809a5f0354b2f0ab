package process

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A Socket is the listening socket of the gateway. Another process may have the same one: the kernel keeps one queue of
// connections for all of them, so a process that ends loses none of those that nobody has accepted yet. (With a socket
// each, SO_REUSEPORT, every process has a queue, and the kernel resets what is in it when the process closes its socket.)
type Socket struct {
	net.Listener
	inherited   bool
	path        string        // where it is handed over; "" nowhere
	predecessor *net.UnixConn // waits to hear that this process serves; nil: none
	taken       atomic.Bool

	offer *net.UnixListener
	wg    sync.WaitGroup
}

// firstInherited is the first file descriptor that systemd passes: sd_listen_fds(3).
const firstInherited = 3

// handoverTime bounds how long a predecessor may take to answer.
const handoverTime = 5 * time.Second

// Listen returns the socket that systemd passes, or the one that the process hands over which listens at path, or a new
// one on the TCP port. path is a Unix socket; "" is none.
func Listen(environ []string, port int, path string) (*Socket, error) {
	s := &Socket{path: path}
	if variable(environ, "LISTEN_PID") == strconv.Itoa(os.Getpid()) {
		ln, err := inherit(variable(environ, "LISTEN_FDS"))
		s.Listener, s.inherited = ln, true
		return s, err
	}
	if path != "" {
		if s.Listener, s.predecessor = takeOver(path, port); s.Listener != nil {
			return s, nil
		}
	}
	ln, err := net.Listen("tcp", net.JoinHostPort("", strconv.Itoa(port)))
	if err != nil {
		return nil, err
	}
	s.Listener = ln
	return s, nil
}

func inherit(count string) (net.Listener, error) {
	if count != "1" {
		return nil, fmt.Errorf("LISTEN_FDS is %q: one socket is expected", count)
	}
	return listenerOf(os.NewFile(firstInherited, "LISTEN_FDS"))
}

// listenerOf makes a listener of a file, which it closes.
func listenerOf(f *os.File) (net.Listener, error) {
	defer f.Close()
	ln, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("what was passed is not a listening socket: %w", err)
	}
	if _, ok := ln.(*net.TCPListener); !ok {
		ln.Close()
		return nil, errors.New("what was passed is not a TCP socket")
	}
	return ln, nil
}

// Port is where the socket listens.
func (s *Socket) Port() int { return portOf(s.Listener) }

func portOf(ln net.Listener) int { return ln.Addr().(*net.TCPAddr).Port }

// Inherited tells whether the socket stays open without this process, in systemd's hands.
func (s *Socket) Inherited() bool { return s.inherited }

// Taken tells whether a successor serves the same socket by now.
func (s *Socket) Taken() bool { return s.taken.Load() }

// Serving tells the predecessor that this process serves, and offers the socket to a successor in turn.
func (s *Socket) Serving() error {
	if s.path == "" || s.inherited {
		return nil
	}
	err := s.startOffer()
	if s.predecessor != nil {
		_, _ = s.predecessor.Write([]byte{serving})
		_ = s.predecessor.Close()
	}
	return err
}

// EndOffer hands the socket over no longer. It does not close it.
func (s *Socket) EndOffer() {
	if s.offer != nil {
		_ = s.offer.Close()
		s.wg.Wait()
	}
}

// What the two processes say to each other: the predecessor sends a byte with the socket, and the successor one when it
// serves.
const (
	here    = 'L'
	serving = 'S'
)

// startOffer listens at the path, which then leads to this process and not to its predecessor.
func (s *Socket) startOffer() error {
	// What is there may be left from a predecessor. Anything but a socket is somebody's file.
	if info, err := os.Lstat(s.path); err == nil && info.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("cannot offer the socket to a successor: %s is there and is no socket", s.path)
	}
	next := fmt.Sprintf("%s.%d", s.path, os.Getpid())
	_ = os.Remove(next) // of a process that had the same number
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: next, Net: "unix"})
	if err != nil {
		return fmt.Errorf("cannot offer the socket to a successor: %w", err)
	}
	ln.SetUnlinkOnClose(false) // the path may be a successor's by then
	if err := errors.Join(os.Chmod(next, 0o600), os.Rename(next, s.path)); err != nil {
		_ = ln.Close()
		_ = os.Remove(next)
		return fmt.Errorf("cannot offer the socket to a successor: %w", err)
	}
	s.offer = ln
	s.wg.Go(func() {
		for {
			conn, err := ln.AcceptUnix()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				time.Sleep(handoverTime / 50) // no file descriptor is free: it passes
				continue
			}
			s.handOver(conn)
		}
	})
	return nil
}

// handOver gives the socket to whoever has come for it, and waits until he serves or has gone. The socket stays ours too.
func (s *Socket) handOver(conn *net.UnixConn) {
	defer conn.Close()
	if !trusted(conn) {
		return
	}
	_ = conn.SetDeadline(time.Now().Add(handoverTime))
	if s.send(conn) != nil {
		return
	}
	var said [1]byte
	if n, _ := conn.Read(said[:]); n == 1 && said[0] == serving {
		s.taken.Store(true)
	}
}

// send passes the socket on. Its descriptor is used as it is: os.File.Fd could make the socket a blocking one, for all who
// have it.
func (s *Socket) send(conn *net.UnixConn) error {
	raw, err := s.Listener.(*net.TCPListener).SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = raw.Control(func(fd uintptr) {
		_, _, sent = conn.WriteMsgUnix([]byte{here}, syscall.UnixRights(int(fd)), nil)
	})
	return errors.Join(err, sent)
}

// takeOver asks the process at the path for its socket. nil: there is no such process, or its socket listens elsewhere.
func takeOver(path string, port int) (net.Listener, *net.UnixConn) {
	conn, err := net.DialTimeout("unix", path, handoverTime)
	if err != nil {
		return nil, nil
	}
	ln, err := receive(conn.(*net.UnixConn))
	if err == nil && portOf(ln) == port {
		return ln, conn.(*net.UnixConn)
	}
	if err == nil {
		_ = ln.Close()
	}
	_ = conn.Close()
	return nil, nil
}

func receive(conn *net.UnixConn) (net.Listener, error) {
	_ = conn.SetDeadline(time.Now().Add(handoverTime))
	said, rights := make([]byte, 1), make([]byte, syscall.CmsgSpace(4))
	n, rn, _, _, err := conn.ReadMsgUnix(said, rights)
	if err != nil || n != 1 || said[0] != here {
		return nil, errors.New("no socket was handed over")
	}
	messages, err := syscall.ParseSocketControlMessage(rights[:rn])
	if err != nil || len(messages) != 1 {
		return nil, errors.New("no socket was handed over")
	}
	fds, err := syscall.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, errors.New("no socket was handed over")
	}
	syscall.CloseOnExec(fds[0])
	return listenerOf(os.NewFile(uintptr(fds[0]), "socket handed over"))
}

// Beside listens on another address. If a predecessor has it still, it is taken when that one ends: until then Accept
// of the listener waits.
func (s *Socket) Beside(addr string) (net.Listener, error) {
	ln, err := net.Listen("tcp", addr)
	if s.predecessor == nil || !errors.Is(err, syscall.EADDRINUSE) {
		return ln, err
	}
	l := &later{addr: addr, closed: make(chan struct{})}
	return l, nil
}

// A later is a listener on an address that is still in use.
type later struct {
	addr   string
	closed chan struct{}

	mu sync.Mutex
	ln net.Listener
}

// retryTime is how often a later looks whether its address is free.
const retryTime = 200 * time.Millisecond

func (l *later) Accept() (net.Conn, error) {
	for {
		if ln := l.listen(); ln != nil {
			return ln.Accept()
		}
		select {
		case <-l.closed:
			return nil, net.ErrClosed
		case <-time.After(retryTime):
		}
	}
}

// listen returns the listener if there is one by now.
func (l *later) listen() net.Listener {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.closed:
		return nil
	default:
	}
	if l.ln == nil {
		if ln, err := net.Listen("tcp", l.addr); err == nil {
			l.ln = ln
		}
	}
	return l.ln
}

func (l *later) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.closed:
		return net.ErrClosed
	default:
	}
	close(l.closed)
	if l.ln == nil {
		return nil
	}
	return l.ln.Close()
}

// Addr is the address that was asked for.
func (l *later) Addr() net.Addr {
	addr, _ := net.ResolveTCPAddr("tcp", l.addr)
	return addr
}

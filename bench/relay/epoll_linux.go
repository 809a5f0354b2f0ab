package main

import (
	"net/netip"
	"os"
	"runtime"
	"time"

	"aigateway/bench/internal/poll"

	"golang.org/x/sys/unix"
)

// A loop is one thread: all clients and their upstreams. Places are even for a client and odd for its upstream.
type loop struct {
	poller   *poll.Poller
	listener int
	to       unix.Sockaddr
	pairs    []pair
	vacant   []int32
	buf      []byte
}

type pair struct {
	client, up int
	turn       int32
	framer
}

const accepting = -1

// epoll relays in one thread, level-triggered: what is there is read once, and what was not taken is told again.
func epoll(listener *os.File, to string) error {
	defer runtime.KeepAlive(listener)
	addr, err := netip.ParseAddrPort(to)
	if err != nil {
		return err
	}
	l := &loop{listener: int(listener.Fd()), to: &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}, buf: make([]byte, 64<<10)}
	if err := unix.SetNonblock(l.listener, true); err != nil {
		return err
	}
	if l.poller, err = poll.New(); err != nil {
		return err
	}
	defer l.poller.Close()
	if err := l.poller.Add(l.listener, poll.Slot{Place: accepting}, poll.Readable); err != nil {
		return err
	}
	for {
		events, err := l.poller.Wait(time.Second)
		if err != nil {
			return err
		}
		for _, e := range events {
			if e.Place == accepting {
				if err := l.accept(); err != nil {
					return err
				}
			} else if at := e.Place / 2; l.pairs[at].turn == e.Turn {
				l.relay(at, e.Place%2 == 1)
			}
		}
	}
}

func (l *loop) accept() error {
	for {
		fd, _, err := unix.Accept4(l.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err == unix.EAGAIN {
			return nil
		} else if err != nil {
			return err
		}
		up, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		if err := unix.Connect(up, l.to); err != nil { // over loopback it is there at once
			return err
		}
		for _, fd := range []int{fd, up} {
			_ = unix.SetNonblock(fd, true)
			_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		}
		if len(l.vacant) == 0 {
			l.vacant = append(l.vacant, int32(len(l.pairs)))
			l.pairs = append(l.pairs, pair{})
		}
		at := l.vacant[len(l.vacant)-1]
		l.vacant = l.vacant[:len(l.vacant)-1]
		l.pairs[at] = pair{client: fd, up: up, turn: l.pairs[at].turn + 1}
		for side, fd := range []int{fd, up} {
			if err := l.poller.Add(fd, poll.Slot{Place: 2*at + int32(side), Turn: l.pairs[at].turn}, poll.Readable); err != nil {
				return err
			}
		}
	}
}

// relay moves what one side of a pair has said to the other. Whatever goes wrong, a partial write too, ends the pair:
// here nobody is slow.
func (l *loop) relay(at int32, fromUpstream bool) {
	p := &l.pairs[at]
	from, to := p.client, p.up
	if fromUpstream {
		from, to = to, from
	}
	n, err := unix.Read(from, l.buf)
	if err == unix.EAGAIN {
		return
	}
	if err == nil && n > 0 && fromUpstream {
		var ended bool
		if ended, err = p.feed(l.buf[:n]); ended {
			p.framer = framer{}
		}
	}
	if err == nil && n > 0 {
		var m int
		if m, err = unix.Write(to, l.buf[:n]); err == nil && m == n {
			return
		}
	}
	_ = unix.Close(p.client)
	_ = unix.Close(p.up)
	p.turn++
	l.vacant = append(l.vacant, at)
}

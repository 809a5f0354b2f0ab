package wire

import (
	"cmp"
	"errors"
	"math"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A silence is since when a connection waits for a request, for those who look for one that can make room. It is 0 while a
// request is served, and evicted once the connection's place was given away. While a head has begun and is not whole, its
// time is that of its first byte.
type silence struct{ atomic.Int64 }

// evicted is the last value of a silence.
const evicted = -1

func (s *silence) begin(now time.Duration)       { s.Store(max(1, int64(now)) << 1) }
func (s *silence) beginHead(since time.Duration) { s.Store(max(1, int64(since))<<1 | 1) }

// end tells whether the connection is still its owner's.
func (s *silence) end() bool { return s.Swap(0) != evicted }

// whole tells whether no part of a head has come.
func (s *silence) whole() bool { v := s.Load(); return v > 0 && v&1 == 0 }

// keptFree is how many of the process' descriptors are left to what is no client's connection: upstreams, Redis, files. A
// connection whose number shows that fewer are free makes room for them.
func keptFree(most int) int { return min(max(most/8, 8), 1024) }

// lastDescriptor is the highest number that a client's connection may have without others making room. Numbers are given
// away from the lowest one that is free (open(2)), so all below a new one are in use.
func lastDescriptor() int {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil || limit.Cur > math.MaxInt32 {
		return math.MaxInt32
	}
	most := int(limit.Cur)
	return most - keptFree(most) - 1
}

// roomShare is the share of the connections that makes room when it is short: looking for them costs more with many.
const roomShare = 64

// MakeRoom closes the connections that have been idle for longest, one or a few, and those that only linger first. It
// tells whether there were any.
func (l *Listener) MakeRoom() bool { return l.makeRoom(nil) }

func (l *Listener) makeRoom(except *ClientConn) bool {
	l.mu.Lock()
	want := 1 + len(l.open)/roomShare
	victims := evict(l.open, except, want)
	for _, c := range victims {
		l.leaveCrowd(c)
	}
	l.mu.Unlock()
	closeAll(victims)
	ended := 0
	if len(victims) < want {
		ended = l.lingers.endOldest(want - len(victims))
	}
	if n := len(victims); n > 0 && l.options.OnRoom != nil {
		l.options.OnRoom(n)
	}
	if len(victims) == 0 && ended > 0 {
		time.Sleep(time.Millisecond) // they end in goroutines of their own
	}
	return len(victims)+ended > 0
}

// evict takes the places of at most so many connections: of those that are idle, for longest. The listener is locked,
// which keeps their descriptors their own.
func evict(open map[*ClientConn]struct{}, except *ClientConn, most int) (victims []*ClientConn) {
	type candidate struct {
		conn  *ClientConn
		since int64
	}
	var idle []candidate
	for c := range open {
		if v := c.silence.Load(); v > 0 && c != except {
			idle = append(idle, candidate{c, v})
		}
	}
	slices.SortFunc(idle, func(a, b candidate) int { return cmp.Compare(a.since, b.since) })
	for _, k := range idle {
		if len(victims) == most {
			break
		}
		// What has come and was not read yet ends the silence any moment, unless it is the client's end.
		if (!polled(k.conn.fd, unix.POLLIN) || polled(k.conn.fd, hangUp)) && k.conn.silence.CompareAndSwap(k.since, evicted) {
			victims = append(victims, k.conn)
		}
	}
	return victims
}

// closeAll closes connections that were evicted; their descriptors are free when it returns. Their owners wake and find out.
func closeAll(victims []*ClientConn) {
	for _, c := range victims {
		_ = c.kernel().Close()
	}
}

// polled asks poll(2) about a connection that another goroutine serves: it uses nothing of it but the descriptor.
func polled(fd int, events int16) bool {
	if fd < 0 {
		return false
	}
	n, _ := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: events}}, 0)
	return n != 0
}

// endOldest ends at most so many that linger, and returns how many.
func (l *lingers) endOldest(most int) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for e := l.all.Front(); e != nil && n < most; e = e.Next() {
		e.Value.(*linger).shorten(0)
		n++
	}
	return n
}

// A crowd is the connections of one client, as far as they are counted.
type crowd struct {
	key  netip.Prefix
	open map[*ClientConn]struct{}
}

// crowdOf is whom a peer's connections are counted for: its address, or the /64 that an IPv6 client has all to itself.
func crowdOf(peer netip.Addr) netip.Prefix {
	bits := peer.BitLen()
	if peer.Is6() {
		bits = 64
	}
	p, _ := peer.Prefix(bits) // the zero Prefix for no address
	return p
}

// enter counts a connection. If its client has as many as it may, the one of them that has been idle for longest
// makes room; if none is idle, the connection is refused.
func (l *Listener) enter(c *ClientConn) bool {
	most := 0
	if l.options.PerClient != nil && c.peer.IsValid() {
		most = l.options.PerClient(c.peer)
	}
	var victims []*ClientConn
	defer func() { closeAll(victims) }()
	l.mu.Lock()
	defer l.mu.Unlock()
	if most > 0 {
		key := crowdOf(c.peer)
		k := l.crowds[key]
		if k == nil {
			k = &crowd{key, make(map[*ClientConn]struct{})}
		}
		victims = l.thin(k, most)
		if len(k.open) >= most {
			return false
		}
		c.crowd = k
		k.open[c] = struct{}{}
		l.crowds[key] = k
	}
	l.open[c] = struct{}{}
	return true
}

// thin has connections leave a crowd until it has room for one more, as far as they are idle, or their client has closed
// them: one that closes and opens another is faster than the goroutine that serves it. It returns those to be closed.
func (l *Listener) thin(k *crowd, most int) (victims []*ClientConn) {
	if len(k.open) < most {
		return nil
	}
	victims = evict(k.open, nil, 1+len(k.open)-most)
	for _, v := range victims {
		l.leaveCrowd(v)
	}
	if len(k.open) < most {
		return victims
	}
	for v := range k.open {
		if polled(v.fd, hangUp) {
			l.leaveCrowd(v)
		}
	}
	return victims
}

// leaveCrowd ends the counting of a connection. The listener is locked.
func (l *Listener) leaveCrowd(c *ClientConn) {
	k := c.crowd
	if k == nil {
		return
	}
	c.crowd = nil
	if delete(k.open, c); len(k.open) == 0 {
		delete(l.crowds, k.key)
	}
}

// admit takes a connection that was accepted, or refuses it by a reset and returns nil.
func (l *Listener) admit(conn net.Conn) *ClientConn {
	c := l.wrap(conn)
	if !l.enter(c) {
		c.resetOnClose()
		_ = c.kernel().Close()
		if l.options.OnRefused != nil {
			l.options.OnRefused(c.peer)
		}
		return nil
	}
	if c.fd > l.lastDescriptor || l.options.MaxConns > 0 && l.Open() > l.options.MaxConns-l.options.MaxConns/roomShare {
		l.makeRoom(c)
	}
	return c
}

// lacking tells whether an accept failed so that fewer connections would help.
func lacking(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM)
}

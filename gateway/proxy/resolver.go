package proxy

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// A name is asked for again this often, with a tenth of jitter. A shorter TTL is not looked at: the system's
// resolver does not tell it.
const lookupEvery = 5 * time.Second

// lookupTime bounds one question.
const lookupTime = 3 * time.Second

// dialFunc connects to "host:port".
type dialFunc = func(ctx context.Context, addr string) (net.Conn, error)

// lookupFunc finds where a name leads: its addresses, with that port unless the name says otherwise.
type lookupFunc = func(ctx context.Context, host string, port uint16) ([]netip.AddrPort, error)

func lookup(ctx context.Context, host string, port uint16) ([]netip.AddrPort, error) {
	return lookupBy(ctx, net.DefaultResolver, host, port)
}

// lookupBy asks for A and AAAA records, or for SRV records if the name begins with those of a service and a
// protocol: RFC 2782. Of their targets, those of the lowest priority are used, all alike.
func lookupBy(ctx context.Context, r *net.Resolver, host string, port uint16) (found []netip.AddrPort, err error) {
	if _, ok := serviceOf(host); !ok {
		return withPort(ctx, r, host, port)
	}
	_, targets, err := r.LookupSRV(ctx, "", "", host) // sorted by priority
	if err != nil {
		return nil, err
	}
	for _, target := range targets {
		if target.Priority != targets[0].Priority {
			break
		}
		addrs, failed := withPort(ctx, r, target.Target, target.Port)
		if failed != nil {
			err = failed // the others may do
			continue
		}
		found = append(found, addrs...)
	}
	if len(found) > 0 {
		err = nil
	}
	return found, err
}

func withPort(ctx context.Context, r *net.Resolver, host string, port uint16) (found []netip.AddrPort, err error) {
	addrs, err := r.LookupNetIP(ctx, "ip", host)
	for _, a := range addrs {
		found = append(found, netip.AddrPortFrom(a.Unmap(), port))
	}
	return found, err
}

// serviceOf is the domain of a name like _http._tcp.example, "example".
func serviceOf(host string) (domain string, ok bool) {
	labels := strings.SplitN(host, ".", 3)
	if len(labels) < 3 || !strings.HasPrefix(labels[0], "_") || !strings.HasPrefix(labels[1], "_") {
		return host, false
	}
	return labels[2], true
}

// resolver is where an upstream's name leads. All its addresses are one upstream: each new connection goes to
// the next of them, and to another if it cannot be made. Idle connections to an address that is gone are
// closed, busy ones when they are free.
type resolver struct {
	hostport string
	host     string // "" for an address, which leads to itself
	port     uint16
	lookup   lookupFunc

	addrs atomic.Pointer[[]netip.AddrPort]
	next  atomic.Uint32
}

func (n *resolver) init(hostport string) {
	n.hostport = hostport
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		panic("BUG: settings without a port: " + err.Error())
	}
	number, _ := strconv.ParseUint(port, 10, 16) // checked by config
	n.port = uint16(number)
	if _, err := netip.ParseAddr(host); err != nil {
		n.host = strings.TrimSuffix(host, ".")
	}
}

// fixed tells whether there is nothing to look up.
func (n *resolver) fixed() bool { return n.host == "" || n.lookup == nil }

// dropped tells whether the name has ceased to lead to that address.
func (n *resolver) dropped(to netip.AddrPort) bool {
	if !to.IsValid() {
		return false
	}
	known := n.addrs.Load()
	return known != nil && !slices.Contains(*known, to)
}

// resolve asks for the addresses. Those known before stay if there is no answer.
func (n *resolver) resolve(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	found, err := n.lookup(ctx, n.host, n.port)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return &net.DNSError{Err: "no addresses", Name: n.host, IsNotFound: true}
	}
	slices.SortFunc(found, netip.AddrPort.Compare)
	found = slices.Compact(found)
	n.addrs.Store(&found)
	return nil
}

// dialAny connects to the next address of the upstream's name, or to another of them.
func (n *resolver) dialAny(ctx context.Context, dial dialFunc) (net.Conn, netip.AddrPort, error) {
	if n.fixed() {
		conn, err := dial(ctx, n.hostport)
		return conn, netip.AddrPort{}, err
	}
	if n.addrs.Load() == nil {
		if err := n.resolve(ctx); err != nil {
			return nil, netip.AddrPort{}, err
		}
	}
	known := *n.addrs.Load()
	turn := int(n.next.Add(1) % uint32(len(known)))
	var failed error
	for i := range known {
		to := known[(turn+i)%len(known)]
		conn, err := dialOne(ctx, dial, to, len(known)-i)
		if err == nil {
			return conn, to, nil
		}
		if failed == nil {
			failed = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, netip.AddrPort{}, failed
}

// dialOne connects to one of the untried addresses, in its share of the time: the others shall have theirs.
func dialOne(ctx context.Context, dial dialFunc, to netip.AddrPort, untried int) (net.Conn, error) {
	if by, ok := ctx.Deadline(); ok && untried > 1 {
		share, cancel := context.WithTimeout(ctx, time.Until(by)/time.Duration(untried))
		defer cancel()
		ctx = share
	}
	return dial(ctx, to.String())
}

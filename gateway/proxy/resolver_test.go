package proxy

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"aigateway/gateway/config"
	"aigateway/gateway/wire"
)

// named is an upstream whose name leads to addresses that the test changes, and the addresses it was asked to
// connect to. Connections to those in refused fail.
type named struct {
	*Upstream
	addrs   []string
	failed  error
	refused []string
	dialled []string
}

func newNamed(t *testing.T, addrs ...string) *named {
	c := config.Pool{Name: "p", Balance: "p2c", MaxInflight: 10, Timeouts: config.Timeouts{Connect: time.Second}}
	n := &named{Upstream: newUpstream(config.Upstream{URL: &url.URL{Scheme: "http", Host: "up.example:80"}}, newPool(c), c), addrs: addrs}
	n.resolver.lookup = func(_ context.Context, host string, port uint16) (found []netip.AddrPort, err error) {
		if host != "up.example" || port != 80 {
			t.Errorf("asked for %q, %d", host, port)
		}
		for _, a := range n.addrs {
			found = append(found, netip.AddrPortFrom(netip.MustParseAddr(a), port))
		}
		return found, n.failed
	}
	n.dial = func(_ context.Context, addr string) (net.Conn, error) {
		n.dialled = append(n.dialled, addr)
		if slices.Contains(n.refused, addr) {
			return nil, errors.New("refused")
		}
		ours, theirs := net.Pipe()
		t.Cleanup(func() { ours.Close(); theirs.Close() })
		return ours, nil
	}
	return n
}

func (n *named) mustConnect(t *testing.T) *wire.UpstreamConn {
	t.Helper()
	conn, err := n.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// All addresses of a name are used, and one that refuses costs nothing but the try.
func TestAllAddressesOfANameAreUsed(t *testing.T) {
	n := newNamed(t, "10.0.0.1", "2001:db8::2", "10.0.0.1", "10.0.0.3")
	for range 6 {
		n.mustConnect(t)
	}
	for _, want := range []string{"10.0.0.1:80", "[2001:db8::2]:80", "10.0.0.3:80"} {
		count := 0
		for _, got := range n.dialled {
			if got == want {
				count++
			}
		}
		if count != 2 {
			t.Errorf("%s was dialled %d times of 6: %v", want, count, n.dialled)
		}
	}
	n.refused = []string{"10.0.0.1:80", "10.0.0.3:80"}
	for range 6 {
		if conn := n.mustConnect(t); conn.To.String() != "[2001:db8::2]:80" {
			t.Errorf("connected to %v", conn.To)
		}
	}
	n.refused = append(n.refused, "[2001:db8::2]:80")
	if _, err := n.connect(t.Context()); err == nil || dialFault(err) != Unreachable {
		t.Errorf("got %v", err)
	}
}

// Connections to an address that is gone are closed: idle ones at once, busy ones when they are free.
func TestAddressesThatAreGoneDrain(t *testing.T) {
	n := newNamed(t, "10.0.0.1", "10.0.0.2")
	var all []*wire.UpstreamConn
	for range 4 {
		all = append(all, n.mustConnect(t))
	}
	busy := all[:2]
	for _, c := range all[2:] {
		n.keepIdle(c)
	}
	n.addrs = []string{"10.0.0.2"}
	n.resolveAgain(t.Context())
	if len(n.conns.idle) != 1 || n.conns.idle[0].conn.To.String() != "10.0.0.2:80" {
		t.Errorf("idle: %v", n.conns.idle)
	}
	for _, c := range busy {
		n.keepIdle(c)
	}
	if len(n.conns.idle) != 2 {
		t.Errorf("%d connections are idle, want those 2 to 10.0.0.2", len(n.conns.idle))
	}
	// Nobody knows better: what was known stays.
	n.failed, n.addrs = errors.New("no name server"), nil
	n.resolveAgain(t.Context())
	n.failed = nil
	n.resolveAgain(t.Context())
	if len(n.conns.idle) != 2 {
		t.Error("a name server that fails closes connections")
	}
	n.dialled = nil
	n.mustConnect(t)
	if !slices.Equal(n.dialled, []string{"10.0.0.2:80"}) {
		t.Errorf("dialled %v", n.dialled)
	}
}

// An address leads to itself, and nobody is asked.
func TestAnAddressIsNotLookedUp(t *testing.T) {
	var n resolver
	n.init("[2001:db8::1]:80")
	n.lookup = lookup
	if !n.fixed() || n.dropped(netip.MustParseAddrPort("10.0.0.1:80")) {
		t.Error("an address is taken for a name")
	}
}

// Idle connections age, and the one used last goes first.
func TestIdleConnections(t *testing.T) {
	n := newNamed(t, "10.0.0.1")
	a, b := n.mustConnect(t), n.mustConnect(t)
	at := time.Minute
	n.conns.put(a, at)
	n.conns.put(b, at+maxIdle/2)
	if n.conns.take(at+maxIdle/2) != b {
		t.Error("not the one used last")
	}
	n.conns.put(b, at+maxIdle/2)
	n.conns.expire(at + maxIdle + 1)
	if len(n.conns.idle) != 1 || n.conns.idle[0].conn != b {
		t.Errorf("%d are idle, want the younger one", len(n.conns.idle))
	}
	if n.conns.take(at+2*maxIdle) != nil {
		t.Error("took one that is too old")
	}
	n.conns.close()
	n.conns.put(a, at)
	if len(n.conns.idle) != 0 {
		t.Error("a connection was kept after the end")
	}
}

// A name of a service is looked up by its SRV records: the targets of the lowest priority, each with its port.
func TestLookupOfAService(t *testing.T) {
	r := startNameServer(t, map[string][]srv{
		"_http._tcp.example.": {{1, 8001, "a.example."}, {1, 8002, "b.example."}, {2, 8003, "c.example."}},
	}, map[string]string{"a.example.": "10.0.0.1", "b.example.": "10.0.0.2", "c.example.": "10.0.0.3"})
	f := func(host string, want ...string) {
		t.Helper()
		found, err := lookupBy(t.Context(), r, host, 80)
		var got []string
		for _, to := range found {
			got = append(got, to.String())
		}
		slices.Sort(got)
		if !slices.Equal(got, want) || (err == nil) != (len(want) > 0) {
			t.Errorf("%s leads to %v, %v; want %v", host, got, err, want)
		}
	}
	f("_http._tcp.example", "10.0.0.1:8001", "10.0.0.2:8002")
	f("a.example", "10.0.0.1:80")
	f("_other._tcp.example")
	f("nobody.example")
}

func TestServiceOf(t *testing.T) {
	f := func(host, domain string, ok bool) {
		t.Helper()
		if got, is := serviceOf(host); got != domain || is != ok {
			t.Errorf("%s: %q, %v", host, got, is)
		}
	}
	f("_http._tcp.example", "example", true)
	f("_grpc._tcp.llm.prod.example", "llm.prod.example", true)
	f("_container", "_container", false)
	f("_a.b.example", "_a.b.example", false)
	f("example", "example", false)
}

type srv struct {
	priority, port uint16
	target         string
}

// startNameServer answers for these names, and that there is no other: RFC 1035 §4, RFC 2782.
func startNameServer(t *testing.T, services map[string][]srv, addrs map[string]string) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo(nameAnswer(b[:n], services, addrs), from)
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

func nameAnswer(question []byte, services map[string][]srv, addrs map[string]string) []byte {
	const (
		a  = 1
		in = 33
	)
	name, end := "", 12
	for question[end] > 0 {
		label := int(question[end])
		name += string(question[end+1:end+1+label]) + "."
		end += 1 + label
	}
	kind := binary.BigEndian.Uint16(question[end+1:])
	var records [][]byte
	switch to, known := addrs[name]; {
	case kind == in:
		for _, s := range services[name] {
			r := binary.BigEndian.AppendUint16(nil, s.priority)
			r = binary.BigEndian.AppendUint16(append(r, 0, 1), s.port)
			for label := range strings.SplitSeq(s.target, ".") {
				r = append(append(r, byte(len(label))), label...) // the last is empty
			}
			records = append(records, r)
		}
	case kind == a && known:
		records = append(records, netip.MustParseAddr(to).AsSlice())
	}
	code := byte(3) // no such name
	if _, known := addrs[name]; known || services[name] != nil {
		code = 0
	}
	answer := append([]byte{question[0], question[1], 0x81, 0x80 | code, 0, 1, 0, byte(len(records)), 0, 0, 0, 0}, question[12:end+5]...)
	for _, r := range records {
		answer = binary.BigEndian.AppendUint16(append(answer, 0xc0, 12), kind)
		answer = append(answer, 0, 1, 0, 0, 0, 60)
		answer = append(binary.BigEndian.AppendUint16(answer, uint16(len(r))), r...)
	}
	return answer
}

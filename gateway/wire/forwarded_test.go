package wire

import (
	"net/netip"
	"strings"
	"testing"
)

// Who is who: the right-most address that is not trusted.
func TestClientIdentity(t *testing.T) {
	p := Proxies{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	f := func(peer, want string, lines ...string) {
		t.Helper()
		var values [][]byte
		for _, l := range lines {
			values = append(values, []byte(l))
		}
		if got := p.Client(netip.MustParseAddr(peer), values); got.String() != want {
			t.Errorf("peer %s, X-Forwarded-For %q: %s, want %s", peer, lines, got, want)
		}
	}
	f("8.8.8.8", "8.8.8.8")
	f("8.8.8.8", "8.8.8.8", "1.1.1.1") // not trusted: what it says is nothing
	f("10.0.0.1", "10.0.0.1")
	f("10.0.0.1", "1.1.1.1", "1.1.1.1")
	f("10.0.0.1", "2.2.2.2", "1.1.1.1, 2.2.2.2")
	f("10.0.0.1", "2.2.2.2", "1.1.1.1", "2.2.2.2")
	f("10.0.0.1", "1.1.1.1", "6.6.6.6, 1.1.1.1, 10.0.0.2", "10.0.0.3")
	f("10.0.0.1", "10.0.0.2", "10.0.0.2,10.0.0.3")
	f("10.0.0.1", "1.1.1.1", "", "1.1.1.1", "")
	f("10.0.0.1", "1.1.1.1", "9.9.9.9,, 1.1.1.1 ,, 10.0.0.9 ,")
	f("10.0.0.1", "1.1.1.1", "1.1.1.1:5555")
	f("10.0.0.1", "2001:db8::1", "[2001:db8::1]:443")
	f("10.0.0.1", "2001:db8::1", "[2001:db8::1]")
	f("10.0.0.1", "2001:db8::1", "2001:db8::1")
	f("10.0.0.1", "fe80::1", "fe80::1%eth0")
	f("10.0.0.1", "fe80::1", "[fe80::1%eth0]:80")
	f("10.0.0.1", "1.1.1.1", "::ffff:1.1.1.1")
	f("fd00::1", "1.1.1.1", "1.1.1.1")
	// What cannot be read ends the search at the last trusted hop.
	for _, bad := range []string{"unknown", "_hidden", "1.1.1", "1.1.1.1.1", "1.1.1.256", "[::1", "[::1]x", "[::1]:", "1.1.1.1:x", "1.1.1.1:999999",
		"1.1.1.1 2.2.2.2", "\"1.1.1.1\"", "%eth0", "[]", "fe80::1%", strings.Repeat("1", 100), "http://1.1.1.1"} {
		if bad == "fe80::1%" {
			f("10.0.0.1", "fe80::1", bad)
			continue
		}
		f("10.0.0.1", "10.0.0.1", bad)
		f("10.0.0.1", "10.0.0.7", "1.2.3.4, "+bad+", 10.0.0.7")
	}
	// At most 32 hops are looked at.
	f("10.0.0.1", "10.0.0.2", "1.1.1.1"+strings.Repeat(", 10.0.0.2", 32))
	f("10.0.0.1", "1.1.1.1", "1.1.1.1"+strings.Repeat(", 10.0.0.2", 31))
	// A client is a /64.
	a := AppendClientKey(nil, netip.MustParseAddr("2001:db8::1"))
	b := AppendClientKey(nil, netip.MustParseAddr("2001:db8::ffff:1"))
	c := AppendClientKey(nil, netip.MustParseAddr("2001:db8:0:1::1"))
	if string(a) != string(b) || string(a) == string(c) {
		t.Errorf("keys %x, %x, %x", a, b, c)
	}
}

// For any header lines and any trusted list, the identity is the peer or an address in the header, and never one
// left of an untrusted hop.
func FuzzClientIdentity(f *testing.F) {
	f.Add("10.0.0.1, 1.1.1.1", "10.0.0.2", uint8(3))
	f.Add("[::1]:80,fe80::1%a", "unknown", uint8(1))
	f.Add("::ffff:10.1.1.1", ",,", uint8(2))
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	f.Fuzz(func(t *testing.T, first, second string, which uint8) {
		g := Proxies(trusted[:which%3])
		peer := netip.MustParseAddr("10.0.0.1")
		got := g.Client(peer, [][]byte{[]byte(first), []byte(second)})
		if !got.IsValid() || got.Zone() != "" || got.Is4In6() {
			t.Fatalf("identity %v", got)
		}
		if got == peer {
			return
		}
		elements := strings.Split(first+","+second, ",")
		for i := len(elements) - 1; i >= 0; i-- {
			e := strings.Trim(elements[i], " \t")
			if e == "" {
				continue
			}
			addr, ok := ParseHop([]byte(e))
			if ok && addr == got {
				return
			}
			if !ok || !g.Trusts(addr) {
				t.Fatalf("%q, %q: %v lies left of %q", first, second, got, e)
			}
		}
		t.Fatalf("%q, %q: %v is not in the header", first, second, got)
	})
}

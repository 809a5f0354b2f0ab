package cache

import (
	"bytes"
	"strings"
	"testing"

	"aigateway/gateway/wire"
)

func TestKeys(t *testing.T) {
	key := func(secure bool, host, target string) string {
		return string(AppendKey(nil, Origin{Secure: secure, Host: []byte(host)}, []byte(target)))
	}
	if got, want := key(false, "Example.com", "/a?b"), "GET http 11:example.com 4:/a?b"; got != want {
		t.Errorf("a key is %q, want %q", got, want)
	}
	same := func(a, b string, want bool) {
		t.Helper()
		if a == b != want {
			t.Errorf("%q and %q are one: %v", a, b, !want)
		}
	}
	// RFC 9110 §4.2.3: the same host.
	same(key(false, "A.b", "/"), key(false, "a.B", "/"), true)
	same(key(false, "a:80", "/"), key(false, "a", "/"), true)
	same(key(true, "a:443", "/"), key(true, "a", "/"), true)
	same(key(false, "a:", "/"), key(false, "a", "/"), true)
	same(key(false, "[::1]:80", "/"), key(false, "[::1]", "/"), true)
	// Other hosts, schemes, ports.
	same(key(false, "a", "/"), key(false, "b", "/"), false)
	same(key(false, "a", "/"), key(true, "a", "/"), false)
	same(key(false, "a:443", "/"), key(false, "a", "/"), false)
	same(key(true, "a:80", "/"), key(true, "a", "/"), false)
	same(key(false, "a:81", "/"), key(false, "a", "/"), false)
	same(key(false, "a.", "/"), key(false, "a", "/"), false)
	// Other targets, however alike.
	for _, other := range []string{"/A", "/a/", "/a?", "//a", "/%61", "/./a", "/a;x", "/a%2f", "/a?b", "/a?b&c", "/a\x00", "/a "} {
		same(key(false, "h", "/a"), key(false, "h", other), false)
	}
	same(key(false, "h", "/a%2f..%2fb"), key(false, "h", "/b"), false)
	// No part runs into the next.
	same(key(false, "a", "b/c"), key(false, "ab", "/c"), false)
	same(key(false, "a 1:", "x"), key(false, "a", "1: x"), false)

	// §4: the class of the method.
	_, get := ask(t, "GET")
	_, head := ask(t, "HEAD")
	if !bytes.Equal(AppendVariant(AppendKey(nil, example, get.Target), []byte("x"), get, nil), AppendVariant(AppendKey(nil, example, head.Target), []byte("x"), head, nil)) {
		t.Error("HEAD and GET have two keys")
	}
	// What is added for a variant is no part of the target.
	text := AppendVariant(AppendKey(nil, example, []byte("/x")), []byte("a,b"), get, nil)
	if o, target, rest, ok := SplitKey(text); !ok || string(o.Host) != "example.com" || o.Secure || string(target) != "/x" || string(rest) != "\na\nb" {
		t.Errorf("%q splits into %q %q %q %v", text, o.Host, target, rest, ok)
	}
	// Whose a response is.
	tenant := Origin{Host: []byte("h"), Tenant: []byte("t")}
	for _, text := range [][]byte{AppendKey(nil, tenant, []byte("/x")), AppendVariant(AppendKey(nil, tenant, []byte("/x")), []byte("a,b"), get, nil)} {
		if _, _, rest, ok := SplitKey(text); !ok || string(TenantOf(rest)) != "t" {
			t.Errorf("%q is of %q", text, TenantOf(rest))
		}
	}
	for _, text := range [][]byte{AppendKey(nil, example, []byte("/x")), AppendVariant(AppendKey(nil, example, []byte("/x")), []byte("a,b"), get, nil)} {
		if _, _, rest, _ := SplitKey(text); TenantOf(rest) != nil {
			t.Errorf("%q is of %q", text, TenantOf(rest))
		}
	}
	for _, bad := range []string{"", "GET", "GET http", "GET http ", "GET http 5:a", "POST http 1:a 1:/", "GET ftp 1:a 1:/", "GET http x:a 1:/", "GET http 1:a", "GET http 99999999999:a"} {
		if _, _, _, ok := SplitKey([]byte(bad)); ok {
			t.Errorf("%q counts as a key", bad)
		}
	}
}

func FuzzKeys(f *testing.F) {
	f.Add(false, "a", "/b", "x", true, "a", "/b", "x")
	f.Add(false, "a:80", "/b\nx:1", "", false, "A", "/b", "x:1")
	f.Add(true, "a 2:/b", "/c", "a", false, "a", "/b 2:/c", "")
	f.Fuzz(func(t *testing.T, secureA bool, hostA, targetA, valueA string, secureB bool, hostB, targetB, valueB string) {
		a, okA := forwarded(secureA, hostA, targetA, valueA)
		b, okB := forwarded(secureB, hostB, targetB, valueB)
		if !okA || !okB {
			return
		}
		// Equal keys: equal bytes are forwarded, but for the spelling of the host.
		if bytes.Equal(a.key, b.key) && (targetA != targetB || a.value != b.value || secureA != secureB || !a.origin.sameHost(b.origin.Host)) {
			t.Errorf("one key %q: %q %q %q and %q %q %q", a.key, hostA, targetA, valueA, hostB, targetB, valueB)
		}
		if Hash(a.key) == Hash(b.key) != bytes.Equal(a.key, b.key) {
			t.Error("hashes and texts disagree")
		}
		o, target, _, ok := SplitKey(a.key)
		if !ok || string(target) != targetA || o.Secure != secureA || !o.sameHost(a.origin.Host) {
			t.Errorf("%q splits into %q %q, %v", a.key, o.Host, target, ok)
		}
	})
}

type forwardedRequest struct {
	origin Origin
	key    []byte
	value  string
}

// forwarded is what a request is stored under, if wire lets it in.
func forwarded(secure bool, host, target, value string) (r forwardedRequest, ok bool) {
	var h wire.RequestHead
	if h.Scan([]byte("GET"), []byte(target), []byte("HTTP/1.1"), []byte("Host: "+host+"\r\nX: "+value+"\r\n\r\n")) != wire.None {
		return r, false
	}
	r.origin = Origin{Secure: secure, Host: h.Host}
	r.key = AppendVariant(AppendKey(nil, r.origin, h.Target), []byte("x"), &h, nil)
	x, _ := h.Field("x")
	r.value = string(x)
	return r, string(h.Host) == host
}

func TestVariants(t *testing.T) {
	key := func(i int) Key { return Hash([]byte(itoa(int64(i)))) }
	names := []byte("accept,accept-encoding")
	var list []byte
	v := Variants{}
	for i := range 40 {
		list = AppendVariants(nil, v, names, key(i))
		var ok bool
		if v, ok = ParseVariants(list); !ok || !bytes.Equal(v.Names, names) {
			t.Fatalf("after %d: %q, %v", i, v.Names, ok)
		}
		if want := min(i+1, MaxVariants); v.Len() != want || v.At(want-1) != key(i) || v.At(0) != key(i+1-want) {
			t.Fatalf("after %d: %d variants", i, v.Len())
		}
	}
	if v.Holds(key(0)) || !v.Holds(key(39)) || !v.Holds(key(24)) || v.Holds(key(23)) {
		t.Error("the oldest do not go first")
	}
	// Again: the newest, and nobody goes.
	v, _ = ParseVariants(AppendVariants(nil, v, names, key(24)))
	if v.Len() != MaxVariants || v.At(0) != key(25) || v.At(MaxVariants-1) != key(24) {
		t.Error("a variant that comes again is not the newest")
	}
	// Found under other names: the others cannot be found any more.
	v, _ = ParseVariants(AppendVariants(nil, v, []byte("accept"), key(1)))
	if v.Len() != 1 || !v.Holds(key(1)) {
		t.Error("keys of other names stay")
	}

	merge := func(a, b, want string) {
		t.Helper()
		if got := string(MergeVary(nil, []byte(a), []byte(b))); got != want {
			t.Errorf("%q and %q are %q, want %q", a, b, got, want)
		}
	}
	merge("", "", "")
	merge("a", "", "a")
	merge("", "a", "a")
	merge("a", "a", "a")
	merge("a,c", "b", "a,b,c")
	merge("b", "a,c", "a,b,c")
	merge("a,b", "a,b,c", "a,b,c")
	merge("a-b", "a", "a,a-b")
	merge("a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p", "a", "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p")
	merge("a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p", "q", "q")

	vary := func(lines, want string) {
		t.Helper()
		a, _ := respond(t, "200|"+lines)
		if got := string(a.AppendVary(nil)); got != want || a.Varies() != (want != "") {
			t.Errorf("%q varies by %q, want %q", lines, got, want)
		}
	}
	vary("", "")
	vary("Vary: ,", "")
	vary("Vary: B, a,,b ,A|vary: C", "a,b,c")
}

func FuzzVariants(f *testing.F) {
	f.Add([]byte{})
	f.Add(AppendVariants(nil, Variants{}, []byte("a,b"), Key{1}))
	f.Add([]byte{0, 1, 'a'})
	f.Fuzz(func(t *testing.T, b []byte) {
		v, ok := ParseVariants(b)
		if !ok {
			return
		}
		var again []byte
		old := Variants{Names: v.Names}
		for i := range v.Len() {
			again = AppendVariants(nil, old, v.Names, v.At(i))
			if old, ok = ParseVariants(again); !ok {
				t.Fatalf("%q is written as %q", b, again)
			}
		}
		if len(bytes.Split(v.Names, []byte(","))) > maxVaryNames || v.Len() > MaxVariants {
			t.Errorf("%q: too much", b)
		}
	})
}

// TestCachingFields: every field that the cache heeds makes wire point it out, or it would be overlooked.
func TestCachingFields(t *testing.T) {
	for _, name := range []string{"Cache-Control", "Pragma", "Authorization", "Cookie", "If-None-Match", "If-Modified-Since", "If-Match",
		"If-Unmodified-Since", "If-Range", "Range", "X-Api-Key", "Api-Key", "ApiKey", "X-ApiKey", "X-Goog-Api-Key", "X-Auth-User",
		"X-Auth-Token", "X-Functions-Key", "Some-Token", "Api-Token", "Prefix-Key", "If-Some-Key", "Cookie-Key", "X-Amzn-Oidc-Identity", "X-Host",
		"Forwarded", "X-Forwarded-Prefix", "X-Forwarded-User", "X-Original-URL", "X-Rewrite-URL", "X-HTTP-Method", "X-Method-Override"} {
		for _, written := range []string{name, strings.ToLower(name), strings.ToUpper(name)} {
			r, h := ask(t, "GET|"+written+": max-age=1, no-cache")
			if len(h.Noted) == 0 {
				t.Errorf("%s is overlooked", written)
			}
			if r.Bypass() == None && !r.NoCache && !r.Authorization && !r.Credentials && !r.Selective() && r.ifRange.count == 0 {
				t.Errorf("%s changes nothing", written)
			}
		}
	}
	for _, name := range []string{"Accept-Encoding", "User-Agent", "Content-Type", "Referer", "Connection", "X-Stainless-Lang", "Sec-Fetch-Mode", "Sec-CH-UA",
		"Sec-CH-UA-Platform", "X-Request-ID", "Traceparent", "X-B3-TraceId", "X-Forwarded-For", "X-Forwarded-Proto", "Priority", "Te", "Via"} {
		if _, h := ask(t, "GET|"+name+": a"); len(h.Noted) > 0 {
			t.Errorf("%s is noted", name)
		}
		if _, h := ask(t, "POST|"+name+": a|X-Any: a"); len(h.Noted) > 0 {
			t.Errorf("%s of a POST is noted", name)
		}
	}
	// What does not travel on does not count.
	if r, h := ask(t, "GET|Connection: cookie|Cookie: a=b"); r.Credentials {
		t.Errorf("a cookie that is not forwarded counts: %v", h.Noted)
	}
}

package cache

import (
	"bytes"
	"crypto/sha256"
	"strings"
	"testing"
	"time"

	"aigateway/gateway/wire"
)

// post scans a POST of these lines, and a JSON body if they do not say otherwise, and reads it.
func post(t testing.TB, lines string, by Asker, f *Fields) (*Request, *wire.RequestHead) {
	t.Helper()
	if !strings.Contains(strings.ToLower(lines), "content-type") {
		lines = "Content-Type: application/json|" + lines
	}
	h := new(wire.RequestHead)
	if v := h.Scan([]byte("POST"), []byte("/x"), []byte("HTTP/1.1"), block("Host: example.com|Content-Length: 2|"+lines)); v != wire.None {
		t.Fatalf("request %q: %v", lines, v)
	}
	r := new(Request)
	r.ReadPost(h, example, f, by)
	return r, h
}

func TestReadPost(t *testing.T) {
	f := func(lines string, want Reason) {
		t.Helper()
		if r, _ := post(t, lines, ByCredentials, nil); r.Bypass() != want || r.Credentials || r.Authorization || r.LastEvent {
			t.Errorf("%q: %v, want %v", lines, r.Bypass(), want)
		}
	}
	f("", None)
	f("Authorization: Bearer x|Cookie: a=b|X-API-Key: k|Last-Event-ID: 7", None)
	f("Content-Type: application/json; charset=UTF-8", None)
	f(`Content-Type: Application/JSON ;charset="utf-8"`, None)
	f("Content-Type: application/json;", None)
	f("Content-Type: application/json; charset=latin1", ForBody)
	f("Content-Type: application/jsonx", ForBody)
	f("Content-Type: text/plain", ForBody)
	f("Content-Type: multipart/form-data; boundary=x", ForBody)
	f("Content-Encoding: gzip", ForBody)
	f("Content-Encoding: identity", ForBody)
	f("Cache-Control: no-store", ForRequestNoStore)
	f("If-None-Match: *", ForOriginCondition)
	f("Range: bytes=0-1", ForOriginCondition)
	f("X-Original-URL: /y", ForUnkeyedField)
	f("X-HTTP-Method-Override: GET", ForUnkeyedField)
	f("Forwarded: host=x", ForUnkeyedField)
	r, _ := post(t, "Cache-Control: only-if-cached, max-age=5", ByCredentials, nil)
	if !r.OnlyIfCached || r.MaxAge != 5 {
		t.Error("the directives are not read")
	}
	if r, _ := post(t, "Pragma: no-cache", ByCredentials, nil); !r.NoCache {
		t.Error("Pragma is not read")
	}
	for lines, want := range map[string]bool{"": false, "X-Cache-POST: on": true, "x-cache-post: ON": true, "X-Cache-POST: off": false} {
		if _, h := post(t, lines, ByCredentials, nil); WantsPost(h) != want {
			t.Errorf("%q: %t", lines, !want)
		}
	}
}

// Whatever could tell whose answer it is, or which one, makes another key.
func TestPostKeys(t *testing.T) {
	key := func(lines string, by Asker, p Post) string {
		r, h := post(t, lines, by, nil)
		return string(r.AppendPostKey(nil, example, h.Target, &p))
	}
	one := Post{Route: []byte("/v1/*"), Model: []byte("m"), Tenant: []byte("t"), Body: sha256.Sum256([]byte("b"))}
	want := key("", ByTenant, one)
	if prefix := "POST http 11:example.com 2:/x 5:/v1/* 1:m 1:t\n"; !strings.HasPrefix(want, prefix) || len(want) != len(prefix)+sha256.Size {
		t.Errorf("a key is %q", want)
	}
	for name, other := range map[string]Post{
		"route":  {[]byte("/v1/a"), one.Model, one.Tenant, one.Body},
		"model":  {one.Route, []byte("n"), one.Tenant, one.Body},
		"tenant": {one.Route, one.Model, []byte("u"), one.Body},
		"body":   {one.Route, one.Model, one.Tenant, sha256.Sum256([]byte("c"))},
		"parts":  {one.Route, []byte("m 1:t"), nil, one.Body},
	} {
		if key("", ByTenant, other) == want {
			t.Errorf("another %s has the same key", name)
		}
	}
	f := func(by Asker, a, b string, same bool) {
		t.Helper()
		if got := key(a, by, one) == key(b, by, one); got != same {
			t.Errorf("%d: %q and %q: same key %t", by, a, b, got)
		}
	}
	who := []string{"Authorization: Bearer a", "Cookie: s=1", "X-API-Key: a", "api-key: a", "X-Goog-Api-Key: a", "X-Auth-Request-User: a", "X-Forwarded-User: a",
		"X-Amz-Security-Token: a", "apikey: a", "user_token: a"}
	for _, line := range who {
		other := line[:len(line)-1] + "z"
		keyOfGateway := strings.HasPrefix(line, "Auth") || strings.HasPrefix(line, "X-API-Key") || strings.HasPrefix(line, "api-key")
		f(ByCredentials, line, "", false)
		f(ByCredentials, line, other, false)
		f(ByTenant, line, other, keyOfGateway)
		f(Anybody, line, other, !strings.Contains(line, "_"))
		f(Anybody, line, "", !strings.Contains(line, "_"))
	}
	for _, by := range []Asker{ByCredentials, ByTenant, Anybody} {
		for _, line := range []string{"Accept: text/event-stream", "OpenAI-Organization: a", "anthropic-version: 1", "anthropic-beta: x", "Origin: https://a", "Accept-Language: de", "X-Whatever: 1", "Last-Event-ID: 1"} {
			f(by, line, "", false)
			f(by, line, line+"2", false)
		}
		for _, line := range []string{"User-Agent: a", "X-Stainless-Retry-Count: 1", "Accept-Encoding: gzip", "X-Cache-POST: on", "Accept: */*", "traceparent: 00-00000000000000000000000000000001-0000000000000001-01", "Cache-Control: max-age=1"} {
			f(by, line, "", true)
		}
	}
	o, target, rest, ok := SplitKey([]byte(want))
	p, okPost := SplitPost(rest)
	if !ok || !okPost || string(o.Host) != "example.com" || string(target) != "/x" || string(p.Route) != "/v1/*" || string(p.Model) != "m" || string(p.Tenant) != "t" || p.Body != one.Body {
		t.Errorf("%q splits into %q %q %+v", want, o.Host, target, p)
	}
	for n := range len(want) {
		if _, _, _, ok := SplitKey([]byte(want[:n])); ok {
			t.Errorf("%q counts as a key", want[:n])
		}
	}
}

func TestStorePost(t *testing.T) {
	f := func(answer string, want Reason, lifetime int64) {
		t.Helper()
		q, _ := post(t, "Authorization: Bearer x|Cookie: a", ByCredentials, nil)
		a, _ := respond(t, answer)
		m, why := Policy{TTL: time.Minute, MaxBody: 1000}.StorePost(q, a, nil)
		if why != want || m.Lifetime != lifetime {
			t.Errorf("%q: %v for %d seconds, want %v for %d", answer, why, m.Lifetime, want, lifetime)
		}
		if why == None && (len(m.ETag) > 0 || m.LastModified != 0 || m.StaleWhileRevalidate != 0 || m.Flags&NoCache != 0) {
			t.Errorf("%q: would be asked about again: %+v", answer, m)
		}
	}
	f("200", None, 60)
	f("200|Content-Type: text/event-stream", None, 60)
	f("200|Content-Type: text/event-stream|Cache-Control: no-cache", None, 60)
	f("200|Cache-Control: no-cache", ForNoCache, 0)
	f("200|Content-Type: text/event-stream|Cache-Control: no-store", ForNoStore, 0)
	f("200|Cache-Control: private", ForPrivate, 0)
	f("200|Cache-Control: max-age=7", None, 7)
	f("200|Cache-Control: max-age=0", ForUseless, 0)
	f(`200|ETag: "x"|Last-Modified: `+dayAgo+"|Cache-Control: stale-while-revalidate=9", None, 60)
	f("200|Set-Cookie: a=b", None, 60)
	f("200|Content-Encoding: gzip", ForCoding, 0)
	f("200|Content-Encoding: identity", None, 60)
	f("200|Vary: Accept-Encoding, Origin, Authorization", None, 60)
	f("200|Vary: User-Agent", ForVaryAny, 0)
	f("200|Vary: *", ForVaryAny, 0)
	f("200|Content-Length: 1001", ForTooLarge, 0)
	for _, status := range []string{"201", "203", "204", "206", "301", "400", "404", "429", "500", "503"} {
		f(status+"|Cache-Control: max-age=60", ForStatus, 0)
	}
}

func TestPostHead(t *testing.T) {
	a, h := respond(t, "200|Content-Type: application/json|Set-Cookie: a=b|x-ratelimit-remaining-tokens: 7|RateLimit: x|anthropic-ratelimit-tokens-limit: 1|Access-Control-Allow-Origin: *|Retry-After: 1|Age: 3|Content-Length: 4|X-Model: m|Date: "+noonDate)
	kept, own := a.AppendPostHead(nil, nil, h)
	if want := "Content-Type: application/json\r\nX-Model: m\r\nDate: " + noonDate + "\r\n"; string(kept) != want {
		t.Errorf("kept are %q", kept)
	}
	if n := bytes.Count(own, []byte("\r\n")); n != 6 || !bytes.Contains(own, []byte("Set-Cookie: a=b\r\n")) {
		t.Errorf("its own are %q", own)
	}
	_, request := post(t, "Accept-Encoding: gzip, br|X: y", ByCredentials, nil)
	if got := string(AppendPlainLines(nil, request)); strings.Contains(got, "gzip") || !strings.Contains(got, "X: y\r\n") || !strings.HasSuffix(got, "Accept-Encoding: identity\r\n") {
		t.Errorf("the request has %q", got)
	}
}

package cache

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"aigateway/gateway/wire"
)

// What RFC 9111 says a shared cache must and must not do, by section; with RFC 5861, 9211 and 9213, which extend it.
// Field lines are separated by "|"; it is noon.

func TestSection1_2_2_DeltaSeconds(t *testing.T) {
	f := func(text string, want int64, ok bool) {
		t.Helper()
		if n, valid := parseSeconds([]byte(text)); n != want || valid != ok {
			t.Errorf("%q is %d, %v; want %d, %v", text, n, valid, want, ok)
		}
	}
	f("0", 0, true)
	f("60", 60, true)
	f("007", 7, true)
	f("2147483648", 1<<31, true)
	// Greater than can be represented: 2^31.
	f("2147483649", 1<<31, true)
	f("99999999999999999999999999999999", 1<<31, true)
	for _, bad := range []string{"", "-1", "+1", "1.5", "1e3", "0x10", "1 ", "١", "1a"} {
		if _, ok := parseSeconds([]byte(bad)); ok {
			t.Errorf("%q counts as seconds", bad)
		}
	}
	// Calculations that overflow are 2^31 too.
	m := stored(t, "200|Cache-Control: max-age=99999999999|Age: 99999999999|ETag: \"a\"")
	if m.Lifetime != 1<<31 || m.InitialAge != 1<<31 || m.Age(later(1e9)) != 1<<31 {
		t.Errorf("lifetime %d, initial age %d, age %d", m.Lifetime, m.InitialAge, m.Age(later(1e9)))
	}
}

// storeFact tells whether an answer may be stored for everybody.
func storeFact(t *testing.T, p Policy) func(request, answer string, want Reason) {
	return func(request, answer string, want Reason) {
		t.Helper()
		q, _ := ask(t, request)
		a, _ := respond(t, answer)
		if _, got := p.Store(q, a); got != want {
			t.Errorf("%q to %q: %v, want %v", answer, request, got, want)
		}
	}
}

func TestSection3_Storing(t *testing.T) {
	f := storeFact(t, plain)
	const fresh = "|Cache-Control: max-age=60"

	// The method is understood.
	f("GET", "200"+fresh, None)
	f("HEAD", "200"+fresh, ForHeadOnly)
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "QUERY"} {
		f(method, "200"+fresh, ForMethod)
	}
	f("GET|Content-Length: 3", "200"+fresh, ForBody)
	f("GET|Transfer-Encoding: chunked", "200"+fresh, ForBody)

	// The status is final.
	f("GET", "100"+fresh, ForInterim)
	f("GET", "103"+fresh, ForInterim)
	f("GET", "199"+fresh, ForInterim)

	// 206 and 304 are understood, and not stored.
	f("GET", "206|Content-Range: bytes 0-1/9"+fresh, ForPartial)
	f("GET", "200|Content-Range: bytes 0-1/9"+fresh, ForPartial)
	f("GET", "304|ETag: \"a\""+fresh, ForNotModified)

	// must-understand: the status is understood, or no-store stands. §5.2.2.3
	f("GET", "200|Cache-Control: max-age=60, must-understand, no-store", None)
	f("GET", "404|Cache-Control: max-age=60, must-understand", None)
	f("GET", "299|Cache-Control: max-age=60, must-understand", ForNotUnderstood)
	f("GET", "599|Cache-Control: max-age=60, must-understand, no-store", ForNotUnderstood)
	f("GET", "599|Cache-Control: max-age=60", None)

	// no-store is not there.
	f("GET", "200|Cache-Control: no-store, max-age=60", ForNoStore)
	f("GET", "200"+fresh+"|Cache-Control: NO-STORE", ForNoStore)
	f("GET", "200|Cache-Control: no-store=yes, max-age=60", ForNoStore)
	f("GET", "200|Cache-Control: max-age=60, x=\"a, no-store", ForNoStore) // a quote without an end hides nothing
	f("GET", "200|Cache-Control: max-age=60, x=\"a, no-store\"", None)
	f("GET", "200|Cache-Control: public, no-store, max-age=60", ForNoStore)

	// private is not there, or not for all of it.
	f("GET", "200|Cache-Control: private, max-age=60", ForPrivate)
	f("GET", "200|Cache-Control: public, private, max-age=60", ForPrivate)
	f("GET", "200|Cache-Control: private=\"x-user\", max-age=60", None)
	f("GET", "200|Cache-Control: private=\"x-user\", private, max-age=60", ForPrivate)
	f("GET", "200|Cache-Control: private=\"\", max-age=60", ForPrivate)
	f("GET", "200|Cache-Control: private=\"x user\", max-age=60", ForPrivate)
	f("GET", "200|Cache-Control: private=\"content-type\", max-age=60", ForPrivate)

	// At least one of these is there.
	f("GET", "299", ForStatus)
	f("GET", "500|ETag: \"a\"", ForStatus)
	f("GET", "302|Last-Modified: "+dayAgo, ForStatus)
	f("GET", "302|Last-Modified: "+dayAgo+"|Cache-Control: public", None)
	f("GET", "302|Expires: "+hourLater, None)
	f("GET", "500"+fresh, None)
	f("GET", "500|Cache-Control: s-maxage=60", None)

	// What can never be of use is not stored, though it might be.
	f("GET", "200|Cache-Control: max-age=0", ForUseless)
	f("GET", "200|Cache-Control: max-age=60|Age: 60", ForUseless)
	f("GET", "200|Cache-Control: no-cache, max-age=60", ForUseless)
	f("GET", "200|Cache-Control: max-age=0|ETag: \"a\"", None)
	f("GET", "200|Cache-Control: no-cache|ETag: \"a\"|Expires: 0", None)
	f("GET", "200|Cache-Control: max-age=0, stale-if-error=9", None)

	// What the operator decides.
	f("GET", "200|Content-Length: 1000"+fresh, None)
	f("GET", "200|Content-Length: 1001"+fresh, ForTooLarge)
	f("GET", "200|Set-Cookie: a=b"+fresh, ForSetCookie)
	f("GET", "200|Set-Cookie: a=b|Cache-Control: public, max-age=60", None)
	f("GET", "200|Set-Cookie: a=b|Cache-Control: public=x, max-age=60", ForSetCookie)
	f("GET", "200|Set-Cookie: a=b|Cache-Control: private=\"Set-Cookie\", max-age=60", None)
}

// headOf tells what is stored of a head.
func headOf(t testing.TB, answer string) string {
	t.Helper()
	a, h := respond(t, answer)
	return strings.ReplaceAll(string(a.AppendHead(nil, h)), "\r\n", "|")
}

func TestSection3_1_StoringFields(t *testing.T) {
	f := func(answer, want string) {
		t.Helper()
		if got := headOf(t, answer); got != want {
			t.Errorf("of %q is stored %q, want %q", answer, got, want)
		}
	}
	const date = "Date: " + noonDate + "|"
	// All fields are included, unknown ones too, in order, each line.
	f("200|"+date+"X-New: 1|x-new: 2|ETag: \"a\"|Warning: 199 - \"old\"|CDN-Cache-Control: max-age=1|Via: 1.1 up",
		date+"X-New: 1|x-new: 2|ETag: \"a\"|Warning: 199 - \"old\"|CDN-Cache-Control: max-age=1|Via: 1.1 up|")
	// An upstream cache's word on itself goes no further.
	f("200|"+date+"Cache-Status: up; hit", date)
	// Connection and what it names, and what is for one connection only, are not.
	f("200|"+date+"Connection: x-hop, close|X-Hop: 1|Keep-Alive: timeout=5|Upgrade: h2c|Trailer: X|Proxy-Connection: close", date)
	// Nor what belongs to the proxy.
	f("200|"+date+"Proxy-Authenticate: Basic|Proxy-Authentication-Info: a|Proxy-Authorization: b", date)
	// Nor what is said anew in each reply.
	f("200|"+date+"Age: 5|Content-Length: 9", date)
	// §5.2.2.7, §5.2.2.4: fields that private and no-cache name.
	f("200|"+date+"Cache-Control: private=\"X-User, x-b\"|x-user: me|X-B: 1|X-C: 2", date+"Cache-Control: private=\"X-User, x-b\"|X-C: 2|")
	f("200|"+date+"Cache-Control: no-cache=\"set-cookie\"|Set-Cookie: a=b", date+"Cache-Control: no-cache=\"set-cookie\"|")
	// RFC 9110 §6.6.1: who has a clock adds the Date.
	f("200|X: 1", "X: 1|"+date)
	f("200|Cache-Control: private=\"date\"|Date: "+dayAgo, "Cache-Control: private=\"date\"|"+date)
}

// freshened is a stored head after an update.
func freshened(t testing.TB, stored, answer string) string {
	t.Helper()
	a, h := respond(t, answer)
	return strings.ReplaceAll(string(a.Freshen(nil, block(stored), h)), "\r\n", "|")
}

func TestSection3_2_UpdatingFields(t *testing.T) {
	f := func(stored, answer, want string) {
		t.Helper()
		if got := freshened(t, stored, answer); got != want {
			t.Errorf("%q updated by %q is %q, want %q", stored, answer, got, want)
		}
	}
	const date = "Date: " + noonDate + "|"
	// Each field is added, replacing what is there under the name.
	f("Date: "+dayAgo+"|X: 1|Y: 2", "304|"+date+"x: 3|Z: 4", "Y: 2|"+date+"x: 3|Z: 4|")
	f("X: 1|X: 2|Y: 3", "304|"+date+"X: 4|X: 5", "Y: 3|"+date+"X: 4|X: 5|")
	f("Cache-Control: max-age=1", "304|"+date+"Cache-Control: max-age=2", date+"Cache-Control: max-age=2|")
	f("Content-Type: a/b", "304|"+date+"Content-Type: c/d", date+"Content-Type: c/d|")
	f("Content-Language: a", "304|"+date+"Content-Language: b", date+"Content-Language: b|")
	// Without a Date of its own, the answer has the time it came: RFC 9110 §6.6.1.
	f("Date: "+dayAgo+"|X: 1", "304", "X: 1|"+date)
	// Except Content-Length, what is not stored, what the stored body depends on, and what is processed.
	f("X: 1", "304|"+date+"Content-Length: 0|Age: 7|Connection: x|X: 2|Proxy-Authenticate: Basic", "X: 1|"+date)
	f("Content-Encoding: br", "304|"+date+"Content-Encoding: gzip", "Content-Encoding: br|"+date)
	f("X: 1", "304|"+date+"Content-Range: bytes 0-1/2", "X: 1|"+date)
	f("X: 1|Y: 2", "304|"+date+"Cache-Control: private=\"x\"|X: 3", "Y: 2|"+date+"Cache-Control: private=\"x\"|")
	// A cookie is for the client whose request this was.
	f("X: 1", "304|"+date+"Set-Cookie: a=b", "X: 1|"+date)
	f("X: 1", "304|"+date+"Cache-Control: public|Set-Cookie: a=b", "X: 1|"+date+"Cache-Control: public|Set-Cookie: a=b|")
}

func TestSection3_3_3_4_Incomplete(t *testing.T) {
	f := storeFact(t, plain)
	// Not stored, so neither used nor combined: no 206, whatever it says.
	f("GET|Range: bytes=0-1", "206|Content-Range: bytes 0-1/9|Cache-Control: public, max-age=60|ETag: \"a\"", ForPartial)
	f("GET|Range: pages=1", "206|Content-Range: pages 1/9|Cache-Control: max-age=60", ForPartial)
	// A whole answer to a request for a range may be.
	f("GET|Range: bytes=0-1", "200|Cache-Control: max-age=60", None)
}

func TestSection3_5_Authorization(t *testing.T) {
	f := storeFact(t, plain)
	const authorized = "GET|Authorization: Bearer x"
	f(authorized, "200|Cache-Control: max-age=60", ForAuthorization)
	f(authorized, "200|Expires: "+hourLater, ForAuthorization)
	f(authorized, "200|Cache-Control: proxy-revalidate, max-age=60", ForAuthorization)
	f(authorized, "200|Cache-Control: public, max-age=60", None)
	f(authorized, "200|Cache-Control: s-maxage=60", None)
	f(authorized, "200|Cache-Control: must-revalidate, max-age=60", None)
	f(authorized, "200|Cache-Control: public, private, max-age=60", ForPrivate)

	// Nor is an answer to somebody else used for a client with credentials, unless it says so.
	r := reuseFact(t)
	r(authorized, "200|Cache-Control: max-age=60", 1, Unsuitable, ForAuthorization)
	r(authorized, "200|Cache-Control: public, max-age=60", 1, Fresh, None)
	r(authorized, "200|Cache-Control: s-maxage=60", 1, Fresh, None)
	r(authorized, "200|Cache-Control: s-maxage=60|ETag: \"a\"", 60, Revalidate, ForStale)
	r(authorized, "200|Cache-Control: must-revalidate, max-age=60|ETag: \"a\"", 60, Revalidate, ForStale)

	// Other credentials: explicit freshness only.
	for _, c := range []string{"Cookie: a=b", "X-Api-Key: k", "api-key: k", "X-Goog-Api-Key: k", "Ocp-Apim-Subscription-Key: k",
		"X-Auth-Token: t", "X-Amz-Security-Token: t", "X-Forwarded-User: me"} {
		h := storeFact(t, withTTL)
		h("GET|"+c, "200|Last-Modified: "+dayAgo, ForCredentials)
		h("GET|"+c, "200|Cache-Control: max-age=60", None)
		h("GET", "200", None)
	}
	q, _ := ask(t, "GET|Cookie: a=b")
	if v, why := Reuse(&Meta{Flags: Heuristic, Lifetime: 60, ResponseTime: noon}, q, noon); v != Unsuitable || why != ForCredentials {
		t.Errorf("an answer that is fresh by the operator's word, for a cookie: %v, %v", v, why)
	}
}

// reuseFact tells what is done with an answer, stored at noon for a GET without further fields, so many seconds later.
func reuseFact(t *testing.T) func(request, answer string, seconds int64, want Verdict, why Reason) {
	return func(request, answer string, seconds int64, want Verdict, why Reason) {
		t.Helper()
		q, _ := ask(t, request)
		if got, reason := Reuse(stored(t, answer), q, later(seconds)); got != want || reason != why {
			t.Errorf("%q after %d s, for %q: %v, %v; want %v, %v", answer, seconds, request, got, reason, want, why)
		}
	}
}

func TestSection4_Reuse(t *testing.T) {
	f := reuseFact(t)
	f("GET", "200|Cache-Control: max-age=60", 0, Fresh, None)
	f("HEAD", "200|Cache-Control: max-age=60", 59, Fresh, None)
	// no-cache: only when validated.
	f("GET", "200|Cache-Control: no-cache, max-age=60|ETag: \"a\"", 0, Revalidate, ForNoCache)
	f("GET|Cache-Control: max-stale", "200|Cache-Control: no-cache, max-age=60, stale-while-revalidate=60|ETag: \"a\"", 0, Revalidate, ForNoCache)
	// The qualified form does not ask for that.
	f("GET", "200|Cache-Control: no-cache=\"x\", max-age=60", 0, Fresh, None)
	// Unsafe methods are written through, and so are those that are unknown to the cache.
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "QUERY"} {
		if q, _ := ask(t, method); q.Bypass() != ForMethod {
			t.Errorf("%s is answered from the cache", method)
		}
	}
	// The target URI matches, and the class of the method: see TestKeys. The fields of Vary match: see TestSection4_1.
}

func TestSection4_1_Vary(t *testing.T) {
	// same tells whether two requests are served by one stored answer that varies by the names.
	same := func(vary, a, b string, want bool) {
		t.Helper()
		r, _ := respond(t, "200|Vary: "+vary)
		names := r.AppendVary(nil)
		_, x := ask(t, "GET|"+a)
		_, y := ask(t, "GET|"+b)
		got := bytes.Equal(AppendVariant(nil, names, x, nil), AppendVariant(nil, names, y, nil))
		if got != want {
			t.Errorf("Vary: %s: %q and %q match: %v, want %v", vary, a, b, got, want)
		}
	}
	same("x", "X: 1", "X: 1", true)
	same("X", "x: 1", "X:   1  ", true)
	same("x", "X: 1", "X: 2", false)
	same("x", "X: a", "X: A", false)
	same("x", "Y: 1", "Y: 2", true)
	same("x, y", "X: 1|Y: 2", "Y: 2|X: 1", true)
	same("x, y", "X: 1|Y: 2", "X: 2|Y: 1", false)
	same("x|Vary: y", "X: 1|Y: 2", "X: 1|Y: 3", false)
	// Lines are combined.
	same("x", "X: 1|X: 2", "X: 1, 2", true)
	same("x", "X: 1|X: 2", "X: 2|X: 1", false)
	// Absent matches absent only.
	same("x", "", "", true)
	same("x", "", "X:", false)
	same("accept-encoding", "", "Accept-Encoding:", false)
	same("accept-encoding", "", "Accept-Encoding: identity", false)
	// Accept-Encoding: by what can be used.
	same("Accept-Encoding", "Accept-Encoding: gzip, br", "accept-encoding: br;q=0.5,  GZIP;q=1.0", true)
	same("Accept-Encoding", "Accept-Encoding: gzip|Accept-Encoding: br", "Accept-Encoding: br, x-gzip", true)
	same("Accept-Encoding", "Accept-Encoding: gzip, deflate", "Accept-Encoding: gzip", true)
	same("Accept-Encoding", "Accept-Encoding: gzip", "Accept-Encoding: br", false)
	same("Accept-Encoding", "Accept-Encoding: gzip, zstd", "Accept-Encoding: gzip", false)
	same("Accept-Encoding", "Accept-Encoding: gzip;q=0", "Accept-Encoding: identity", true)
	same("Accept-Encoding", "Accept-Encoding: gzip;q=0.000", "Accept-Encoding:", true)
	same("Accept-Encoding", "Accept-Encoding: gzip;q=0.001", "Accept-Encoding: gzip", true)
	same("Accept-Encoding", "Accept-Encoding: gzip, identity;q=0", "Accept-Encoding: gzip", false)
	same("Accept-Encoding", "Accept-Encoding: gzip, *;q=0", "Accept-Encoding: gzip, identity;q=0", true)
	same("Accept-Encoding", "Accept-Encoding: *", "Accept-Encoding: gzip, br, zstd, identity", true)
	same("Accept-Encoding", "Accept-Encoding: *, gzip;q=0", "Accept-Encoding: br, zstd", true)

	// Accept-Language: by what it says.
	same("Accept-Language", "Accept-Language: en, de;q=0.5", "accept-language: EN ,\tdE ; Q=0.5", true)
	same("Accept-Language", "Accept-Language: en, de", "Accept-Language: en|Accept-Language: de", true)
	same("Accept-Language", "Accept-Language: en, de", "Accept-Language: de, en", false) // to some, the order is a preference
	same("Accept-Language", "Accept-Language: en, de", "Accept-Language: en de", false)
	same("Accept-Language", "Accept-Language: en;q=0.5", "Accept-Language: en", false)
	same("Accept-Language", "", "Accept-Language:", false)

	// "*" never matches, nor does what is another one in each request, nor what is not a list of names.
	f := storeFact(t, plain)
	const fresh = "|Cache-Control: max-age=60"
	f("GET", "200|Vary: *"+fresh, ForVaryAny)
	f("GET", "200|Vary: x, *"+fresh, ForVaryAny)
	f("GET", "200|Vary: x|Vary: *"+fresh, ForVaryAny)
	f("GET", "200|Vary: X-Forwarded-For"+fresh, ForVaryAny)
	f("GET", "200|Vary: X-Request-ID"+fresh, ForVaryAny)
	f("GET", "200|Vary: a b"+fresh, ForVaryAny)
	f("GET", "200|Vary: a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p"+fresh, None)
	f("GET", "200|Vary: a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q"+fresh, ForVaryAny)
	f("GET", "200|Vary:"+fresh, None)
	// A coding that AppendVariant does not tell apart would reach who cannot read it.
	f("GET", "200|Vary: Accept-Encoding|Content-Encoding: gzip"+fresh, None)
	f("GET", "200|Vary: Accept-Encoding|Content-Encoding: deflate"+fresh, ForCoding)
	f("GET", "200|Vary: Accept-Encoding|Content-Encoding: gzip|Content-Encoding: br"+fresh, ForCoding)
	f("GET", "200|Content-Encoding: deflate"+fresh, None)
}

func TestSection4_2_Dates(t *testing.T) {
	at := time.Date(1994, 11, 6, 8, 49, 37, 0, time.UTC).Unix()
	f := func(text string, want int64, ok bool) {
		t.Helper()
		if got, valid := parseDate([]byte(text), noon); valid != ok || ok && got != want {
			t.Errorf("%q is %d, %v; want %d, %v", text, got, valid, want, ok)
		}
	}
	f("Sun, 06 Nov 1994 08:49:37 GMT", at, true)
	f("Sunday, 06-Nov-94 08:49:37 GMT", at, true)
	f("Sun Nov  6 08:49:37 1994", at, true)
	f("Sun Nov 16 08:49:37 1994", at+10*86400, true)
	// In any case, whatever the day.
	f("sun, 06 nov 1994 08:49:37 gmt", at, true)
	f("SUNDAY, 06-NOV-94 08:49:37 GMT", at, true)
	f("Mon, 06 Nov 1994 08:49:37 GMT", at, true)
	// RFC 9110 §5.6.7: more than 50 years ahead is in the past.
	f("Friday, 06-Nov-76 08:49:37 GMT", time.Date(2076, 11, 6, 8, 49, 37, 0, time.UTC).Unix(), true)
	f("Sunday, 06-Nov-77 08:49:37 GMT", time.Date(1977, 11, 6, 8, 49, 37, 0, time.UTC).Unix(), true)
	// A leap second, never later than it is.
	f("Sat, 31 Dec 2016 23:59:60 GMT", time.Date(2016, 12, 31, 23, 59, 59, 0, time.UTC).Unix(), true)
	// Another zone, and what is no date, are not valid.
	for _, bad := range []string{"", "0", "-1", "now", "Sun, 06 Nov 1994 08:49:37 EST", "Sun, 06 Nov 1994 08:49:37 UTC",
		"Sun, 06 Nov 1994 08:49:37 +0000", "Sun, 06 Nov 1994 08:49:37", "Sun, 6 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 94 08:49:37 GMT",
		"Sun, 31 Feb 2026 08:49:37 GMT", "Sun, 00 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 24:00:00 GMT", "Sun, 06 Nov 1994 08:60:37 GMT",
		"Sun, 06 Nov 1994 08:49:61 GMT", "Xun, 06 Nov 1994 08:49:37 GMT", "1994-11-06T08:49:37Z", "Sun, 06 Nov 1994 08:49:37 GMTx",
		"Sun, 06 Nov 1994  8:49:37 GMT", "Sun,06 Nov 1994 08:49:37 GMT"} {
		f(bad, 0, false)
	}
	// Written in the one form that is to be sent.
	if got := string(appendDate(nil, at)); got != "Sun, 06 Nov 1994 08:49:37 GMT" {
		t.Errorf("a date is written as %q", got)
	}
}

func TestSection4_2_1_Lifetime(t *testing.T) {
	f := func(lines string, want int64) {
		t.Helper()
		a, _ := respond(t, "200|"+lines)
		if got, ok := a.lifetime(); !ok || got != want {
			t.Errorf("%q: %d, %v; want %d", lines, got, ok, want)
		}
	}
	none := func(lines string) {
		t.Helper()
		a, _ := respond(t, "200|"+lines)
		if got, ok := a.lifetime(); ok {
			t.Errorf("%q: %d, want none", lines, got)
		}
	}
	const date = "Date: " + noonDate + "|"
	// The first that is there: s-maxage, max-age, Expires minus Date.
	f("Cache-Control: max-age=1, s-maxage=2|"+date+"Expires: "+hourLater, 2)
	f("Cache-Control: s-maxage=2, max-age=1", 2)
	f("Cache-Control: max-age=1|"+date+"Expires: "+hourLater, 1)
	f(date+"Expires: "+hourLater, 3600)
	f("Expires: "+hourLater, 3600) // without Date: when it came
	f("Date: nonsense|Expires: "+hourLater, 3600)
	f("Date: "+hourAgo+"|Expires: "+hourLater, 7200)
	none("")
	none("Cache-Control: public")
	none("Pragma: no-cache") // §5.4: says nothing in a response
	none("Cache-Control: x-max-age=5, max-age-x=6, \"max-age=7\"")

	// Case, quotes, white space, unknown directives, several lines.
	f("Cache-Control: MAX-AGE=5", 5)
	f("cache-control: max-age=\"5\"", 5)
	f("Cache-Control: foo, , bar=\"a, max-age=1\",\tmax-age=5 ,baz", 5)
	f("Cache-Control: foo|Cache-Control: max-age=5|Cache-Control: bar", 5)
	f("Cache-Control: foo=\"\\\", max-age=1\", max-age=5", 5)

	// More than one value: if they differ, stale.
	f("Cache-Control: max-age=5, max-age=5", 5)
	f("Cache-Control: max-age=5, max-age=6", 0)
	f("Cache-Control: max-age=6|Cache-Control: max-age=5", 0)
	f("Expires: "+hourLater+"|Expires: "+hourLater, 3600)
	f("Expires: "+hourLater+"|Expires: "+dayAgo, 0)
	f("Expires: 0|Expires: "+hourLater, 0)

	// Invalid: stale.
	for _, bad := range []string{"max-age", "max-age=", "max-age=-1", "max-age=1.5", "max-age=1e3", "max-age=a", "max-age = 5", "max-age= 5",
		"max-age =5", "max-age=5 6", "max-age='5'", "max-age=\"5", "max-age=\"5\"6", "max-age=5;a", "max-age=\"\"", "max-age=-1, max-age=5"} {
		f("Cache-Control: "+bad+"|Expires: "+hourLater, 0)
	}
	f("Cache-Control: s-maxage=x, max-age=5", 0)

	// §5.3: what is not a date is in the past.
	for _, bad := range []string{"0", "-1", "", "now", "Tue, 24 Nov 2026 13:00:00 CET", dayAgo, noonDate} {
		f(date+"Expires: "+bad, 0)
	}
	f(date+"Expires: Fri, 31 Dec 9999 23:59:59 GMT", 1<<31)
}

func TestSection4_2_2_Heuristics(t *testing.T) {
	f := func(p Policy, answer string, want int64, heuristic bool) {
		t.Helper()
		q, _ := ask(t, "GET")
		a, _ := respond(t, answer)
		m, why := p.Store(q, a)
		if why != None || m.Lifetime != want || m.Flags&Heuristic != 0 != heuristic {
			t.Errorf("%q: %v, %d seconds, heuristic %v; want %d, %v", answer, why, m.Lifetime, m.Flags&Heuristic != 0, want, heuristic)
		}
	}
	// A tenth of the time since Last-Modified, up to the limit; or what the operator says.
	f(plain, "200|Last-Modified: Tue, 24 Nov 2026 11:59:00 GMT", 6, true)
	f(plain, "200|Last-Modified: "+dayAgo, 300, true)
	f(plain, "200|ETag: \"a\"|Last-Modified: "+hourLater, 0, true) // from the future: none, but it can be revalidated
	f(withTTL, "200", 300, true)
	f(withTTL, "200|Last-Modified: Tue, 24 Nov 2026 11:59:00 GMT", 300, true)
	negative := withTTL
	negative.NegativeTTL = 10 * time.Second
	for _, status := range []string{"200", "203", "301", "308"} {
		f(withTTL, status, 300, true)
		f(negative, status, 300, true)
		f(plain, status+"|Last-Modified: "+dayAgo, 300, true)
	}
	for _, status := range []string{"404", "405", "410", "414", "501"} {
		f(negative, status, 10, true)
		f(plain, status+"|Last-Modified: "+dayAgo, 300, true)
	}
	for _, status := range []string{"204", "300", "302|Cache-Control: public"} {
		f(plain, status+"|Last-Modified: "+dayAgo, 300, true)
	}
	// Never where explicit freshness is there, even of nothing.
	f(withTTL, "200|Cache-Control: max-age=5", 5, false)
	f(withTTL, "200|Expires: 0|ETag: \"a\"", 0, false)
	f(withTTL, "200|Cache-Control: max-age=x|ETag: \"a\"", 0, false)
	f(withTTL, "404|Cache-Control: s-maxage=5", 5, false)
	// Nor where every use is asked about: it is stored all the same.
	f(withTTL, "200|Cache-Control: no-cache|ETag: \"a\"", 0, false)
	f(plain, "200|Cache-Control: no-cache|ETag: \"a\"", 0, false)
	f(plain, "200|Cache-Control: no-cache|Last-Modified: "+dayAgo, 0, false)

	g := storeFact(t, withTTL)
	for _, status := range []string{"204", "300", "404", "405", "410", "414", "501", "201", "202", "205", "299", "302", "303", "307", "400", "401", "403", "406", "418", "429", "500", "502", "503", "504"} {
		g("GET", status+"|Last-Modified: "+dayAgo, ForStatus)
	}
	g = storeFact(t, plain)
	g("GET", "200", ForNoFreshness)
	g("GET", "200|ETag: \"a\"", ForNoFreshness)
	g("GET", "200|Last-Modified: nonsense", ForNoFreshness)
}

func TestSection4_2_3_Age(t *testing.T) {
	f := func(lines string, delay, seconds, want int64) {
		t.Helper()
		a, _ := respondAt(t, "200|"+lines, Times{noon - delay*1000, noon})
		m := a.meta()
		if got := m.Age(later(seconds)); got != want {
			t.Errorf("%q, delay %d, after %d: age %d, want %d", lines, delay, seconds, got, want)
		}
	}
	const date = "Date: " + noonDate + "|"
	f(date, 0, 0, 0)
	f(date, 0, 10, 10)
	f(date+"Age: 5", 0, 10, 15)
	// Relative to when the request was sent.
	f(date+"Age: 5", 3, 10, 18)
	f(date, 3, 0, 3)
	// The more conservative of both ways.
	f("Date: "+hourAgo, 3, 10, 3610)
	f("Date: "+hourAgo+"|Age: 4000", 0, 0, 4000)
	f("Date: "+hourLater+"|Age: 5", 0, 0, 5) // negative: zero
	f("Age: 5", 0, 0, 5)
	f("Date: nonsense|Age: 5", 0, 0, 5)
	f("Date: "+hourAgo+"|Date: "+noonDate, 0, 0, 3600) // the first
	// Clocks that go back.
	f(date, -50, 0, 0)
	f(date+"Age: 5", 0, -60, 5)
	f(date+"Age: 5", 0, -61, 1<<31) // nobody knows
	f(date+"Age: 2147483647", 100, 100, 1<<31)
	// §5.1: the first member of a list, and nothing if that is not a number.
	f(date+"Age: 5, 9", 0, 0, 5)
	f(date+"Age: 5|Age: 9", 0, 0, 5)
	f(date+"Age: x, 9", 0, 0, 0)
	f(date+"Age: x|Age: 9", 0, 0, 0)
	for _, bad := range []string{"-5", "5.0", "\"5\"", "", "5s", "+5"} {
		f(date+"Age: "+bad, 0, 0, 0)
	}
	f(date+"Age: 99999999999999999999", 0, 0, 1<<31)
	if m := stored(t, "200|Cache-Control: max-age=60|Age: 50"); m.TTL(later(5)) != 5 || m.TTL(later(15)) != -5 {
		t.Errorf("ttl %d, then %d", m.TTL(later(5)), m.TTL(later(15)))
	}
}

func TestSection4_2_4_Stale(t *testing.T) {
	f := reuseFact(t)
	const tag = "|ETag: \"a\""
	// fresh: lifetime > age.
	f("GET", "200|Cache-Control: max-age=60"+tag, 59, Fresh, None)
	f("GET", "200|Cache-Control: max-age=60"+tag, 60, Revalidate, ForStale)
	f("GET", "200|Cache-Control: max-age=60"+tag, 61, Revalidate, ForStale)
	// Stale is served where the client or the origin allows it, and nothing forbids it.
	const swr = "stale-while-revalidate=30"
	f("GET", "200|Cache-Control: max-age=60, "+swr, 90, ServeWhileRevalidate, None)
	f("GET", "200|Cache-Control: max-age=60, "+swr, 91, Revalidate, ForStale)
	f("GET|Cache-Control: max-stale=30", "200|Cache-Control: max-age=60"+tag, 90, ServeStale, None)
	f("GET|Cache-Control: max-stale=30", "200|Cache-Control: max-age=60"+tag, 91, Revalidate, ForStale)
	for _, forbids := range []string{"must-revalidate", "proxy-revalidate", "s-maxage=60"} {
		f("GET", "200|Cache-Control: max-age=60, "+swr+", "+forbids+tag, 59, Fresh, None)
		f("GET", "200|Cache-Control: max-age=60, "+swr+", "+forbids+tag, 61, Revalidate, ForStale)
		f("GET|Cache-Control: max-stale", "200|Cache-Control: max-age=60, "+forbids+tag, 61, Revalidate, ForStale)
		e := errorFact(t)
		e("GET|Cache-Control: max-stale", "200|Cache-Control: max-age=60, stale-if-error=60, "+forbids+tag, 61, false)
	}
	f("GET", "200|Cache-Control: no-cache, max-age=60, "+swr+tag, 61, Revalidate, ForNoCache)
}

func TestSection4_3_1_Conditional(t *testing.T) {
	f := func(answer, want string) {
		t.Helper()
		got := strings.ReplaceAll(string(AppendConditional(nil, stored(t, "200|Cache-Control: max-age=60|"+answer))), "\r\n", "|")
		if got != want {
			t.Errorf("%q is validated by %q, want %q", answer, got, want)
		}
	}
	// The entity tag is sent as it is; Last-Modified too.
	f("ETag: \"a\"", "If-None-Match: \"a\"|")
	f("ETag: W/\"a\"", "If-None-Match: W/\"a\"|")
	f("Last-Modified: "+dayAgo, "If-Modified-Since: "+dayAgo+"|")
	f("ETag: \"a\"|Last-Modified: "+dayAgo, "If-None-Match: \"a\"|If-Modified-Since: "+dayAgo+"|")
	f("", "")
	// What is not a validator is none.
	f("ETag: a", "")
	f("ETag: \"a\", \"b\"", "")
	f("ETag: \"a\"|ETag: \"b\"", "")
	f("ETag: w/\"a\"", "")
	f("Last-Modified: nonsense", "")
	f("Last-Modified: "+dayAgo+"|Last-Modified: "+hourAgo, "")
	// §5.2.2.7: nor what must not be stored.
	f("ETag: \"a\"|Cache-Control: private=\"etag\"", "")

	// The client's own conditions and range give way to ours.
	_, h := ask(t, "GET|X: 1|If-None-Match: \"c\"|If-Modified-Since: "+hourAgo+"|Range: bytes=0-1|If-Range: \"c\"|Y: 2")
	lines := func(m *Meta) string { return strings.ReplaceAll(string(AppendLines(nil, h, m)), "\r\n", "|") }
	if got := lines(stored(t, "200|Cache-Control: max-age=60|ETag: \"a\"")); got != "X: 1|Y: 2|If-None-Match: \"a\"|" {
		t.Errorf("a validation sends %q", got)
	}
	if got := lines(nil); got != "X: 1|Y: 2|" {
		t.Errorf("a request for the whole sends %q", got)
	}
}

func TestSection4_3_2_Received(t *testing.T) {
	f := func(request, answer string, want bool) {
		t.Helper()
		q, _ := ask(t, request)
		m := stored(t, answer+"|Cache-Control: max-age=60")
		if got := q.NotModified(m); got != want {
			t.Errorf("%q for %q: not modified %v, want %v", answer, request, got, want)
		}
	}
	const a, w = "200|ETag: \"a\"", "200|ETag: W/\"a\""
	f("GET", a, false)
	f("GET|If-None-Match: \"a\"", a, true)
	f("HEAD|If-None-Match: \"a\"", a, true)
	f("GET|If-None-Match: \"b\"", a, false)
	// Weak comparison, RFC 9110 §13.1.2.
	f("GET|If-None-Match: W/\"a\"", a, true)
	f("GET|If-None-Match: \"a\"", w, true)
	f("GET|If-None-Match: W/\"a\"", w, true)
	f("GET|If-None-Match: \"A\"", a, false)
	// Lists.
	f("GET|If-None-Match: \"b\", W/\"c\",\"a\"", a, true)
	f("GET|If-None-Match: \"b\"|If-None-Match: \"a\"", a, true)
	f("GET|If-None-Match: \"b,\", , \"a\"", a, true)
	f("GET|If-None-Match: \"b,\\\", \"a\"", a, true)
	f("GET|If-None-Match: \"x, \"a\", y\"", "200|ETag: \"a\"", false)
	f("GET|If-None-Match: a", "200|ETag: \"a\"", false)
	f("GET|If-None-Match: \"a", a, false)
	f("GET|If-None-Match: *", a, true)
	f("GET|If-None-Match: *", "200", true)
	f("GET|If-None-Match: \"*\"", a, false)
	f("GET|If-None-Match: \"\"", "200", false)
	f("GET|If-None-Match: ", a, false)
	// It takes precedence.
	f("GET|If-None-Match: \"b\"|If-Modified-Since: "+noonDate, a+"|Last-Modified: "+dayAgo, false)
	f("GET|If-None-Match: \"a\"|If-Modified-Since: "+dayAgo, a+"|Last-Modified: "+hourAgo, true)
	// By date.
	f("GET|If-Modified-Since: "+hourAgo, "200|Last-Modified: "+hourAgo, true)
	f("GET|If-Modified-Since: "+noonDate, "200|Last-Modified: "+hourAgo, true)
	f("GET|If-Modified-Since: "+dayAgo, "200|Last-Modified: "+hourAgo, false)
	f("GET|If-Modified-Since: tuesday, 24-nov-26 11:00:00 gmt", "200|Last-Modified: "+hourAgo, true)
	f("GET|If-Modified-Since: nonsense", "200|Last-Modified: "+hourAgo, false)
	f("GET|If-Modified-Since: "+hourAgo+"|If-Modified-Since: "+hourAgo, "200|Last-Modified: "+hourAgo, false)
	// Without Last-Modified: by Date, or by when it came.
	f("GET|If-Modified-Since: "+hourAgo, "200|Date: "+hourAgo+"|Cache-Control: max-age=9999|ETag: \"a\"", true)
	f("GET|If-Modified-Since: "+dayAgo, "200|Date: "+hourAgo+"|ETag: \"a\"", false)
	f("GET|If-Modified-Since: "+noonDate, "200", true)
	f("GET|If-Modified-Since: "+hourAgo, "200", false)
	// Only of what is a representation.
	f("GET|If-None-Match: \"a\"", "404|ETag: \"a\"", false)
	f("GET|If-None-Match: *", "301", false)

	// What only applies to an origin is not evaluated.
	for _, line := range []string{"If-Match: \"a\"", "If-Unmodified-Since: " + noonDate} {
		if q, _ := ask(t, "GET|"+line); q.Bypass() != ForOriginCondition {
			t.Errorf("%q is answered from the cache", line)
		}
	}

	// A 304 says what a 200 would have said, but nothing about the body.
	m := stored(t, "200|ETag: \"a\"|Cache-Control: max-age=60")
	got := string(AppendNotModified(nil, block("Date: d|ETag: \"a\"|Content-Type: t|Content-Encoding: br|Content-Location: /l|Cache-Control: c|Expires: e|Vary: v|Last-Modified: l|X: 1"), m))
	if want := "Date: d|ETag: \"a\"|Content-Location: /l|Cache-Control: c|Expires: e|Vary: v|X: 1|"; strings.ReplaceAll(got, "\r\n", "|") != want {
		t.Errorf("a 304 has %q", got)
	}
}

func TestSection4_3_3_Answers(t *testing.T) {
	// 5xx: the stored answer, or the answer. See RFC 5861 §4 for which statuses may be replaced.
	for status, want := range map[int]bool{200: false, 304: false, 404: false, 499: false, 500: true, 501: false, 502: true, 503: true, 504: true, 505: false} {
		if Failure(status) != want {
			t.Errorf("%d is a failure: %v", status, !want)
		}
	}
}

func TestSection4_3_4_Freshening(t *testing.T) {
	f := func(answer, fresh string, want bool) {
		t.Helper()
		a, _ := respond(t, "304|"+fresh)
		if got := a.Validates(stored(t, "200|Cache-Control: max-age=60|"+answer)); got != want {
			t.Errorf("304 with %q validates %q: %v, want %v", fresh, answer, got, want)
		}
	}
	const lm, other = "Last-Modified: " + dayAgo, "Last-Modified: " + hourAgo
	// A strong validator: only what has the same.
	f("ETag: \"a\"", "ETag: \"a\"", true)
	f("ETag: \"a\"", "ETag: \"b\"", false)
	f("ETag: W/\"a\"", "ETag: \"a\"", false)
	f(lm, "ETag: \"a\"|"+lm, false)
	f("", "ETag: \"a\"", false)
	f("ETag: \"a\"|"+lm, "ETag: \"a\"|"+other, true)
	// Weak ones: what corresponds.
	f("ETag: W/\"a\"", "ETag: W/\"a\"", true)
	f("ETag: \"a\"", "ETag: W/\"a\"", true)
	f("ETag: W/\"a\"", "ETag: W/\"b\"", false)
	f(lm, lm, true)
	f(lm, other, false)
	f("ETag: \"a\"|"+lm, lm, true)
	f("ETag: \"a\"", lm, true) // contradicts nothing
	f("ETag: \"a\"|"+other, lm, false)
	// None: it is about what was asked about, which is one stored answer.
	f("", "", true)
	f("ETag: \"a\"", "", true)
	f("ETag: W/\"a\"", "", true)
	f(lm, "", true)
	f("ETag: \"a\"|"+lm, "", true)

	// What is freshened has the new times, and what it says now.
	q, _ := ask(t, "GET")
	a, h := respondAt(t, "304|ETag: \"a\"|Age: 7|Cache-Control: max-age=90", Times{later(100), later(100)})
	head := a.Freshen(nil, block("Date: "+noonDate+"|ETag: \"a\"|Last-Modified: "+dayAgo+"|Cache-Control: max-age=60|X: 1"), h)
	a.Reread(200, head)
	m, why := plain.Store(q, a)
	if why != None || m.Status != 200 || m.Lifetime != 90 || m.Age(later(110)) != 17 || string(m.ETag) != "\"a\"" || m.LastModified == 0 {
		t.Errorf("freshened: %+v, %v", m, why)
	}
	// And may have to go.
	a, h = respond(t, "304|ETag: \"a\"|Cache-Control: no-store")
	a.Reread(200, a.Freshen(nil, block("ETag: \"a\"|Cache-Control: max-age=60"), h))
	if _, why := plain.Store(q, a); why != ForNoStore {
		t.Errorf("a 304 with no-store: %v", why)
	}
}

func TestSection4_3_5_Head(t *testing.T) {
	f := func(answer, head string, want bool) {
		t.Helper()
		a, _ := respond(t, "200|"+head)
		if got := a.HeadMatches(stored(t, "200|Cache-Control: max-age=60|"+answer), 9); got != want {
			t.Errorf("a HEAD with %q updates %q: %v, want %v", head, answer, got, want)
		}
	}
	f("ETag: \"a\"", "ETag: \"a\"|Content-Length: 9", true)
	f("ETag: \"a\"", "ETag: \"a\"", true)
	f("ETag: \"a\"", "ETag: \"a\"|Content-Length: 8", false)
	f("ETag: \"a\"", "ETag: \"b\"|Content-Length: 9", false)
	f("ETag: \"a\"", "ETag: W/\"a\"", false)
	f("", "ETag: \"a\"", false)
	f("Last-Modified: "+dayAgo, "Last-Modified: "+dayAgo, true)
	f("Last-Modified: "+dayAgo, "Last-Modified: "+hourAgo, false)
	f("", "Content-Length: 9", true)
	f("", "", true)
}

func TestSection4_4_Invalidation(t *testing.T) {
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "PURGE", "X"} {
		for status, want := range map[int]bool{101: false, 200: true, 204: true, 299: true, 301: true, 303: true, 399: true, 400: false, 404: false, 500: false} {
			if Invalidates([]byte(method), status) != want {
				t.Errorf("%s, %d invalidates: %v", method, status, !want)
			}
		}
	}
	for _, method := range []string{"GET", "HEAD", "OPTIONS", "QUERY", "TRACE"} {
		if Invalidates([]byte(method), 200) {
			t.Errorf("%s invalidates", method)
		}
	}

	f := func(reference, want string) {
		t.Helper()
		got, ok := AppendReferenced([]byte("key"), Origin{Host: []byte("Example.com:80")}, []byte("/a/b/c?d"), []byte(reference))
		if ok != (want != "") || string(got) != "key"+want {
			t.Errorf("%q refers to %q, %v; want %q", reference, got, ok, want)
		}
	}
	// RFC 3986 §5.4, as far as it applies.
	f("/x", "/x")
	f("/x?y=1#z", "/x?y=1")
	f("x", "/a/b/x")
	f("./x", "/a/b/x")
	f("x/", "/a/b/x/")
	f("?y", "/a/b/c?y")
	f("x?y", "/a/b/x?y")
	f("x?y=http://z", "/a/b/x?y=http://z")
	f(".", "/a/b/")
	f("..", "/a/")
	f("../x", "/a/x")
	f("../../x", "/x")
	f("../../../../x", "/x")
	f("/./x", "/x")
	f("/../x", "/x")
	f("x/./y", "/a/b/x/y")
	f("x/../y", "/a/b/y")
	f("x.", "/a/b/x.")
	f("..x", "/a/b/..x")
	f("/a%2f..%2fx", "/a%2f..%2fx") // as it is: only the upstream knows
	f("//example.com/x", "/x")
	f("http://example.com/x", "/x")
	f("HTTP://EXAMPLE.COM:80/x/../y", "/y")
	f("http://example.com", "/")
	f("http://example.com?x", "/?x")
	// Another origin, or none that can be read.
	for _, bad := range []string{"", "#z", "https://example.com/x", "http://example.com:8080/x", "http://evil.com/x", "//evil.com/x", "http://example.com.evil.com/x",
		"http://a@example.com/x", "http:/x", "http:x", "mailto:a@b", "///x", "/x y", "/x\x7f", "/.//x", "/\\evil.com", "data:,x", "example.com:80/x"} {
		f(bad, "")
	}

	a, _ := respond(t, "201|Location: /new|Content-Location: /rep")
	if location, content := a.References(); string(location) != "/new" || string(content) != "/rep" {
		t.Errorf("the answer refers to %q and %q", location, content)
	}
}

func TestSection5_2_1_RequestDirectives(t *testing.T) {
	f := reuseFact(t)
	const answer = "200|Cache-Control: max-age=60|ETag: \"a\""
	// max-age
	f("GET|Cache-Control: max-age=10", answer, 10, Fresh, None)
	f("GET|Cache-Control: max-age=10", answer, 11, Revalidate, ForRequestDirective)
	f("GET|Cache-Control: max-age=0", answer, 1, Revalidate, ForRequestDirective)
	f("GET|Cache-Control: max-age=x", answer, 1, Revalidate, ForRequestDirective)
	f("GET|Cache-Control: MAX-AGE=\"10\"", answer, 10, Fresh, None)
	f("GET|Cache-Control: max-age=99, max-age=10", answer, 11, Revalidate, ForRequestDirective)
	f("GET|Cache-Control: max-age=99", answer, 61, Revalidate, ForStale)
	f("GET|Cache-Control: max-age=99", answer+"|Cache-Control: stale-while-revalidate=60", 61, Revalidate, ForStale)
	f("GET|Cache-Control: max-age=99, max-stale=9", answer, 61, ServeStale, None)
	f("GET|Cache-Control: max-age=50, max-stale=99", answer, 61, Revalidate, ForStale)
	// max-stale
	f("GET|Cache-Control: max-stale", answer, 1e6, ServeStale, None)
	f("GET|Cache-Control: max-stale=5", answer, 65, ServeStale, None)
	f("GET|Cache-Control: max-stale=5", answer, 66, Revalidate, ForStale)
	f("GET|Cache-Control: max-stale=x", answer, 61, Revalidate, ForStale)
	f("GET|Cache-Control: max-stale=-1", answer, 61, Revalidate, ForStale)
	f("GET|Cache-Control: max-stale, max-stale=5", answer, 66, Revalidate, ForStale)
	// min-fresh
	f("GET|Cache-Control: min-fresh=20", answer, 40, Fresh, None)
	f("GET|Cache-Control: min-fresh=20", answer, 41, Revalidate, ForRequestDirective)
	f("GET|Cache-Control: min-fresh=x", answer, 1, Revalidate, ForRequestDirective)
	f("GET|Cache-Control: min-fresh=1, max-stale", answer, 61, Revalidate, ForStale)
	// no-cache, and Pragma where there is no Cache-Control (§5.4)
	f("GET|Cache-Control: no-cache", answer, 1, Revalidate, ForRequestDirective)
	f("GET|Cache-Control: no-cache, max-stale", answer, 61, Revalidate, ForStale)
	f("GET|Pragma: no-cache", answer, 1, Revalidate, ForRequestDirective)
	f("GET|Pragma: x, NO-CACHE", answer, 1, Revalidate, ForRequestDirective)
	f("GET|Pragma: no-cache|Cache-Control: max-age=10", answer, 1, Fresh, None)
	f("GET|Pragma: x", answer, 1, Fresh, None)
	// no-transform and what is unknown: the cache transforms nothing.
	f("GET|Cache-Control: no-transform, x=y, \"no-cache\"", answer, 1, Fresh, None)

	// no-store: nothing of the request or its answer is stored.
	q, _ := ask(t, "GET|Cache-Control: no-store")
	if q.Bypass() != ForRequestNoStore {
		t.Error("no-store is not obeyed")
	}
	storeFact(t, withTTL)("GET|Cache-Control: no-store", "200|Cache-Control: public, max-age=60", ForRequestNoStore)
	storeFact(t, withTTL)("GET|Cache-Control: no-cache", "200|Cache-Control: max-age=60", None)

	// only-if-cached: 504 where the verdict does not serve.
	if q, _ := ask(t, "GET|Cache-Control: only-if-cached"); !q.OnlyIfCached || q.Bypass() != None {
		t.Error("only-if-cached is not seen")
	}
	for verdict, serves := range map[Verdict]bool{Fresh: true, ServeStale: true, ServeWhileRevalidate: true, Revalidate: false, Unsuitable: false} {
		if verdict.Serves() != serves {
			t.Errorf("%d serves: %v", verdict, !serves)
		}
	}
}

func TestSection5_2_3_Extensions(t *testing.T) {
	// Unknown directives are ignored, in whatever form.
	f := storeFact(t, plain)
	f("GET", "200|Cache-Control: community=\"UCI\", max-age=60", None)
	f("GET", "200|Cache-Control: private, community=\"UCI\", max-age=60", ForPrivate)
	f("GET", "200|Cache-Control: =, ;, no-storex, xno-store, privates, max-age=60, immutable", None)
}

func TestSection7_1_Poisoning(t *testing.T) {
	f := func(origin Origin, line string, want Reason) {
		t.Helper()
		_, h := ask(t, "GET|"+line)
		var r Request
		if r.Read(h, origin, nil); r.Bypass() != want {
			t.Errorf("%q: %v, want %v", line, r.Bypass(), want)
		}
	}
	secure := Origin{Secure: true, Host: []byte("example.com")}
	for _, line := range []string{"Forwarded: host=evil", "X-Host: evil", "X-Original-URL: /admin", "X-Rewrite-URL: /admin", "X-HTTP-Method-Override: POST",
		"X-Method-Override: POST", "X-Forwarded-Prefix: /evil", "X-Forwarded-Port: 1", "X-Forwarded-Scheme: nothttps", "X-Original-Host: evil"} {
		f(secure, line, ForUnkeyedField)
	}
	// What only says what the key says is harmless.
	f(secure, "X-Forwarded-Port: 443", None)
	f(secure, "X-Forwarded-Port: 80", ForUnkeyedField)
	f(example, "X-Forwarded-Port: 80", None)
	f(Origin{Host: []byte("example.com:8080")}, "X-Forwarded-Port: 8080", None)
	f(Origin{Host: []byte("example.com:8080")}, "X-Forwarded-Port: 80", ForUnkeyedField)
	f(Origin{Host: []byte("[::1]")}, "X-Forwarded-Port: 80", None)
	f(secure, "X-Forwarded-Scheme: https", None)
	f(secure, "X-Forwarded-Ssl: on", None)
	f(example, "X-Forwarded-Ssl: on", ForUnkeyedField)
	f(secure, "X-Forwarded-Server: lb", None)
	f(secure, "X-Forwarded-For: 1.2.3.4|X-Forwarded-Host: evil|X-Forwarded-Proto: http", None) // wire keeps them
	f(secure, "X-Requested-With: a", None)
}

// A name with an underscore is to some upstreams the same with a hyphen.
func TestUnderscoredFields(t *testing.T) {
	f := func(name string, bypass Reason, credentials bool) {
		t.Helper()
		_, h := ask(t, "GET")
		h.Noted = append(h.Noted, wire.Line{Name: []byte(name), Value: []byte("v")})
		var r Request
		r.Read(h, example, nil)
		if r.Bypass() != bypass || r.Credentials != credentials || !bytes.Contains(r.others, []byte(strings.ToLower(name)+":v")) {
			t.Errorf("%s: %v, credentials %v, %q", name, r.Bypass(), r.Credentials, r.others)
		}
	}
	f("X_User_Id", None, false)
	f("User_Agent", None, false)
	f("X_Api_Key", None, true)
	f("X_Forwarded_User", None, true)
	for _, name := range []string{"X_Script_Name", "x-script_name", "X_Original_URL", "Front_End_Https", "X_Forwarded_Prefix", "If_None_Match", "Last_Event_ID"} {
		f(name, ForUnkeyedField, false)
	}
}

func errorFact(t *testing.T) func(request, answer string, seconds int64, want bool) {
	return func(request, answer string, seconds int64, want bool) {
		t.Helper()
		q, _ := ask(t, request)
		if got := MayServeOnError(stored(t, answer), q, later(seconds)); got != want {
			t.Errorf("%q after %d s, for %q, served on an error: %v, want %v", answer, seconds, request, got, want)
		}
	}
}

func TestRFC5861_Stale(t *testing.T) {
	f := errorFact(t)
	const sie = "200|ETag: \"a\"|Cache-Control: max-age=60, stale-if-error=30"
	f("GET", sie, 61, true)
	f("GET", sie, 90, true)
	f("GET", sie, 91, false)
	f("GET", "200|ETag: \"a\"|Cache-Control: max-age=60", 61, false)
	f("GET", "200|ETag: \"a\"|Cache-Control: max-age=60, stale-if-error=x", 61, false)
	f("GET", "200|ETag: \"a\"|Cache-Control: max-age=60, stale-if-error=0", 61, false)
	f("GET", "200|ETag: \"a\"|Cache-Control: max-age=60, stale-if-error=30, stale-if-error=60", 61, false)
	f("GET", "200|ETag: \"a\"|Cache-Control: max-age=60, stale-while-revalidate=30", 61, false)
	// As a request directive, and with max-stale.
	f("GET|Cache-Control: stale-if-error=30", "200|ETag: \"a\"|Cache-Control: max-age=60", 90, true)
	f("GET|Cache-Control: stale-if-error=30", "200|ETag: \"a\"|Cache-Control: max-age=60", 91, false)
	f("GET|Cache-Control: max-stale", "200|ETag: \"a\"|Cache-Control: max-age=60", 91, true)
	// Who asks for something fresher gets it or the error.
	f("GET|Cache-Control: no-cache", sie, 61, false)
	f("GET|Cache-Control: no-cache, max-stale, stale-if-error=30", sie, 61, false)
	f("GET|Cache-Control: max-age=0", sie, 61, false)
	f("GET|Cache-Control: max-age=0, stale-if-error=30", sie, 61, true)
	// Never for somebody else, never where revalidation is a must.
	f("GET|Authorization: x", sie, 61, false)
	f("GET", "200|ETag: \"a\"|Cache-Control: no-cache, max-age=60, stale-if-error=30", 61, false)
	f("GET", "200|ETag: \"a\"|Cache-Control: must-revalidate, max-age=60, stale-if-error=30", 61, false)

	// How long a record is of use.
	keep := func(lines string, want time.Duration) {
		t.Helper()
		a, _ := respond(t, "200|Cache-Control: "+lines)
		m := a.meta()
		m.Lifetime, _ = a.lifetime()
		if got := m.Keep(); got != want {
			t.Errorf("%q is kept %v, want %v", lines, got, want)
		}
	}
	keep("max-age=60", time.Minute)
	keep("max-age=60|Age: 20", 40*time.Second)
	keep("max-age=60|Age: 60", 0)
	keep("max-age=60, stale-while-revalidate=30, stale-if-error=60", 2*time.Minute)
	keep("max-age=60, stale-if-error=60|Age: 90", 30*time.Second)
	keep("max-age=60, stale-if-error=60|Age: 120", 0)
	keep("max-age=60, stale-if-error=60, must-revalidate", time.Minute)
	keep("s-maxage=60, stale-if-error=60", time.Minute)
	keep("max-age=60|ETag: \"a\"", time.Minute+RevalidateWithin)
	keep("no-cache, max-age=60", 0)
	keep("max-age=99999999999, stale-if-error=99999999999", 2<<31*time.Second)
}

func TestRFC9213_Targeted(t *testing.T) {
	f := func(lines string, want int64) {
		t.Helper()
		q, _ := ask(t, "GET")
		a, _ := respond(t, "200|ETag: \"a\"|"+lines)
		m, why := withTTL.Store(q, a)
		if why != None || m.Lifetime != want {
			t.Errorf("%q: %d, %v; want %d", lines, m.Lifetime, why, want)
		}
	}
	no := func(lines string, want Reason) {
		t.Helper()
		storeFact(t, withTTL)("GET", "200|"+lines, want)
	}
	// §2.2: the targeted field decides, and Cache-Control and Expires do not.
	f("Cache-Control: max-age=60, s-maxage=120|CDN-Cache-Control: max-age=600", 600)
	f("CDN-Cache-Control: max-age=600|Cache-Control: no-store|Expires: 0", 600)
	f("Cache-Control: no-store|CDN-Cache-Control: none", 300)
	f("Expires: 0|CDN-Cache-Control: none", 300)
	f("CDN-Cache-Control: max-age=600, s-maxage=6", 6)
	no("CDN-Cache-Control: no-store|Cache-Control: max-age=60", ForNoStore)
	no("CDN-Cache-Control: private|Cache-Control: public, max-age=60", ForPrivate)
	no("CDN-Cache-Control: must-understand, max-age=1|ETag: \"a\"", None)
	f("CDN-Cache-Control: private=\"x\", max-age=60", 60)
	// §2.1: empty, or not a dictionary: as if it were not there.
	f("CDN-Cache-Control: |Cache-Control: max-age=60", 60)
	for _, bad := range []string{"max-age=600,", ", max-age=600", "max-age=600;;", "MAX-AGE=600", "max-age =600", "max-age= 600", "max-age=\"600", "max-age=600 no-store",
		"a=(1 2", "a=:b", "a=?2", "a=1234567890123456", "a=1.1234", "a=1.", "a=-", "a=\"\\x\"", "a=@1", "=1", "a;=1", "a;B"} {
		f("CDN-Cache-Control: "+bad+"|Cache-Control: max-age=60", 60)
	}
	f("CDN-Cache-Control: max-age=600|CDN-Cache-Control: A|Cache-Control: max-age=60", 60)
	// Several lines are one; a key that comes again replaces; parameters and unknown directives are ignored.
	f("CDN-Cache-Control: foo|CDN-Cache-Control: max-age=600", 600)
	f("CDN-Cache-Control: max-age=1, max-age=600", 600)
	f("CDN-Cache-Control: no-store, max-age=600, no-store=?0", 600)
	f("CDN-Cache-Control: max-age=600;a=\"b\";c=?1;d=:aGk=:;e=1.5;f=g/h, x=(1 \"b\";c d), *y.z_-=-1", 600)
	// Values of other types than the directive has are not taken for it.
	for _, bad := range []string{"max-age=\"600\"", "max-age=600.0", "max-age", "max-age=abc", "max-age=-600", "max-age=(600)", "max-age=:YQ==:"} {
		f("CDN-Cache-Control: "+bad, 0)
	}
	// The rest of the rules are the same.
	q, _ := ask(t, "GET")
	a, _ := respond(t, "200|ETag: \"a\"|Cache-Control: max-age=9|CDN-Cache-Control: max-age=60, no-cache, must-revalidate, stale-if-error=5")
	if m, why := plain.Store(q, a); why != None || m.Flags != NoCache|MustRevalidate|Shared || m.StaleIfError != 5 {
		t.Errorf("%v, %+v", why, m)
	}
}

func TestRFC9211_CacheStatus(t *testing.T) {
	f := func(s CacheStatus, want string) {
		t.Helper()
		if got := string(AppendCacheStatus(nil, s)); got != want {
			t.Errorf("%+v is %q, want %q", s, got, want)
		}
	}
	f(CacheStatus{Timed: true, TTL: 295}, "aigateway; hit; ttl=295")
	f(CacheStatus{Timed: true, TTL: -3, Detail: ForStale}, "aigateway; hit; ttl=-3; detail=stale")
	f(CacheStatus{Forward: ForwardedURIMiss, Status: 200, Stored: true, Collapsed: true, Timed: true, TTL: 60}, "aigateway; fwd=uri-miss; fwd-status=200; stored; collapsed; ttl=60")
	f(CacheStatus{Forward: ForwardedStale, Status: 304, Stored: true}, "aigateway; fwd=stale; fwd-status=304; stored")
	f(CacheStatus{Forward: ForMethod.Forward(), Detail: ForMethod}, "aigateway; fwd=method; detail=method")
	f(CacheStatus{Forward: ForwardedVaryMiss, Detail: ForSetCookie}, "aigateway; fwd=vary-miss; detail=set_cookie")
	f(CacheStatus{Forward: ForRequestDirective.Forward()}, "aigateway; fwd=request")
	f(CacheStatus{Forward: ForBody.Forward()}, "aigateway; fwd=bypass")
	f(CacheStatus{Forward: None.Forward()}, "aigateway; fwd=miss")
	// hit and fwd exclude each other; stored and collapsed are about what is forwarded.
	f(CacheStatus{Stored: true, Collapsed: true, Status: 200}, "aigateway; hit")
	// A detail is a token.
	seen := map[string]bool{}
	for _, r := range append(Reasons(), None) {
		if seen[r.String()] {
			t.Errorf("two reasons are written %q", r)
		}
		seen[r.String()] = true
		if !isToken([]byte(r.String())) || strings.ToLower(r.String()) != r.String() {
			t.Errorf("reason %d is written %q", r, r)
		}
	}
}

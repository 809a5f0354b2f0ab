package behaviour

import (
	"strings"
	"testing"

	"aigateway/gateway/testkit"
)

// The request policy, facts 4.2: what is ambiguous is refused, nothing of it reaches an upstream, and the
// connection ends, with whatever has been sent behind it.
func TestClientPolicyRefuses(t *testing.T) {
	up := testkit.StartRecorder(t)
	g := startGatewayFile(t, `routes: [{path: "/*", pool: python}]`, "PY_SERVICE_URL="+up.URL, "LLM_SERVICE_URL="+up.URL)
	const behind = "GET /infer/python?smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
	get := func(fields string) string { return "GET /x HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n" }
	post := func(fields, body string) string { return "POST /x HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n" + body }
	line := func(l string) string { return l + "\r\nHost: a\r\n\r\n" }
	host := func(h string) string { return "GET /x HTTP/1.1\r\nHost: " + h + "\r\n\r\n" }
	for _, c := range []struct {
		name    string
		request string
		status  int
	}{
		{"CL and TE", post("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400},
		{"TE and CL", post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"), 400},
		{"CL 0 and TE", post("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400},
		{"TE identity", post("Transfer-Encoding: identity\r\n", ""), 400},
		{"TE identity with CL", post("Transfer-Encoding: identity\r\nContent-Length: 0\r\n", ""), 400},
		{"TE gzip", post("Transfer-Encoding: gzip\r\n", ""), 400},
		{"TE gzip, chunked", post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), 400},
		{"TE chunked, identity", post("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"), 400},
		{"TE chunked, chunked", post("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"), 400},
		{"TE ,chunked", post("Transfer-Encoding: ,chunked\r\n", "0\r\n\r\n"), 400},
		{"TE chunked,", post("Transfer-Encoding: chunked,\r\n", "0\r\n\r\n"), 400},
		{"TE twice", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400},
		{"TE twice, second odd", post("Transfer-Encoding: chunked\r\ntransfer-encoding: x\r\n", "0\r\n\r\n"), 400},
		{"TE xchunked", post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"), 400},
		{"TE quoted", post("Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n"), 400},
		{"TE parameter", post("Transfer-Encoding: chunked;q=1\r\n", "0\r\n\r\n"), 400},
		{"TE empty", post("Transfer-Encoding:\r\n", "0\r\n\r\n"), 400},
		{"TE vertical tab", post("Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n"), 400},
		{"TE no-break space", post("Transfer-Encoding: \xa0chunked\r\n", "0\r\n\r\n"), 400},
		{"TE on GET, identity", get("Transfer-Encoding: identity\r\n"), 400},
		{"TE on HTTP/1.0", "POST /x HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		{"TE folded", post("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n"), 400},
		{"CL twice, equal", post("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"), 400},
		{"CL twice", post("Content-Length: 3\r\nContent-Length: 0\r\n", "abc"), 400},
		{"CL twice, zeros", get("Content-Length: 0\r\nContent-Length: 0\r\n"), 400},
		{"CL list", post("Content-Length: 3, 3\r\n", "abc"), 400},
		{"CL +3", post("Content-Length: +3\r\n", "abc"), 400},
		{"CL -1", post("Content-Length: -1\r\n", "abc"), 400},
		{"CL -0", post("Content-Length: -0\r\n", "abc"), 400},
		{"CL 0x3", post("Content-Length: 0x3\r\n", "abc"), 400},
		{"CL 3_0", post("Content-Length: 3_0\r\n", "abc"), 400},
		{"CL 3.0", post("Content-Length: 3.0\r\n", "abc"), 400},
		{"CL 3 0", post("Content-Length: 3 0\r\n", "abc"), 400},
		{"CL empty", post("Content-Length:\r\n", "abc"), 400},
		{"CL quoted", post("Content-Length: \"3\"\r\n", "abc"), 400},
		{"CL 2^63", post("Content-Length: 9223372036854775808\r\n", "abc"), 400},
		{"CL 2^64+3", post("Content-Length: 18446744073709551619\r\n", "abc"), 400},
		{"CL of 300 digits", post("Content-Length: "+strings.Repeat("9", 300)+"\r\n", "abc"), 400},
		{"CL on GET, -1", get("Content-Length: -1\r\n"), 400},
		{"space before colon", post("Content-Length : 3\r\n", "abc"), 400},
		{"tab before colon", post("Transfer-Encoding\t: chunked\r\n", "0\r\n\r\n"), 400},
		{"space in a name", post("X Transfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400},
		{"space in a name, CL", post("Content Length: 3\r\n", "abc"), 400},
		{"space at a name's start", "GET /x HTTP/1.1\r\nHost: a\r\nX: 1\r\n Y: 2\r\n\r\n", 400},
		{"space before the first name", "GET /x HTTP/1.1\r\n Host: a\r\nHost: a\r\n\r\n", 400},
		{"no name", get(": x\r\n"), 400},
		{"no colon", get("nothing\r\n"), 400},
		{"name with a slash", get("X/Y: 1\r\n"), 400},
		{"name with a quote", get("X\"Y: 1\r\n"), 400},
		{"name in brackets", get("(X): 1\r\n"), 400},
		{"name above ASCII", get("X\xc3\xa9: 1\r\n"), 400},
		{"name with NUL", get("X\x00Y: 1\r\n"), 400},
		{"name with CR", get("X\rY: 1\r\n"), 400},
		{"underscore", get("X_Forwarded_For: 1.1.1.1\r\n"), 400},
		{"underscore in a key", get("X_API_Key: k\r\n"), 400},
		{"underscore in what a cache goes by", get("Accept_Encoding: gzip\r\n"), 400},
		{"underscore in TE", post("Transfer_Encoding: chunked\r\n", ""), 400},
		{"obs-fold", get("X: a\r\n b\r\n"), 400},
		{"obs-fold by tab", get("X: a\r\n\tb\r\n"), 400},
		{"obs-fold, empty", get("X: a\r\n \r\n"), 400},
		{"bare LF between fields", "GET /x HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n", 400},
		{"bare LF after the request line", "GET /x HTTP/1.1\nHost: a\r\n\r\n", 400},
		{"bare LF after the last field", "GET /x HTTP/1.1\r\nHost: a\r\nX: 1\n\r\n\r\n", 400},
		{"bare LF as the empty line", "GET /x HTTP/1.1\r\nHost: a\r\n\nGET /x?2 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"bare LF, HTTP/1.0 without fields", "GET /x HTTP/1.0\n\r\n\r\n", 400},
		{"bare LF everywhere", "GET /x HTTP/1.1\nHost: a\n\n", 400},
		{"bare LF everywhere, HTTP/1.0", "GET /x HTTP/1.0\n\n", 400},
		{"bare LF in a head without an end", "GET /x HTTP/1.1\r\nHost: a\nX", 400},
		{"bare CR in a value", get("X: a\rb\r\n"), 400},
		{"bare CR before CRLF", get("X: a\r\r\n"), 400},
		{"bare CR in the request line", "GET /x\rHTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"bare CR after the request line", "GET /x HTTP/1.1\r\r\nHost: a\r\n\r\n", 400},
		{"bare CR before the request line", "\rGET /x HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"bare LF before the request line", "\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"many empty lines before the request line", strings.Repeat("\r\n", 40) + line("GET /x HTTP/1.1"), 400},
		{"NUL in a value", get("X: a\x00b\r\n"), 400},
		{"DEL in a value", get("X: a\x7fb\r\n"), 400},
		{"escape in a value", get("X: a\x1bb\r\n"), 400},
		{"NUL in the target", line("GET /x\x00y HTTP/1.1"), 400},
		{"tab in the target", line("GET /x\ty HTTP/1.1"), 400},
		{"DEL in the target", line("GET /x\x7fy HTTP/1.1"), 400},
		{"space in the target", line("GET /x y HTTP/1.1"), 400},
		{"two spaces before the target", line("GET  /x HTTP/1.1"), 400},
		{"two spaces behind the target", line("GET /x  HTTP/1.1"), 400},
		{"space behind the version", line("GET /x HTTP/1.1 "), 400},
		{"space before the method", line(" GET /x HTTP/1.1"), 400},
		{"tab behind the method", line("GET\t/x HTTP/1.1"), 400},
		{"no version", line("GET /x"), 400},
		{"no target", line("GET HTTP/1.1"), 400},
		{"empty target", line("GET  HTTP/1.1"), 400},
		{"no method", line("/x HTTP/1.1"), 400},
		{"HTTP/0.9", line("GET /x HTTP/0.9"), 505},
		{"HTTP/1.2", line("GET /x HTTP/1.2"), 505},
		{"HTTP/2.0", line("GET /x HTTP/2.0"), 505},
		{"HTTP/2.2", line("GET /x HTTP/2.2"), 505},
		{"HTTP/9.9", line("GET /x HTTP/9.9"), 505},
		{"HTTP/1.10", line("GET /x HTTP/1.10"), 400},
		{"HTTP/01.1", line("GET /x HTTP/01.1"), 400},
		{"HTTP/1.", line("GET /x HTTP/1."), 400},
		{"HTTP/1", line("GET /x HTTP/1"), 400},
		{"http/1.1", line("GET /x http/1.1"), 400},
		{"HTTPS/1.1", line("GET /x HTTPS/1.1"), 400},
		{"HTTP 1.1", line("GET /x HTTP 1.1"), 400},
		{"lower-case method", line("get /x HTTP/1.1"), 400},
		{"mixed-case method", line("Get /x HTTP/1.1"), 400},
		{"TRACE", line("TRACE /x HTTP/1.1"), 501},
		{"CONNECT", line("CONNECT a:443 HTTP/1.1"), 501},
		{"PRI", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400},
		{"TRACK", line("TRACK /x HTTP/1.1"), 501},
		{"method of 300 bytes", line(strings.Repeat("M", 300) + " /x HTTP/1.1"), 501},
		{"method with a colon", line("G:T /x HTTP/1.1"), 400},
		{"method with NUL", line("G\x00T /x HTTP/1.1"), 400},
		{"absolute-form with a user", line("GET http://u:p@a/x HTTP/1.1"), 400},
		{"absolute-form without a Host field", "GET http://a/x HTTP/1.1\r\n\r\n", 400},
		{"absolute-form with two slashes", line("GET http://a//evil/x HTTP/1.1"), 400},
		{"absolute-form, other scheme", line("GET ftp://evil/x HTTP/1.1"), 400},
		{"two slashes", line("GET //evil/x?u=http://z HTTP/1.1"), 400},
		{"three slashes", line("GET ///x HTTP/1.1"), 400},
		{"asterisk", line("GET * HTTP/1.1"), 400},
		{"asterisk, OPTIONS", line("OPTIONS * HTTP/1.1"), 400},
		{"fragment", line("GET /x#y HTTP/1.1"), 400},
		{"query without a path", line("GET ?x HTTP/1.1"), 400},
		{"relative path", line("GET x HTTP/1.1"), 400},
		{"authority form", line("GET a:80 HTTP/1.1"), 400},
		{"backslash first", line("GET \\x HTTP/1.1"), 400},
		{"slash and backslash", line("GET /\\evil/x HTTP/1.1"), 400},
		{"no Host", "GET /x HTTP/1.1\r\n\r\n", 400},
		{"no Host but fields", "GET /x HTTP/1.1\r\nX: 1\r\n\r\n", 400},
		{"empty Host", host(""), 400},
		{"blank Host", host("   "), 400},
		{"two Hosts", host("a\r\nHost: b"), 400},
		{"two Hosts, equal", host("a\r\nhost: a"), 400},
		{"two Hosts on HTTP/1.0", "GET /x HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400},
		{"user in Host", host("u:p@a"), 400},
		{"@ in Host", host("@a"), 400},
		{"percent in Host", host("a%00"), 400},
		{"percent-encoded @ in Host", host("u%40a"), 400},
		{"list in Host", host("a, b"), 400},
		{"space in Host", host("a b"), 400},
		{"query in Host", host("a?x"), 400},
		{"path in Host", host("a/x"), 400},
		{"fragment in Host", host("a#x"), 400},
		{"backslash in Host", host("a\\x"), 400},
		{"open bracket in Host", host("[::1"), 400},
		{"huge Host", host(strings.Repeat("a", 256)), 400},
		{"Host above ASCII", host("\xc3\xa9"), 400},
		{"Expect: foo", post("Expect: foo\r\nContent-Length: 3\r\n", "abc"), 417},
		{"Expect: 100-continue, foo", post("Expect: 100-continue, foo\r\nContent-Length: 3\r\n", "abc"), 417},
		{"Expect twice", post("Expect: 100-continue\r\nExpect: foo\r\nContent-Length: 3\r\n", "abc"), 417},
		{"two Content-Types", post("Content-Type: a/b\r\nContent-Type: c/d\r\nContent-Length: 3\r\n", "abc"), 400},
		{"two Authorizations", get("Authorization: Bearer a\r\nAuthorization: Bearer b\r\n"), 400},
		{"header over the limit", get("X: " + strings.Repeat("x", 16384) + "\r\n"), 431},
		{"many fields over the limit", get(strings.Repeat("X: y\r\n", 4000)), 431},
		{"request line over the limit", line("GET /" + strings.Repeat("x", 20000) + " HTTP/1.1"), 431},
		{"garbage", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400},
		{"chunk of a body as a request", "5\r\nhello\r\n0\r\n\r\n", 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			up.Reset()
			client := g.Dial()
			client.Send("%s", c.request+behind)
			client.Refused(t, c.name, c.status)
			// What the gateway let through would have been answered on another connection by now.
			g.Do("GET /infer/python?done HTTP/1.1\r\nHost: a\r\n\r\n")
			if seen := append(up.Whole(), up.Broken()...); len(seen) != 1 {
				t.Errorf("the upstream saw %q", testkit.Firsts(seen))
			}
		})
	}
}

// A head that never ends in CRLF CRLF is not a request; one of exactly the limit is.
func TestClientHeadLimit(t *testing.T) {
	up := testkit.StartRecorder(t)
	g := startGateway(t, "PY_SERVICE_URL="+up.URL, "MAX_HEADER_BYTES=2048")
	const begin, end = "GET /infer/python HTTP/1.1\r\nHost: a\r\nX: ", "\r\n\r\n"
	at := func(n int) string { return begin + strings.Repeat("x", n-len(begin)-len(end)) + end }
	c := g.Dial()
	c.Send("%s", at(2048)+at(2048)) // and another behind it
	for range 2 {
		if m := c.ReadResponse(); m.Status() != 200 {
			t.Errorf("a head of the limit: %q %v", m.First, m.Err)
		}
	}
	c.Send("%s", at(2049))
	c.Refused(t, "a head over the limit", 431)
}

// What is odd but not ambiguous goes through byte for byte.
func TestClientPolicyForwards(t *testing.T) {
	up := testkit.StartRecorder(t)
	g := startGatewayFile(t, `routes: [{path: "/*", pool: python}, {path: "/img/*", pool: python, rewrite: "/static/*"}]`,
		"PY_SERVICE_URL="+up.URL, "LLM_SERVICE_URL="+up.URL)
	const multipart = "preamble\r\n--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x\"\r\ncontent-type:  text/x\r\nX-Part: 1\r\n\r\n\x00\xff\r\n--b--\r\nepilogue"
	for _, c := range []struct {
		name, request    string
		first, has, body string // what the upstream gets; has is one of its lines
	}{
		{"raw path", "GET /a%2f..%2fadmin;x=1,'()/~%zz%00%e9\xe9/./b//c?&=?/../%2F&a=b+c%20 HTTP/1.1\r\nHost: a\r\n\r\n",
			"GET /a%2f..%2fadmin;x=1,'()/~%zz%00%e9\xe9/./b//c?&=?/../%2F&a=b+c%20 HTTP/1.1", "", ""},
		{"dots that stay", "GET /v1/a/../b HTTP/1.1\r\nHost: a\r\n\r\n", "GET /v1/a/../b HTTP/1.1", "", ""},
		{"dots in names", "GET /v1/..a/b../... HTTP/1.1\r\nHost: a\r\n\r\n", "GET /v1/..a/b../... HTTP/1.1", "", ""},
		{"doubly encoded dots", "GET /v1/%252e%252e/x HTTP/1.1\r\nHost: a\r\n\r\n", "GET /v1/%252e%252e/x HTTP/1.1", "", ""},
		{"dots in the query", "GET /v1/x?/../../y HTTP/1.1\r\nHost: a\r\n\r\n", "GET /v1/x?/../../y HTTP/1.1", "", ""},
		{"backslash", "GET /v1/a\\b HTTP/1.1\r\nHost: a\r\n\r\n", "GET /v1/a\\b HTTP/1.1", "", ""},
		{"empty query", "GET /v1/x? HTTP/1.1\r\nHost: a\r\n\r\n", "GET /v1/x? HTTP/1.1", "", ""},
		{"rewritten", "GET /img/a%2Fb?c HTTP/1.1\r\nHost: a\r\n\r\n", "GET /static/a%2Fb?c HTTP/1.1", "", ""},
		{"value", "GET /v1/x HTTP/1.1\r\nHost: a\r\nx-oDD:   a \t b,;\"\\\xff\xc3\xa9  \r\n\r\n", "", "x-oDD:   a \t b,;\"\\\xff\xc3\xa9  ", ""},
		{"empty value", "GET /v1/x HTTP/1.1\r\nHost: a\r\nX-Empty:\r\n\r\n", "", "X-Empty:", ""},
		{"odd name", "GET /v1/x HTTP/1.1\r\nHost: a\r\n!#$%&'*+-.^`|~9:1\r\n\r\n", "", "!#$%&'*+-.^`|~9:1", ""},
		{"cookies", "GET /v1/x HTTP/1.1\r\nHost: a\r\nCookie: a=1;b = 2\r\nCookie: c\r\n\r\n", "", "Cookie: a=1;b = 2\r\nCookie: c", ""},
		{"Host with a port", "GET /v1/x HTTP/1.1\r\nHost: A.Example.:8080\r\n\r\n", "", "X-Forwarded-Host: A.Example.:8080", ""},
		{"IPv6 Host", "GET /v1/x HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "", "X-Forwarded-Host: [::1]:80", ""},
		{"HTTP/1.0", "GET /v1/x HTTP/1.0\r\n\r\n", "GET /v1/x HTTP/1.1", "Via: 1.0 aigateway", ""},
		{"multipart", "POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: " + itoa(len(multipart)) + "\r\n\r\n" + multipart,
			"", "Content-Type: multipart/form-data; boundary=b\r\n", multipart},
		{"form", "POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 8\r\n\r\na=%zz&&b", "", "", "a=%zz&&b"},
		{"body on GET", "GET /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", "", "Content-Length: 3", "abc"},
		{"body on DELETE, chunked", "DELETE /v1/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "DELETE /v1/x HTTP/1.1", "", "abc"},
		{"zeros before a length", "POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 0003\r\n\r\nabc", "", "Content-Length: 3", "abc"},
		{"QUERY", "QUERY /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nq", "QUERY /v1/x HTTP/1.1", "", "q"},
		{"OPTIONS", "OPTIONS /v1/x HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS /v1/x HTTP/1.1", "", ""},
		{"absolute-form", "GET http://b:81/v1/x?y HTTP/1.1\r\nHost: a\r\n\r\n", "GET /v1/x?y HTTP/1.1", "X-Forwarded-Host: b:81", ""},
		{"a name with an underscore", "GET /v1/x HTTP/1.1\r\nHost: a\r\nmy_field: 1\r\n\r\n", "", "my_field: 1", ""},
		{"a method of WebDAV", "PROPFIND /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nq", "PROPFIND /v1/x HTTP/1.1", "", "q"},
		{"a method nobody knows", "brew /v1/x HTTP/1.1\r\nHost: a\r\n\r\n", "brew /v1/x HTTP/1.1", "", ""},
		{"an encoded slash in an id", "GET /v1/models/org%2Fname HTTP/1.1\r\nHost: a\r\n\r\n", "GET /v1/models/org%2Fname HTTP/1.1", "", ""},
		{"an empty line first", "\r\nGET /v1/x HTTP/1.1\r\nHost: a\r\n\r\n", "GET /v1/x HTTP/1.1", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			up.Reset()
			if m := g.Do(c.request); m.Status() != 200 {
				t.Fatalf("%q %v %s", m.First, m.Err, m.Body)
			}
			seen := up.Whole()
			if len(seen) != 1 {
				t.Fatalf("the upstream saw %q", testkit.Firsts(seen))
			}
			if c.first != "" && seen[0].First != c.first {
				t.Errorf("the upstream got %q, want %q", seen[0].First, c.first)
			}
			if !strings.Contains("\r\n"+seen[0].Head, "\r\n"+c.has) {
				t.Errorf("the upstream got fields\n%q, want among them\n%q", seen[0].Head, c.has)
			}
			if seen[0].Body != c.body {
				t.Errorf("the upstream got body %q, want %q", seen[0].Body, c.body)
			}
			for _, invented := range []string{"User-Agent", "Expect", "Transfer-Encoding"} {
				if seen[0].Field(invented) != "" && !strings.Contains(c.request, invented) {
					t.Errorf("%s was invented: %q", invented, seen[0].Head)
				}
			}
			if seen[0].Field("Content-Type") != "" && !strings.Contains(c.request, "Content-Type") {
				t.Errorf("Content-Type was invented: %q", seen[0].Head)
			}
		})
	}
}

// A path that leaves its prefix route by dot segments, as any upstream might read them, is refused.
func TestClientDotSegments(t *testing.T) {
	up := testkit.StartRecorder(t)
	g := startGatewayFile(t, `routes: [{path: "/img/*", pool: python, rewrite: "/static/*"}]`, "PY_SERVICE_URL="+up.URL, "LLM_SERVICE_URL="+up.URL)
	for _, path := range []string{
		"/v1/..", "/v1/../admin", "/v1/../../admin", "/v1/a/../../admin", "/v1/./../admin", "/v1/%2e%2e/admin", "/v1/.%2E/admin", "/v1/..%2fadmin",
		"/v1/%2e%2e%2fadmin", "/v1/..%5cadmin", "/v1/..\\admin", "/v1/a/..%2f..%2fadmin", "/v1/a/b/../../../admin", "/v1//../admin", "/v1/.//../admin",
		"/img/../admin", "/img/%2E%2e", "/img/../v1/x", "/img/../img/x", "/v1/..;/admin", "/v1/..;x=y/admin", "/img/..%3b/admin",
	} {
		m := g.Do("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n")
		if m.Status() != 400 {
			t.Errorf("%s: %q", path, m.First)
		}
		testkit.CheckFault(t, path, m, strings.HasPrefix(path, "/v1/"))
	}
	if n := up.Connections(); n > 0 {
		t.Errorf("the upstream saw %q", testkit.Firsts(up.Whole()))
	}
}

// A rewrite does not make a target that the policy would have refused.
func TestClientRewriteMakesNoAuthority(t *testing.T) {
	up := testkit.StartRecorder(t)
	g := startGatewayFile(t, `routes: [{path: "/img/*", pool: python, rewrite: "/*"}]`, "PY_SERVICE_URL="+up.URL)
	if m := g.Do("GET /img/x HTTP/1.1\r\nHost: a\r\n\r\n"); m.Body != "GET /x HTTP/1.1" {
		t.Errorf("the upstream got %q", m.Body)
	}
	m := g.Do("GET /img//evil/x?u=http://z HTTP/1.1\r\nHost: a\r\n\r\n")
	if strings.HasPrefix(m.Body, "GET //") {
		t.Errorf("the upstream got %q: some parsers read an authority there", m.Body)
	}
}

// Error answers below /v1 have OpenAI's shape, whatever step refuses.
func TestClientPolicyInOpenAIsShape(t *testing.T) {
	up := testkit.StartRecorder(t)
	g := startGateway(t, "LLM_SERVICE_URL="+up.URL, "MAX_BODY_BYTES=10")
	for _, c := range []struct {
		name, request string
		status        int
	}{
		{"policy", "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nX_Api_Key: 1\r\n\r\n", 400},
		{"expectation", "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nExpect: foo\r\n\r\n", 417},
		{"length", "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n", 413},
		{"chunks", "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nX", 400},
	} {
		m := g.Do(c.request)
		if m.Status() != c.status {
			t.Errorf("%s: %q", c.name, m.First)
		}
		testkit.CheckFault(t, c.name, m, true)
	}
}

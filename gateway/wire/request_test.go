package wire

import (
	"bufio"
	"bytes"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestRequestPolicy(t *testing.T) {
	f := func(head string, want Violation) {
		t.Helper()
		var h RequestHead
		if got := scanRequest(&h, head); got != want {
			t.Errorf("%q: %q; want %q", head, got, want)
		}
	}
	line := func(line string, want Violation) { t.Helper(); f(line+"\r\nHost: a\r\n\r\n", want) }
	field := func(lines string, want Violation) {
		t.Helper()
		f("POST / HTTP/1.1\r\nHost: a\r\n"+lines+"\r\n", want)
		f("POST / HTTP/1.1\r\n"+lines+"Host: a\r\n\r\n", want) // and in the middle
	}

	// methods
	for _, m := range []string{"GET", "POST", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"} {
		line(m+" / HTTP/1.1", None)
	}
	for _, m := range []string{"PRI", "GETS", "GE", "M-SEARCH", "BREW!", "PROPFIND", "brew", strings.Repeat("M", maxMethod)} {
		line(m+" / HTTP/1.1", None)
	}
	for _, m := range []string{"TRACE", "CONNECT", "TRACK", "Trace", strings.Repeat("M", maxMethod+1)} {
		line(m+" / HTTP/1.1", UnknownMethod)
	}
	for _, m := range []string{"get", "Get", "POSt", "query", "G=T", "G(T", "G\x00T", "G\tT", "\x80", ""} {
		line(m+" / HTTP/1.1", BadMethod)
	}

	// versions
	line("GET / HTTP/1.0", None)
	for _, v := range []string{"HTTP/2.0", "HTTP/0.9", "HTTP/1.2"} {
		line("GET / "+v, BadVersion)
	}
	for _, v := range []string{"HTTP/1.", "HTTP/1.10", "HTTP/11", "http/1.1", "HTTP/1.1 ", " HTTP/1.1", ""} {
		line("GET / "+v, BadLine)
	}
	line("PRI * HTTP/2.0", BadLine)

	// targets: RFC 9112 §3.2
	for _, target := range []string{
		"/", "/a", "/a//b", "/a/../b", "/a%2f..%2fadmin", "/%00", "/?", "/?a=http://b/", "/\xc3\xa9", "/a?b=\xff", "/a|b\"<>\\^`{}", "/:@!$&'()*+,;=",
	} {
		line("GET "+target+" HTTP/1.1", None)
	}
	for _, target := range []string{
		"", "*", "a", "//", "//evil/x", "//evil/x?u=http://z", "http:/evil/", "http:evil", "ftp://evil/", "http://evil//x", "http://evil/\\x", "http://evil/#", "evil:80", "?a", "#", "/#", "/a#b", "\\",
		"/a\x00", "/\x7f", "/a\tb", "/\x01", "/\r",
	} {
		var h RequestHead
		if v := h.Scan([]byte("GET"), []byte(target), []byte("HTTP/1.1"), []byte("Host: a\r\n\r\n")); v != BadTarget {
			t.Errorf("target %q: %q", target, v)
		}
	}
	var h RequestHead
	if v := h.Scan([]byte("GET"), []byte("/a b"), []byte("HTTP/1.1"), []byte("Host: a\r\n\r\n")); v != BadTarget {
		t.Errorf("a space in the target: %q", v)
	}

	// absolute-form: RFC 9112 §3.2.2
	absolute := func(target, host, want, wantHost string) {
		t.Helper()
		var h RequestHead
		if v := h.Scan([]byte("GET"), []byte(target), []byte("HTTP/1.1"), []byte("Host: "+host+"\r\n\r\n")); v != None || string(h.Target) != want || string(h.Host) != wantHost {
			t.Errorf("%s: %v, target %q, host %q", target, v, h.Target, h.Host)
		}
	}
	absolute("http://b/x?y", "a", "/x?y", "b")
	absolute("HTTP://b:8080/x", "a", "/x", "b:8080")
	absolute("https://[::1]/", "a", "/", "[::1]")
	absolute("http://b", "a", "/", "b")
	absolute("http://b?x=http://c/", "a", "/?x=http://c/", "b")
	for _, target := range []string{"http:///x", "http://u:p@b/", "http://@b/", "http://b%00/", "http://b:x/", "http://", "http://b,c/"} {
		var h RequestHead
		if v := h.Scan([]byte("GET"), []byte(target), []byte("HTTP/1.1"), []byte("Host: a\r\n\r\n")); v != BadHost && v != BadTarget {
			t.Errorf("target %q: %q", target, v)
		}
	}
	f("GET http://b/ HTTP/1.1\r\n\r\n", BadHost)
	f("GET http://b/ HTTP/1.1\r\nHost: u@a\r\n\r\n", BadHost)
	f("GET http://b/ HTTP/1.0\r\n\r\n", None)

	// Host: RFC 9112 §3.2
	host := func(value string, want Violation) { t.Helper(); f("GET / HTTP/1.1\r\nHost:"+value+"\r\n\r\n", want) }
	for _, v := range []string{"a", " a.b-c_d~:80", " 127.0.0.1", " [::1]:8080", " A", " a:", " [::ffff:1.2.3.4]", strings.Repeat("a", 255)} {
		host(v, None)
	}
	for _, v := range []string{
		"", " ", " u:p@a", " a/b", " a?x", " a#x", " a, b", " a b", " %00", " %61", " \xc3\xa9", " a\\b", " a\tb", " *", " a;b", " <a>", " [::1", " []", " [::1]80", " [::1]:x", " ::1", " a:b", " a:1:2", " a]", " [g::1]", strings.Repeat("a", 256),
	} {
		host(v, BadHost)
	}
	f("GET / HTTP/1.1\r\n\r\n", BadHost)
	f("GET / HTTP/1.1\r\n", BadHost)
	f("GET / HTTP/1.0\r\n\r\n", None)
	f("GET / HTTP/1.0\r\nHost:\r\n\r\n", BadHost)
	f("GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", DuplicateHost)
	f("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", DuplicateHost)

	// framing: RFC 9112 §6
	field("Content-Length: 5\r\n", None)
	field("Content-Length: 0\r\n", None)
	field("content-length:5\t \r\n", None)
	field("Transfer-Encoding: chunked\r\n", None)
	field("TRANSFER-ENCODING: CHUNKED\r\n", None)
	for _, v := range []string{"", "+3", "-1", "0x3", "3_0", "3,3", "3, 3", "3 3", "1e1", "9223372036854775808", "18446744073709551619", "3;", "\"3\""} {
		field("Content-Length: "+v+"\r\n", BadContentLength)
	}
	field("Content-Length: 5\r\nContent-Length: 5\r\n", BadContentLength)
	field("Content-Length: 5\r\nContent-Length: 6\r\n", BadContentLength)
	for _, v := range []string{
		"", "identity", "gzip", "gzip, chunked", "chunked, gzip", "chunked, chunked", "xchunked", "chunkedx", "chunked;q=1", "\"chunked\"", "chunked,", ",chunked", "chun ked", "chunked\xa0",
	} {
		field("Transfer-Encoding: "+v+"\r\n", BadTransferEncoding)
	}
	field("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", BadTransferEncoding)
	field("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", BadTransferEncoding)
	field("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", LengthAndEncoding)
	field("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", LengthAndEncoding)
	f("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", BadTransferEncoding)
	f("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", LengthAndEncoding)
	field("X Transfer-Encoding: chunked\r\n", BadName)
	field("Content Length: 3\r\n", BadName)
	field("Content-Length : 3\r\n", BadName)
	field("Transfer-Encoding\t: chunked\r\n", BadName)
	field("Transfer-Encoding:\x0bchunked\r\n", BadValue)
	field("Transfer-Encoding: chunked\x00\r\n", BadValue)
	field("Transfer-Encoding:\r\n chunked\r\n", BadTransferEncoding) // the fold would come after an empty value
	field("A: b\r\n Transfer-Encoding: chunked\r\n", ObsFold)
	field("A: b\r\n\tc\r\n", ObsFold)
	f("POST / HTTP/1.1\r\n Host: a\r\n\r\n", ObsFold)

	// lines
	field("A: b\n", BareLF)
	field("A: b\nTransfer-Encoding: chunked\r\n", BareLF)
	field("\nA: b\r\n", BareLF)
	field("A\r\n", BadName)
	field(": b\r\n", BadName)
	field("A: b\rc\r\n", BadValue)
	field("A: b\x00\r\n", BadValue)
	f("GET / HTTP/1.1\r\nHost: a\r\nA: b", BadFraming)
	f("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n", BadFraming)
	f("GET / HTTP/1.1\r\nHost: a\r\n\r\n\r\n", BadFraming)

	// underscores
	for _, n := range []string{
		"X_Forwarded_For", "Transfer_Encoding", "Content_Length", "X-Forwarded_For", "x_FORWARDED-proto", "X_Request_ID", "X_Api_Key",
		"X_Forwarded_" + strings.Repeat("x", 200), "Accept_Encoding",
	} {
		field(n+": 1\r\n", UnderscoreName)
	}
	for _, n := range []string{"_", "a_", "my_field", "X_Custom", "transfer_encodings", "X_Forward", "session_id_" + strings.Repeat("x", 200)} {
		field(n+": 1\r\n", None)
	}
	for name := range reserved {
		if len(name) > maxReserved {
			t.Errorf("%s is longer than maxReserved", name)
		}
	}

	// fields that may appear once
	field("Content-Type: a\r\n", None)
	field("Content-Type: a\r\nContent-type: a\r\n", DuplicateField)
	field("Authorization: a\r\n", None)
	field("Authorization: a\r\nauthorization: b\r\n", DuplicateField)
	field("Cookie: a\r\nCookie: b\r\nAccept: c\r\nAccept: d\r\n", None)

	// expectations: RFC 9110 §10.1.1
	field("Expect: 100-continue\r\n", None)
	field("EXPECT: 100-Continue\r\n", None)
	for _, v := range []string{"", "foo", "100-continues", "100-continue, foo", "100_continue", "100-continue;a"} {
		field("Expect: "+v+"\r\n", BadExpect)
	}
	field("Expect: 100-continue\r\nExpect: 100-continue\r\n", BadExpect)
}

// TestRequestKept shows which lines travel on, and that they do byte for byte.
func TestRequestKept(t *testing.T) {
	f := func(block, want string) {
		t.Helper()
		var h RequestHead
		if v := h.Scan([]byte("POST"), []byte("/"), []byte("HTTP/1.1"), []byte(block+"\r\n")); v != None {
			t.Fatalf("%q: %v", block, v)
		}
		if got := string(h.AppendKept([]byte("x"))); got != "x"+want {
			t.Errorf("%q keeps %q; want %q", block, got, want)
		}
	}
	f("Host: a\r\n", "")
	f("Host: a\r\nA: 1\r\n", "A: 1\r\n")
	f("aCCePT:  \t x ; y\t \r\nHost: a\r\n", "aCCePT:  \t x ; y\t \r\n")
	f("X-1:\r\nHost: a\r\nx-1: \xff\r\nX-1:x\r\n", "X-1:\r\nx-1: \xff\r\nX-1:x\r\n")
	f("Content-Type: multipart/form-data; boundary=\"=_x\"\r\nHost: a\r\nAuthorization: Bearer t\r\nCookie: a=b\r\nCookie: c=d\r\n",
		"Content-Type: multipart/form-data; boundary=\"=_x\"\r\nAuthorization: Bearer t\r\nCookie: a=b\r\nCookie: c=d\r\n")
	// neighbours of the special names
	f("Host: a\r\nHosts: 1\r\nHos: 1\r\nTF: 1\r\nExpert: 1\r\nUpgradf: 1\r\nTrailes: 1\r\nConnectiom: 1\r\nContent-Lengti: 1\r\n",
		"Hosts: 1\r\nHos: 1\r\nTF: 1\r\nExpert: 1\r\nUpgradf: 1\r\nTrailes: 1\r\nConnectiom: 1\r\nContent-Lengti: 1\r\n")
	for _, gone := range []string{
		"TE: trailers", "Trailer: x", "Upgrade: h2c", "HTTP2-Settings: x", "Keep-Alive: 5", "Proxy-Connection: keep-alive", "Proxy-Authorization: Basic x",
		"Connection: keep-alive", "Expect: 100-continue", "Transfer-Encoding: chunked", "Content-Length: 7", "X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https",
		"X-Forwarded-Host: b", "X-Request-ID: 1", "traceparent: 00", "tracestate: a=b",
	} {
		for _, l := range []string{gone, strings.ToLower(gone), strings.ToUpper(gone)} {
			f("Host: a\r\n"+l+"\r\n", "")
			f("A: 1\r\nHost: a\r\nB: 2\r\n"+l+"\r\nC: 3\r\n", "A: 1\r\nB: 2\r\nC: 3\r\n")
		}
	}
}

func TestRequestFields(t *testing.T) {
	var h RequestHead
	scan := func(head string) {
		t.Helper()
		if v := scanRequest(&h, head); v != None {
			t.Fatalf("%q: %v", head, v)
		}
	}
	eq := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s is %q; want %q", what, got, want)
		}
	}
	scan("PUT /a?b HTTP/1.1\r\nHost: h:1\r\nX-Forwarded-For: 1\r\nx-forwarded-for: 2, 3\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: fh\r\n" +
		"X-Request-ID: id\r\nTraceparent: tp\r\nTracestate: ts\r\nExpect: 100-continue\r\nContent-Length: 12\r\nConnection: close\r\n" +
		"content-Type: t\r\nContent-encoding: br\r\n\r\n")
	eq("type", string(h.ContentType), "t")
	eq("method", string(h.Method), "PUT")
	eq("target", string(h.Target), "/a?b")
	eq("host", string(h.Host), "h:1")
	if len(h.ForwardedFor) != 2 {
		t.Fatalf("X-Forwarded-For: %q", h.ForwardedFor)
	}
	eq("for", string(h.ForwardedFor[0])+"|"+string(h.ForwardedFor[1]), "1|2, 3")
	eq("proto", string(h.ForwardedProto), "https")
	eq("fhost", string(h.ForwardedHost), "fh")
	eq("id", string(h.RequestID), "id")
	eq("traceparent", string(h.TraceParent), "tp")
	eq("tracestate", string(bytes.Join(h.TraceStates, []byte(","))), "ts")
	if !h.Expect || !h.Close || !h.Encoded || h.ContentLength != 12 || h.Minor != 1 || !h.HasBody() {
		t.Errorf("%+v", h)
	}

	// Nothing of an earlier request is left.
	scan("GET / HTTP/1.1\r\nHost: b\r\n\r\n")
	if h.Expect || h.Close || h.Encoded || h.ContentType != nil || h.ContentLength != 0 || h.HasBody() || len(h.ForwardedFor) != 0 || h.ForwardedProto != nil || h.ForwardedHost != nil ||
		h.RequestID != nil || h.TraceParent != nil || len(h.TraceStates) != 0 || len(h.AppendKept(nil)) != 0 || string(h.Host) != "b" {
		t.Errorf("%+v", h)
	}
	scan("POST / HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n")
	if h.ContentLength != ChunkedBody || !h.HasBody() {
		t.Errorf("%+v", h)
	}

	// HTTP/1.0 closes unless it asks not to: RFC 9112 §9.3.
	f := func(head string, closes bool) {
		t.Helper()
		if scan(head); h.Close != closes {
			t.Errorf("%q: close %v", head, h.Close)
		}
	}
	f("GET / HTTP/1.0\r\n\r\n", true)
	f("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", false)
	f("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", true)
	f("GET / HTTP/1.0\r\nConnection: a\r\nConnection: keep-alive\r\n\r\n", false)
	f("GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n", true)
}

// RFC 9110 §10.1.1: a server that receives a 100-continue expectation in an HTTP/1.0 request ignores it.
func TestRequestExpectOfOldVersion(t *testing.T) {
	var h RequestHead
	if v := scanRequest(&h, "POST / HTTP/1.0\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"); v != None || h.Expect {
		t.Errorf("%v, expects %v", v, h.Expect)
	}
}

// neverKept are the names that no message may pass on, in lower case.
var neverKept = []string{
	"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "content-length",
}

// checkKept checks the lines that travel on against the block they come from.
func checkKept(t *testing.T, f *fields, never []string) []byte {
	t.Helper()
	kept := f.AppendKept(nil)
	lines := strings.SplitAfter(string(f.block), "\r\n")
	for l := range strings.SplitAfterSeq(string(kept), "\r\n") {
		if l == "" {
			continue
		}
		i := slices.Index(lines, l)
		if i < 0 {
			t.Fatalf("kept %q, which is no line, or out of order, of %q", l, f.block)
		}
		lines = lines[i+1:]
		name, _, ok := strings.Cut(l, ":")
		if !ok || !strings.HasSuffix(l, "\r\n") || strings.ContainsAny(l[:len(l)-2], "\r\n\x00\x7f") {
			t.Fatalf("kept %q", l)
		}
		if slices.Contains(never, strings.ToLower(name)) || f.isNominated([]byte(name)) {
			t.Fatalf("kept %q of %q", l, f.block)
		}
	}
	return kept
}

func FuzzRequestHead(f *testing.F) {
	for _, block := range []string{
		"Host: a\r\n\r\n",
		"Host: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
		"Host: a\r\nTransfer-Encoding: identity\r\n\r\n",
		"Host: a\r\nX Transfer-Encoding: chunked\r\n\r\n",
		"Host: a\r\nContent-Length : 5\r\n\r\n",
		"Host: a\nContent-Length: 5\r\n\r\n",
		"Host: a\r\n\nGET / HTTP/1.1\r\nHost: b\r\n\r\n",
		"Host: a\r\nA: b\r\n c\r\n\r\n",
		"Host: a\r\nX_Forwarded_For: 1\r\n\r\n",
		"Host: u:p@a\r\n\r\n",
		"Host: a\r\nHost: a\r\n\r\n",
		"Host: a\r\nA: 1\r\nB: 2\r\nConnection: a, close,,\tB\t\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n",
		"Host: a\r\nExpect: 100-continue\r\nTE: trailers\r\nKeep-Alive: 5\r\n\r\n",
		"Host: a\r\nA:\x00\r\nB:\x7f\r\n\r\n",
		"Host: a\r\nX-Forwarded-For: 1\r\nX-Forwarded-For: 2\r\nX-Request-ID: 3\r\ntraceparent: 4\r\n\r\n",
		"Host: a\r\nContent-Length: 999999999999999999\r\n\r\n",
		"Host: a\r\nContent-Type: t\r\nContent-Encoding: br\r\n\r\n",
		"Host: a\r\nContent-Type: t\r\nContent-Encoding: br\r\nConnection: content-type, Content-Encoding\r\n\r\n",
	} {
		f.Add("POST", "/v1/x?y=z", "HTTP/1.1", []byte(block))
	}
	f.Add("GET", "//evil", "HTTP/1.1", []byte("Host: a\r\n\r\n"))
	f.Add("GET", "http://evil/", "HTTP/1.1", []byte("Host: a\r\n\r\n"))
	f.Add("get", "/", "HTTP/1.0", []byte("\r\n"))
	f.Add("GET", "/a%2f..%2fb", "HTTP/2.0", []byte(""))
	f.Fuzz(func(t *testing.T, method, target, proto string, block []byte) {
		var h RequestHead
		if h.Scan([]byte(method), []byte(target), []byte(proto), block) != None {
			return
		}
		if kind, _ := h.Field("content-type"); !bytes.Equal(kind, h.ContentType) {
			t.Fatalf("Content-Type %q, want %q", h.ContentType, kind)
		}
		if _, encoded := h.Field("content-encoding"); encoded != h.Encoded {
			t.Fatalf("encoded is %v", h.Encoded)
		}
		never := append([]string{"host", "expect", "proxy-authorization", "http2-settings"}, neverKept...)
		kept := checkKept(t, &h.fields, never)
		for name := range strings.SplitSeq(string(kept), "\r\n") {
			if name, _, _ = strings.Cut(name, ":"); strings.Contains(name, "_") && impersonates([]byte(name)) {
				t.Fatalf("kept %q", name)
			}
		}
		asked := target
		if target = string(h.Target); h.ContentLength < ChunkedBody || target[0] != '/' || strings.HasPrefix(target, "//") || strings.ContainsAny(target, " #\r\n\x00") {
			t.Fatalf("%q with length %d", target, h.ContentLength)
		}
		if len(h.Host) == 0 && h.Minor == 1 || strings.ContainsAny(string(h.Host), "@/?#\\ ,%") {
			t.Fatalf("host %q", h.Host)
		}

		var again RequestHead
		if v := again.Scan([]byte(method), []byte(target), []byte("HTTP/1.0"), append(kept, "\r\n"...)); v != None {
			t.Fatalf("kept lines %q: %v", kept, v)
		}
		if got := again.AppendKept(nil); string(got) != string(kept) {
			t.Fatalf("kept lines %q: kept the second time: %q", kept, got)
		}

		agreesWithNetHTTP(t, &h, asked+" "+proto, block)
	})
}

// agreesWithNetHTTP asks a second parser where the message ends.
func agreesWithNetHTTP(t *testing.T, h *RequestHead, targetAndProto string, block []byte) {
	head := string(h.Method) + " " + targetAndProto + "\r\n" + string(block)
	if !strings.HasSuffix(head, "\r\n\r\n") {
		head += "\r\n"
	}
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head)))
	if err != nil {
		return
	}
	length := r.ContentLength
	if len(r.TransferEncoding) > 0 {
		length = ChunkedBody
	}
	if length != h.ContentLength || r.Host != string(h.Host) || !strings.HasSuffix(r.RequestURI, strings.TrimPrefix(string(h.Target), "/")) {
		t.Fatalf("%q: net/http sees length %d, host %q, target %q; here %d, %q, %q", head, length, r.Host, r.RequestURI, h.ContentLength, h.Host, h.Target)
	}
}

// A path is plain if there is nothing in it to decode or to remove; what stands in the query is not looked at.
func TestPlainTargets(t *testing.T) {
	f := func(target string, want bool) {
		t.Helper()
		var h RequestHead
		if v := h.Scan([]byte("GET"), []byte(target), []byte("HTTP/1.1"), []byte("Host: a\r\n\r\n")); v != None || h.Plain != want {
			t.Errorf("%q: %v, plain %t", target, v, h.Plain)
		}
	}
	f("/", true)
	f("/a.b/c.", true)
	f("/a?b=%2F../x//y", true)
	f("http://b/a", true)
	f("http://b?a=%2F", true)
	f("/a%2Fb", false)
	f("/.a", false)
	f("/a/../b", false)
	f("/a//b", false)
	f("/a//", false)
	f("http://b/%61", false)
}

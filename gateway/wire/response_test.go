package wire

import (
	"bufio"
	"bytes"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
)

func TestResponsePolicy(t *testing.T) {
	f := func(head string, want Violation) {
		t.Helper()
		var h ResponseHead
		if got := h.Scan([]byte(head)); got != want {
			t.Errorf("%q: %q; want %q", head, got, want)
		}
	}
	line := func(line string, want Violation) { t.Helper(); f(line+"\r\nA: b\r\n\r\n", want) }
	field := func(lines string, want Violation) {
		t.Helper()
		f("HTTP/1.1 200 OK\r\n"+lines+"\r\n", want)
		f("HTTP/1.1 200 OK\r\nA: b\r\n"+lines+"C: d\r\n\r\n", want)
	}

	// status lines: RFC 9112 §4
	for _, l := range []string{
		"HTTP/1.1 200 OK", "HTTP/1.0 200 OK", "HTTP/1.1 200 ", "HTTP/1.1 200", "HTTP/1.1 100 Continue", "HTTP/1.1 599 x y\tz", "HTTP/1.1 404 \xc3\xa9", "HTTP/1.1 200  OK",
	} {
		line(l, None)
	}
	for _, l := range []string{
		"", "HTTP/1.1", "HTTP/1.1 ", "HTTP/1.1 20", "HTTP/1.1 2000", "HTTP/1.1 200x", "HTTP/1.1 -01 x", "HTTP/1.1 +20 x", "HTTP/1.1 099 x", "HTTP/1.1 000 x", "HTTP/1.1 600 x",
		"HTTP/1.1 999 x", "HTTP/1.1 2 0 x", "HTTP/1.1  200 OK", "HTTP/1.1\t200 OK", "HTTP/2.0 200 OK", "HTTP/1.2 200 OK", "HTTP/1.12 00 OK", "http/1.1 200 OK", "ICY 200 OK",
		" HTTP/1.1 200 OK", "HTTP/1.1 200 O\x00K", "HTTP/1.1 200 O\rK", "HTTP/1.1 200 OK\r", "HTTP/1.1 200\tOK", "HTTP/1.1 200 \x7f",
	} {
		line(l, BadStatus)
	}
	f("HTTP/1.1 200 OK\nA: b\r\n\r\n", BadStatus)
	f("HTTP/1.1 200 OK", BadStatus)
	f("HTTP/1.1 200 OK\r", BadStatus)
	f("\r\nHTTP/1.1 200 OK\r\n\r\n", BadStatus)
	f("\nHTTP/1.1 200 OK\r\n\r\n", BadStatus)
	f("", BadStatus)
	f("HTTP/1.1 200 OK\r\n\r\n", None)

	// framing: RFC 9112 §6
	field("Content-Length: 5\r\n", None)
	field("Content-Length: 5\r\ncontent-length: 05\r\n", None)
	field("Content-Length: 5\r\nContent-Length: 6\r\n", BadContentLength)
	field("Content-Length: 0\r\nContent-Length: 0\r\nContent-Length: 1\r\n", BadContentLength)
	for _, v := range []string{"", "+3", "-1", "0x3", "3_0", "3,3", "3, 3", "9223372036854775808", "18446744073709551619", "3 x"} {
		field("Content-Length: "+v+"\r\n", BadContentLength)
	}
	field("Transfer-Encoding: chunked\r\n", None)
	field("transfer-encoding:\tCHUNKED \r\n", None)
	for _, v := range []string{"", "identity", "gzip", "gzip, chunked", "chunked, chunked", "chunked;q=1", "xchunked", "chunked,"} {
		field("Transfer-Encoding: "+v+"\r\n", BadTransferEncoding)
	}
	field("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", BadTransferEncoding)
	field("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", LengthAndEncoding)
	field("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", LengthAndEncoding)
	f("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", BadTransferEncoding)
	f("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", LengthAndEncoding)

	// lines
	field("Content-Length : 2\r\n", BadName)
	field("Content Length: 2\r\n", BadName)
	field(": b\r\n", BadName)
	field("A: b\nSet-Cookie: p=1\r\n", BareLF)
	field("A: b\r\n c\r\n", ObsFold)
	field("A: b\rc\r\n", BadValue)
	field("A: b\x00\r\n", BadValue)
	f("HTTP/1.1 200 OK\r\n A: b\r\n\r\n", ObsFold)
	f("HTTP/1.1 200 OK\r\n\r\nbody", BadFraming)
	f("HTTP/1.1 200 OK\r\nA: b", BadFraming)
	field("X_Under_Score: 1\r\n", None) // an upstream's business
}

func TestResponseKept(t *testing.T) {
	f := func(block, want string) {
		t.Helper()
		var h ResponseHead
		if v := h.Scan([]byte("HTTP/1.1 200 OK\r\n" + block + "\r\n")); v != None {
			t.Fatalf("%q: %v", block, v)
		}
		if got := string(h.AppendKept([]byte("x"))); got != "x"+want {
			t.Errorf("%q keeps %q; want %q", block, got, want)
		}
	}
	all := "ETag:\"x\"\r\nWWW-authenticate:  Basic \r\nSet-Cookie: a\r\nset-cookie: b\r\nDate: d\r\nContent-Type: t\r\nX-Empty:\r\nServer: s\r\nExpect: x\r\nHost: y\r\nHTTP2-Settings: z\r\n"
	f(all, all)
	for _, gone := range []string{
		"Connection: close", "Keep-Alive: 5", "Proxy-Connection: x", "TE: x", "Trailer: x", "Upgrade: x", "Transfer-Encoding: chunked", "Content-Length: 5",
		"X-Request-ID: theirs", "Proxy-Authenticate: Basic",
	} {
		for _, l := range []string{gone, strings.ToLower(gone), strings.ToUpper(gone)} {
			f(l+"\r\n", "")
			f("A: 1\r\n"+l+"\r\nB: 2\r\n", "A: 1\r\nB: 2\r\n")
		}
	}
	f("Content-Length: 5\r\nA: 1\r\nContent-Length: 5\r\n", "A: 1\r\n")
}

func TestResponseFields(t *testing.T) {
	var h ResponseHead
	f := func(head string, status int, reason string, length int64, closes bool) {
		t.Helper()
		if v := h.Scan([]byte(head)); v != None {
			t.Fatalf("%q: %v", head, v)
		}
		if h.Status != status || string(h.Reason) != reason || h.ContentLength != length || h.Close != closes {
			t.Errorf("%q: %d %q, length %d, close %v", head, h.Status, h.Reason, h.ContentLength, h.Close)
		}
	}
	f("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nDate: x\r\nContent-Type: text/event-stream; charset=utf-8\r\nConnection: close\r\n\r\n", 200, "OK", 5, true)
	if !h.HasDate || !h.EventStream() || string(h.ContentType) != "text/event-stream; charset=utf-8" || h.Minor != 1 {
		t.Errorf("%+v", h)
	}
	// Nothing of an earlier response is left.
	f("HTTP/1.0 404 Not Found\r\n\r\n", 404, "Not Found", UntilClose, true)
	if h.HasDate || h.EventStream() || h.ContentType != nil || h.Minor != 0 || len(h.AppendKept(nil)) != 0 {
		t.Errorf("%+v", h)
	}
	f("HTTP/1.1 204\r\n\r\n", 204, "", UntilClose, false)
	f("HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n", 200, "", ChunkedBody, false)
	f("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", 200, "OK", 0, false)
	f("HTTP/1.0 200 OK\r\nConnection: keep-alive, close\r\n\r\n", 200, "OK", UntilClose, true)

	stream := func(value string, want bool) {
		t.Helper()
		if f("HTTP/1.1 200\r\nContent-Type: "+value+"\r\n\r\n", 200, "", UntilClose, false); h.EventStream() != want {
			t.Errorf("%q is an event stream: %v", value, !want)
		}
	}
	stream("text/event-stream", true)
	stream("Text/Event-Stream;charset=UTF-8", true)
	stream("text/event-strea", false)
	stream("text/html", false)
	stream("", false)
}

func TestResponseBodyLength(t *testing.T) {
	f := func(head string, method string, want int64) {
		t.Helper()
		var h ResponseHead
		if v := h.Scan([]byte(head + "\r\n")); v != None {
			t.Fatal(v)
		}
		if got := h.BodyLength([]byte(method)); got != want {
			t.Errorf("%q, %s: body of %d; want %d", head, method, got, want)
		}
	}
	lengths := map[string]int64{"Content-Length: 7\r\n": 7, "Content-Length: 0\r\n": 0, "Transfer-Encoding: chunked\r\n": ChunkedBody, "": UntilClose}
	for field, length := range lengths {
		for _, status := range []string{"200", "201", "206", "301", "400", "404", "500", "205"} {
			f("HTTP/1.1 "+status+" x\r\n"+field, "GET", length)
			f("HTTP/1.1 "+status+" x\r\n"+field, "HEAD", 0)
		}
		for _, status := range []string{"100", "101", "103", "199", "204", "304"} {
			f("HTTP/1.1 "+status+" x\r\n"+field, "GET", 0)
			f("HTTP/1.1 "+status+" x\r\n"+field, "HEAD", 0)
		}
	}
}

func TestFindHeadEnd(t *testing.T) {
	f := func(b string, from, want int) {
		t.Helper()
		if got := FindHeadEnd([]byte(b), from); got != want {
			t.Errorf("FindHeadEnd(%q, %d) = %d; want %d", b, from, got, want)
		}
	}
	f("", 0, 0)
	f("\r\n\r\n", 0, 4)
	f("\r\n\r", 0, 0)
	f("a\r\n\r\nb\r\n\r\n", 0, 5)
	f("a\r\n\r\n", 4, 5)
	f("a\n\n", 0, 0)
	f("a\r\n\n", 0, 0)
	f("a\n\r\n", 0, 0)
	f("\r\r\n\r\n", 0, 5)
	f("\r\n\r\r\n\r\n", 0, 7)

	// Found at the same place however the bytes come.
	random := rand.New(rand.NewPCG(3, 4))
	for range 20_000 {
		b := make([]byte, 1+random.IntN(24))
		for i := range b {
			b[i] = "\r\r\n\n\r\nx"[random.IntN(7)]
		}
		whole := FindHeadEnd(b, 0)
		got, looked := 0, 0
		for n := 0; n < len(b) && got == 0; {
			n = min(len(b), n+1+random.IntN(5))
			got = FindHeadEnd(b[:n], looked)
			looked = n
		}
		if got != whole {
			t.Fatalf("%q: %d in pieces, %d at once", b, got, whole)
		}
	}
}

func FuzzResponseHead(f *testing.F) {
	for _, head := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/plain\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
		"HTTP/1.0 200\r\nTransfer-Encoding: chunked\r\n\r\n",
		"HTTP/1.1 99 x\r\n\r\n", "HTTP/1.1 600 x\r\n\r\n", "HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
		"HTTP/1.1 200 OK\r\nX: a\nSet-Cookie: p=1\r\n\r\n",
		"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\n",
		"HTTP/1.1 200 OK\r\nConnection: x, close, ,y\r\nX: 1\r\nZ: 2\r\ny: 3\r\n\r\n",
		"HTTP/2.0 200 OK\r\n\r\n", "\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\nbody",
	} {
		f.Add([]byte(head))
	}
	f.Fuzz(func(t *testing.T, head []byte) {
		var h ResponseHead
		if h.Scan(head) != None {
			return
		}
		if h.Status < 100 || h.Status > 599 || h.ContentLength < UntilClose || bytes.ContainsAny(h.Reason, "\r\n\x00") {
			t.Fatalf("%q: status %d, length %d, reason %q", head, h.Status, h.ContentLength, h.Reason)
		}
		kept := checkKept(t, &h.fields, append([]string{"x-request-id", "proxy-authenticate"}, neverKept...))
		var again ResponseHead
		if v := again.Scan([]byte("HTTP/1.1 200 OK\r\n" + string(kept) + "\r\n")); v != None {
			t.Fatalf("kept lines %q: %v", kept, v)
		}
		if got := again.AppendKept(nil); !bytes.Equal(got, kept) {
			t.Fatalf("kept lines %q: kept the second time: %q", kept, got)
		}

		// A second parser sees the same end of the message. net/http believes a Transfer-Encoding on 1xx.
		if !bytes.HasSuffix(head, headEnd) || h.Status < 200 {
			return
		}
		r, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(head)), nil)
		if err != nil {
			return
		}
		length := r.ContentLength
		switch {
		case len(r.TransferEncoding) > 0:
			length = ChunkedBody
		case length < 0:
			length = UntilClose
		}
		if r.StatusCode != h.Status || length != h.BodyLength([]byte("GET")) {
			t.Fatalf("%q: net/http sees %d and a length of %d; here %d, %d", head, r.StatusCode, length, h.Status, h.BodyLength([]byte("GET")))
		}
	})
}

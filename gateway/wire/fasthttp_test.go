package wire

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"
)

// fasthttp's own parser and the ClientConn read the same bytes. A wire stands between the two, knows all bytes
// the client sent, frames them by itself, and objects to every byte that fasthttp gets and that is no head's.

type sentBytes struct {
	*ClientConn
	t      *testing.T
	sent   []byte // by the client, from the first to the last byte
	random *rand.Rand

	next    int    // where in sent the next head begins, empty lines included
	head    []byte // the current head, as far as it was handed out
	ended   string // why no head may follow
	handled []string
}

func (s *sentBytes) Read(p []byte) (int, error) {
	n, err := s.ClientConn.Read(p)
	if n == 0 {
		return n, err
	}
	if s.ended != "" {
		s.t.Fatalf("%q was handed out after %s\nof %q", p[:n], s.ended, s.sent)
	}
	if len(s.head) == 0 {
		for s.next < len(s.sent) && (s.sent[s.next] == '\r' || s.sent[s.next] == '\n') {
			s.next++
		}
	}
	s.head = append(s.head, p[:n]...)
	rest := s.sent[min(s.next, len(s.sent)):]
	if end := FindHeadEnd(rest, 0); end > 0 {
		rest = rest[:end]
	}
	if !bytes.HasPrefix(rest, s.head) {
		s.t.Fatalf("handed out %q; the head at %d is %q\nof %q", s.head, s.next, rest, s.sent)
	}
	return n, err
}

// serve is what the server's handler does with a head and a body.
func (s *sentBytes) serve(ctx *fasthttp.RequestCtx) {
	h := &ctx.Request.Header
	head := string(s.head)
	s.head = s.head[:0]
	end := func(why string) {
		s.ended = why
		ctx.SetConnectionClose()
	}
	parsed := string(h.Method()) + " " + string(h.RequestURI()) + " " + string(h.Protocol()) + "\r\n" + string(h.RawHeaders())
	if len(h.RawHeaders()) == 0 {
		parsed += "\r\n"
	}
	if !takeHead(s.ClientConn, parsed) {
		end("a disagreement")
		return
	}
	if parsed != head || s.HeadLen() != len(head) {
		s.t.Fatalf("fasthttp read %q; handed out were %d bytes %q\nof %q", parsed, s.HeadLen(), head, s.sent)
	}
	var scanned RequestHead
	if v := scanned.Scan(h.Method(), h.RequestURI(), h.Protocol(), h.RawHeaders()); v != None {
		end(v.String())
		return
	}
	s.handled = append(s.handled, string(scanned.Target))
	s.next += len(head)
	s.body(&scanned, end)
	if scanned.Close {
		end("a close")
	}
}

// body reads the body, or a part of it, and checks it against a second decoder.
func (s *sentBytes) body(h *RequestHead, end func(string)) {
	const limit = 64
	s.ExpectBody(h.ContentLength, limit)
	if h.Expect {
		s.ExpectContinue()
	}
	rest := string(s.sent[s.next:])
	var want string
	whole := true
	switch {
	case h.ContentLength == ChunkedBody:
		var after string
		var more, ok bool
		want, after, more, ok = decodeByLines(rest)
		whole = ok && !more
		s.next = len(s.sent) - len(after)
	case h.ContentLength > int64(len(rest)):
		want, whole = rest, false
	default:
		want = rest[:h.ContentLength]
		s.next += len(want)
	}
	if s.random.IntN(4) == 0 {
		if !s.KeepsAlive() {
			end("an unread body")
		}
		if !whole || len(want) > limit {
			s.ended = "a body without an end"
		}
		return
	}
	got, err := readBody(s.ClientConn, 1+s.random.IntN(100))
	switch {
	case err == nil && (!whole || got != want):
		s.t.Fatalf("body %q; want %q, whole %v\nof %q", got, want, whole, s.sent)
	case err != nil && whole && len(want) <= limit:
		s.t.Fatalf("body %q, %v; want %q\nof %q", got, err, want, s.sent)
	case !strings.HasPrefix(want, got) && whole:
		s.t.Fatalf("body %q is no part of %q\nof %q", got, want, s.sent)
	case err != nil:
		// The server closes only what cannot be kept: sign in reply.go.
		if s.ended = fmt.Sprint("a body that ended with: ", err); !s.KeepsAlive() {
			end(s.ended)
		}
	case !s.KeepsAlive():
		s.t.Fatalf("a whole body ends the connection\nof %q", s.sent)
	}
}

// hideBody is the hook of the same name in server.go.
func hideBody(h *fasthttp.RequestHeader) fasthttp.RequestConfig {
	if h.ContentLength() != 0 {
		h.SetContentLength(0)
	}
	if len(h.Peek("Expect")) > 0 {
		h.Del("Expect")
	}
	return fasthttp.RequestConfig{}
}

type silentLog struct{}

func (silentLog) Printf(string, ...any) {}

// differential is a server set up as the gateway's.
var differential = &fasthttp.Server{
	Handler: func(ctx *fasthttp.RequestCtx) { ctx.Conn().(*sentBytes).serve(ctx) },
	ErrorHandler: func(ctx *fasthttp.RequestCtx, err error) {
		s := ctx.Conn().(*sentBytes)
		s.ended = "an error: " + err.Error()
		ctx.SetStatusCode(400)
	},
	HeaderReceived:               hideBody,
	ReadBufferSize:               1 << 10,
	NoDefaultServerHeader:        true,
	NoDefaultContentType:         true,
	DisablePreParseMultipartForm: true,
	SecureErrorLogMessage:        true,
	Logger:                       silentLog{},
}

// serveBytes serves the bytes, cut at random places, and returns the targets of the requests that passed.
func serveBytes(t *testing.T, sent []byte, seed uint64) []string {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 12))
	var at []int
	for range random.IntN(6) {
		at = append(at, random.IntN(len(sent)+1))
	}
	pieces := cut(string(sent), at...)
	if random.IntN(8) == 0 {
		pieces = each(string(sent))
	}
	c, _ := scriptedClient(pieces...)
	s := &sentBytes{ClientConn: c, t: t, sent: sent, random: random}
	if err := differential.ServeConn(s); err != nil && err != io.EOF && s.ended == "" {
		t.Logf("ServeConn: %v", err)
	}
	return s.handled
}

// nasty are the inputs on which HTTP implementations are known to differ.
var nasty = []string{
	onTheWire(pipeline),
	"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nContent-Length: 3\r\n\r\nabcGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nX Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabcGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX0\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\nabc",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 9\r\n\r\n--x\r\n\r\n--GET /b HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET / HTTP/1.1\nHost: a\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\n\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET / HTTP/1.1\nHost: a\n\nGET /b HTTP/1.1\nHost: a\n\n",
	"GET / HTTP/1.0\r\n\r\nGET /b HTTP/1.0\r\n\r\n",
	"GET / HTTP/1.0\n\r\nGET /b HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
	"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /b HTTP/1.0\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n \r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /\r\n\r\n", "\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / a HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\nGET /",
	"GET http://u@b/ HTTP/1.1\r\nHost: a\r\n\r\n", "GET //b HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: u:p@a\r\nAuthorization: x\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
	"GET /" + strings.Repeat("x", 2000) + " HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n\r\n",
	strings.Repeat("\r\n", 9) + "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
}

// TestAgreesWithFasthttp serves the nasty inputs in many pieces.
func TestAgreesWithFasthttp(t *testing.T) {
	for i, sent := range nasty {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			for seed := range uint64(200) {
				serveBytes(t, []byte(sent), seed)
			}
		})
	}
	// And what is not nasty passes, all of it.
	for seed := range uint64(200) {
		if got := len(serveBytes(t, []byte("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /3 HTTP/1.1\r\nHost: a\r\n\r\n"), seed)); got != 3 {
			t.Errorf("seed %d: %d of 3 requests passed", seed, got)
		}
	}
}

func FuzzClientConn(f *testing.F) {
	for i, sent := range nasty {
		f.Add([]byte(sent), uint64(i))
	}
	f.Fuzz(func(t *testing.T, sent []byte, seed uint64) {
		if len(sent) > 4<<10 {
			return
		}
		serveBytes(t, sent, seed)
	})
}

package bench

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"aigateway/gateway/config"
	"aigateway/gateway/server"

	"github.com/valyala/fasthttp"
)

// hitSizes are bodies of stored answers, in bytes.
var hitSizes = []int{200, 2 << 10, 32 << 10}

// BenchmarkHit compares a hit in memory, through the whole gateway with its limits and metrics, with a fasthttp
// handler that does nothing but write the same lines and body. Each is a process of its own.
func BenchmarkHit(b *testing.B) {
	up := start(b, "upstream", "")
	for _, size := range hitSizes {
		for _, impl := range []string{"gateway", "handler"} {
			b.Run(fmt.Sprintf("size=%d/impl=%s", size, impl), func(b *testing.B) {
				p := start(b, "hit-"+impl, up.addr)
				defer p.stop()
				dial := func() (net.Conn, error) { return net.Dial("tcp", p.addr) }
				q := newQuestion(hitRequest(size), response(0, size))
				if impl == "gateway" {
					wantHit(b, p.addr, size)
				}
				drive(b, dial, 4000, q)
				cpu := p.cpu(b)
				b.ResetTimer()
				failed := drive(b, dial, b.N, q)
				b.StopTimer()
				report(b, impl, failed)
				b.ReportMetric(float64(p.cpu(b)-cpu)/1e3/float64(b.N), "cpu-µs/op")
			})
		}
	}
}

// hitRequest asks for what the upstream answers with a body of that size.
func hitRequest(size int) []byte {
	return fmt.Appendf(nil, "GET /fresh/body/%d HTTP/1.1\r\nHost: gateway.example\r\nAccept: application/json\r\n"+
		"Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\nUser-Agent: bench/1.0\r\n\r\n", size)
}

// wantHit makes sure that what is measured is what is meant.
func wantHit(b *testing.B, addr string, size int) {
	b.Helper()
	for i, want := range []string{"MISS", "HIT"} {
		res, err := http.Get(fmt.Sprintf("http://%s/fresh/body/%d", addr, size))
		if err != nil {
			b.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if got := res.Header.Get("X-Cache"); got != want {
			b.Fatalf("request %d: X-Cache %q, want %s", i, got, want)
		}
	}
}

// serveHits is the gateway, or the handler, of BenchmarkHit.
func serveHits(as string, ln net.Listener, upstream string) error {
	if as == "hit-handler" {
		return serveHandler(ln)
	}
	file := "pools: {p: {upstreams: [{url: \"http://" + upstream + "\"}]}}\nroutes: [{path: \"/fresh/*\", pool: p, cache: {ttl: 1h}}]\n"
	s, _, err := config.Load(config.Input{
		Environ: unlimited(), File: "bench.yaml", ReadFile: func(string) ([]byte, error) { return []byte(file), nil },
	})
	if err != nil {
		return err
	}
	g, err := server.New(s, server.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer g.Close()
	return g.Serve(ln)
}

// serveHandler writes what the gateway writes for a hit, without any of the work.
func serveHandler(ln net.Listener) error {
	bodies := map[string][]byte{}
	for _, size := range hitSizes {
		bodies[fmt.Sprint("/fresh/body/", size)] = []byte(strings.Repeat("r", size-7) + "the end")
	}
	s := &fasthttp.Server{
		ReadBufferSize: 16 << 10, NoDefaultServerHeader: true, NoDefaultDate: true,
		Handler: func(ctx *fasthttp.RequestCtx) {
			h := &ctx.Response.Header
			h.Set("Age", "12")
			h.Set("Via", "1.1 aigateway")
			h.Set("X-Request-ID", "0123456789abcdef0123456789abcdef")
			h.Set("X-Cache", "HIT")
			h.Set("Cache-Status", "aigateway; hit; ttl=3588")
			h.Set("RateLimit-Policy", `"client";q=1000000000;w=1, "global";q=1000000000;w=1`)
			h.Set("RateLimit", `"client";r=999999999;t=0`)
			h.Set("Date", "Mon, 23 Nov 2026 00:00:00 GMT")
			h.Set("Server", "uvicorn")
			h.SetContentType("application/json")
			ctx.Response.SetBody(bodies[string(ctx.Path())])
		},
	}
	return s.Serve(ln)
}

// undated is a response without its Date, which would make it too old to be stored.
func undated(response string) string {
	before, rest, _ := strings.Cut(response, "date: ")
	_, after, _ := strings.Cut(rest, "\r\n")
	return before + after
}

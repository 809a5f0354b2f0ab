package bench

import (
	"fmt"
	"net"
	"os"
	"testing"

	"github.com/valyala/fasthttp/fasthttputil"
)

// What the gateway answers without its upstream, in memory: the code without the kernel. It has no rivals in one
// process; `make peers` compares the same over loopback.
func BenchmarkAnswers(b *testing.B) {
	const fields = " HTTP/1.1\r\nHost: gateway.example\r\nAccept: application/json\r\nUser-Agent: bench/1.0\r\n\r\n"
	const toUpstream = "LLM_SERVICE_URL=http://127.0.0.1:9"
	f := func(name string, environ []string, q question) {
		b.Run("answer="+name, func(b *testing.B) {
			upstream, front := fasthttputil.NewInmemoryListener(), fasthttputil.NewInmemoryListener()
			defer upstream.Close()
			defer front.Close()
			go serveUpstream(upstream)
			go func() {
				dial := func(string) (net.Conn, error) { return upstream.Dial() }
				if err := serveGateway(front, dial, environ); err != nil {
					fmt.Fprintln(os.Stderr, err)
				}
			}()
			drive(b, front.Dial, 1000, q) // the first one may be let in, or fill the cache
			b.ReportAllocs()
			b.ResetTimer()
			report(b, "gateway", drive(b, front.Dial, b.N, q))
		})
	}
	ok, end := []byte("HTTP/1.1 200"), []byte("the end")
	f("page", unlimited(toUpstream), question{[]byte("GET /limited" + fields), ok, []byte("{\"ok\":true}\n")})
	f("no-route", unlimited(toUpstream), question{[]byte("GET /nowhere" + fields), []byte("HTTP/1.1 404"), []byte("}\n")})
	f("refusal", []string{toUpstream, "CLIENT_RPS=0.000001", "CLIENT_BURST=1"},
		question{request(0, 1<<10), []byte("HTTP/1.1 429"), []byte("too_many_requests\"}}\n")})
	f("hit-2KB", unlimited(toUpstream), question{[]byte("GET /v1/cached/2048" + fields), ok, end})
	f("hit-64KB", unlimited(toUpstream), question{[]byte("GET /v1/cached/65536" + fields), ok, end})
}

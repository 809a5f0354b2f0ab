package bench

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net"
	"os"
	"path/filepath"
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
	f("page", unlimited(toUpstream), question{request: []byte("GET /limited" + fields), begin: ok, end: []byte("{\"ok\":true}\n")})
	f("no-route", unlimited(toUpstream), question{request: []byte("GET /nowhere" + fields), begin: []byte("HTTP/1.1 404"), end: []byte("}\n")})
	f("refusal", []string{toUpstream, "CLIENT_RPS=0.000001", "CLIENT_BURST=1"},
		question{request: request(0, 1<<10), begin: []byte("HTTP/1.1 429"), end: []byte("rate_limit_exceeded\"}}\n")})
	// A wrong key is looked for among 10,000 before its address has to pay: that must not cost more than the refusal above.
	keys := wrongKeys(b)
	wrong := request(0, 1<<10)
	f("wrong-key-refusal", []string{toUpstream, "CLIENT_RPS=0.000001", "CLIENT_BURST=1", "KEYS_FILE=" + keys},
		question{request: wrong, begin: []byte("HTTP/1.1 429"), end: []byte("rate_limit_exceeded\"}}\n")})
	f("wrong-key", append(unlimited(toUpstream), "KEYS_FILE="+keys), question{request: wrong, begin: []byte("HTTP/1.1 401"), end: []byte("invalid_api_key\"}}\n")})
	f("hit-2KB", unlimited(toUpstream), question{request: []byte("GET /v1/cached/2048" + fields), begin: ok, end: end})
	f("hit-64KB", unlimited(toUpstream), question{request: []byte("GET /v1/cached/65536" + fields), begin: ok, end: end})
}

// wrongKeys writes a file of keys and returns its path.
func wrongKeys(b *testing.B) string {
	var text bytes.Buffer
	text.WriteString("keys:\n")
	for i := range 10_000 {
		fmt.Fprintf(&text, "  - {id: k%d, sha256: [%x]}\n", i, sha256.Sum256([]byte{byte(i), byte(i >> 8)}))
	}
	path := filepath.Join(b.TempDir(), "keys.yaml")
	if err := os.WriteFile(path, text.Bytes(), 0o600); err != nil {
		b.Fatal(err)
	}
	return path
}

package bench

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// What a flood of spoofed clients costs: requests for a page of the gateway's own, each from another address in
// X-Forwarded-For, beside the same requests from one address. The table of clients has a fixed size, so the
// resident memory of the process must not follow the number of clients.
func BenchmarkSpoofedClients(b *testing.B) {
	for _, n := range []int{1, 5_000_000} {
		b.Run(fmt.Sprintf("clients=%d", n), func(b *testing.B) {
			p := start(b, "gateway", "127.0.0.1:9")
			defer p.stop()
			spoof(b, p.addr, 20_000, n)
			cpu, rss := p.cpu(b), p.rss(b)
			b.ResetTimer()
			spoof(b, p.addr, b.N, n)
			b.StopTimer()
			b.ReportMetric(float64(p.cpu(b)-cpu)/1e3/float64(b.N), "cpu-µs/op")
			b.ReportMetric(float64(rss)/(1<<20), "RSS-MB-before")
			b.ReportMetric(float64(p.rss(b))/(1<<20), "RSS-MB-after")
		})
	}
}

// spoof sends n requests from as many clients as given, one after the other and around again.
func spoof(b *testing.B, addr string, n, from int) {
	b.Helper()
	const before = "GET /limited HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 11."
	end := []byte(`:true}` + "\n") // of the answer, and of nothing before it
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(clients, n) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				b.Error(err)
				return
			}
			defer conn.Close()
			q, buf := question{request: []byte(before), begin: []byte("HTTP/1.1 200"), end: end}, make([]byte, 4096)
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				c := int(i) % from
				q.request = fmt.Appendf(q.request[:len(before)], "%d.%d.%d\r\n\r\n", c>>16&255, c>>8&255, c&255)
				if !q.ask(conn, buf) {
					b.Error("a request failed")
					return
				}
			}
		}()
	}
	wg.Wait()
}

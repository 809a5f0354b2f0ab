package behaviour

import (
	"bytes"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"aigateway/gateway/testkit"
)

// One thing that many ask for stays in memory while each of a flood of others is asked for once, and the flood takes no
// more memory than it may.
func TestCacheHotKeyInAFlood(t *testing.T) {
	const bound, clients, hotEvery = 32 << 20, 8, 20
	cold := 40_000 // of 2 KB, which is more than twice what there is room for
	switch {
	case testkit.Soak:
		cold = 400_000
	case testkit.Race || testing.Short():
		cold = 8_000
	}
	up := startCannedUpstream(t, with(strings.Repeat("y", 2000)+"result!", fresh))
	g := startGateway(t, "CACHE_ENABLED=true", "PY_SERVICE_URL="+up, "CACHE_MEMORY_BYTES="+itoa(bound), "CACHE_MAX_ENTRIES=1000000")
	g.get("/infer/python?hot")
	before := residentBytes(t)
	var hot, hits atomic.Int64
	var wg sync.WaitGroup
	for n := range clients {
		c := g.Dial()
		wg.Go(func() {
			request := make([]byte, 0, 200)
			answer := make([]byte, 8<<10)
			ask := func(name string, number int) []byte {
				request = append(append(request[:0], "GET /infer/python?"...), name...)
				request = append(strconv.AppendInt(request, int64(number), 10), " HTTP/1.1\r\nHost: a\r\n\r\n"...)
				if _, err := c.Conn.Write(request); err != nil {
					t.Error(err)
					return nil
				}
				for read := 0; ; {
					m, err := c.Conn.Read(answer[read:])
					if err != nil {
						t.Error(err)
						return nil
					}
					if read += m; bytes.HasSuffix(answer[:read], result) {
						return answer[:read]
					}
				}
			}
			for i := range cold / clients {
				if i%1000 == 0 {
					_ = c.SetDeadline(time.Now().Add(testkit.Patience))
				}
				if ask("cold=", n*cold+i) == nil {
					return
				}
				if i%hotEvery == 0 {
					hot.Add(1)
					if bytes.Contains(ask("hot", 0), hitField) {
						hits.Add(1)
					}
				}
			}
		})
	}
	wg.Wait()
	grown := residentBytes(t) - before
	ratio := float64(hits.Load()) / float64(hot.Load())
	t.Logf("%d cold keys, hit ratio of the hot one %.4f, %d MB more resident, %d evictions", cold, ratio, grown>>20, g.Parts().Store.Stats().Evictions)
	if ratio < 0.95 {
		t.Errorf("the hit ratio of the hot key is %.3f", ratio)
	}
	// What is not the cache's: buffers of eight connections and what the collector has not returned.
	if most := int64(bound*13/10 + 16<<20); grown > most && !testkit.Race {
		t.Errorf("%d MB more are resident, want at most %d", grown>>20, most>>20)
	}
	if taken := g.Parts().Store.Stats().Bytes; taken > bound {
		t.Errorf("the memory tier takes %d bytes of %d", taken, bound)
	}
}

var result, hitField = []byte("result!"), []byte("X-Cache: HIT")

// residentBytes is what the process has in memory, once the collector has given back what it can.
func residentBytes(t *testing.T) int64 {
	t.Helper()
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip("no /proc here")
	}
	fields := strings.Fields(string(text))
	pages, _ := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

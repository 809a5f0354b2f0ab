package bench

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What a connection costs while nothing happens on it: resident memory of the gateway's process, per
// connection, above what it takes without any.
func BenchmarkFootprint(b *testing.B) {
	const body = 2 << 10
	post := func(path string) string {
		return strings.Replace(string(request(0, body)), "/v1/body/2048", path, 1)
	}
	for _, state := range []struct {
		name, request, answer string
		conns                 int
	}{
		{"idle", post("/v1/body/2048"), "the end", 5000},
		{"in-flight", post("/v1/hold"), "", 2000},
		{"streaming", post("/v1/drip"), "\n\n\r\n", 2000},
	} {
		for _, impl := range impls {
			b.Run("state="+state.name+"/impl="+impl, func(b *testing.B) {
				as := impl
				if state.name == "streaming" && impl == "fasthttp" {
					as = "fasthttp-stream"
				}
				up := start(b, "upstream", "")
				defer up.stop()
				p := start(b, as, up.addr)
				defer p.stop()
				conns := hold(b, p.addr, 1, state.request, state.answer) // what the first request makes is not a connection's
				before := p.rss(b)
				conns = append(conns, hold(b, p.addr, state.conns, state.request, state.answer)...)
				after := p.rss(b)
				for _, c := range conns {
					c.Close()
				}
				b.ReportMetric(float64(after-before)/float64(state.conns)/1024, "RSS-KB/conn")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// hold opens connections, sends the request on each, waits for the end of its answer, and leaves them open.
func hold(b *testing.B, addr string, n int, request, answer string) (conns []net.Conn) {
	b.Helper()
	buf := make([]byte, 64<<10)
	for range n {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		conns = append(conns, c)
		if _, err := c.Write([]byte(request)); err != nil {
			b.Fatal(err)
		}
		_ = c.SetReadDeadline(time.Now().Add(patience))
		for got := 0; !bytes.HasSuffix(buf[:got], []byte(answer)); {
			m, err := c.Read(buf[got:])
			if err != nil {
				b.Fatal(err)
			}
			got += m
		}
	}
	return conns
}

// rss is the resident memory of the process in bytes, once it has stopped to grow.
func (c *child) rss(b *testing.B) (n int64) {
	b.Helper()
	for last := int64(-1); n != last; {
		last = n
		time.Sleep(300 * time.Millisecond)
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
		if err != nil {
			b.Skipf("there is no resident size to read here: %v", err)
		}
		_, line, _ := strings.Cut(string(text), "VmRSS:")
		line, _, _ = strings.Cut(line, " kB")
		kb, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		n = kb << 10
	}
	return n
}

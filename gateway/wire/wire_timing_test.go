package wire

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http/httputil"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"
)

// What this package costs, beside what others take for the same bytes.

func BenchmarkScan(b *testing.B) {
	b.Run("impl=gateway", func(b *testing.B) {
		var h RequestHead
		b.SetBytes(int64(len(typicalRequest)))
		b.ReportAllocs()
		for b.Loop() {
			if h.Scan(typical.method, typical.target, typical.proto, typical.block) != None {
				b.Fatal("refused")
			}
		}
	})
	b.Run("impl=fasthttp", func(b *testing.B) {
		var h fasthttp.RequestHeader
		head, src := []byte(typicalRequest), bytes.NewReader(nil)
		r := bufio.NewReader(src)
		b.SetBytes(int64(len(head)))
		b.ReportAllocs()
		for b.Loop() {
			src.Reset(head)
			r.Reset(src)
			if err := h.Read(r); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkScanResponse(b *testing.B) {
	b.Run("impl=gateway", func(b *testing.B) {
		var h ResponseHead
		head := []byte(typicalResponse)
		b.SetBytes(int64(len(head)))
		b.ReportAllocs()
		for b.Loop() {
			if h.Scan(head) != None {
				b.Fatal("refused")
			}
		}
	})
	b.Run("impl=fasthttp", func(b *testing.B) {
		var h fasthttp.ResponseHeader
		head, src := []byte(typicalResponse), bytes.NewReader(nil)
		r := bufio.NewReader(src)
		b.SetBytes(int64(len(head)))
		b.ReportAllocs()
		for b.Loop() {
			src.Reset(head)
			r.Reset(src)
			if err := h.Read(r); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkChunked(b *testing.B) {
	for _, size := range []int{64, 4096} {
		var body []byte
		for range 64 {
			body = AppendChunkSize(body, size)
			body = append(append(body, bytes.Repeat([]byte("x"), size)...), "\r\n"...)
		}
		body = append(body, LastChunk...)
		dst := make([]byte, 32<<10)
		b.Run(fmt.Sprintf("chunk=%d/impl=gateway", size), func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				var c Chunked
				for src := body; !c.Done(); {
					data, used, v := c.Next(src)
					if v != None {
						b.Fatal(v)
					}
					copy(dst, data)
					src = src[used:]
				}
			}
		})
		b.Run(fmt.Sprintf("chunk=%d/impl=net-http", size), func(b *testing.B) {
			src := bytes.NewReader(nil)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				src.Reset(body)
				r := httputil.NewChunkedReader(src)
				for {
					if _, err := r.Read(dst); err == io.EOF {
						break
					} else if err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

func BenchmarkFindHeadEnd(b *testing.B) {
	for _, size := range []int{512, 16 << 10} {
		var head []byte
		for len(head) < size {
			head = append(head, "X-Some-Field: some value\r\n"...)
		}
		head = append(head, '\r', '\n')
		b.Run(fmt.Sprintf("size=%d/impl=gateway", size), func(b *testing.B) {
			b.SetBytes(int64(len(head)))
			for b.Loop() {
				if FindHeadEnd(head, 0) != len(head) {
					b.Fatal("not found")
				}
			}
		})
		b.Run(fmt.Sprintf("size=%d/impl=by-lines", size), func(b *testing.B) {
			b.SetBytes(int64(len(head)))
			for b.Loop() {
				n := 0
				for {
					i := bytes.IndexByte(head[n:], '\n')
					n += i + 1
					if i == 1 {
						break
					}
				}
				if n != len(head) {
					b.Fatal("not found")
				}
			}
		})
	}
}

// BenchmarkClientConn is a connection's part in a request: its head, its body and its answer, in memory.
func BenchmarkClientConn(b *testing.B) {
	for _, requests := range []int{1, 4} {
		b.Run(fmt.Sprintf("pipelined=%d", requests), func(b *testing.B) {
			sent := strings.Repeat(typicalRequest+"hello", requests)
			c := Listen(nil, testOptions, nil).admit(&endless{sent: []byte(sent)})
			buf := make([]byte, 16<<10)
			answer := []byte(typicalResponse)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Read(buf); err != nil || !takeHead(c, typicalRequest) {
					b.Fatal(err)
				}
				c.ExpectBody(5, 1<<20)
				if n, err := c.ReadBody(buf); n != 5 || err != nil {
					b.Fatal(n, err)
				}
				if err := c.Send(answer); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkWatch(b *testing.B) {
	w := NewWatch(1 << 40)
	defer w.Close()
	c, u := &ClientConn{socket: socket{fd: 0}}, &UpstreamConn{socket: socket{fd: -1}}
	b.Run("op=add-remove", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			var e Watched
			for pb.Next() {
				w.Add(&e, c, u, nil)
				w.Remove(&e)
			}
		})
	})
	b.Run("op=sweep/clients=1000", func(b *testing.B) {
		near, _ := tcpPair(b)
		conn := &ClientConn{socket: socket{fd: descriptor(near)}}
		entries := make([]Watched, 1000)
		for i := range entries {
			w.Add(&entries[i], conn, u, nil)
		}
		for b.Loop() {
			for i := range w.shards {
				w.shards[i].sweep()
			}
		}
		for i := range entries {
			w.Remove(&entries[i])
		}
	})
}

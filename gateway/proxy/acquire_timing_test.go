package proxy

import (
	"fmt"
	"testing"

	"aigateway/gateway/wire"
)

// What a place costs that is free.
func BenchmarkAcquire(b *testing.B) {
	for _, n := range []int{1, 3} {
		b.Run(fmt.Sprintf("upstreams=%d", n), func(b *testing.B) {
			p := poolOf("p2c", ones(n)...)
			var head wire.RequestHead
			x := &Exchange{Request: Request{Head: &head, Targets: []Target{{Pool: p}}}}
			proxy := &Proxy{}
			b.ReportAllocs()
			for b.Loop() {
				u, _ := proxy.findPlace(x, p)
				p.release(u)
			}
		})
	}
}

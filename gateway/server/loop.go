package server

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"

	"aigateway/gateway/wire"
)

// newToken makes what a gateway knows its own requests by: each process, and each replica, has another.
func newToken() []byte {
	var b [8]byte
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return hex.AppendEncode(nil, b[:])
}

// viaName is how the gateway names itself in Via fields of requests: RFC 9110 §7.6.3, which has a comment stand behind
// the name, and names loops as the purpose of it all.
func viaName(token []byte) string { return wire.Name + " (" + string(token) + ")" }

// loop refuses a request that this gateway has sent: an upstream's URL leads back here, perhaps by way of others. It
// comes before the limit and the cache, in which the request would wait for itself.
func (g *Gateway) loop(x *exchange) (done bool) {
	for _, via := range x.head.Via {
		if bytes.Contains(via, g.token) {
			g.replyFault(x, &looped)
			return true
		}
	}
	return false
}

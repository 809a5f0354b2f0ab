package server

import (
	"time"

	"aigateway/gateway/wire"
)

// slowWork is what /slow simulates.
const slowWork = 120 * time.Millisecond

// slow is the demo route of a slow service.
func (g *Gateway) slow(x *exchange) {
	began := wire.Now()
	body := x.route.work()
	x.worked = wire.Now() - began
	g.replyJSON(x, 200, body)
}

// slowly is its work.
func slowly() []byte {
	time.Sleep(slowWork)
	return slowReply
}

var slowReply = []byte(`{"ok":true,"path":"/slow"}` + "\n")

// limited is the demo route of a service that is limited and never cached.
func (g *Gateway) limited(x *exchange) {
	x.say("Cache-Control", "no-store")
	g.replyJSON(x, 200, limitedReply)
}

var limitedReply = []byte(`{"ok":true}` + "\n")

package server

import (
	"aigateway/gateway/inference"
	"aigateway/gateway/proxy"
	"aigateway/gateway/routing"
)

// A dialect is an exchange as the proxy asks it what is spoken. It finds out when it is asked: hardly ever.
type dialect exchange

func (d *dialect) is() inference.Dialect { return inference.DialectOf(routing.PathOf(d.head.Target)) }

// Known implements [proxy.Dialect].
func (d *dialect) Known() bool { return d.is().Streams() }

// Streams implements [proxy.Dialect].
func (d *dialect) Streams() bool {
	return d.asked != nil && d.asked.place == inJSON && d.asked.dialect != inference.Other && d.asked.scan.Streams()
}

// Content implements [proxy.Dialect].
func (d *dialect) Content(data []byte) bool { return d.is().Content(data) }

// ContextExceeded implements [proxy.Dialect].
func (d *dialect) ContextExceeded(body []byte) bool { return inference.ContextExceeded(body) }

// AppendCut implements [proxy.Dialect].
func (d *dialect) AppendCut(dst []byte, f proxy.Fault) []byte {
	if f == proxy.TimeoutIdle {
		return d.is().AppendCut(dst, inference.Silent.Code, inference.Silent.Message)
	}
	return d.is().AppendCut(dst, inference.Broken.Code, inference.Broken.Message)
}

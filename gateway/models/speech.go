package models

import (
	"aigateway/gateway/inference"
	"aigateway/gateway/proxy"
	"aigateway/gateway/routing"
	"aigateway/gateway/wire"
)

// A Speech is what client and upstream speak, a [proxy.Dialect]. It finds out when it is asked: hardly ever.
type Speech struct {
	Head  *wire.RequestHead
	Asked *Asked // nil: nothing was
}

func (s *Speech) is() inference.Dialect { return inference.DialectOf(routing.PathOf(s.Head.Target)) }

// Known implements [proxy.Dialect].
func (s *Speech) Known() bool { return s.is().Streams() }

// Streams implements [proxy.Dialect].
func (s *Speech) Streams() bool {
	return s.Asked.Dialect() != inference.Other && s.Asked.place == inJSON && s.Asked.scan.Streams()
}

// Content implements [proxy.Dialect].
func (s *Speech) Content(data []byte) bool {
	is := s.is()
	return is.Content(data) || is.Ends(data) // who waits for content of an answer that has ended without any waits in vain
}

// ContextExceeded implements [proxy.Dialect].
func (s *Speech) ContextExceeded(body []byte) bool { return inference.ContextExceeded(body) }

// AppendCut implements [proxy.Dialect].
func (s *Speech) AppendCut(dst []byte, f proxy.Fault) []byte {
	if f == proxy.TimeoutIdle {
		return s.is().AppendCut(dst, inference.Silent.Code, inference.Silent.Message)
	}
	return s.is().AppendCut(dst, inference.Broken.Code, inference.Broken.Message)
}

package server

import (
	"aigateway/gateway/inference"
	"aigateway/gateway/proxy"
)

// readLoad reads an engine's page of metrics for the proxy.
func readLoad(engine string, page []byte) (proxy.Load, bool) {
	l, ok := inference.ReadLoad(engine, page)
	return proxy.Load(l), ok
}

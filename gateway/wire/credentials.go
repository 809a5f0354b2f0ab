package wire

import "bytes"

// What clients of inference services show to say who they are.

// KeyProtocol begins the element of Sec-WebSocket-Protocol by which browsers show a key, for want of fields of their own.
const KeyProtocol = "openai-insecure-api-key."

// IsCredential tells whether clients show keys in a field of that name.
func IsCredential(name []byte) bool {
	switch len(name) {
	case 7:
		return is(name, "api-key")
	case 9:
		return is(name, "x-api-key")
	case 13:
		return is(name, "authorization")
	}
	return false
}

// IsProtocol tells whether a field lists protocols behind WebSocket: RFC 6455 §11.3.4.
func IsProtocol(name []byte) bool {
	return len(name) == 22 && is(name, "sec-websocket-protocol")
}

// CutProtocol cuts the first element off a list of protocols. key is what it holds behind [KeyProtocol]; nil if it is another one.
func CutProtocol(list []byte) (protocol, key, rest []byte) {
	protocol, rest = cutToken(list)
	if n := len(KeyProtocol); len(protocol) >= n && bytes.EqualFold(protocol[:n], keyProtocol) {
		key = protocol[n:]
	}
	return protocol, key, rest
}

var keyProtocol = []byte(KeyProtocol)

package keys

import (
	"bytes"

	"aigateway/gateway/wire"
)

// Shown is the key that a request shows, borrowed from its head, or why there is none. The same one may be shown twice.
func Shown(h *wire.RequestHead) (key []byte, why Reason) {
	why = Missing
	for name, value := range h.Lines() {
		switch {
		case wire.IsCredential(name):
			if len(name) == len("authorization") {
				value = bearer(value)
			}
			key, why = onlyKey(key, why, value)
		case wire.IsProtocol(name):
			for len(value) > 0 {
				var shown []byte
				_, shown, value = wire.CutProtocol(value)
				key, why = onlyKey(key, why, shown)
			}
		}
	}
	return key, why
}

// onlyKey is the key after another one was found, which may be none.
func onlyKey(key []byte, why Reason, found []byte) ([]byte, Reason) {
	switch {
	case len(found) == 0 || why == Ambiguous:
		return key, why
	case why == Missing:
		return found, Granted
	case !bytes.Equal(key, found):
		return nil, Ambiguous
	}
	return key, why
}

// bearer is what stands behind the scheme Bearer (RFC 6750 §2.1); nil for another one.
func bearer(value []byte) []byte {
	const scheme = "bearer "
	if len(value) < len(scheme) || !bytes.EqualFold(value[:len(scheme)], []byte(scheme)) {
		return nil
	}
	return bytes.TrimLeft(value[len(scheme):], " ")
}

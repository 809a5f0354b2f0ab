package config

import (
	"fmt"
	"slices"
	"strings"
)

// settledFields are the request fields about which a route cannot say anything to the cache: they are in every key, or
// the gateway writes them anew, or they speak to caches.
func settledFields() []string {
	return []string{"host", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-request-id", "traceparent", "tracestate",
		"cache-control", "pragma", "range", "if-range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since",
		"connection", "keep-alive", "te", "trailer", "transfer-encoding", "content-length", "upgrade", "expect"}
}

// askingFields are those that say who asks, always.
func askingFields() []string { return []string{"authorization", "cookie", "last-event-id"} }

// readFields reads a list of names of request fields, other than some.
func readFields(n node, but []string) (names []string) {
	n.items(func(n node) {
		text := n.text()
		name := strings.ToLower(text)
		switch {
		case text == "":
			n.fault("needs the name of a field")
		case !fieldName(name):
			n.fault(fmt.Sprintf("%q is not the name of a field", text))
		case slices.Contains(but, name):
			n.fault(text + " is decided by the cache itself")
		case slices.Contains(names, name):
			n.fault(text + " is named twice")
		default:
			names = append(names, name)
		}
	})
	return names
}

// fieldName tells whether the text is a token: RFC 9110 §5.6.2.
func fieldName(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < '0' || c > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", c)
	})
}

package cache

import (
	"strconv"

	"aigateway/gateway/wire"
)

// A Forward says why a request went to the upstream: the fwd parameter of RFC 9211 §2.2.
type Forward uint8

// The values of fwd. A hit has none.
const (
	NotForwarded      Forward = iota
	ForwardedBypass           // configured not to be handled by the cache
	ForwardedMethod           // the method's semantics require it
	ForwardedURIMiss          // nothing stored for the URI
	ForwardedVaryMiss         // something stored for the URI, nothing for these fields
	ForwardedMiss             // nothing stored that could be used, and not known which of the two
	ForwardedRequest          // fresh, but the request's directives did not allow its use
	ForwardedStale            // stale
	ForwardedPartial          // a part only: never, since parts are not stored
)

var forwardNames = [...]string{"", "bypass", "method", "uri-miss", "vary-miss", "miss", "request", "stale", "partial"}

// Forward returns the value of fwd for a request that the reason kept from being answered.
func (r Reason) Forward() Forward {
	switch r {
	case ForMethod:
		return ForwardedMethod
	case ForRequestDirective:
		return ForwardedRequest
	case ForStale, ForNoCache:
		return ForwardedStale
	case None:
		return ForwardedMiss
	}
	return ForwardedBypass
}

// A CacheStatus is what one reply says about the cache: RFC 9211 §2.
type CacheStatus struct {
	Forward   Forward // NotForwarded: a hit
	Status    int     // of the upstream's answer, if it is another than the reply's; 0: not said
	TTL       int64   // seconds; negative: stale by so much. Said if Timed
	Timed     bool    // TTL is known: of a hit, or of an answer that is stored
	Stored    bool    // the upstream's answer is stored
	Collapsed bool    // the request waited for another one's answer
	Detail    Reason  // None: not said
}

// AppendCacheStatus appends the value that the gateway adds to Cache-Status. What an upstream said of its own has not passed.
func AppendCacheStatus(dst []byte, s CacheStatus) []byte {
	dst = append(dst, wire.Name+"; "...)
	if s.Forward == NotForwarded {
		dst = append(dst, "hit"...)
	} else {
		dst = append(dst, "fwd="...)
		dst = append(dst, forwardNames[s.Forward]...)
		if s.Status != 0 {
			dst = append(dst, "; fwd-status="...)
			dst = strconv.AppendInt(dst, int64(s.Status), 10)
		}
		if s.Stored {
			dst = append(dst, "; stored"...)
		}
		if s.Collapsed {
			dst = append(dst, "; collapsed"...)
		}
	}
	if s.Timed {
		dst = append(dst, "; ttl="...)
		dst = strconv.AppendInt(dst, s.TTL, 10)
	}
	if s.Detail != None {
		dst = append(dst, "; detail="...)
		dst = append(dst, s.Detail.String()...)
	}
	return dst
}

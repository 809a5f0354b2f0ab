package ratelimit

import (
	"math"
	"strconv"
	"time"
)

// The fields RateLimit-Policy and RateLimit are those of draft-ietf-httpapi-ratelimit-headers-11 (May 2026), lists of
// strings with parameters (RFC 9651). The policies are named like the scopes, "client" and "global".

// maxInteger is the largest Integer of a structured field (RFC 9651 §3.3.1).
const maxInteger = 999_999_999_999_999

// AppendPolicy appends the value of RateLimit-Policy (draft §3), which is the same for every request of a class:
//
//	"client";q=40;w=2, "global";q=100;w=1
//
// The quota q (§3.1.1) is the burst, the window w (§3.1.3) the seconds in which an empty bucket is full again, rounded up. A
// bucket that never fills has no window; it is optional.
func (c *Class) AppendPolicy(dst []byte) []byte {
	if c == nil {
		return dst
	}
	return append(dst, c.policy...)
}

func policy(client, global Rate) []byte {
	item := func(dst []byte, s Scope, r Rate) []byte {
		dst = appendItem(dst, s, ";q=", r.Burst)
		if r.PerSecond == 0 {
			return dst
		}
		window := math.Ceil(float64(r.Burst) / r.PerSecond)
		return strconv.AppendInt(append(dst, ";w="...), int64(min(window, maxInteger)), 10)
	}
	dst := append(item(nil, Client, client), ", "...)
	return item(dst, Global, global)
}

// AppendLimit appends the value of RateLimit (draft §4) after a verdict:
//
//	"client";r=39;t=1
//
// It names the policy that refused, or the client's if none did: how much all the others have left over is not told before it
// stops somebody (§8.2). The quota r (§4.1.1) is what remains; the window t (§4.1.2) ends when there is more, and so together
// with Retry-After (§6). A full bucket and one that never fills have no window.
func (c *Class) AppendLimit(dst []byte, v Verdict) []byte {
	if c == nil {
		return dst
	}
	dst = appendItem(dst, max(v.Scope, Client), ";r=", v.Remaining)
	if v.Wait == 0 || v.Wait == Never {
		return dst
	}
	return strconv.AppendInt(append(dst, ";t="...), v.RetryAfter(), 10)
}

func appendItem(dst []byte, s Scope, parameter string, n int64) []byte {
	dst = append(dst, '"')
	dst = append(dst, s.String()...)
	dst = append(dst, '"')
	dst = append(dst, parameter...)
	return strconv.AppendInt(dst, n, 10)
}

// maxRetryAfter is 68 years. Some clients keep the seconds in 32 bits; one that reads a negative number comes back at once.
const maxRetryAfter = math.MaxInt32

// RetryAfter is the value of Retry-After (RFC 9110 §10.2.3) after a refusal: whole seconds, at least 1, never too early.
func (v Verdict) RetryAfter() int64 { return min(max(seconds(v.Wait), 1), maxRetryAfter) }

// seconds rounds up.
func seconds(d time.Duration) int64 {
	n := int64(d / time.Second)
	if d%time.Second > 0 {
		n++
	}
	return n
}

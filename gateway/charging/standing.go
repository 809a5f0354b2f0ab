package charging

import (
	"time"

	"aigateway/gateway/inference"
	"aigateway/gateway/ratelimit"
	"aigateway/gateway/wire"
)

// accounts are those that a request counts for; nil where there are no limits.
type accounts struct{ key, model, all *ratelimit.Account }

// AppendStanding appends OpenAI's fields: what is left of the limits. A nil charge has none, but perhaps the tenant, whose account may be nil.
func (c *Charge) AppendStanding(dst []byte, now time.Duration) []byte {
	return c.accounts.appendStanding(dst, now)
}

// AppendStandingOf is AppendStanding of a tenant's account, of a request that is not charged.
func AppendStandingOf(a *ratelimit.Account, dst []byte, now time.Duration) []byte {
	of := accounts{key: a}
	return of.appendStanding(dst, now)
}

func (a *accounts) appendStanding(dst []byte, now time.Duration) []byte {
	dst = appendLimit(dst, "requests", ratelimit.Requests(now, a.key, a.model))
	return appendLimit(dst, "tokens", ratelimit.Tokens(now, a.key, a.model, a.all))
}

// LimitPrefix begins the names of these fields, in lower case: the gateway's replace an upstream's.
const LimitPrefix = "x-ratelimit-"

func appendLimit(dst []byte, of string, s ratelimit.Standing) []byte {
	if s.Kind == ratelimit.NoLimit {
		return dst
	}
	name := func(what string) {
		dst = append(append(append(append(append(dst, LimitPrefix...), what...), '-'), of...), ": "...)
	}
	name("limit")
	dst = wire.AppendInt(dst, "", s.Limit)
	name("remaining")
	dst = wire.AppendInt(dst, "", s.Remaining)
	name("reset")
	return append(ratelimit.AppendReset(dst, s.Reset), "\r\n"...)
}

// ErrorOf is what a client is told whose bucket had not enough.
func ErrorOf(f *ratelimit.Refusal) inference.Error {
	return inference.Error{Status: 429, Code: "rate_limit_exceeded", Message: refusals[f.Kind]}
}

var refusals = map[ratelimit.Kind]string{
	ratelimit.RequestsPerSecond: "too many requests a second (rps); see the RateLimit-Scope and Retry-After fields",
	ratelimit.RequestsPerMinute: "too many requests a minute (rpm); see the RateLimit-Scope and Retry-After fields",
	ratelimit.TokensPerMinute:   "too many tokens a minute (tpm); see the RateLimit-Scope and Retry-After fields",
	ratelimit.TokensPerDay:      "too many tokens a day (tpd); see the RateLimit-Scope and Retry-After fields",
	ratelimit.Concurrency:       "too many requests under way (concurrency); see the RateLimit-Scope and Retry-After fields",
}

// TokensExceed is what a client is told that wants more tokens than its limit ever has at once.
var TokensExceed = inference.Error{
	Status: 400, Code: "tokens_exceed_limit", Message: "the request wants more tokens than its limit ever has at once",
}

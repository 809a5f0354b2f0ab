package cache

import "time"

// A Policy is what the operator decides about a route's answers.
type Policy struct {
	TTL          time.Duration // freshness of an answer that states none; 0: a tenth of the time since Last-Modified
	NegativeTTL  time.Duration // the same for an answer that says that there is nothing; 0: as for others, without TTL
	HeuristicMax time.Duration // the most that this tenth may be
	StaleIfError time.Duration // of an answer that says nothing of stale-if-error; 0: none
	MaxBody      int64         // bytes; a larger body is not stored. 0: no limit
}

// Store decides whether an answer may be stored, RFC 9111 §3, and what its record says about it. The record's
// entity tag is borrowed from the answer.
func (p Policy) Store(req *Request, resp *Response) (Meta, Reason) {
	if req.bypass != None {
		return Meta{}, req.bypass
	}
	if req.Head {
		return Meta{}, ForHeadOnly
	}
	if why := resp.storable(); why != None {
		return Meta{}, why
	}
	if p.MaxBody > 0 && resp.length > p.MaxBody {
		return Meta{}, ForTooLarge
	}
	m := resp.meta()
	if req.LastEvent && resp.events {
		return Meta{}, ForEventStream
	}
	if req.Authorization && m.Flags&Shared == 0 {
		return Meta{}, ForAuthorization
	}
	if why := p.freshen(&m, req, resp); why != None {
		return Meta{}, why
	}
	if d, _ := resp.directives(); d.staleIfError == absent {
		m.StaleIfError = clamp(int64(p.StaleIfError / time.Second))
	}
	if m.Keep() <= 0 {
		return Meta{}, ForUseless
	}
	return m, None
}

// storable tells why an answer must not be stored whoever asked for it, RFC 9111 §3.
func (r *Response) storable() Reason {
	d, _ := r.directives()
	switch {
	case r.status < 200:
		return ForInterim
	case r.status == 304:
		return ForNotModified
	case r.status == 206 || r.contentRange:
		return ForPartial
	case d.mustUnderstand && !understood(r.status):
		return ForNotUnderstood
	case d.noStore && !d.mustUnderstand: // §5.2.2.3: who understands the status ignores no-store
		return ForNoStore
	case d.private:
		return ForPrivate
	case r.setCookie && !d.public && !d.names(fieldSetCookie):
		return ForSetCookie
	case r.vary.any:
		return ForVaryAny
	case r.vary.has(fieldAcceptEncoding) && !knownCoding(r.coding):
		return ForCoding
	}
	return None
}

// meta says what does not depend on who asked.
func (r *Response) meta() Meta {
	d, _ := r.directives()
	m := Meta{
		Status:       r.status,
		RequestTime:  r.times.Request,
		ResponseTime: r.times.Response,
		InitialAge:   r.initialAge(),
		LastModified: r.modified(),
		ETag:         r.entityTag(),
	}
	if r.date.valid() {
		m.Date = r.date.seconds
	}
	if d.staleWhileRevalidate != absent {
		m.StaleWhileRevalidate = int64(d.staleWhileRevalidate)
	}
	if d.staleIfError != absent {
		m.StaleIfError = int64(d.staleIfError)
	}
	if d.mustRevalidate || d.proxyRevalidate || d.sMaxAge != absent {
		m.Flags |= MustRevalidate
	}
	if d.noCache {
		m.Flags |= NoCache
	}
	if r.events {
		m.Flags |= Events
	}
	if d.public || d.mustRevalidate || d.sMaxAge != absent {
		m.Flags |= Shared // §3.5; proxy-revalidate is not among them
	}
	return m
}

// freshen sets the lifetime: what the answer states, or else what the operator or Last-Modified suggests.
func (p Policy) freshen(m *Meta, req *Request, resp *Response) Reason {
	seconds, ok := resp.lifetime()
	if ok {
		m.Lifetime = seconds
		return None
	}
	// §3, §4.2.2: without explicit freshness the status must be heuristically cacheable, or the answer public.
	d, _ := resp.directives()
	switch {
	case !heuristic(resp.status) && !d.public, p.TTL > 0 && !lasting(resp.status) && p.negative(resp.status) == 0:
		return ForStatus
	case resp.events:
		return ForEventStream
	case d.noCache && m.validator():
		return None // it is asked about whenever it is used, so that nothing has to be guessed: §5.2.2.4
	case req.Credentials:
		return ForCredentials
	case req.LastEvent:
		return ForEventStream
	case !knownCoding(resp.coding):
		return ForCoding
	}
	m.Flags |= Heuristic
	switch {
	case p.negative(resp.status) > 0:
		m.Flags |= Own
		m.Lifetime = clamp(int64(p.NegativeTTL / time.Second))
	case p.TTL > 0:
		m.Flags |= Own
		m.Lifetime = clamp(int64(p.TTL / time.Second))
	case m.LastModified != 0:
		m.Lifetime = min(clamp(resp.dated()-m.LastModified)/10, clamp(int64(p.HeuristicMax/time.Second)))
	default:
		return ForNoFreshness
	}
	return None
}

// lasting tells whether an operator's TTL is meant for the status: answers that say what is there, or where it has
// gone for good.
func lasting(status int) bool {
	return status == 200 || status == 203 || status == 301 || status == 308
}

// negative is the operator's TTL for answers that say that there is nothing: it is theirs alone, since a fault while a
// new version is rolled out looks the same. 0: none, or the status is another one.
func (p Policy) negative(status int) time.Duration {
	switch status {
	case 404, 405, 410, 414, 501:
		return p.NegativeTTL
	}
	return 0
}

// heuristic tells whether the status is heuristically cacheable: RFC 9110 §15.1. 206 is, but is not stored.
func heuristic(status int) bool {
	switch status {
	case 200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501:
		return true
	}
	return false
}

// understood tells whether this cache does all that a status asks of caches, RFC 9111 §5.2.2.3: those of RFC 9110
// §15 and RFC 6585, without 206, which is not stored, and 304, which updates what is.
func understood(status int) bool {
	switch {
	case status == 206:
		return false
	case 200 <= status && status <= 205, 300 <= status && status <= 303, status == 305, status == 307, status == 308,
		400 <= status && status <= 417, 421 <= status && status <= 422, status == 426, status == 428, status == 429,
		status == 431, 500 <= status && status <= 505, status == 511:
		return true
	}
	return false
}

// RevalidateWithin is how long after its freshness an answer with a validator is kept: it can still save sending
// the body. An hour spans a pause in use, and bounds what a purge in another replica could have missed.
const RevalidateWithin = time.Hour

// Keep returns how long from ResponseTime on the record is of use; 0: not at all. That is while it is fresh, and
// after that as long as it may be served stale or, with a validator, revalidated.
func (m *Meta) Keep() time.Duration {
	fresh := max(0, m.Lifetime-m.InitialAge)
	var stale int64
	if m.Flags&(MustRevalidate|NoCache) == 0 {
		// Staleness is counted from when the lifetime ends, which may be before the answer came.
		stale = max(m.StaleWhileRevalidate, m.StaleIfError) - max(0, m.InitialAge-m.Lifetime)
	}
	if m.validator() {
		stale = max(stale, int64(RevalidateWithin/time.Second))
	} else if m.Flags&NoCache != 0 {
		return 0
	}
	return time.Duration(fresh+max(0, stale)) * time.Second
}

func (m *Meta) validator() bool { return len(m.ETag) > 0 || m.LastModified != 0 }

// MaxSkew is how far the clock of the replica that stored an answer may be ahead of the one that reads it. Of an
// answer from later than that nobody knows how old it is.
const MaxSkew = time.Minute

// Age returns current_age in seconds, RFC 9111 §4.2.3, at most 2^31. now is in Unix milliseconds; an answer from a
// little later than now has not aged, and one from beyond [MaxSkew] is older than any lifetime.
func (m *Meta) Age(now int64) int64 {
	resident := now - m.ResponseTime
	if resident < -MaxSkew.Milliseconds() {
		return maxSeconds
	}
	return clamp(m.InitialAge + max(0, resident)/1000)
}

// TTL returns for how many seconds more the answer is fresh; 0 or less: it is stale, by so much.
func (m *Meta) TTL(now int64) int64 { return m.Lifetime - m.Age(now) }

// A Verdict says what may be done with a stored answer.
type Verdict uint8

const (
	// Fresh: serve it.
	Fresh Verdict = iota
	// ServeStale: it is stale, and the client said that this will do (max-stale).
	ServeStale
	// ServeWhileRevalidate: it is stale; serve it and revalidate it behind the request.
	ServeWhileRevalidate
	// Revalidate it before it is served: forward with its validators. With only-if-cached: 504.
	Revalidate
	// Unsuitable: it is not for this client. Forward the request as if nothing were stored, alone.
	Unsuitable
)

// Serves tells whether the stored answer is the reply.
func (v Verdict) Serves() bool { return v <= ServeWhileRevalidate }

// Reuse decides whether a stored answer, found under the request's key and variant, may be the reply:
// RFC 9111 §4. The reason is why it may not: of the request, or [ForStale] or [ForNoCache]. now is in Unix
// milliseconds.
func Reuse(m *Meta, req *Request, now int64) (Verdict, Reason) {
	if why := m.unsuitable(req); why != None {
		return Unsuitable, why
	}
	if m.Flags&NoCache != 0 {
		return Revalidate, ForNoCache
	}
	age := m.Age(now)
	ttl := m.Lifetime - age
	refused := req.NoCache || req.MaxAge >= 0 && age > req.MaxAge || req.MinFresh >= 0 && ttl < req.MinFresh
	switch {
	case ttl > 0 && refused:
		return Revalidate, ForRequestDirective
	case ttl > 0:
		return Fresh, None
	case refused, m.Flags&MustRevalidate != 0: // §4.2.4
		return Revalidate, ForStale
	case -ttl <= req.MaxStale:
		return ServeStale, None
	case !req.limits() && -ttl <= m.StaleWhileRevalidate && m.StaleWhileRevalidate > 0:
		return ServeWhileRevalidate, None
	}
	return Revalidate, ForStale
}

// unsuitable tells why a stored answer is never for this client. An answer that was stored for somebody else is
// not evidence of what a client with credentials gets, unless it says so itself: §3.5, and the operator's TTL
// counts for clients without credentials only.
func (m *Meta) unsuitable(req *Request) Reason {
	switch {
	case req.Authorization && m.Flags&Shared == 0:
		return ForAuthorization
	case req.Credentials && m.Flags&Heuristic != 0:
		return ForCredentials
	case req.LastEvent && m.Flags&(Heuristic|Events) != 0:
		return ForEventStream
	}
	return None
}

// Failure tells whether a status counts as an error for stale-if-error: RFC 5861 §4.
func Failure(status int) bool {
	return status == 500 || 502 <= status && status <= 504
}

// MayServeOnError decides whether a stored answer may be the reply after the upstream failed, did not answer or
// answered with a [Failure]: RFC 5861 §4, RFC 9111 §4.2.4. now is in Unix milliseconds.
func MayServeOnError(m *Meta, req *Request, now int64) bool {
	if m.unsuitable(req) != None || m.Flags&(MustRevalidate|NoCache) != 0 || req.NoCache {
		return false
	}
	allowed := max(req.StaleIfError, req.MaxStale)
	if !req.limits() {
		allowed = max(allowed, m.StaleIfError)
	}
	return allowed > 0 && -m.TTL(now) <= allowed
}

package caching

import (
	"bytes"
	"time"

	"aigateway/gateway/cache"
	"aigateway/gateway/wire"
)

// bypass notes that the cache has no part in a request, and why.
func (r *Request) bypass(why cache.Reason) {
	r.outcome = outcomeBypass
	r.status = cache.CacheStatus{Forward: why.Forward(), Detail: why}
	if why != cache.ForMethod {
		r.caching.metrics.Miss(int(why))
		return
	}
	r.status.Detail = cache.None // fwd=method says it all
	if cache.Invalidates(r.Head.Method, 200) {
		r.Forward.Taker = (*invalidation)(r)
	}
}

// lookup looks for what is stored, and says whether it may be the reply. Nowhere is that there is none.
func (r *Request) lookup(now int64) (cache.Tier, cache.Verdict) {
	c := r.caching
	r.appendKey(r.Head.Target)
	r.url = len(r.text)
	r.primary = cache.Hash(r.text)
	r.key = r.primary
	r.stamp, r.ended = c.store.Stamp(r.primary), c.flights.Ended(r.primary)
	tier := r.find(now)
	if tier == cache.Nowhere {
		r.noteMiss(cache.None)
		return cache.Nowhere, cache.Unsuitable
	}
	verdict, why := cache.Reuse(&r.stored.Meta, &r.request, now)
	if verdict.Serves() {
		return tier, verdict
	}
	r.noteMiss(why)
	if r.unsuitable = verdict == cache.Unsuitable; r.unsuitable {
		r.stored = cache.Entry{} // for this client nothing is
	}
	return tier, verdict
}

// noteMiss notes why what is stored, if anything, is not the reply.
func (r *Request) noteMiss(why cache.Reason) {
	r.outcome = outcomeMiss
	r.status = cache.CacheStatus{Forward: why.Forward()}
	switch {
	case why == cache.ForAuthorization, why == cache.ForCredentials, why == cache.ForEventStream:
		r.status.Detail = why
	case why != cache.None:
	case len(r.names) > 0:
		r.status.Forward = cache.ForwardedVaryMiss
	default:
		r.status.Forward = cache.ForwardedURIMiss
	}
	r.caching.metrics.Miss(int(why))
}

// find looks for a response to the request in the tiers. What it finds is in r.stored, which is empty if it is another
// request's, and r.key is its key, or the one under which a response would be found.
func (r *Request) find(now int64) cache.Tier {
	tier := r.seek(now)
	if tier == cache.Nowhere {
		r.stored = cache.Entry{}
	}
	return tier
}

func (r *Request) seek(now int64) cache.Tier {
	tier := r.read(r.primary, now)
	if tier == cache.Nowhere || !bytes.Equal(r.stored.Key, r.urlText()) {
		return cache.Nowhere
	}
	if r.posts {
		if r.stored.Flags&cache.Varies != 0 { // which none of these does: it is not what was stored
			return cache.Nowhere
		}
		return tier
	}
	if r.stored.Flags&cache.Varies == 0 {
		return r.seekOwn(tier)
	}
	list, ok := cache.ParseVariants(r.stored.Body)
	if !ok {
		return cache.Nowhere
	}
	r.names, r.listed = append(r.names[:0], list.Names...), true
	r.vary()
	if !list.Holds(r.key) {
		return cache.Nowhere
	}
	tier = r.read(r.key, now)
	if tier == cache.Nowhere || !bytes.Equal(r.stored.Key, r.urlText()) || !bytes.Equal(r.stored.Variant, r.variantText()) {
		return cache.Nowhere
	}
	return tier
}

// seekOwn tells whether the one response that is stored for the URL is one for this request. What states its freshness is
// for all; where freshness is our own idea, for requests that are the same in all that may matter.
func (r *Request) seekOwn(tier cache.Tier) cache.Tier {
	if r.stored.Flags&cache.Own == 0 && len(r.stored.Variant) == 0 {
		return tier
	}
	if r.request.Credentials || r.request.LastEvent {
		return tier // for whom it is none, for that reason
	}
	r.text = r.request.AppendOthers(r.urlText())
	r.names = cache.AppendOthersName(r.names[:0])
	if r.stored.Flags&cache.Own != 0 && bytes.Equal(r.stored.Variant, r.variantText()) {
		return tier
	}
	r.key, r.listed = cache.Hash(r.text), true
	return cache.Nowhere
}

// read reads one record.
func (r *Request) read(k cache.Key, now int64) (tier cache.Tier) {
	r.stored = cache.Entry{}
	size := wire.LargeBuffer
	long := &r.caching.long[int(k[2])<<2|int(k[3])&3]
	if long.Load() {
		size = wire.HugeBuffer
	}
	if r.buffer != nil && len(r.buffer.B) < size {
		r.buffer.Put()
		r.buffer = nil
	}
	if r.buffer == nil {
		r.buffer = wire.GetBuffer(size)
	}
	r.full, tier = r.caching.store.Get(r.buffer.B[:recordRoom], k, now)
	if tier == cache.Nowhere {
		return tier
	}
	if len(r.full) > size {
		long.Store(true) // it did not fit: the next one who looks brings a larger buffer
	}
	var ok bool
	if r.stored, ok = cache.Decode(r.full[recordRoom:]); !ok || r.stored.Flags&cache.Varies == 0 && lengthAt(r.stored.Head) < 0 {
		r.stored = cache.Entry{}
		return cache.Nowhere
	}
	return tier
}

// findFresh looks once more for a response that needs no fetch.
func (r *Request) findFresh() bool {
	now := time.Now().UnixMilli()
	if r.find(now) == cache.Nowhere {
		return false
	}
	verdict, _ := cache.Reuse(&r.stored.Meta, &r.request, now)
	return verdict == cache.Fresh
}

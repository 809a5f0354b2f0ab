package caching

import (
	"bytes"
	"time"

	"aigateway/gateway/cache"
	"aigateway/gateway/proxy"
	"aigateway/gateway/wire"
)

// miss has an upstream asked, for the client and for the cache.
func (r *Request) miss() Outcome {
	c := r.caching
	if r.request.OnlyIfCached { // RFC 9111 §5.2.1.7
		return NotStored
	}
	if r.request.Head || r.request.Ranged() { // such a response is for nobody else, and not to be stored
		if r.stored.Status != 0 && r.stored.Flags&cache.Varies == 0 {
			return r.check()
		}
		return Passed
	}
	if r.waiter == nil {
		r.waiter = NewWaiter()
	}
	if r.stored.Status == 0 && r.buffer != nil { // it may take a minute
		r.buffer.Put()
		r.buffer, r.full = nil, nil
	}
	// What others may wait for is only what anybody may have asked for.
	if r.unsuitable || r.request.Authorization || r.request.Credentials || r.request.LastEvent || r.request.NoCache || c.flights.HitForMiss(r.primary, r.Began) {
		r.goAlone()
		return Done
	}
	return r.collapse()
}

// goAlone leads a flight that nobody else finds.
func (r *Request) goAlone() {
	f := r.caching.flights.Alone(r.waiter)
	r.lead(f)
	f.Release() // not after a panic
}

// collapse takes part in the fetch of the key: the request leads, or waits for what the leader finds.
func (r *Request) collapse() Outcome {
	for moved := false; ; moved = true {
		r.renewStamp()
		f, leads := r.caching.flights.Join(r.key, r.stamp, r.waiter)
		next := replied
		if leads {
			r.leadOthers(f)
		} else {
			next = r.followOrLead(f)
		}
		f.Release() // not after a panic
		switch {
		case next == replied:
			return Done
		case next == panicked:
			return Panicked
		case next == toVariant && !moved:
			continue // its variant has a flight of its own, or will have
		}
		r.goAlone()
		return Done
	}
}

// leadOthers leads a flight that others may follow, unless there is nothing left to fetch.
func (r *Request) leadOthers(f *Flight) {
	if !r.foundMeanwhile(f) {
		r.lead(f)
	}
}

// followOrLead follows who leads a flight, or leads it on.
func (r *Request) followOrLead(f *Flight) next {
	next := r.follow(f)
	if next == toLead {
		r.lead(f)
		return replied
	}
	return next
}

// foundMeanwhile replies from the cache to a request that leads, if another one's fetch ended after this one had looked
// and before it joined.
func (r *Request) foundMeanwhile(f *Flight) bool {
	c := r.caching
	if c.flights.Ended(r.primary) == r.ended || !r.findFresh() {
		return false
	}
	r.share(f, asStored)
	f.Leave(r.waiter)
	r.status.Collapsed = true
	c.metrics.Coalesced()
	if r.posts {
		r.replay(time.Now().UnixMilli())
	} else {
		r.reply(time.Now().UnixMilli())
	}
	return true
}

// next is what a request does after it has waited for another one's fetch.
type next uint8

const (
	replied   next = iota // nothing: it has its reply or its fault
	panicked              // nothing: it has neither
	toLead                // fetch, for all who wait
	toVariant             // wait for the fetch of its own variant
	toGoAlone             // fetch alone
)

// follow waits for what the leader of a flight finds.
func (r *Request) follow(f *Flight) next {
	c := r.caching
	c.proxy.Watch(&r.watched, r.Conn, r.waiter)
	defer c.proxy.Unwatch(&r.watched)
	r.status.Collapsed = true
	began := wire.Now()
	role := f.Wait(r.waiter, r.Rule.Wait)
	r.Waited += wire.Now() - began
	switch role {
	case Lead:
		r.status.Collapsed = false
		return toLead
	case Alone:
		f.Leave(r.waiter)
		r.status.Collapsed = false
		return toGoAlone
	case Gone:
		r.Fault = proxy.ClientGone
		return replied
	case Late:
		r.Fault = proxy.TimeoutResponse
		return replied
	case Failed:
		f.Leave(r.waiter)
		switch r.Fault = f.Fault(); r.Fault {
		case proxy.None:
			return panicked
		case proxy.OverBudget: // of others: what this request may spend is its own
			r.Fault, r.status.Collapsed = proxy.None, false
			return toGoAlone
		}
		return replied
	}
	defer f.Leave(r.waiter)
	a := f.Response()
	if next := r.fits(&a); next != replied {
		r.status.Collapsed = false
		return next
	}
	c.metrics.Coalesced()
	r.replyArriving(f, &a)
	if r.posts {
		r.saved(f.Response().Tokens)
	}
	return replied
}

// fits tells whether the response of a flight is one for this request, too.
func (r *Request) fits(a *Response) next {
	if len(a.Names) > 0 {
		r.names = append(r.names[:0], a.Names...)
		r.vary()
		if !bytes.Equal(r.variantText(), a.Variant) {
			r.listed = true
			return toVariant
		}
	}
	now := time.Now().UnixMilli()
	verdict, _ := cache.Reuse(&a.Meta, &r.request, now)
	switch {
	case verdict == cache.Unsuitable:
		return toGoAlone
	case a.OnError:
		if !cache.MayServeOnError(&a.Meta, &r.request, now) {
			return toGoAlone
		}
		r.outcome = outcomeStale
	case !verdict.Serves() && r.waiter.Latecomer():
		return toGoAlone // it was there before this request, which wants it validated: RFC 9111 §4
	}
	return replied
}

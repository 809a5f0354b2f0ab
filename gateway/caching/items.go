package caching

import (
	"crypto/sha256"
	"slices"
	"time"

	"aigateway/gateway/cache"
	"aigateway/gateway/inference"
	"aigateway/gateway/proxy"
	"aigateway/gateway/wire"
)

// A batch is a request for embeddings, input by input: each has a record of its own, and a flight while it is fetched. It is
// part of a posting and reused.
type batch struct {
	inputs [][]byte // as they stand in the body
	which  []int32  // of the items, for each input
	items  []item   // each input once
	byKey  map[cache.Key]int32
	values []byte // records that were found

	lead     []int32 // of the items: those that are fetched now
	sent     [][]byte
	body     []byte
	out      []byte
	exchange proxy.Exchange
	status   int
	length   int64  // of the answer's body, which may not be known
	lines    []byte // of an answer that goes to the client as it came
	answer   []byte
	meta     cache.Meta
	why      cache.Reason
	taken    int64 // of the memory for bodies under way
	fetched  int64 // tokens that were read for this request
	followed bool
}

// An item is one input.
type item struct {
	input    []byte
	key      cache.Key
	body     [sha256.Size]byte // in the text of its key
	ended    uint32            // as itemFlights.ended, from before what is stored was looked at
	flight   *itemFlight
	leads    bool
	alone    bool // what others fetch is not for it
	found    bool
	from, to int // of its vector in values, if that is where it is
	vector   itemVector
}

const (
	// longestBatch bounds what is held for one request, in bytes: found records, and an answer.
	longestBatch = 16 << 20
	// keptBatch is how much of that memory stays with a request's state.
	keptBatch = 1 << 20
	// maxBatchRounds is how often a request joins flights that fail; then it goes on without the cache.
	maxBatchRounds = 3
)

// reset readies b for another request.
func (b *batch) reset() {
	b.exchange.Reset()
	clear(b.inputs)
	clear(b.items)
	clear(b.sent)
	clear(b.byKey)
	if cap(b.values) > keptBatch {
		b.values = nil
	}
	if cap(b.out) > keptBatch {
		b.out = nil
	}
	if cap(b.body) > keptBatch {
		b.body = nil
	}
	*b = batch{
		inputs: b.inputs[:0], which: b.which[:0], items: b.items[:0], byKey: b.byKey, values: b.values[:0], lead: b.lead[:0], sent: b.sent[:0], body: b.body[:0],
		out: b.out[:0], lines: b.lines[:0],
	}
}

// readItems tells the inputs of a request for embeddings apart, if it is one of which that can be done.
func (r *Request) readItems() bool {
	p := r.post
	if r.Asked.Dialect != inference.Embeddings {
		return false
	}
	if p.batch == nil {
		p.batch = &batch{byKey: make(map[cache.Key]int32)}
	}
	b := p.batch
	var ok bool
	if b.inputs, ok = p.canon.Items(b.inputs[:0]); !ok {
		return false
	}
	rest := p.canon.Sum(inference.Embeddings, "input")
	for _, input := range b.inputs {
		p.key.Body = p.canon.SumItem(rest, input)
		r.appendKey(r.Head.Target)
		key := cache.Hash(r.text)
		at, known := b.byKey[key]
		if !known {
			at = int32(len(b.items))
			b.byKey[key] = at
			b.items = append(b.items, item{input: input, key: key, body: p.key.Body})
		}
		b.which = append(b.which, at)
	}
	return true
}

// serveItems is servePost for embeddings.
func (r *Request) serveItems() Outcome {
	b, c := r.post.batch, r.caching
	now := time.Now().UnixMilli()
	missing, tier := r.findItems(now)
	if missing == 0 {
		r.outcome, r.status = outcomeHit, cache.CacheStatus{}
		c.metrics.Hit(int(tier - cache.Memory))
		return r.replyItems(now)
	}
	r.noteMiss(cache.None)
	if missing < len(b.items) {
		r.status.Forward = cache.ForwardedPartial
	}
	if r.request.OnlyIfCached {
		return NotStored
	}
	if r.waiter == nil {
		r.waiter = NewWaiter()
	}
	r.waiter.reset()
	for range maxBatchRounds {
		switch r.fetchItems() {
		case batchWhole:
			if b.followed && b.fetched == 0 {
				r.status.Collapsed = true
				c.metrics.Coalesced()
			}
			return r.replyItems(time.Now().UnixMilli())
		case batchDone:
			return Done
		case batchOdd:
			r.forgoItems()
			return Passed
		}
	}
	r.forgoItems()
	return Passed
}

// forgoItems leaves a request to the upstream as it came: its answer is not of a shape that is known here.
func (r *Request) forgoItems() {
	r.outcome, r.status = outcomeBypass, cache.CacheStatus{Forward: cache.ForwardedBypass, Detail: cache.ForShape}
	r.Forward.Result = proxy.Result{UpstreamTime: r.Forward.UpstreamTime, ClientTime: r.Forward.ClientTime} // it begins anew
}

// findItems looks for what is stored, and says how many items are not there, and the slowest tier that had one.
func (r *Request) findItems(now int64) (missing int, tier cache.Tier) {
	b := r.post.batch
	for i := range b.items {
		it := &b.items[i]
		it.ended = r.caching.items.ended(it.key)
		if !r.request.NoCache {
			tier = max(tier, r.findItem(it, now))
		}
		if !it.found {
			missing++
		}
	}
	return missing, tier
}

// findItem looks for one.
func (r *Request) findItem(it *item, now int64) cache.Tier {
	b := r.post.batch
	start := len(b.values)
	values, tier := r.caching.store.Get(b.values, it.key, now)
	b.values = values
	if tier == cache.Nowhere || len(values) > longestBatch {
		b.values = values[:start]
		return cache.Nowhere
	}
	e, ok := cache.Decode(values[start:])
	if ok {
		r.post.key.Body = it.body
		r.appendKey(r.Head.Target)
		ok = slices.Equal(e.Key, r.text) && e.Flags&cache.Varies == 0 && len(e.Body) > 0
	}
	if ok {
		verdict, _ := cache.Reuse(&e.Meta, &r.request, now)
		ok = verdict == cache.Fresh || verdict == cache.ServeStale
	}
	if !ok {
		b.values = values[:start]
		return cache.Nowhere
	}
	it.found = true
	it.to = len(values)
	it.from = it.to - len(e.Body)
	it.vector.meta = e.Meta
	it.vector.meta.ETag = nil
	var model []byte
	it.vector.tokens, model = cutNote(e.Variant)
	r.noteModel(model)
	return tier
}

// noteModel notes what an answer says its model is.
func (r *Request) noteModel(model []byte) {
	if p := r.post; len(p.model) == 0 && len(model) > 0 {
		p.model = append(p.model[:0], model...)
	}
}

type batchEnding uint8

const (
	batchAgain batchEnding = iota // something is missing that others were to fetch
	batchWhole                    // all is there
	batchDone                     // there was a reply, or a fault
	batchOdd                      // the answers cannot be taken apart
)

// fetchItems fetches what is missing: what nobody else fetches in one request, the rest from others.
func (r *Request) fetchItems() (end batchEnding) {
	b := r.post.batch
	r.joinItems()
	defer r.leaveItems() // after a panic, too
	if len(b.lead) > 0 {
		if end = r.askItems(); end != batchWhole {
			return end
		}
	}
	if !r.followItems() {
		return batchDone
	}
	for i := range b.items {
		if !b.items[i].found {
			return batchAgain
		}
	}
	return batchWhole
}

// joinItems finds out who fetches what is missing.
func (r *Request) joinItems() {
	b, c := r.post.batch, r.caching
	b.lead = b.lead[:0]
	now := time.Now().UnixMilli()
	for i := range b.items {
		it := &b.items[i]
		switch {
		case it.found:
			continue
		case it.alone || r.request.NoCache:
			it.leads = true
		default:
			it.flight, it.leads = c.items.join(it.key, c.store.Stamp(it.key))
			if it.leads && c.items.ended(it.key) != it.ended && r.findItem(it, now) != cache.Nowhere {
				c.items.end(it.flight, itemFound, r.vectorOf(it))
				it.flight, it.leads = nil, false
			}
		}
		if it.leads {
			b.lead = append(b.lead, int32(i))
		}
	}
}

// leaveItems gives up what was joined and not ended.
func (r *Request) leaveItems() {
	for i := range r.post.batch.items {
		it := &r.post.batch.items[i]
		if f := it.flight; f != nil && it.leads {
			r.caching.items.end(f, itemFailed, itemVector{})
		} else if f != nil {
			r.caching.items.leave(f)
		}
		it.flight, it.leads = nil, false
	}
}

// vectorOf is the vector of an item that was found, to be kept by others.
func (r *Request) vectorOf(it *item) itemVector {
	v := it.vector
	if v.embedding == nil {
		v.embedding = slices.Clone(r.post.batch.values[it.from:it.to])
	}
	v.model = slices.Clone(r.post.model)
	return v
}

// askItems asks an upstream for what the request leads.
func (r *Request) askItems() batchEnding {
	b, c, f := r.post.batch, r.caching, &r.post.batch.exchange
	b.sent = b.sent[:0]
	for _, i := range b.lead {
		b.sent = append(b.sent, b.items[i].input)
	}
	f.Reset()
	r.Client.Prepare(f)
	var from, to int
	b.body, from, to = r.post.canon.AppendWithItems(b.body[:0], b.sent)
	if f.Span.In == proxy.InBody {
		f.Span.From, f.Span.To = int64(from), int64(to)
	}
	if r.lines == nil {
		r.lines = make([]byte, 0, 512)
	}
	r.lines = cache.AppendPlainLines(r.lines[:0], r.Head)
	f.Lines, f.Reader, f.Filter = r.lines, nil, nil
	f.Taker = (*batchTaker)(r)
	if r.Fault = c.proxy.Hold(f, b.body, f.Room+len(r.lines)); r.Fault != proxy.None {
		return batchDone
	}
	return r.sendItems()
}

// sendItems sends the request for the batch that is made, and says what came of it.
func (r *Request) sendItems() batchEnding {
	b, f := r.post.batch, &r.post.batch.exchange
	r.sent = time.Now().UnixMilli()
	outcome := r.caching.proxy.Forward(f)
	long := false
	if r.Fault = outcome.Fault(); outcome == proxy.Taken {
		long, r.Fault = r.receiveItems()
	} else if r.Fault == proxy.None {
		r.Status = f.Status
	}
	before := r.Forward.Result
	r.Forward.Result = f.Result
	r.Forward.UpstreamTime += before.UpstreamTime
	r.Forward.ClientTime += before.ClientTime
	switch {
	case long:
		r.keepItemsPrivate()
		return batchOdd
	case r.Status != 0, r.Fault != proxy.None:
		return batchDone
	case b.status != 200:
		r.replyAsItCame(b.why)
		return batchDone
	}
	return r.settleItems()
}

// A batchTaker is a request as it takes the answer to a batch.
type batchTaker Request

// ClientLeft implements [wire.Stayer]: the fetch goes on while others wait for a part of it.
func (t *batchTaker) ClientLeft() (goOn bool) {
	r := (*Request)(t)
	for _, i := range r.post.batch.lead {
		if f := r.post.batch.items[i].flight; f != nil && r.caching.items.wanted(f) {
			r.waiter.Interrupt()
			return true
		}
	}
	return false
}

// Take implements [proxy.Taker]. It takes all answers but those that are too long to be held and may go to the client as they come.
func (t *batchTaker) Take(h *wire.ResponseHead, length int64) bool {
	r := (*Request)(t)
	b := r.post.batch
	if length > longestBatch && (b.asksAll() || h.Status != 200) {
		r.keepItemsPrivate()
		r.status.Status, r.status.Detail = h.Status, cache.ForTooLarge
		b.exchange.Fields = r.AppendOutcome(b.exchange.Fields)
		return false
	}
	b.length = length
	r.response.Read(h, cache.Times{Request: r.sent, Response: time.Now().UnixMilli()})
	b.status = h.Status
	b.meta, b.why = r.Rule.Post.Policy.StorePost(&r.request, &r.response, r.Rule.Fields)
	if b.why == cache.ForTooLarge { // each of its parts may not be
		b.why = cache.None
		b.meta = cache.Meta{Status: h.Status, RequestTime: r.sent, ResponseTime: time.Now().UnixMilli(), Lifetime: int64(r.Rule.Post.Policy.TTL / time.Second)}
	}
	if b.exchange.OtherModel() {
		b.why = cache.ForFallback
	}
	b.answer = make([]byte, 0, min(max(length, 4<<10), longestBatch))
	b.lines, r.post.own = r.response.AppendPostHead(b.lines[:0], r.post.own[:0], h)
	if tap := b.exchange.Tap; tap != nil && tap.Response(h) {
		r.post.tap = tap
	}
	return true
}

// receiveItems reads the answer. What cannot be held goes to the client as it comes if it is the client's alone; else it is too long.
func (r *Request) receiveItems() (long bool, fault proxy.Fault) {
	b := r.post.batch
	outcome := r.caching.proxy.Receive(&b.exchange, func(piece []byte) error {
		switch {
		case r.Status != 0:
			return r.passLong(piece)
		case len(b.answer)+len(piece) <= longestBatch && r.caching.flights.reserve(int64(len(piece))):
			b.taken += int64(len(piece))
			b.answer = append(b.answer, piece...)
			return nil
		case b.asksAll() || b.status != 200:
			return r.beginLong(piece)
		}
		long = true
		return ErrNobody
	})
	if fault = outcome.Fault(); r.Status != 0 {
		fault = r.endLong(fault)
	}
	return long, fault
}

// beginLong begins a reply with what is held of the answer and this piece of it.
func (r *Request) beginLong(piece []byte) error {
	b := r.post.batch
	r.keepItemsPrivate()
	r.length = r.lengthOf(b.length)
	if r.send(b.status, r.headAsItCame(cache.ForTooLarge, r.length)); r.Fault != proxy.None {
		return ErrNobody
	}
	if r.buffer == nil {
		r.buffer = wire.GetBuffer(wire.SmallBuffer)
	}
	held := b.answer
	b.answer = nil
	if err := r.passLong(held); err != nil {
		return err
	}
	r.caching.flights.taken.Add(-b.taken)
	b.taken = 0
	return r.passLong(piece)
}

// passLong goes on with a reply that has begun.
func (r *Request) passLong(piece []byte) error {
	r.pass(piece)
	return r.sendPiece(piece)
}

// endLong ends such a reply, of an answer that has ended so.
func (r *Request) endLong(f proxy.Fault) proxy.Fault {
	switch {
	case f == proxy.ClientGone:
	case f != proxy.None:
		f = proxy.Truncated
	case r.sendEnd() != nil:
		f = proxy.ClientGone
	}
	return f
}

// settleItems takes an answer of 200 apart, for this request and for those who wait for parts of it.
func (r *Request) settleItems() batchEnding {
	b, c := r.post.batch, r.caching
	r.pass(b.answer)
	v, ok := inference.ReadVectors(b.answer, len(b.lead))
	if !ok {
		return r.settleOdd()
	}
	r.noteModel(v.Model)
	b.fetched += v.Usage.Input
	share := v.Usage.Input / int64(len(b.lead))
	now := time.Now().UnixMilli()
	for n, i := range b.lead {
		it := &b.items[i]
		it.vector = itemVector{meta: b.meta, embedding: v.ByIndex[n], model: v.Model, tokens: share}
		it.found = true
		how := itemPrivate
		if b.why == cache.None {
			how = itemFound
			r.storeItem(it, now)
		}
		if it.flight != nil {
			c.items.end(it.flight, how, it.vector)
			it.flight = nil
		}
	}
	return batchWhole
}

// settleOdd is settleItems of an answer that cannot be taken apart. If it is to everything that the client has asked for, it is the client's
// as it came: what it says twice or not at all is between those two, and a second request would cost the engine the same work.
func (r *Request) settleOdd() batchEnding {
	r.keepItemsPrivate()
	if !r.post.batch.asksAll() {
		return batchOdd
	}
	r.replyAsItCame(cache.ForShape)
	return batchDone
}

// asksAll tells whether the request that is sent for the batch asks for the same as the client's: each of its inputs, in its order.
func (b *batch) asksAll() bool { return len(b.lead) == len(b.which) }

// keepItemsPrivate tells those who wait for a part of the answer that it is not for them: each asks for itself then, and at once.
func (r *Request) keepItemsPrivate() {
	b := r.post.batch
	for _, i := range b.lead {
		if it := &b.items[i]; it.flight != nil {
			r.caching.items.end(it.flight, itemPrivate, itemVector{})
			it.flight = nil
		}
	}
}

// storeItem stores what was fetched for an item.
func (r *Request) storeItem(it *item, now int64) {
	store := r.caching.store
	if int64(len(it.vector.embedding)) > r.Rule.Post.Policy.MaxBody {
		return
	}
	stamp := store.Stamp(it.key)
	if it.flight != nil {
		stamp = it.flight.stamp
	}
	r.post.key.Body = it.body
	r.appendKey(r.Head.Target)
	e := cache.Entry{
		Meta: it.vector.meta, Key: r.text, Head: itemHead, Body: it.vector.embedding,
		Variant: append(appendNote(nil, &inference.Usage{Input: it.vector.tokens}, nil), it.vector.model...),
		Until:   it.vector.meta.ResponseTime + it.vector.meta.Keep().Milliseconds(),
	}
	e.ETag = nil
	r.post.record = cache.AppendEntry(r.post.record[:0], &e)
	store.Put(stamp, r.post.record, now)
}

// itemHead is the head of a record that is a part of an answer.
var itemHead = appendStoredHead(nil, nil, 0)

// followItems waits for what others fetch, and tells whether the client is still there and the time not over.
func (r *Request) followItems() bool {
	b, c := r.post.batch, r.caching
	watching := false
	began := wire.Now()
	defer func() {
		if watching {
			c.proxy.Unwatch(&r.watched)
			r.Waited += wire.Now() - began
		}
	}()
	for i := range b.items {
		it := &b.items[i]
		f := it.flight
		if f == nil || it.leads {
			continue
		}
		if !watching {
			watching = true
			c.proxy.Watch(&r.watched, r.Conn, r.waiter)
		}
		if !f.await(r.waiter, r.Rule.Wait) {
			if r.Fault = proxy.TimeoutResponse; r.waiter.Gone() {
				r.Fault = proxy.ClientGone
			}
			return false
		}
		c.items.leave(f)
		it.flight = nil
		switch f.ending {
		case itemFound:
			it.found, it.vector = true, f.vector
			r.noteModel(f.vector.model)
			b.followed = true
		case itemPrivate:
			it.alone = true
		}
	}
	return true
}

// replyItems replies with all vectors, in the order of the inputs.
func (r *Request) replyItems(now int64) Outcome {
	b := r.post.batch
	size, ok := r.roomForItems()
	if !ok {
		r.forgoItems()
		return Passed
	}
	oldest, saved := cache.Meta{}, int64(0)
	out := inference.AppendVectorsBegin(slices.Grow(b.out[:0], size))
	for n, i := range b.which {
		it := &b.items[i]
		out = inference.AppendVector(out, n, b.embeddingOf(it))
		if n == 0 || it.vector.meta.TTL(now) < oldest.TTL(now) {
			oldest = it.vector.meta
		}
		saved += it.vector.tokens
	}
	b.out = inference.AppendVectorsEnd(out, r.post.model, b.fetched)
	r.saved(saved - b.fetched)
	if r.outcome == outcomeHit {
		r.status = cache.CacheStatus{TTL: oldest.TTL(now), Timed: true}
	}
	h := append(r.statusLine(200), "Content-Type: application/json\r\n"...)
	h = append(cache.AppendDateLine(h, now/1000), r.targetLines()...)
	h = wire.AppendLength(r.appendOwn(h, &oldest, now), int64(len(b.out)))
	r.scratch = append(h, "\r\n"...)
	if r.sendRecord(200, r.scratch); r.Fault == proxy.None && r.Conn.Send(b.out) != nil {
		r.Fault = proxy.ClientGone
	}
	return Done
}

// roomForItems is about how long the reply with all vectors will be: a short request may ask for a long one many times. Beyond what a
// request's state keeps anyway, it counts as the bodies under way do; ok is false if there is no room for it.
func (r *Request) roomForItems() (size int, ok bool) {
	const around = 80 // bytes of an element beside its embedding
	b := r.post.batch
	for _, i := range b.which {
		size += len(b.embeddingOf(&b.items[i])) + around
	}
	switch {
	case size <= keptBatch:
		return size, true
	case size > 4*longestBatch, !r.caching.flights.reserve(int64(size)):
		return size, false
	}
	b.taken += int64(size)
	return size, true
}

// embeddingOf is the embedding of an item that was found or fetched.
func (b *batch) embeddingOf(it *item) inference.Embedding {
	if e := it.vector.embedding; e != nil {
		return e
	}
	return b.values[it.from:it.to]
}

// targetLines are those for answers of the upstream that was asked, if one was.
func (r *Request) targetLines() []byte {
	if f := &r.post.batch.exchange; f.Upstream != nil {
		return f.TargetFields()
	}
	return nil
}

// headAsItCame is the head of a reply with an answer that is for nobody else and has a body of that length.
func (r *Request) headAsItCame(why cache.Reason, length int64) []byte {
	b := r.post.batch
	r.status.Status, r.status.Detail = b.status, why
	h := append(append(r.statusLine(b.status), b.lines...), r.targetLines()...)
	now := time.Now().UnixMilli()
	return append(wire.AppendLength(r.appendOwn(h, &cache.Meta{ResponseTime: now}, now), length), "\r\n"...)
}

// replyAsItCame replies with an answer that is for nobody else: no embeddings, or none that can be taken apart.
func (r *Request) replyAsItCame(why cache.Reason) {
	b := r.post.batch
	r.scratch = append(r.headAsItCame(why, int64(len(b.answer))), b.answer...)
	r.sendRecord(b.status, r.scratch)
}

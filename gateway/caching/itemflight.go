package caching

import (
	"sync"
	"sync/atomic"
	"time"

	"aigateway/gateway/cache"
	"aigateway/gateway/inference"
	"aigateway/gateway/wire"
)

// itemFlights are the inputs of requests for embeddings whose vectors are being fetched, each once for all who want it. They are
// fetched in batches, which differ from request to request, so that each input has a flight of its own, without a stream.
type itemFlights struct {
	shards [64]struct {
		mu      sync.Mutex
		flights map[cache.Key]*itemFlight
		_       [40]byte // a cache line of its own
	}
	under atomic.Int64
	ends  [4096]atomic.Uint32 // see Ended
}

// An itemFlight is one input under way.
type itemFlight struct {
	key     cache.Key
	stamp   cache.Stamp // from before the fetch
	waiting int         // others than who fetches
	done    chan struct{}

	// set before done is closed
	ending itemEnding
	vector itemVector
}

// An itemVector is what an input has come to.
type itemVector struct {
	meta      cache.Meta
	embedding inference.Embedding
	model     []byte // as JSON; nil: the answer did not say
	tokens    int64  // about, of a batch
}

type itemEnding uint8

const (
	itemFailed  itemEnding = iota // somebody else may have more luck
	itemPrivate                   // there is one, for who has asked
	itemFound
)

func (t *itemFlights) shard(k *cache.Key) *struct {
	mu      sync.Mutex
	flights map[cache.Key]*itemFlight
	_       [40]byte
} {
	return &t.shards[k[0]%uint8(len(t.shards))]
}

// join takes part in the flight of a key, or begins one: then the caller leads. The stamp is of now: a flight from before something
// was done to what is stored is not for those who come after that.
func (t *itemFlights) join(k cache.Key, st cache.Stamp) (f *itemFlight, leads bool) {
	s := t.shard(&k)
	s.mu.Lock()
	defer s.mu.Unlock()
	if f = s.flights[k]; f != nil && !f.stamp.Precedes(&st) {
		f.waiting++
		return f, false
	}
	if s.flights == nil {
		s.flights = make(map[cache.Key]*itemFlight)
	}
	f = &itemFlight{key: k, stamp: st, done: make(chan struct{})}
	s.flights[k] = f
	t.under.Add(1)
	return f, true
}

// ended counts the flights of the key, and of some others, that have found something: it may be stored now.
func (t *itemFlights) ended(k cache.Key) uint32 { return t.ends[markSlot(k)].Load() }

// end ends a flight. What was found is stored already, if it is.
func (t *itemFlights) end(f *itemFlight, how itemEnding, v itemVector) {
	s := t.shard(&f.key)
	s.mu.Lock()
	if s.flights[f.key] == f {
		delete(s.flights, f.key)
	}
	s.mu.Unlock()
	if how == itemFound {
		t.ends[markSlot(f.key)].Add(1)
	}
	f.ending, f.vector = how, v
	close(f.done)
	t.under.Add(-1)
}

// leave tells that one who waited does no more.
func (t *itemFlights) leave(f *itemFlight) {
	s := t.shard(&f.key)
	s.mu.Lock()
	f.waiting--
	s.mu.Unlock()
}

// wanted tells whether somebody waits for the flight.
func (t *itemFlights) wanted(f *itemFlight) bool {
	s := t.shard(&f.key)
	s.mu.Lock()
	defer s.mu.Unlock()
	return f.waiting > 0
}

// await waits for the end of the flight, at most so long, or until the waiter's client has left.
func (f *itemFlight) await(w *Waiter, limit time.Duration) (ended bool) {
	select {
	case <-f.done:
		return true
	default:
	}
	began := wire.Now()
	w.timer.Reset(limit)
	defer w.timer.Stop()
	for !w.gone.Load() {
		select {
		case <-f.done:
			return true
		case <-w.wake:
		case <-w.timer.C:
			if w.timedOut(&began, limit) {
				return false
			}
		}
	}
	return false
}

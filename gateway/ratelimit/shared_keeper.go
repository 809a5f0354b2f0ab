package ratelimit

import (
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// A keeper is the goroutine that leases tokens of the global bucket, shows that this replica is alive, and finds out when
// Redis is back. Only it does: no request waits to see whether it is.
type keeper struct {
	s     *Shared
	batch int64
	pool  int64         // tokens in the pool after the last step
	used  int64         // spent since the last time it asked for tokens
	asked time.Duration // that time
	busy  time.Duration // when somebody last wanted a token
	beat  time.Duration // when to show up next
	fewer census
}

func (s *Shared) keep(first chan<- struct{}) {
	defer s.guard()
	// The first batch is small: it is not known yet whether anybody will come here.
	k := keeper{s: s, batch: max(int64(s.all.PerSecond*minPause.Seconds()), 1), busy: s.clock(), asked: s.clock()}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-s.stop.Done():
		case <-s.kick:
		case <-timer.C:
		}
		if s.stop.Err() != nil {
			k.leave()
			return
		}
		timer.Reset(max(k.step(s.clock()), 100*time.Microsecond))
		if first != nil {
			close(first)
			first = nil
		}
	}
}

// step does what is due and returns when to come back.
func (k *keeper) step(now time.Duration) time.Duration {
	s := k.s
	s.kicked.Store(false)
	if rest := s.resting(now); rest > 0 {
		return rest
	}
	if s.conn.Load() == nil {
		if err := s.dial(); err != nil {
			s.trip(err, now)
			return probeTime
		}
		now = s.clock()
	}
	if q := k.question(now); q.limit != nil {
		k.put(q, now)
	}
	return k.next(s.clock())
}

// resting is how long Redis is still to be left alone.
func (s *Shared) resting(now time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.down.Load() {
		return 0
	}
	return s.retry - now
}

func (k *keeper) denied(now time.Duration) bool {
	return k.s.denied.Load() && now < k.retryAt()
}

// retryAt is when to ask again after Redis had nothing left: as it said, but not later than leaseTime, because other replicas
// may have given something back.
func (k *keeper) retryAt() time.Duration {
	return min(time.Duration(k.s.until.Load()), k.asked+leaseTime)
}

// question decides what to ask for. Without a limit it is nothing.
func (k *keeper) question(now time.Duration) (q question) {
	s := k.s
	have, waiting := s.pool.Load(), s.waiting.Load()
	used := max(k.pool-have, 0)
	k.used, k.pool = k.used+used, have
	if used > 0 || waiting > 0 || s.wanted.Load() {
		k.busy = now
	}
	switch denied := k.denied(now); {
	case now-k.busy >= leaseTime:
		q.back = s.pool.Swap(0)
		k.pool = 0
		s.low.Store(0)
		s.denied.Store(false)
	case denied || s.down.Load():
	case have < max(s.low.Load(), 1) || waiting > 0 || s.wanted.Load():
		k.adapt(now)
		q.want = min(max(k.batch+waiting-have, 0), int64(s.all.most))
	default:
		s.denied.Store(false) // the time is over, and nobody is in need
		s.low.Store(k.batch / 2)
	}
	beat := now >= k.beat || s.down.Load()
	if q.back == 0 && q.want == 0 && !beat && s.spent.Load() == 0 {
		return question{}
	}
	q.least = int64(s.all.PerSecond * minPause.Seconds())
	q.limit, q.keys, q.first = &s.all, []string{s.bucketOfAll()}, s.all.Burst
	if left := s.left.Load(); left >= 0 {
		q.first = left + s.all.flow(now-time.Duration(s.heard.Load()))
	} else if s.spent.Load() > 0 {
		q.first += s.all.flow(now - time.Duration(s.since.Load()))
	}
	if beat {
		q.keys, q.replica, q.alive = append(q.keys, s.keyOfReplicas()), s.id, aliveTime
	}
	return q
}

// adapt makes a batch what is spent in batchTime, in steps of two.
func (k *keeper) adapt(now time.Duration) {
	since := max(now-k.asked, time.Millisecond)
	rate := int64(float64(k.used) * float64(batchTime) / float64(since))
	k.batch = min(max(rate, k.batch/2, 1), k.batch*2)
	k.asked, k.used = now, 0
}

// put asks, and hands out what comes back.
func (k *keeper) put(q question, now time.Duration) {
	s := k.s
	s.wanted.Store(false)
	since := s.since.Load()
	if !s.down.Load() { // what only finds out whether Redis is there may arrive, again and again, after it was given up
		if q.charge = s.spent.Swap(0); q.charge > 0 {
			q.flow = q.limit.flow(now - time.Duration(since))
		}
	}
	late := time.AfterFunc(s.o.Timeout, func() { s.trip(errLate, now) })
	a, err := s.ask(q, s.late())
	inTime := late.Stop()
	if err != nil {
		if q.charge > 0 {
			s.spent.Add(q.charge) // it may have arrived: then it is charged twice, and the gate is too narrow for a moment
			s.since.Store(since)
		}
		s.trip(err, now)
		return
	}
	s.returned.Add(uint64(q.back))
	s.left.Store(a.left)
	s.heard.Store(int64(s.clock()))
	s.news.Store(true)
	if q.replica != "" {
		k.beat = now + beatTime
		k.fewer.count(&k.s.replicas, a.replicas, now)
	}
	s.pool.Add(a.granted)
	k.pool += a.granted
	if q.want > 0 {
		k.hear(q, a)
	}
	if inTime {
		s.recover() // else it is to be trusted again when it is asked the next time
	}
	if s.waiting.Load() > 0 {
		s.mu.Lock()
		s.release()
		s.mu.Unlock()
	}
}

// A census is since when there seem to be fewer replicas than are believed in; 0: there do not.
type census time.Duration

// count believes at once that there are more replicas, and only after a while that there are fewer: to a Redis that has lost
// its memory they come back one after the other, and until they have, nobody's share may grow.
func (c *census) count(believed *atomic.Int64, n int64, now time.Duration) {
	switch {
	case n >= believed.Load(), *c != 0 && now-time.Duration(*c) > aliveTime:
		believed.Store(max(n, 1))
		*c = 0
	case *c == 0:
		*c = census(now)
	}
}

// hear opens or closes the gate of this replica after it has asked for tokens.
func (k *keeper) hear(q question, a answer) {
	s := k.s
	if a.granted == q.want || a.left > 0 {
		s.low.Store(k.batch / 2)
		s.denied.Store(false)
		return
	}
	pause := s.pause()
	until := Never
	if a.wait < Never/2 {
		until = s.clock() + max(a.wait, pause)
	}
	s.until.Store(int64(until))
	s.low.Store(0)
	s.denied.Store(true)
	k.asked = s.clock()
}

// pause is for how long an empty bucket is left alone at least: the more replicas, the longer each stays away, but not for so
// long that the bucket runs over. They must not all come back at the same moment, always in the same order.
func (s *Shared) pause() time.Duration {
	pause := max(minPause, min(3*time.Millisecond*time.Duration(s.replicas.Load()), 3*minPause))
	return pause + rand.N(pause)
}

// next is how long there is nothing to do.
func (k *keeper) next(now time.Duration) time.Duration {
	s := k.s
	if rest := s.resting(now); rest > 0 {
		return rest
	}
	if s.spent.Load() > 0 {
		return 0
	}
	at := k.beat
	if s.denied.Load() {
		at = min(at, k.retryAt())
	}
	if s.pool.Load() > 0 {
		at = min(at, k.busy+leaseTime)
	}
	return at - now
}

// leave gives everything back.
func (k *keeper) leave() {
	s := k.s
	if s.conn.Load() == nil {
		return
	}
	q := question{
		limit: &s.all, keys: []string{s.bucketOfAll(), s.keyOfReplicas()}, replica: s.id, first: -1,
		back: s.pool.Swap(0), charge: s.spent.Swap(0),
	}
	if a, err := s.ask(q, s.o.Timeout); err != nil || a.granted != 0 {
		return
	}
	s.returned.Add(uint64(q.back))
}

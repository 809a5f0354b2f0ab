package cache

import "time"

// A RedisState is what the Redis tier can do.
type RedisState uint8

// The states, the best first. Memory is used in all of them but RedisAway.
const (
	RedisOK       RedisState = iota
	RedisNoPush              // it cannot tell what others change: memory keeps nothing longer than two seconds
	RedisRefuses             // it does not take what is written, for a reason of its own
	RedisReadOnly            // it is a replica: it takes nothing, and nobody can be told of a purge through it
	RedisFull                // it has no memory for what is written
	RedisSlow                // no request asks it
	RedisAway                // it is lost, and so is who would tell what others change
	redisStates
)

// String is the word for it on pages and in metrics.
func (s RedisState) String() string {
	return [...]string{"ok", "no_push", "refuses", "read_only", "full", "slow", "away"}[s]
}

// RedisStates are all there are.
func RedisStates() (all []RedisState) {
	for s := range redisStates {
		all = append(all, s)
	}
	return all
}

// refuse notes what Redis has said to a write or a deletion.
func (r *remote) refuse(err error) {
	state := RedisRefuses
	switch {
	case isFull(err):
		state = RedisFull
	case isReadOnly(err):
		state = RedisReadOnly
	}
	r.refusal.Store(&err)
	r.refusedAt.Store(time.Now().UnixMilli())
	r.refuses.Store(int32(state))
}

// accept notes that Redis has taken what was written. A Redis at its limit takes some and refuses some, and is called full
// until it has refused nothing for a while.
func (r *remote) accept() {
	if r.refuses.Load() != 0 && time.Now().UnixMilli()-r.refusedAt.Load() > restMemory.Milliseconds() {
		r.refuses.Store(0)
	}
}

func (r *remote) stateNow() RedisState {
	refuses := RedisState(r.refuses.Load())
	switch {
	case !r.trusted(time.Now().UnixMilli()):
		return RedisAway
	case r.resting.Load():
		return RedisSlow
	case refuses != RedisOK:
		return refuses
	case r.blind.Load():
		return RedisNoPush
	}
	return RedisOK
}

// tellState is called after each heartbeat. What comes and goes within one is not worth a line; that Redis is lost is.
func (r *remote) tellState(err error) {
	now := r.stateNow()
	lasts := now == r.next || now == RedisAway
	r.next = now
	if now == r.state || !lasts {
		return
	}
	r.state = now
	why := r.refusal.Load()
	if now == RedisNoPush {
		why = r.lacks.Load()
	}
	if err == nil && why != nil && now != RedisOK && now != RedisSlow {
		err = *why
	}
	r.o.OnState(now, err)
}

package cache

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"aigateway/gateway/config"
)

// A Store keeps records in memory, in front of a Redis that all replicas share, if there is one. A nil Store is
// off: it finds nothing and keeps nothing.
//
// With Redis, a record enters memory once Redis has taken or refused it, and what any replica replaces, deletes or purges, Redis
// tells all of them to drop. While it does not, memory counts as empty; if it never can, memory keeps nothing for long.
type Store struct {
	memory *memory
	redis  *remote // nil: memory only

	purged, deleted atomic.Uint64
}

// Options say how large a Store is, and where Redis is.
type Options struct {
	MemoryBytes int64         // bound of what the memory tier takes; at least MinMemoryBytes
	MaxEntries  int           // soft cap of the memory tier; fewer if their books take more than a quarter of MemoryBytes
	MaxRecord   int           // bytes; a longer record is neither kept nor believed
	Redis       *RedisOptions // nil: none
}

// A Tier is where a record was found.
type Tier uint8

// The tiers, the fastest first.
const (
	Nowhere Tier = iota // not found
	Memory              // this process
	Redis               // all replicas
)

// String is the label of metrics.
func (t Tier) String() string {
	return [...]string{"none", "memory", "redis"}[t]
}

// Open makes a Store. It does not wait for Redis: that is looked for behind the requests, again and again, and an error
// is about the options only.
func Open(o Options) (*Store, error) {
	switch {
	case o.MemoryBytes < MinMemoryBytes:
		return nil, errors.New("cannot keep a cache in less than 1 MiB of memory")
	case o.MaxEntries < 1:
		return nil, errors.New("cannot keep a cache without an entry")
	case o.MaxRecord < fixedSize:
		return nil, errors.New("cannot keep a cache without room for a record")
	}
	s := &Store{memory: newMemory(o.MemoryBytes, o.MaxEntries)}
	if o.Redis != nil {
		r, err := newRemote(s.memory, o.MaxRecord, *o.Redis)
		if err != nil {
			s.memory.close()
			return nil, err
		}
		s.redis = r
	}
	return s, nil
}

// Close ends what Open started. What was not yet written to Redis is lost, but what was deleted is deleted there, if
// Redis answers within its time. Nothing may use the Store afterwards.
func (s *Store) Close() {
	if s == nil {
		return
	}
	if s.redis != nil {
		s.redis.close()
	}
	s.memory.close()
}

// Get appends the record of k to dst and says where it was. If there is none, the tier is Nowhere, and dst comes back as
// long as it was; it may have grown. The record passed Check when it came from Redis. That its key and variant are those
// that are asked for is for the caller to compare. Now is in Unix milliseconds. A hit in memory allocates nothing if dst
// has the room; asking Redis takes ReadTimeout at most.
func (s *Store) Get(dst []byte, k Key, now int64) ([]byte, Tier) {
	if s == nil {
		return dst, Nowhere
	}
	if s.redis == nil || s.redis.trusted(now) {
		rec, ok := s.memory.get(dst, &k)
		if ok && untilOf(rec[len(dst):]) > now {
			return rec, Memory
		}
		dst = rec[:len(dst)]
	}
	if s.redis == nil {
		return dst, Nowhere
	}
	if rec, ok := s.redis.get(dst, k, now); ok {
		return rec, Redis
	}
	return dst, Nowhere
}

// Stamp is taken before an answer is asked for, and goes with it to Put.
func (s *Store) Stamp(k Key) Stamp {
	if s == nil {
		return Stamp{}
	}
	return s.memory.stamp(k)
}

// Empty reports whether there is certainly nothing to delete: nothing was put into a memory that no Redis is behind.
func (s *Store) Empty() bool { return s == nil || s.redis == nil && s.memory.entries.Load() == 0 }

// Keeps reports whether a Put has somewhere to go now: a Redis that is lost takes nothing. Now is in Unix milliseconds.
func (s *Store) Keeps(now int64) bool { return s != nil && (s.redis == nil || s.redis.trusted(now)) }

// Valid reports whether nothing has been done to the stamp's key since it was taken.
func (s *Store) Valid(st Stamp) bool { return s == nil || s.memory.valid(&st) }

// Put keeps a copy of rec until its Until, unless its key was deleted, purged or replaced elsewhere since the stamp was
// taken. It does not wait for Redis, and reports whether rec was kept or is on its way.
func (s *Store) Put(st Stamp, rec []byte, now int64) bool {
	switch {
	case s == nil || len(rec) < fixedSize || untilOf(rec) <= now:
		return false
	case s.redis != nil:
		return s.redis.put(st, rec, now)
	}
	return s.memory.put(&st, rec)
}

// Delete drops k in both tiers, and what is being fetched for it is not stored: an unsafe method was answered (RFC 9111
// §4.4). It does not wait for Redis: until it is done there, k is not found. If Redis is away, it is told when it is back.
func (s *Store) Delete(k Key) {
	if s == nil {
		return
	}
	if s.redis != nil {
		s.redis.delete(k)
	} else if _, ok := s.memory.delete(&k, oneDeletion); ok {
		s.deleted.Add(1)
	}
}

// Purge drops, in both tiers and on all replicas, every record whose text of the key matches, and returns how many
// answers there were (lists of variants are none): here or in Redis, whichever had more. What any replica is fetching meanwhile is not stored. A nil
// match is everything. Match must be quick, and keep nothing of the text. An error says that some may be left in Redis.
func (s *Store) Purge(ctx context.Context, match func(text []byte) bool) (n int, err error) {
	return s.purge(ctx, "", match)
}

// PurgeSelected is a Purge of what o.Redis.Selects makes of what. Other replicas do the same, where after a Purge they forget
// all that they keep in memory and Redis did not want.
func (s *Store) PurgeSelected(ctx context.Context, what string, match func(text []byte) bool) (n int, err error) {
	return s.purge(ctx, what, match)
}

func (s *Store) purge(ctx context.Context, what string, match func(text []byte) bool) (n int, err error) {
	if s == nil {
		return 0, nil
	}
	s.purged.Add(1)
	s.memory.generation.Add(1)
	if match == nil {
		n = s.memory.flush()
	} else {
		n = s.memory.purge(match)
	}
	if s.redis == nil {
		return n, nil
	}
	inRedis, err := s.redis.purge(ctx, what, match)
	return max(n, inRedis), err
}

// Flush forgets what is in memory, and nothing in Redis.
func (s *Store) Flush() {
	if s != nil {
		s.memory.flush()
	}
}

// Stats are the figures of a Store since it was opened; Entries, Bytes, Trusted, Resting, Queued are of now.
// Hits and misses are counted by who calls Get, who is told the tier.
type Stats struct {
	Entries   uint64 // in memory
	Bytes     uint64 // really taken by the memory tier
	Evictions uint64 // of entries that had to make room

	Invalidations map[string]uint64 // by source: purge, delete, push, expiry, lost
	Redis         *RedisStats       // nil without Redis
}

// Stats may be asked for at any time; it takes some microseconds.
func (s *Store) Stats() Stats {
	if s == nil {
		return Stats{}
	}
	st := Stats{
		Entries: uint64(s.memory.entries.Load()), Bytes: s.memory.bytes(), Evictions: s.memory.evictions.Load(),
		Invalidations: map[string]uint64{"purge": s.purged.Load(), "delete": s.deleted.Load()},
	}
	if s.redis != nil {
		r := s.redis.stats()
		st.Redis = &r
		st.Invalidations["delete"] = s.redis.unlinked.Load()
		st.Invalidations["push"] = s.redis.pushes.Load()
		st.Invalidations["expiry"] = s.redis.expiries.Load()
		st.Invalidations["lost"] = s.redis.lost.Load()
	}
	return st
}

// RedisOptions say how Redis is reached and how long it is waited for.
type RedisOptions struct {
	config.Redis
	ReadTimeout time.Duration // what a Get may cost; 0: 15 ms; at most 20 ms

	// OnState is told what Redis is in now and what it said, if anything; for the log, not for clients. May be nil.
	OnState func(RedisState, error)
	// Selects makes of what PurgeSelected was given what Purge wants; nil if it does not understand it. May be nil.
	Selects func(what string) func(text []byte) bool

	refusalTime time.Duration // 0: a second
}

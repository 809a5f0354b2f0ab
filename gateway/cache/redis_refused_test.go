package cache

import (
	"aigateway/gateway/testkit"
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// fill makes a Redis refuse whatever takes memory. What it holds then is not ours.
func (r *server) fill() {
	r.T.Helper()
	r.Do("CONFIG", "SET", "maxmemory-policy", "noeviction")
	r.Do("SET", "somebody's", strings.Repeat("x", 1<<20))
	r.Do("CONFIG", "SET", "maxmemory", "1mb")
	eventually(r.T, "redis is full", func() bool { reply, _ := r.Try("SET", "x", "y"); return strings.HasPrefix(reply, "-OOM") })
}

// calls is how often Redis was given a command, whether it was done or refused.
func (r *server) calls(command string) (n int) {
	r.T.Helper()
	_, rest, _ := strings.Cut(r.Do("INFO", "commandstats"), "cmdstat_"+command+":")
	line, _, _ := strings.Cut(rest, "\r\n")
	for field := range strings.SplitSeq(line, ",") {
		name, digits, _ := strings.Cut(field, "=")
		if i, _ := strconv.Atoi(digits); name == "calls" || name == "rejected_calls" || name == "failed_calls" {
			n += i
		}
	}
	return n
}

func openSelecting(t testing.TB, addr string) *Store {
	t.Helper()
	return openShared(t, addr, func(o *RedisOptions) { o.Selects = beginsWith })
}

// TestRedisFull: who finds Redis full keeps what it has fetched in memory, and hears all the same what others delete and purge.
func TestRedisFull(t *testing.T) {
	t.Parallel()
	r := startServer(t)
	a, b := openSelecting(t, r.Addr), openSelecting(t, r.Addr)
	a.keep(t, "/first", 100)
	r.fill()
	const n = 500
	before := r.calls("set")
	for _, s := range []*Store{a, b} {
		// On a busy machine a heartbeat may come too late, and memory is empty after it: then all begins anew.
		eventually(t, "memory has all, and nothing was fetched twice", func() bool {
			s.Flush()
			s.ready(t)
			lost, alone, hits := s.redis.lost.Load(), s.redis.keptAlone.Load(), 0
			for range 4 {
				for i := range n {
					name := fmt.Sprint("/", i%5, "/", i)
					if s.tier(t, name) != Nowhere {
						hits++
					} else {
						s.set(name, 100)
					}
					if i%50 == 0 {
						s.idle(t)
					}
				}
				s.idle(t)
			}
			t.Logf("%d hits of %d", hits, 4*n)
			if lost == s.redis.lost.Load() && hits < 3*n-n/10 {
				t.Fatal("a full redis costs hits")
			}
			return hits == 3*n && s.redis.keptAlone.Load()-alone == n
		})
		eventually(t, "it says that redis is full", func() bool { return s.Stats().Redis.State == RedisFull })
		if s.Stats().Redis.Faults["full"] == 0 {
			t.Errorf("%+v", s.Stats().Redis)
		}
	}
	sets := r.calls("set") - before
	t.Logf("%d attempts to write %d records", sets, 2*n)
	if sets == 0 || sets > n/2 {
		t.Error("redis is full, and written to as often as if it was not")
	}

	a.Delete(keyOf("/0/0"))
	eventually(t, "what a deletes is gone from b", func() bool { return b.tier(t, "/0/0") == Nowhere })
	fetching := b.Stamp(keyOf("/1/late"))
	if purged, err := a.PurgeSelected(context.Background(), "/1/", beginsWith("/1/")); purged != n/5 || err != nil {
		t.Fatal(purged, err)
	}
	eventually(t, "what a purges is gone from b", func() bool { return b.tier(t, "/1/1") == Nowhere && b.tier(t, "/1/496") == Nowhere })
	if b.tier(t, "/2/2") != Memory || a.tier(t, "/1/1") != Nowhere || a.tier(t, "/2/2") != Memory {
		t.Error("not what was to be purged")
	}
	if b.Put(fetching, recordOf("/1/late", 1), time.Now().UnixMilli()) {
		t.Error("b stored what it asked for before the purge")
	}
	if _, err := b.Purge(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all is gone", func() bool { return a.tier(t, "/2/2") == Nowhere && b.tier(t, "/2/2") == Nowhere })
	if r.Do("DBSIZE") != ":2" { // somebody's, and the mark
		t.Error("words stay in redis:", r.Do("DBSIZE"))
	}

	b.set("/again", 1)
	b.idle(t)
	r.Do("CONFIG", "SET", "maxmemory", "0")
	eventually(t, "redis is written to again", func() bool { b.set("/again", 1); b.idle(t); return r.has("/again") })
	eventually(t, "the other finds it", func() bool { return a.tier(t, "/again") != Nowhere })
}

// TestRedisBehind: what comes faster than Redis takes it stays in memory.
func TestRedisBehind(t *testing.T) {
	t.Parallel()
	r := startServer(t)
	w := startDetour(t, r.Addr)
	s := openSelecting(t, w.addr)
	w.delay.Store(int64(50 * time.Millisecond))
	eventually(t, "everything that came while redis was behind is found", func() bool {
		s.ready(t)
		before := s.Stats().Redis.Alone
		found := 0
		for i := range 2 * queueRecords {
			name := fmt.Sprint("/", i)
			if s.set(name, 10) && s.tier(t, name) != Nowhere {
				found++
			}
		}
		t.Logf("%d found, %d of them only in memory", found, s.Stats().Redis.Alone-before)
		return found == 2*queueRecords && s.Stats().Redis.Alone-before > queueRecords/2
	})
	w.delay.Store(0)
}

// TestRedisReadOnly: a gateway at a replica keeps what it fetches, hears what is done through the master, and says that it
// cannot be heard itself.
func TestRedisReadOnly(t *testing.T) {
	t.Parallel()
	master := startServer(t)
	replica := startServer(t, "--replicaof", strings.Replace(master.Addr, ":", " ", 1))
	eventually(t, "the replica follows", func() bool { return strings.Contains(replica.Do("INFO", "replication"), "master_link_status:up") })
	a, b := openSelecting(t, master.Addr), openSelecting(t, replica.Addr)
	for i := range 50 {
		b.keep(t, fmt.Sprint("/", i%2, "/", i), 10)
	}
	eventually(t, "it says that redis is read-only", func() bool { return b.Stats().Redis.State == RedisReadOnly })
	a.Delete(keyOf("/0/0"))
	eventually(t, "what is deleted through the master is gone", func() bool { return b.tier(t, "/0/0") == Nowhere })
	if _, err := a.PurgeSelected(context.Background(), "/0/", beginsWith("/0/")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "what is purged through the master is gone", func() bool { return b.tier(t, "/0/2") == Nowhere })
	if b.tier(t, "/1/1") != Memory {
		t.Error("not what was to be purged")
	}
	if _, err := b.PurgeSelected(context.Background(), "/1/1", beginsWith("/1/1")); err == nil {
		t.Error("no error of a purge that nobody can hear of")
	}
	if b.tier(t, "/1/1") != Nowhere {
		t.Error("not purged here")
	}
	before := replica.calls("set")
	b.Delete(keyOf("/1/3"))
	if b.tier(t, "/1/3") != Nowhere {
		t.Error("deleted, and found")
	}
	eventually(t, "what was fetched after a deletion is kept, though that still waits", func() bool {
		b.set("/1/3", 20)
		time.Sleep(10 * time.Millisecond)
		return b.tier(t, "/1/3") == Memory
	})
	time.Sleep(100 * time.Millisecond)
	if n := replica.calls("set") - before; n > 10 {
		t.Error(n, "attempts to write")
	}
	a.keep(t, "/shared", 10)
	eventually(t, "what the master has is found", func() bool { return b.tier(t, "/shared") != Nowhere })
}

// TestRedisWithoutPush: a Redis that cannot tell what changes is used, and memory keeps nothing of it for long.
func TestRedisWithoutPush(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	t.Parallel()
	f := func(what string, user string, args ...string) {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := startServer(t, args...)
			told := make(chan RedisState, 100)
			s := openShared(t, r.Addr, func(o *RedisOptions) {
				o.Username, o.Password = user, user
				o.OnState = func(state RedisState, err error) { t.Log(state, err); told <- state }
			})
			eventually(t, "it says that redis cannot push", func() bool { return s.Stats().Redis.State == RedisNoPush })
			state := <-told
			for state == RedisSlow { // on a busy machine, before it could be asked for more
				state = <-told
			}
			if state != RedisNoPush {
				t.Error("said", state)
			}
			text := string(recordOf("/x", 1))
			for range 3 {
				s.keep(t, "/x", 10)
				since := time.Now()
				k := keyOf("/x")
				r.Do("SET", testNames.of(k), text)
				for {
					now := time.Now()
					rec, tier := s.Get(nil, k, now.UnixMilli())
					if string(rec) == text {
						break
					}
					if d := now.Sub(since); d > 2100*time.Millisecond && tier == Memory {
						t.Fatal("what was replaced is used after", d)
					}
					if time.Since(since) > testkit.Patience {
						t.Fatal("what was replaced is not found")
					}
					time.Sleep(time.Millisecond)
				}
			}
			s.keep(t, "/y", 10)
			st := s.Stamp(keyOf("/z"))
			if n, err := s.Purge(context.Background(), nil); n < 2 || err != nil {
				t.Error(n, err)
			}
			if s.Put(st, recordOf("/z", 1), time.Now().UnixMilli()) {
				t.Error("stored what was asked for before a purge")
			}
			r.Kill()
			eventually(t, "it is lost", func() bool { return s.Stats().Redis.State == RedisAway })
			r.Start()
			s.ready(t)
		})
	}
	f("tracking refused", "u", "--user", "u", "on", ">u", "~*", "&*", "+@all", "-client|tracking")
	f("no CLIENT", "", "--rename-command", "CLIENT", "")
	f("RESP2", "", "--rename-command", "HELLO", "")
	f("RESP2, no CLUSTER, no CLIENT", "", "--rename-command", "HELLO", "", "--rename-command", "CLIENT", "", "--rename-command", "CLUSTER", "")
}

// TestRevocations changes what an origin says and invalidates it, on any of two gateways, while both fetch it. When all is
// done, nobody has what was fetched before the last change, whatever Redis took meanwhile.
func TestRevocations(t *testing.T) {
	t.Parallel()
	f := func(what string, during func(r *server, round int)) {
		t.Run(what, func(t *testing.T) {
			r := startServer(t)
			open := func() *Store {
				return openShared(t, r.Addr, func(o *RedisOptions) { o.Selects, o.refusalTime = beginsWith, 5*time.Millisecond })
			}
			stores := []*Store{open(), open()}
			var origin [10]atomic.Int64
			for round := range 30 / min(effort, 3) {
				during(r, round)
				var wait sync.WaitGroup
				for g := range 4 {
					wait.Go(func() {
						s, random := stores[g%2], rand.New(rand.NewPCG(uint64(round), uint64(g)))
						for range 300 {
							i := random.IntN(len(origin))
							name := fmt.Sprint("/", i)
							switch random.IntN(12) {
							case 0:
								origin[i].Add(1)
								s.Delete(keyOf(name))
							case 1:
								if random.IntN(8) == 0 {
									origin[i].Add(1)
									if _, err := s.PurgeSelected(context.Background(), name, beginsWith(name)); err != nil {
										t.Error(err)
									}
								}
							case 2, 3, 4, 5, 6:
								st := s.Stamp(keyOf(name))
								v := origin[i].Load()
								if random.IntN(3) == 0 {
									time.Sleep(time.Duration(random.IntN(1000)) * time.Microsecond)
								}
								s.Put(st, recordOf(name, int(v)), time.Now().UnixMilli())
							default:
								s.tier(t, name)
							}
						}
					})
				}
				wait.Wait()
				for i := range origin {
					name := fmt.Sprint("/", i)
					for n, s := range stores {
						eventually(t, fmt.Sprintf("round %d: gateway %d has the latest %s or nothing", round, n, name), func() bool {
							rec, tier := s.Get(nil, keyOf(name), time.Now().UnixMilli())
							if tier == Nowhere {
								return true
							}
							e, _ := Decode(rec)
							return len(e.Body) == int(origin[i].Load())
						})
					}
				}
			}
			t.Logf("alone %d and %d, written %d", stores[0].Stats().Redis.Alone, stores[1].Stats().Redis.Alone, stores[0].Stats().Redis.Written)
		})
	}
	f("ok", func(*server, int) {})
	f("full", func(r *server, round int) {
		if round == 0 {
			r.fill()
		}
	})
	f("now and then full", func(r *server, round int) {
		if round == 0 {
			r.fill()
			stop := make(chan struct{})
			var wait sync.WaitGroup
			wait.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					case <-time.After(3 * time.Millisecond):
						r.Try("CONFIG", "SET", "maxmemory", []string{"0", "1mb"}[i%2])
					}
				}
			})
			r.T.Cleanup(func() { close(stop); wait.Wait() })
		}
	})
}

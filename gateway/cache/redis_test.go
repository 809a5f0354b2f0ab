package cache

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"aigateway/gateway/config"
	"aigateway/gateway/testkit"
)

func TestNames(t *testing.T) {
	k := keyOf("/x")
	if got, ok := testNames.key(testNames.of(k)); !ok || got != k || len(testNames.of(k)) != len(string(testNames))+64 {
		t.Error(testNames.of(k))
	}
	for _, name := range []string{"", string(testNames), testNames.mark(), testNames.of(k)[1:], testNames.of(k) + "0", "x" + testNames.of(k), testNames.of(k)[:20], string(testNames) + strings.Repeat("g", 64)} {
		if _, ok := testNames.key(name); ok {
			t.Error(name)
		}
	}
}

func TestRedisKeeps(t *testing.T) {
	t.Parallel()
	r := startServer(t)
	s := openShared(t, r.Addr, nil)
	for _, size := range []int{0, 100, 50_000, 900_000} {
		name := fmt.Sprint("/", size)
		s.keep(t, name, size)
		eventually(t, name+" is in memory", func() bool { return s.tier(t, name) == Memory })
		if n := r.Do("PTTL", testNames.of(keyOf(name))); n < ":30000" || n > ":60000" || len(n) != 6 {
			t.Error("lives for", n, "ms")
		}
	}
	s.Flush()
	eventually(t, "it is found after a flush", func() bool { return s.tier(t, "/50000") == Redis })
	eventually(t, "it is in memory then", func() bool { return s.tier(t, "/50000") == Memory })
	eventually(t, "redis is asked for what it does not have", func() bool {
		if tier := s.tier(t, "/absent"); tier != Nowhere {
			t.Error("absent in", tier)
		}
		return s.Stats().Redis.Misses > 0
	})
	other := openShared(t, r.Addr, nil) // as after a restart
	eventually(t, "another store finds it", func() bool { return other.tier(t, "/50000") == Redis })
	st := s.Stats()
	// At least: on a busy machine an attempt may come too late, and is made again.
	if st.Redis.Written < 4 || st.Redis.Hits < 1 || st.Redis.Misses < 1 || st.Redis.Dropped != 0 || st.Invalidations["push"] != 0 {
		t.Errorf("%+v %+v", st, st.Redis)
	}
}

func TestRedisTooLong(t *testing.T) {
	t.Parallel()
	r := startServer(t)
	s := openShared(t, r.Addr, nil)
	if s.set("/x", 1<<20) {
		t.Error("kept a record longer than MaxRecord")
	}
	k := testNames.of(keyOf("/x"))
	r.Do("SET", k, string(recordOf("/x", 1<<20)))
	eventually(t, "a record longer than MaxRecord is refused", func() bool {
		if s.tier(t, "/x") != Nowhere {
			t.Fatal("believed a record longer than MaxRecord")
		}
		return s.Stats().Redis.Faults["corrupt"] == 1
	})
	eventually(t, "it is gone", func() bool { return !r.has("/x") })
}

// TestCoherence replaces and purges on one of two Stores what the other has in memory.
func TestCoherence(t *testing.T) {
	t.Parallel()
	r := startServer(t)
	a, b := openShared(t, r.Addr, nil), openShared(t, r.Addr, nil)
	both := func(name string) {
		a.keep(t, name, 100)
		eventually(t, name+" is in both memories", func() bool { return b.tier(t, name) == Memory && a.tier(t, name) == Memory })
	}
	inMemory := func(s *Store, name string) bool {
		k := keyOf(name)
		_, ok := s.memory.get(nil, &k)
		return ok
	}
	f := func(what string, times int, does func(name string)) {
		t.Helper()
		var took []time.Duration
		for i := range times / min(effort, 4) {
			name := fmt.Sprintf("/%s/%d", what, i)
			both(name)
			began := time.Now()
			does(name)
			for inMemory(b, name) {
				if time.Since(began) > testkit.Patience {
					t.Fatal(what, "does not arrive")
				}
			}
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		p90 := took[len(took)*90/100] // a few may meet a stop of the machine
		t.Logf("%s: gone from the other's memory after p50 %v, p90 %v, p99 %v", what, took[len(took)/2], p90, took[len(took)*99/100])
		if p90 > time.Second {
			t.Errorf("%s: p90 is %v", what, p90)
		}
	}
	f("replace", 100, func(name string) { a.set(name, 50) })
	f("delete", 100, func(name string) { a.Delete(keyOf(name)) })
	f("purge", 100, func(name string) {
		if n, err := a.Purge(context.Background(), func(text []byte) bool { return string(text) == name }); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	})
	f("expire", 100, func(name string) { r.Do("PEXPIRE", testNames.of(keyOf(name)), "1") })
	f("flushall", 40, func(string) {
		lost := a.redis.lost.Load()
		r.Do("FLUSHALL")
		eventually(t, "a has heard of it", func() bool { return a.redis.lost.Load() > lost })
		a.ready(t)
		b.ready(t)
	})

	both("/later")
	if n, err := a.Purge(context.Background(), nil); n < 1 || err != nil {
		t.Error(n, err)
	}
	eventually(t, "all is gone", func() bool { return !inMemory(a, "/later") && !inMemory(b, "/later") })
	if b.tier(t, "/later") != Nowhere || r.has("/later") {
		t.Error("purged, and still there")
	}
	if st := b.Stats(); st.Invalidations["push"] == 0 {
		t.Errorf("%+v", st)
	}
}

func TestRedisPurge(t *testing.T) {
	t.Parallel()
	r := startServer(t)
	a, b := openShared(t, r.Addr, nil), openShared(t, r.Addr, nil)
	r.Do("SET", "gw:v1:rl:x", "a limit")
	r.Do("LPUSH", testNames.of(keyOf("/list")), "not ours")
	long := "/a/" + strings.Repeat("x", 5000)
	a.keep(t, long, 10)
	for i := range 1000 {
		a.set(fmt.Sprint("/a/", i), i*10)
		b.set(fmt.Sprint("/b/", i), 10)
	}
	a.idle(t)
	b.idle(t)
	fetching := b.Stamp(keyOf("/a/late"))
	purge := func(match func([]byte) bool, least int) {
		t.Helper()
		before := r.size()
		n, err := a.Purge(context.Background(), match)
		if n != before-r.size() || n < least || err != nil {
			t.Errorf("purged %d, there were %d and are %d, want at least %d; %v", n, before, r.size(), least, err)
		}
	}
	purge(beginsWith("/a/"), 700)
	a.keep(t, "/b/7", 10)
	b.keep(t, "/b/8", 10)
	eventually(t, "b does not find /a/7", func() bool { return b.tier(t, "/a/7") == Nowhere })
	if a.tier(t, "/a/8") != Nowhere || a.tier(t, long) != Nowhere || a.tier(t, "/b/7") == Nowhere || b.tier(t, "/b/8") != Memory {
		t.Error("not what was to be purged")
	}
	eventually(t, "b has heard of the purge", func() bool { return !b.memory.valid(&fetching) })
	if b.Put(fetching, recordOf("/a/late", 1), time.Now().UnixMilli()) {
		t.Error("b stored what it asked for before the purge")
	}
	purge(nil, 700)
	if n := r.size(); n != 1 { // the list is gone too: what is under our names is ours
		t.Error(n, "keys left")
	}
	if r.Do("EXISTS", "gw:v1:rl:x") != ":1" {
		t.Error("purged what is not a record")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := a.Purge(ctx, nil); err == nil {
		t.Error("no error of a purge without time")
	}
}

// TestRedisPurgeAgainstWriters purges again and again while two Stores write: what was asked for before a purge must not
// be found after it, in no tier.
func TestRedisPurgeAgainstWriters(t *testing.T) {
	t.Parallel()
	r := startServer(t)
	a, b := openShared(t, r.Addr, nil), openShared(t, r.Addr, nil)
	for round := range 30 {
		var wait sync.WaitGroup
		stop := make(chan struct{})
		for _, s := range []*Store{a, b} {
			wait.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
						s.set(fmt.Sprint("/", round, "/", i%50), 100)
						s.tier(t, fmt.Sprint("/", round, "/", (i+7)%50))
					}
				}
			})
		}
		time.Sleep(5 * time.Millisecond)
		close(stop) // what is in the queues now was asked for before the purge
		wait.Wait()
		if _, err := a.Purge(context.Background(), nil); err != nil {
			t.Fatal(err)
		}
		a.idle(t)
		b.idle(t)
		eventually(t, "redis is empty", func() bool { return r.size() == 0 })
		for i := range 50 {
			name := fmt.Sprint("/", round, "/", i)
			if tier := a.tier(t, name); tier != Nowhere {
				t.Fatalf("%s is there after a purge: %s", name, tier)
			}
			eventually(t, name+" is gone from the other", func() bool { return b.tier(t, name) == Nowhere })
		}
	}
}

// TestCoherenceAgainstWriters lets two Stores store, read, delete and purge the same few keys. When all is done, what is in a
// memory is what is in Redis.
func TestCoherenceAgainstWriters(t *testing.T) {
	t.Parallel()
	r := startServer(t)
	stores := []*Store{openShared(t, r.Addr, nil), openShared(t, r.Addr, nil)}
	for round := range 20 {
		var wait sync.WaitGroup
		for g := range 4 {
			wait.Go(func() {
				s, random := stores[g%2], rand.New(rand.NewPCG(uint64(round), uint64(g)))
				for i := range 500 {
					name := fmt.Sprint("/", random.IntN(10))
					switch random.IntN(20) {
					case 0:
						s.Delete(keyOf(name))
					case 1:
						if i%100 == 0 {
							s.Purge(context.Background(), beginsWith("/3"))
						}
					case 2, 3, 4, 5, 6:
						s.set(name, g*1000+i)
					default:
						s.tier(t, name)
					}
				}
			})
		}
		wait.Wait()
		stores[0].idle(t)
		stores[1].idle(t)
		for i := range 10 {
			name := fmt.Sprint("/", i)
			k := keyOf(name)
			for n, s := range stores {
				eventually(t, fmt.Sprintf("round %d: memory %d and redis agree on %s", round, n, name), func() bool {
					rec, ok := s.memory.get(nil, &k)
					return !ok || string(rec) == r.Do("GET", testNames.of(k))
				})
			}
		}
	}
	t.Logf("%+v %+v", stores[0].Stats(), stores[0].Stats().Redis)
}

// TestDeleteThenPut stores what was deleted a moment ago, while an older record of the same key may still be on its way to
// Redis. What was deleted is never found. What is stored then stays, unless Redis tells of a change, which may be our own and
// late, or is not asked: the next one stays then. But no deletion is counted that nobody asked for.
func TestDeleteThenPut(t *testing.T) {
	t.Parallel()
	r := startServer(t)
	s := openShared(t, r.Addr, nil)
	k := keyOf("/x")
	deletions := func() uint64 { return s.memory.version(&k).Load() / oneDeletion }
	gone := func(what string) {
		s.idle(t)
		if in, tier := r.has("/x"), s.tier(t, "/x"); in || tier != Nowhere {
			t.Errorf("%s: found in %v, in Redis: %t", what, tier, in)
		}
	}
	const rounds = 300
	lost := 0
	for i := range rounds {
		s.set("/x", i)
		s.Delete(k)
		if s.tier(t, "/x") != Nowhere {
			t.Fatal("deleted, and found")
		}
		before := deletions()
		for chance := 1; i%3 == 0 && (!s.set("/x", i) || s.tier(t, "/x") == Nowhere); chance++ {
			if lost++; chance == 5 {
				t.Fatalf("round %d: nothing that is stored after a deletion stays", i)
			}
			s.idle(t)
		}
		if after := deletions(); after != before {
			t.Fatalf("round %d: %d deletions that nobody asked for", i, after-before)
		}
	}
	t.Logf("%d of %d records lost", lost, rounds/3)
	if lost > rounds/6 { // a machine that stands still hears its own voice late; but half of the time nobody does
		t.Errorf("%d of %d records lost", lost, rounds/3)
	}
	s.Delete(k)
	gone("deleted while others are on their way")
	s.keep(t, "/x", 10)
	eventually(t, "it is in Redis", func() bool { return r.has("/x") })
	s.Delete(k)
	s.keep(t, "/x", 20) // the first of them may be dropped
	eventually(t, "it is in memory again", func() bool { return s.tier(t, "/x") == Memory })
	if !r.has("/x") {
		t.Error("in memory, and not in Redis")
	}
	s.Delete(k)
	gone("deleted")
}

// slowest asks again and again for a time and returns the longest that a Get took, and how many took more than 10 ms.
func (s *Store) slowest(t testing.TB, d time.Duration) (longest time.Duration, slow int) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Millisecond) {
		began := time.Now()
		s.tier(t, "/never")
		took := time.Since(began)
		longest = max(longest, took)
		if took > 10*time.Millisecond {
			slow++
		}
	}
	return longest, slow
}

// TestRedisTrouble takes Redis away in every way: memory is not trusted soon after, no Get waits long, or more than once, and
// when it is back, so are the records.
func TestRedisTrouble(t *testing.T) {
	t.Parallel()
	once := func(t *testing.T, breaks, mends func(r *server, w *detour)) (quick bool) {
		r := startServer(t)
		w := startDetour(t, r.Addr)
		s := openShared(t, w.addr, nil)
		s.keep(t, "/x", 100)
		breaks(r, w)
		began := time.Now()
		longest, slow := s.slowest(t, 50*time.Millisecond)
		eventually(t, "memory is not trusted", func() bool {
			l, n := s.slowest(t, time.Millisecond)
			longest, slow = max(longest, l), slow+n
			return s.tier(t, "/x") == Nowhere
		})
		noticed := time.Since(began)
		l, n := s.slowest(t, time.Second)
		longest, slow = max(longest, l), slow+n
		s.set("/y", 10)
		s.Delete(keyOf("/x"))
		if st := s.Stats(); st.Redis.Trusted || !st.Redis.Resting {
			t.Errorf("trusted %t, resting %t", st.Redis.Trusted, st.Redis.Resting)
		}
		mends(r, w)
		back := s.ready(t)
		t.Logf("noticed after %v, back after %v, slowest Get %v, %d took more than 10 ms; %v", noticed, back, longest, slow, s.Stats().Redis.Faults)
		s.idle(t)
		if r.has("/x") || s.tier(t, "/x") != Nowhere {
			t.Error("what was deleted meanwhile is there")
		}
		s.keep(t, "/z", 10)
		return noticed <= 2*time.Second && longest <= 100*time.Millisecond && slow <= 3
	}
	f := func(what string, breaks, mends func(r *server, w *detour)) {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			for chance := 1; !once(t, breaks, mends); chance++ { // a stop of the machine is slow too, but not every time
				if chance == 4 {
					t.Fatal("too slow, every time")
				}
			}
		})
	}
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	none := func(*server, *detour) {}
	f("killed", func(r *server, _ *detour) { r.Kill() }, func(r *server, _ *detour) { r.Start() })
	f("stopped", func(r *server, _ *detour) { r.Signal(syscall.SIGSTOP) }, func(r *server, _ *detour) { r.Signal(syscall.SIGCONT) })
	f("paused", func(r *server, _ *detour) { r.Do("CLIENT", "PAUSE", "2500", "ALL") }, none)
	f("silent", func(_ *server, w *detour) { w.swallow.Store(true) }, func(_ *server, w *detour) { w.swallow.Store(false) })
}

// TestRedisSlow: memory is trusted, since Redis still tells what changes, and still written through; but nobody waits for
// Redis, after the first.
func TestRedisSlow(t *testing.T) {
	t.Parallel()
	once := func() (quick bool) {
		r := startServer(t)
		w := startDetour(t, r.Addr)
		s := openShared(t, w.addr, nil)
		s.keep(t, "/x", 100)
		w.delay.Store(int64(30 * time.Millisecond))
		longest, slow := s.slowest(t, 2*time.Second)
		t.Logf("slowest Get %v, %d took more than 10 ms", longest, slow)
		eventually(t, "memory is trusted", func() bool { s.keep(t, "/y", 100); return s.tier(t, "/y") == Memory })
		w.delay.Store(0)
		s.ready(t)
		return longest <= 100*time.Millisecond && slow <= 3
	}
	for chance := 1; !once(); chance++ { // a stop of the machine is slow too, but not every time
		if chance == 4 {
			t.Fatal("too slow, every time")
		}
	}
}

// TestRedisStoresAgain: what was deleted, purged or stored here does not stand in the way of what is asked for after it.
func TestRedisStoresAgain(t *testing.T) {
	t.Parallel()
	r := startServer(t)
	s := openShared(t, r.Addr, nil)
	for i := range 100 {
		s.keep(t, "/x", i)
		s.Delete(keyOf("/x"))
		st := s.Stamp(keyOf("/x")) // as of a request that comes at once, while redis is being told
		s.idle(t)
		if !s.memory.valid(&st) || !s.Put(st, recordOf("/x", 1), time.Now().UnixMilli()) {
			t.Fatal("refused after a deletion before it")
		}
		old := s.Stamp(keyOf("/x")) // as of a request that came before the record was in redis
		s.idle(t)
		if !s.Valid(old) {
			t.Fatal("refused after storing it ourselves")
		}
		if _, err := s.Purge(context.Background(), nil); err != nil {
			t.Fatal(err)
		}
		st = s.Stamp(keyOf("/x"))
		time.Sleep(time.Millisecond)
		if !s.Valid(st) || s.Valid(old) {
			t.Fatalf("after a purge: asked for after it: valid %t; before it: valid %t", s.Valid(st), s.Valid(old))
		}
	}
}

func TestRedisSentinel(t *testing.T) {
	t.Parallel()
	r := startServer(t)
	conf := filepath.Join(t.TempDir(), "sentinel.conf")
	if err := os.WriteFile(conf, []byte("sentinel monitor main 127.0.0.1 "+r.Port()+" 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	sentinel := testkit.RunRedis(t, "redis-server", conf, "--sentinel", "--port", "PORT")
	a, b := openShared(t, sentinel.Addr, func(o *RedisOptions) { o.Master = "main" }), openShared(t, r.Addr, nil)
	a.keep(t, "/x", 10)
	eventually(t, "it is in the redis that the sentinel knows", func() bool { return b.tier(t, "/x") != Nowhere })
	b.Delete(keyOf("/x"))
	eventually(t, "a has heard of it", func() bool { return a.tier(t, "/x") == Nowhere })
	if n, err := a.Purge(context.Background(), nil); n != 0 || err != nil {
		t.Error(n, err)
	}
	r.Kill()
	eventually(t, "it is not trusted", func() bool { return !a.Stats().Redis.Trusted })
	r.Start()
	a.ready(t)
}

func TestRedisComesLater(t *testing.T) {
	t.Parallel()
	r := startServer(t)
	r.Kill()
	began := time.Now()
	s := openTestStore(t, Options{Redis: &RedisOptions{Redis: config.Redis{Prefix: "gw", Addrs: []string{r.Addr}}}})
	if took := time.Since(began); took > testkit.Patience/4 {
		t.Error("Open took", took)
	}
	if s.set("/x", 1) || s.tier(t, "/x") != Nowhere {
		t.Error("kept in a memory that nobody can purge")
	}
	if _, err := s.Purge(context.Background(), nil); err == nil {
		t.Error("purged a redis that is not there")
	}
	r.Start()
	t.Log("found after", s.ready(t))
	s.keep(t, "/x", 1)
}

func TestRedisLies(t *testing.T) {
	t.Parallel()
	r := startServer(t)
	s := openTestStore(t, Options{MaxRecord: 10_000, Redis: &RedisOptions{Redis: config.Redis{Prefix: "gw", Addrs: []string{r.Addr}}, ReadTimeout: mostTimeout}})
	s.ready(t)
	f := func(what string, kind string, words ...string) {
		t.Helper()
		name := "/lie/" + what
		for i := range words {
			words[i] = strings.ReplaceAll(words[i], "NAME", testNames.of(keyOf(name)))
		}
		r.Do(words...)
		before := s.Stats().Redis.Faults
		if s.tier(t, name) != Nowhere {
			t.Errorf("%s: believed", what)
		}
		eventually(t, what+" comes in time", func() bool { // a busy machine may let Redis answer too late; then nothing was read
			now := s.Stats().Redis.Faults
			if now[kind] == before[kind] && now["timeout"] > before["timeout"] {
				s.ready(t)
				before = now
				_ = s.tier(t, name)
				return false
			}
			return true
		})
		if n := s.Stats().Redis.Faults[kind] - before[kind]; n != 1 {
			t.Errorf("%s: %d faults of the kind %s", what, n, kind)
		}
		s.idle(t)
		if kind == "corrupt" && r.has(name) {
			t.Errorf("%s: still there", what)
		}
		s.keep(t, name, 10)
	}
	rec := string(recordOf("/x", 100))
	f("list", "wrong_type", "LPUSH", "NAME", "x")
	f("hash", "wrong_type", "HSET", "NAME", "x", "y")
	f("text", "corrupt", "SET", "NAME", "hello")
	f("cut", "corrupt", "SET", "NAME", rec[:len(rec)-1])
	f("longer", "corrupt", "SET", "NAME", rec+"x")
	f("turned bit", "corrupt", "SET", "NAME", rec[:len(rec)-1]+string(rec[len(rec)-1]^1))
	f("much too long", "corrupt", "SETRANGE", "NAME", "50000000", "x")
	if st := s.Stats(); st.Redis.Resting || !st.Redis.Trusted {
		t.Errorf("%+v", st.Redis)
	}
	old := AppendEntry(nil, &Entry{Key: []byte("/old"), Until: time.Now().Add(-time.Second).UnixMilli()})
	r.Do("SET", testNames.of(keyOf("/old")), string(old))
	if s.tier(t, "/old") != Nowhere {
		t.Error("found after its time")
	}
}

func TestRedisPasswordAndDB(t *testing.T) {
	t.Parallel()
	r := startServer(t, "--requirepass", "secret")
	s := openShared(t, r.Addr, func(o *RedisOptions) { o.Password, o.DB = "secret", 3 })
	s.keep(t, "/x", 10)
	wrong := openTestStore(t, Options{Redis: &RedisOptions{Redis: config.Redis{Prefix: "gw", Addrs: []string{r.Addr}, Password: "wrong"}}})
	if wrong.set("/y", 1) || wrong.Stats().Redis.Trusted {
		t.Error("trusted without a password")
	}
}

func TestRedisCluster(t *testing.T) {
	t.Parallel()
	r := startServer(t, "--cluster-enabled", "yes")
	if reply, err := r.Try("CLUSTER", "ADDSLOTSRANGE", "0", "16383"); err != nil || reply != "+OK" {
		t.Skip("no cluster here:", reply, err)
	}
	eventually(t, "the cluster is up", func() bool { return strings.Contains(r.Do("CLUSTER", "INFO"), "cluster_state:ok") })
	a, b := openShared(t, r.Addr, nil), openShared(t, r.Addr, nil)
	if mode := a.redis.link.Load().Mode(); mode != rueidis.ClientModeCluster {
		t.Fatal("not a cluster:", mode)
	}
	for i := range 20 {
		a.keep(t, fmt.Sprint("/", i), 10)
		// The first look reads it from Redis, if that answers in time, and a later one from memory.
		eventually(t, "it is in both memories", func() bool { return b.tier(t, fmt.Sprint("/", i)) == Memory })
	}
	a.set("/1", 20)
	eventually(t, "b has dropped /1", func() bool { k := keyOf("/1"); _, ok := b.memory.get(nil, &k); return !ok })
	eventually(t, "Redis has it", func() bool { return a.Stats().Redis.Queued == 0 && r.Do("DBSIZE") == ":20" })
	if n, err := a.Purge(context.Background(), nil); n != 20 || err != nil {
		t.Error(n, err)
	}
	eventually(t, "b has dropped all", func() bool { return b.memory.entries.Load() == 0 })
	r.Kill()
	eventually(t, "it is not trusted", func() bool { return !a.Stats().Redis.Trusted })
}

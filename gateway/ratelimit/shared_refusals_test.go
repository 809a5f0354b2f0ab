package ratelimit

import (
	"encoding/binary"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"aigateway/gateway/config"
)

// fifth asks for a fifth of what a replica may, for so long by the clock of its arguments, and fails for every refusal. The time
// that passes while it waits for Redis is not the client's, so the machine may be as slow as it likes.
func fifth(t *testing.T, name string, s *Shared, from time.Duration) time.Duration {
	t.Helper()
	refused := 0
	now := from
	for i := range 60 {
		if v := s.Admit(now, []byte{byte(i % 3)}, 1); !v.OK {
			refused++
			t.Logf("%s: request %d: %+v", name, i, v)
		}
		now += 100 * time.Millisecond // ten a second, of fifty
	}
	if refused > 0 {
		t.Errorf("%s: %d of 60 refused", name, refused)
	}
	return now
}

// A Redis that is away, refuses, or is full is no reason to refuse anybody who asks for a fifth of the limit.
func TestSharedRefusesNobodyWithoutReason(t *testing.T) {
	t.Parallel()
	limits := Options{Global: Rate{50, 10}, Client: Rate{50.0 / 3, 10}}
	f := func(name string, args []string, broken func(r *redis), password string) {
		t.Helper()
		r := startRedis(t, args...)
		broken(r)
		s := newReplicas(t, r.Addr, 1, SharedOptions{Options: limits, Redis: config.Redis{Password: password}, Timeout: 20 * time.Millisecond})[0]
		fifth(t, name, s, 0)
		if st := s.Stats(0); !st.Fallback {
			t.Errorf("%s: it takes Redis for well: %+v", name, st)
		}
		s.Close()
		r.Kill()
	}
	nothing := func(*redis) {}
	f("down from the start", nil, func(r *redis) { r.Kill() }, "")
	f("wrong password", nil, func(r *redis) { r.Do("CONFIG", "SET", "requirepass", "right") }, "wrong")
	f("EVAL refused", nil, func(r *redis) { r.Do("ACL", "SETUSER", "default", "-eval", "-evalsha") }, "")
	f("read-only replica", []string{"--replicaof", "127.0.0.1 1"}, nothing, "")
	f("full", []string{"--maxmemory", "1", "--maxmemory-policy", "noeviction"}, nothing, "")
}

// The moment at which Redis breaks is no reason either, nor is that at which it comes back. Redis has a clock of its own, so time
// passes here: but nobody asks again before five tokens have come in, on a slow machine later.
func TestSharedRefusesNobodyAtASwitch(t *testing.T) {
	t.Parallel()
	const spacing = 5 * time.Millisecond
	limits := Options{Global: Rate{1000, 100}, Client: Rate{1000, 10}}
	f := func(name string, breaks, mends func(r *redis)) {
		t.Helper()
		r := startRedis(t)
		s := newReplicas(t, r.Addr, 1, SharedOptions{Options: limits, Timeout: 20 * time.Millisecond})[0]
		began := time.Now()
		asked, refused := 0, 0
		until := func(fallback bool) {
			t.Helper()
			await(t, name, func() bool {
				for range 10 {
					asked++
					if v := s.Admit(time.Since(began), []byte("a"), 1); !v.OK {
						refused++
						t.Logf("%s: request %d: %+v", name, asked, v)
					}
					time.Sleep(spacing)
				}
				return s.Stats(0).Fallback == fallback
			})
		}
		for range 3 {
			until(false)
			breaks(r)
			until(true)
			mends(r)
		}
		until(false)
		if refused > 0 {
			t.Errorf("%s: %d of %d refused", name, refused, asked)
		}
		s.Close()
		r.Kill()
	}
	f("read-only", func(r *redis) { r.Do("REPLICAOF", "127.0.0.1", "1") }, func(r *redis) { r.Do("REPLICAOF", "NO", "ONE") })
	f("full", func(r *redis) {
		r.Do("CONFIG", "SET", "maxmemory-policy", "noeviction")
		r.Do("CONFIG", "SET", "maxmemory", "1")
	}, func(r *redis) { r.Do("CONFIG", "SET", "maxmemory", "0") })
	f("killed", func(r *redis) { r.Kill() }, func(r *redis) { r.Start() })
	f("pauses", func(r *redis) { r.Do("CLIENT", "PAUSE", "10000", "WRITE") }, func(r *redis) { r.Do("CLIENT", "UNPAUSE") })
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for by := time.Now().Add(30 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(by) {
			t.Fatalf("%s: it takes too long", what)
		}
	}
}

// Two hundred that were never here come at the same moment, and Redis is slow: their leases are late, they are not refused.
func TestSharedRefusesNoCrowd(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	s := newReplicas(t, r.Addr, 1, SharedOptions{Options: Options{Global: Rate{500, 1000}, Client: Rate{50, 5}}, Timeout: 5 * time.Millisecond})[0]
	var refused, named atomic.Int64
	for round := range 3 {
		r.Do("CLIENT", "PAUSE", strconv.Itoa(60*round), "ALL")
		together(200, func(int) {
			if !s.Admit(0, binary.LittleEndian.AppendUint64(nil, uint64(named.Add(1))), 1).OK {
				refused.Add(1)
			}
		})
	}
	if n := refused.Load(); n > 0 {
		t.Errorf("%d of 600 refused, of a burst of 1000", n)
	}
}

// However often Redis comes and goes, no more is admitted than what it leases and what one full bucket of the share holds.
func TestSharedFlapsOpenNothing(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	all := newReplicas(t, r.Addr, 2, SharedOptions{Options: Options{Global: Rate{0, 300}, Client: Rate{0, 100}}, Timeout: 20 * time.Millisecond})
	admitted := make(map[byte]int)
	total := 0
	for range 4 {
		for _, readOnly := range []bool{false, true} {
			if readOnly {
				r.Do("REPLICAOF", "127.0.0.1", "1")
			} else {
				r.Do("REPLICAOF", "NO", "ONE")
			}
			for _, s := range all {
				await(t, "the switch", func() bool { s.hurry(); return s.Stats(0).Fallback == readOnly })
			}
			for i := range 400 {
				client := byte(i / 2 % 8)
				if all[i%2].Admit(0, []byte{client}, 1).OK {
					admitted[client]++
					total++
				}
			}
		}
	}
	for client, n := range admitted {
		if n > 200 {
			t.Errorf("client %d: %d admitted, more than two buckets", client, n)
		}
	}
	if total < 300 || total > 600 {
		t.Errorf("%d admitted, want 300 at least and 600 at most", total)
	}
	t.Logf("%d admitted of 300", total)
}

// What a replica admitted on its own is not charged against what has run over meanwhile for that very reason: one replica
// whose Redis comes and goes admits what is configured.
func TestSharedChargesNoMoreThanWasAdmitted(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	s := newReplicas(t, r.Addr, 1, SharedOptions{Options: Options{Global: Rate{1000, 100}, Client: unlimited}, Timeout: time.Second})[0]
	limit := &s.all
	ask := func(q question) answer {
		t.Helper()
		q.limit, q.keys, q.first = limit, []string{"test:{all}"}, limit.Burst
		a, err := s.ask(q, 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	ask(question{want: 100})
	began := time.Now()
	time.Sleep(400 * time.Millisecond)
	// In 400 ms at least 400 have come in, of which at least 300 have run over. They were admitted here.
	charge := int64(300)
	if a := ask(question{charge: charge, flow: limit.flow(time.Since(began))}); a.left != 100 {
		t.Errorf("%d left after what has run over was charged, want 100", a.left)
	}
	// That was all, and is not there twice.
	ask(question{want: 100})
	if a := ask(question{charge: 1e6, flow: 1}); a.left != 0 {
		t.Errorf("%d left", a.left)
	}
}

// An answer that comes too late for whoever waited is good for those that come later: its tokens are with nobody else. A machine
// that stands still may make it too late for them, too, so there are a few goes; but nobody is ever refused.
func TestSharedKeepsWhatComesLate(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	const timeout, late = 100 * time.Millisecond, 250 * time.Millisecond // and answers are good for 600 ms
	s := newReplicas(t, r.Addr, 1, SharedOptions{Options: Options{Global: Rate{0, 1000}, Client: Rate{0, 1000}}, Timeout: timeout})[0]
	for client := range 20 {
		key := []byte{byte(client)}
		await(t, "redis", func() bool { return !s.Stats(0).Fallback })
		r.Do("CLIENT", "PAUSE", strconv.Itoa(int(late/time.Millisecond)), "ALL")
		if !s.Admit(0, key, 1).OK {
			t.Error("refused because Redis was late")
		}
		for by := time.Now().Add(time.Second); time.Now().Before(by); time.Sleep(time.Millisecond) {
			h := s.leases.shard(s.hash(key, 0))
			h.mu.Lock()
			i, ok := h.index[s.hash(key, 0)]
			kept := ok && h.list[i].tokens > 0 && h.list[i].spent == 1
			h.mu.Unlock()
			if kept {
				return
			}
		}
	}
	t.Error("what comes late is lost, twenty times")
}

// One replica with a Redis that is late time and again admits what is configured: it shares with nobody, and neither what comes
// late nor what it admits meanwhile is lost. The burst is a second and a half of the rate, so no shorter stop of the machine matters.
func TestSharedSlowRedisCostsNothing(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	limit := Rate{400, 600}
	s := newReplicas(t, r.Addr, 1, SharedOptions{Options: Options{Global: limit, Client: unlimited}, Timeout: 20 * time.Millisecond})[0]
	l := startLoad([]*Shared{s}, 1600, 4)
	for time.Since(l.began) < 6*time.Second {
		time.Sleep(100 * time.Millisecond)
		r.Do("CLIENT", "PAUSE", "60", "WRITE")
	}
	admitted, took := l.stop()
	st := s.Stats(0)
	s.Close()
	want, left := configured(limit, took), max(r.level("gw:v1:rl", ":{all}"), 0)
	t.Logf("%d admitted of %.0f configured, %.0f left, %d calls failed", admitted, want, left, st.Failed)
	if float64(admitted) > 1.01*want+limit.PerSecond*0.1 || float64(admitted) < 0.95*want-left {
		t.Errorf("%d admitted of %.0f configured, %.0f left", admitted, want, left)
	}
}

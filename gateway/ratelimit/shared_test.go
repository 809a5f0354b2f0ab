package ratelimit

import (
	"aigateway/gateway/testkit"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A redis is a real one, and what of it is ours.
type redis struct{ *testkit.Redis }

func startRedis(t testing.TB, args ...string) *redis {
	t.Helper()
	if testing.Short() {
		t.Skip("takes seconds")
	}
	return &redis{testkit.StartRedis(t, args...)}
}

func newReplicas(t testing.TB, addr string, n int, o SharedOptions) []*Shared {
	t.Helper()
	o.Addrs = []string{addr}
	if o.MaxClients == 0 {
		o.MaxClients = 1000
	}
	o.Cleanup = 10 * time.Minute
	if o.Timeout == 0 {
		o.Timeout = time.Second // most tests are not about a slow Redis, and a busy machine is one
	}
	if o.Replicas == 0 {
		o.Replicas = n
	}
	if o.OnFault == nil {
		faults := new(atomic.Int64)
		o.OnFault = func(err error) {
			if faults.Add(1) <= 3 {
				t.Log(err)
			}
		}
	}
	all := make([]*Shared, n)
	var wait sync.WaitGroup
	for i := range all {
		wait.Go(func() {
			s, err := NewShared(o)
			if err != nil {
				panic(err)
			}
			all[i] = s
		})
	}
	wait.Wait()
	t.Cleanup(func() {
		for _, s := range all {
			s.Close()
		}
	})
	return all
}

// A load asks all replicas, in turn, for so many tokens a second, as so many clients, until it is stopped.
type load struct {
	began    time.Time
	admitted atomic.Int64
	refused  atomic.Int64
	slow     atomic.Int64 // took longer than 25 ms
	slowest  atomic.Int64
	end      context.CancelFunc
	done     sync.WaitGroup
}

// tardy is a request that was held up for longer than Timeout and what the scheduler of a busy machine may add.
const tardy = 25 * time.Millisecond

func startLoad(all []*Shared, perSecond, clients int) *load {
	ctx, end := context.WithCancel(context.Background())
	l := &load{began: time.Now(), end: end}
	const workers = 4
	for i, s := range all {
		for j := range workers {
			pace := float64(perSecond) / float64(len(all)*workers)
			l.done.Go(func() { l.run(ctx, s, pace, i+j*len(all), float64(i+j*len(all))/float64(len(all)*workers), clients) })
		}
	}
	return l
}

func (l *load) run(ctx context.Context, s *Shared, perSecond float64, seed int, phase float64, clients int) {
	key := make([]byte, 16)
	sent := 0
	for ctx.Err() == nil {
		for due := int(time.Since(l.began).Seconds()*perSecond + phase); sent < due; sent++ {
			binary.LittleEndian.PutUint64(key, uint64((sent*7+seed)%clients))
			began := time.Now()
			if s.Admit(time.Since(l.began), key, 1).OK {
				l.admitted.Add(1)
			} else {
				l.refused.Add(1)
			}
			took := time.Since(began)
			if took > tardy {
				l.slow.Add(1)
			}
			if took > time.Duration(l.slowest.Load()) {
				l.slowest.Store(int64(took))
			}
		}
		time.Sleep(time.Millisecond)
	}
}

// stop returns what was admitted, and in which time.
func (l *load) stop() (int64, time.Duration) {
	took := time.Since(l.began)
	l.end()
	l.done.Wait()
	return l.admitted.Load(), took
}

func configured(r Rate, d time.Duration) float64 { return float64(r.Burst) + r.PerSecond*d.Seconds() }

// level is what was in a bucket when it was touched last: after the last replica has left, all that nobody has spent, or what was
// spent ahead of time.
func (r *redis) level(prefix, suffix string) float64 {
	r.T.Helper()
	for _, key := range strings.Fields(r.Do("KEYS", prefix+"*")) {
		if strings.HasSuffix(key, suffix) {
			word, _, _ := strings.Cut(r.line("GET", key), " ")
			n, err := strconv.ParseFloat(word, 64)
			if err != nil {
				r.T.Errorf("%s holds %q", key, word)
			}
			return n
		}
	}
	r.T.Errorf("no bucket %s…%s", prefix, suffix)
	return 0
}

func duration() time.Duration {
	if n, err := strconv.Atoi(os.Getenv("SHARED_SECONDS")); err == nil {
		return time.Duration(n) * time.Second
	}
	return 5 * time.Second
}

var unlimited = Rate{1e6, 1e6}

// All replicas together admit what one would, of the global limit and of one client's, under four times as much load. With -v
// it prints a table; with SHARED_SECONDS=10 it runs so long, and one line after the other.
func TestSharedTable(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	seconds := duration().Seconds()
	row := func(scope Scope, n int) string {
		// Once it is empty, a bucket cannot run over before the end: however long the machine stands still, nothing is lost.
		limit, clients, key := Rate{1000, int64(1000 * seconds)}, 16, ":{all}"
		o := SharedOptions{Options: Options{Global: limit, Client: unlimited}, Timeout: testkit.Patience,
			Prefix: fmt.Sprintf("gw:v1:rl:%v%d", scope, n)}
		if scope == Client {
			limit, clients, key = Rate{200, int64(200 * seconds)}, 1, "}:c0"
			o.Global, o.Client = unlimited, limit
		}
		all := newReplicas(t, r.Addr, n, o)
		began := time.Now()
		atOnce := drain(all, clients)
		l := startLoad(all, int(4*limit.PerSecond), clients)
		admitted, took := l.stopAfter(duration())
		filled := time.Since(began) - took // an allowance: some of it may have run over
		admitted += atOnce
		var asked, failed uint64
		for _, s := range all {
			st := s.Stats(0)
			asked, failed = asked+st.Asked, failed+st.Failed
			s.Close()
		}
		want, left := configured(limit, took), max(r.level(o.Prefix, key), 0)
		if least, most := 0.995*want-left, 1.005*(want+limit.PerSecond*filled.Seconds()); float64(admitted) < least || float64(admitted) > most {
			t.Errorf("%v, %d replicas: %d admitted of %.0f to %.0f, %.0f are left, %d calls failed", scope, n, admitted, least, most, left, failed)
		}
		return fmt.Sprintf("| %v, %v/s, burst %d | %d | %.0f | %d | %.2f %% | %d of %d |", scope, limit.PerSecond, limit.Burst, n, want,
			admitted, 100*float64(admitted)/want, asked, admitted+l.refused.Load())
	}
	t.Logf("| limit | replicas | configured | admitted | admitted / configured | calls to Redis, of requests |")
	t.Logf("|---|---|---|---|---|---|")
	var rows [8]string
	var wait sync.WaitGroup
	for i := range rows {
		scope, n := []Scope{Global, Client}[i/4], []int{1, 2, 4, 8}[i%4]
		wait.Go(func() { rows[i] = row(scope, n) })
		if os.Getenv("SHARED_SECONDS") != "" {
			wait.Wait()
		}
	}
	wait.Wait()
	for _, line := range rows {
		t.Log(line)
	}
}

func (l *load) stopAfter(d time.Duration) (int64, time.Duration) {
	time.Sleep(d - time.Since(l.began))
	return l.stop()
}

// drain asks all replicas until each has refused each client, and returns how many were admitted.
func drain(all []*Shared, clients int) int64 {
	var admitted atomic.Int64
	together(len(all), func(i int) {
		key := make([]byte, 16)
		for client := range clients {
			for binary.LittleEndian.PutUint64(key, uint64(client)); all[i].Admit(0, key, 1).OK; {
				admitted.Add(1)
			}
		}
	})
	return admitted.Load()
}

// A burst of n is n, when nothing is refilled, over all replicas.
func TestSharedExactBurst(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	f := func(name string, global, client Rate, n, clients int, bucket string, want int64) {
		all := newReplicas(t, r.Addr, n, SharedOptions{Options: Options{Global: global, Client: client}, Prefix: name, Timeout: testkit.Patience})
		var admitted atomic.Int64
		end := time.Now().Add(testkit.Patience) // what is left unspent somewhere comes back after a second
		together(8*n, func(i int) {
			key := make([]byte, 16)
			key[0] = byte(i % clients)
			for admitted.Load() < want && time.Now().Before(end) {
				if all[i%n].Admit(0, key, 1).OK {
					admitted.Add(1)
				} else {
					time.Sleep(time.Millisecond)
				}
			}
		})
		more := drain(all, clients)
		for _, s := range all {
			s.Close()
		}
		if got, left := admitted.Load()+more, r.level(name, bucket); got != want || left != 0 {
			t.Errorf("%s: %d admitted, want %d; %v left", name, got, want, left)
		}
	}
	var wait sync.WaitGroup
	wait.Go(func() { f("global", Rate{0, 1000}, unlimited, 4, 8, ":{all}", 1000) })
	wait.Go(func() { f("client", unlimited, Rate{0, 500}, 4, 1, "}:c0", 500) })
	wait.Go(func() { f("both", Rate{0, 100}, Rate{0, 60}, 2, 2, ":{all}", 100) })
	wait.Wait()
}

// A spike that the bucket has room for is admitted, though no more than a small batch was leased.
func TestSharedSpike(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	inGoes(t, r, func(complain complaint) {
		all := newReplicas(t, r.Addr, 2, SharedOptions{Options: Options{Global: Rate{1, 1000}, Client: Rate{1, 100}}})
		var admitted atomic.Int64
		together(64, func(i int) {
			for range 10 {
				if all[0].Admit(0, []byte{byte(i % 8)}, 1).OK {
					admitted.Add(1)
				}
			}
		})
		if got := admitted.Load(); got != 640 {
			complain("%d of 640 admitted", got)
		}
		for _, s := range all {
			s.Close()
		}
	})
}

// A complaint is what a go has to say against the limits.
type complaint func(format string, args ...any)

// inGoes tries up to four times: a machine that stands still for a moment may spoil a go, a fault spoils all of them.
func inGoes(t *testing.T, r *redis, do func(complaint)) {
	t.Helper()
	const most = 4
	for n := 1; ; n++ {
		said := 0
		do(func(format string, args ...any) {
			said++
			if t.Logf(format, args...); n == most {
				t.Errorf("in go %d of %d: "+format, append([]any{n, most}, args...)...)
			}
		})
		if said == 0 || n == most {
			return
		}
		r.Do("FLUSHALL")
	}
}

// isOpen tells whether so many were admitted that nothing but an open gate explains it, whatever the machine does.
func isOpen(admitted int64, want float64, rate Rate) bool {
	return float64(admitted) > 1.5*want+3*float64(rate.Burst)
}

// Redis is killed and comes back, empty. The gate neither opens nor closes, and nobody waits.
func TestSharedKilled(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	inGoes(t, r, func(complain complaint) { trouble(t, r, complain, r.Kill, r.Start) })
}

// Redis hangs, and goes on.
func TestSharedStopped(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	inGoes(t, r, func(complain complaint) {
		trouble(t, r, complain, func() { r.Signal(syscall.SIGSTOP) }, func() { r.Signal(syscall.SIGCONT) })
	})
}

// Redis answers after half a second.
func TestSharedPaused(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	inGoes(t, r, func(complain complaint) {
		trouble(t, r, complain, func() { r.Do("CLIENT", "PAUSE", "1500", "ALL") }, func() {})
	})
}

// Everything is deleted in the middle.
func TestSharedFlushed(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	inGoes(t, r, func(complain complaint) { flushed(t, r, complain) })
}

func flushed(t *testing.T, r *redis, complain complaint) {
	t.Helper()
	global, client := Rate{500, 2000}, Rate{100, 400}
	all := newReplicas(t, r.Addr, 3, SharedOptions{Options: Options{Global: global, Client: unlimited}})
	one := newReplicas(t, r.Addr, 3, SharedOptions{Options: Options{Global: unlimited, Client: client}, Prefix: "one"})
	l, m := startLoad(all, 2500, 10), startLoad(one, 1000, 1)
	for range 4 {
		time.Sleep(time.Second)
		r.Do("FLUSHALL")
	}
	time.Sleep(500 * time.Millisecond)
	f := func(name string, l *load, rate Rate) {
		admitted, took := l.stop()
		want := configured(rate, took)
		t.Logf("%s: %d admitted, %.0f configured", name, admitted, want)
		if ratio := float64(admitted) / want; ratio > 1.03 || ratio < 0.9 {
			complain("%s: %d admitted, %.0f configured", name, admitted, want)
		}
		if isOpen(admitted, want, rate) {
			t.Errorf("%s: %d admitted, %.0f configured", name, admitted, want)
		}
	}
	f("global", l, global)
	f("client", m, client)
	for _, s := range append(all, one...) {
		s.Close()
	}
}

// trouble loads three replicas, for all clients together and for one, while Redis breaks and comes back.
func trouble(t *testing.T, r *redis, complain complaint, breaks, mends func()) {
	t.Helper()
	global, client := Rate{1000, 300}, Rate{200, 100}
	const timeout = 20 * time.Millisecond
	all := newReplicas(t, r.Addr, 3, SharedOptions{Options: Options{Global: global, Client: unlimited}, Timeout: timeout})
	one := newReplicas(t, r.Addr, 3, SharedOptions{Options: Options{Global: unlimited, Client: client}, Prefix: "one", Timeout: timeout})
	l, m := startLoad(all, 4000, 16), startLoad(one, 800, 1)
	time.Sleep(1500 * time.Millisecond)
	breaks()
	time.Sleep(500 * time.Millisecond)
	for _, s := range append(all, one...) {
		if !s.Stats(0).Fallback {
			complain("no fallback")
		}
	}
	before, since := l.admitted.Load(), time.Now()
	time.Sleep(time.Second)
	during := float64(l.admitted.Load()-before) / time.Since(since).Seconds()
	mends()
	// Each at some time: with a call in every hundred too late, as on a busy machine, somebody is always just recovering.
	well := map[*Shared]bool{}
	for by := time.Now().Add(testkit.Patience); len(well) < len(all)+len(one); time.Sleep(10 * time.Millisecond) {
		for _, s := range append(all, one...) {
			if st := s.Stats(0); !st.Fallback && st.Replicas == 3 {
				well[s] = true
			}
		}
		if time.Now().After(by) {
			t.Errorf("only %d of %d have recovered", len(well), len(all)+len(one))
			break
		}
	}
	f := func(scope string, l *load, rate Rate, all []*Shared, prefix, key string) {
		admitted, took := l.stop()
		for _, s := range all {
			s.Close()
		}
		// What the last one to come back has admitted while the others leased it too, is paid for in the next second.
		debt := max(-r.level(prefix, key), 0)
		want := configured(rate, took) + debt
		if debt > 1.25*rate.PerSecond {
			complain("%s: a debt of %.0f", scope, debt)
		}
		t.Logf("%s: %d admitted, %.0f configured, %.1f %%; %d of %d slower than %v, slowest %v", scope, admitted, want,
			100*float64(admitted)/want, l.slow.Load(), l.admitted.Load()+l.refused.Load(), tardy, time.Duration(l.slowest.Load()))
		// Too many: a part of a token for each replica when the fallback begins, and what a call in flight may add. Too few: what
		// was leased on the way, and the time until Redis is trusted again.
		if float64(admitted) > want*1.02+3 || float64(admitted) < want*0.7 {
			complain("%s: %d admitted, %.0f configured", scope, admitted, want)
		}
		if isOpen(admitted, want, rate) {
			t.Errorf("%s: %d admitted, %.0f configured", scope, admitted, want)
		}
		// Each of the twelve goroutines may have been held up once; and on a busy machine, by something else, now and then.
		if most := 12 + (l.admitted.Load()+l.refused.Load())/100; l.slow.Load() > most && effort == 1 {
			complain("%s: %d slower than %v", scope, l.slow.Load(), tardy)
		}
	}
	f("global", l, global, all, "gw:v1:rl", ":{all}")
	f("client", m, client, one, "one", "}:c0")
	if during < 500 || during > 1100 {
		complain("%.0f admitted by the fallbacks in a second, want about 1000", during)
	}
}

// Somebody else's keys lie where the buckets should.
func TestSharedWrongKeys(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	now := time.Duration(0)
	f := func(name string, set []string, fallback bool) {
		t.Helper()
		r.Do("FLUSHALL")
		r.Do(set...)
		s := newReplicas(t, r.Addr, 1, SharedOptions{Options: Options{Global: Rate{0.1, 20}, Client: Rate{0.05, 10}}})[0]
		admitted := 0
		began := time.Now()
		for range 50 {
			if s.Admit(now, []byte("a"), 1).OK {
				admitted++
			}
		}
		st := s.Stats(0)
		if admitted > 10 || st.Fallback != fallback || fallback && st.Failed == 0 || time.Since(began) > 10*time.Second {
			t.Errorf("%s: %d admitted in %v, %+v", name, admitted, time.Since(began), st)
		}
		s.Close()
	}
	const bucket = "gw:v1:rl:{all}"
	f("nothing wrong", []string{"SET", "other", "1"}, false)
	f("a list", []string{"LPUSH", bucket, "1"}, true)
	f("replicas are a string", []string{"SET", bucket + ":replicas", "1"}, true)
	f("garbage", []string{"SET", bucket, "garbage"}, true)
	f("huge", []string{"SET", bucket, "1e300 1"}, true)
	f("not a number", []string{"SET", bucket, "nan 1"}, true)
	f("infinite", []string{"SET", bucket, "inf 1"}, true)
	f("negative", []string{"SET", bucket, "-1e11 1"}, true)
	f("long", []string{"SET", bucket, strings.Repeat("1", 1e6)}, true)
	f("from the future", []string{"SET", bucket, "3 99999999999999999"}, false)
	f("fuller than full", []string{"SET", bucket, "1000000 1"}, false)

	// A client's key spoils it for him only.
	r.Do("FLUSHALL")
	s := newReplicas(t, r.Addr, 1, SharedOptions{Options: Options{Global: unlimited, Client: Rate{0.05, 10}}})[0]
	s.Admit(now, []byte("a"), 1)
	key := ""
	for _, k := range strings.Fields(r.Do("KEYS", "*:c0")) {
		key = k
	}
	r.Do("DEL", key)
	r.Do("LPUSH", key, "x")
	admitted := 0
	for range 50 {
		if s.Admit(now, []byte("a"), 1).OK {
			admitted++
		}
	}
	if st := s.Stats(0); admitted > 10 || st.Fallback || st.Failed == 0 || !s.Admit(now, []byte("b"), 1).OK {
		t.Errorf("a client's list: %d admitted, %+v", admitted, st)
	}
	s.Close()
}

// Every key has a time to live.
func TestSharedKeysExpire(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	for i, rate := range []Rate{{10, 20}, {0, 5}, {1e-6, 1e9}, {1e9, 1}} {
		s := newReplicas(t, r.Addr, 1, SharedOptions{Options: Options{Global: rate, Client: rate}, Prefix: fmt.Sprint("p", i)})[0]
		s.Admit(0, []byte("a"), 1)
		s.Close()
	}
	keys := strings.Fields(r.Do("KEYS", "*"))
	if len(keys) < 8 {
		t.Errorf("only %q", keys)
	}
	for _, k := range keys {
		if ttl, _ := strconv.Atoi(strings.TrimPrefix(r.Do("PTTL", k), ":")); ttl <= 0 {
			t.Errorf("%s lives for ever: %d", k, ttl)
		}
	}
}

// What nobody spends goes back.
func TestSharedReturns(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	all := newReplicas(t, r.Addr, 2, SharedOptions{Options: Options{Global: Rate{0, 100}, Client: Rate{0, 50}}})
	for i := range 20 {
		all[0].Admit(0, []byte{byte(i % 2)}, 1)
	}
	for by := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		st := all[0].Stats(0)
		if st.Clients == 0 && st.Granted-st.Returned == 40 && all[0].pool.Load() == 0 {
			break
		}
		if time.Now().After(by) {
			t.Fatalf("%+v, %d in the pool", st, all[0].pool.Load())
		}
	}
	admitted := 0
	for range 200 {
		for client := range 3 {
			if all[1].Admit(0, []byte{byte(client)}, 1).OK {
				admitted++
			}
		}
	}
	if admitted != 80 {
		t.Errorf("%d admitted of the 80 that were left", admitted)
	}
}

// Without Redis it starts with its share, and finds Redis later.
func TestSharedStartsWithoutRedis(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	r.Kill()
	began := time.Now()
	s := newReplicas(t, r.Addr, 1, SharedOptions{Options: Options{Global: Rate{100, 50}, Client: unlimited}, Replicas: 2})[0]
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("it took %v to start", took)
	}
	admitted := 0
	for at := time.Duration(0); at < 2*time.Second; at += time.Millisecond {
		if s.Admit(at, []byte{byte(at / time.Millisecond)}, 1).OK {
			admitted++
		}
	}
	if admitted < 124 || admitted > 125 {
		t.Errorf("%d admitted in 2 s by one of two replicas without Redis, want half the burst and half the rate, 125", admitted)
	}
	r.Start()
	for by := time.Now().Add(30 * time.Second); s.Stats(0).Fallback; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(by) {
			t.Fatalf("%+v", s.Stats(0))
		}
	}
	s.Close()
}

// There is never more than the table has room for, and who has to go takes nothing along.
func TestSharedBounded(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	s := newReplicas(t, r.Addr, 1, SharedOptions{Options: Options{Global: unlimited, Client: Rate{0, 10}, MaxClients: 50}})[0]
	admitted := map[int]int{}
	for range 15 {
		for client := range 200 {
			if s.Admit(0, []byte{byte(client)}, 1).OK {
				admitted[client]++
			}
		}
	}
	st := s.Stats(0)
	for client, n := range admitted {
		if n > 10 {
			t.Errorf("%d admitted of client %d", n, client)
		}
	}
	if st.Clients > 50 || st.Overflow == 0 {
		t.Errorf("%+v", st)
	}
}

func TestSharedNil(t *testing.T) {
	var s *Shared
	c := s.Class(3)
	if !s.Admit(0, nil, 1).OK || len(c.AppendPolicy(nil))+len(c.AppendLimit(nil, Verdict{})) > 0 || s.Stats(0) != (SharedStats{}) {
		t.Error("nil is not off")
	}
	c.Refund(nil, 1)
	s.Close()
}

func TestSharedVerdicts(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	s := newReplicas(t, r.Addr, 1, SharedOptions{Options: Options{Global: Rate{0.01, 12}, Client: Rate{0.005, 5}, Routes: []Rate{{0, 3}}}})[0]
	f := func(class int, client string, cost int, want string) {
		t.Helper()
		v := s.Class(class).Admit(0, []byte(client), cost)
		wait := v.Wait.Round(100 * time.Second).String()
		if v.Wait == Never {
			wait = "never"
		}
		if got := fmt.Sprintf("%v %s %d %s", v.OK, v.Scope, v.Remaining, wait); got != want {
			t.Errorf("class %d, %s, %d: got %q, want %q", class, client, cost, got, want)
		}
	}
	f(0, "a", 1, "true none 4 3m20s")
	f(0, "a", 6, "false client 4 never")
	f(0, "a", 0, "true none 4 3m20s")
	f(0, "a", 3, "true none 1 3m20s")
	f(0, "a", 2, "false client 1 3m20s")
	f(0, "a", 1, "true none 0 3m20s") // the last one is still there for who asks for less
	f(1, "a", 2, "true none 1 never")
	f(1, "a", 2, "false client 1 never")
	f(0, "b", 5, "true none 0 3m20s")
	f(0, "c", 5, "false global 0 8m20s")
	if got, want := string(s.Class(1).AppendPolicy(nil)), `"client";q=3, "global";q=12;w=1200`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// A cluster of one is a cluster: it refuses keys that do not belong together.
func TestSharedCluster(t *testing.T) {
	t.Parallel()
	r := startRedis(t, "--cluster-enabled", "yes", "--cluster-config-file", t.TempDir()+"/nodes.conf")
	r.Do("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
	for r.line("SET", "x", "1") != "+OK" {
		time.Sleep(50 * time.Millisecond)
	}
	all := newReplicas(t, r.Addr, 2, SharedOptions{Options: Options{Global: Rate{0, 100}, Client: Rate{0, 30}}})
	admitted := 0
	for range 100 {
		for client := range 5 {
			if all[client%2].Admit(0, []byte{byte(client)}, 1).OK {
				admitted++
			}
		}
	}
	time.Sleep(1500 * time.Millisecond)
	for range 100 {
		for client := range 5 {
			if all[client%2].Admit(0, []byte{byte(client)}, 1).OK {
				admitted++
			}
		}
	}
	if st := all[0].Stats(0); admitted != 100 || st.Failed > 0 || st.Fallback || st.Replicas != 2 {
		t.Errorf("%d admitted, %+v", admitted, st)
	}
	for _, s := range all {
		s.Close()
	}
}

func (r *redis) line(words ...string) string {
	line, _ := r.Try(words...)
	return line
}

// When Redis hangs, a crowd of clients that were not here before is held up once, for as long as one call, and then no more.
// (What is more than 20 ms here is 1500 goroutines that wake up at the same time.)
func TestSharedHangsBeforeACrowd(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	s := newReplicas(t, r.Addr, 1, SharedOptions{Options: Options{Global: unlimited, Client: Rate{10, 10}, MaxClients: 10000}, Timeout: 20 * time.Millisecond})[0]
	r.Signal(syscall.SIGSTOP)
	const crowd = 1500
	var first, second [crowd]time.Duration
	together(crowd, func(i int) {
		key := []byte{byte(i), byte(i >> 8)}
		began := time.Now()
		s.Admit(0, key, 1)
		first[i] = time.Since(began)
		began = time.Now()
		s.Admit(0, key, 1)
		second[i] = time.Since(began)
	})
	r.Signal(syscall.SIGCONT)
	const most = tardy * effortOf
	slices.Sort(first[:])
	slices.Sort(second[:])
	// Of the last few, the machine may have had something else to do.
	if a, b := first[crowd*9/10], second[crowd*9/10]; a > 2*most || b > most {
		t.Errorf("held up for %v, and then for %v", a, b)
	} else {
		t.Logf("held up for %v, and then for %v", a, b)
	}
}

// effortOf is what a deadline may be late under the race detector.
const effortOf = 1 + effort/6

// Close ends everything, at once, also while Redis hangs; what was leased is back, and the gate stays as it is without Redis.
func TestSharedClose(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	o := SharedOptions{Options: Options{Global: Rate{0, 100}, Client: Rate{0, 50}}}
	s := newReplicas(t, r.Addr, 1, o)[0]
	for range 10 {
		s.Admit(0, []byte("a"), 1)
	}
	s.Close()
	s.Close()
	if st := s.Stats(0); st.Granted-st.Returned != 20 || !st.Fallback || st.Clients != 0 {
		t.Errorf("%+v", st)
	}
	if v := s.Admit(0, []byte("b"), 1); v.OK {
		t.Errorf("%+v after Close", v)
	}
	s = newReplicas(t, r.Addr, 1, o)[0]
	s.Admit(0, []byte("a"), 1)
	r.Signal(syscall.SIGSTOP)
	defer r.Signal(syscall.SIGCONT)
	began := time.Now()
	s.Close()
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("it took %v", took)
	} else {
		t.Logf("it took %v", took)
	}
}

package main

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// A state is what is the matter with Redis.
type state struct {
	name  string
	args  []string                                // of redis-server
	down  bool                                    // there is none
	setup func(r *redis) error                    // before the gateway starts
	while func(ctx context.Context, r *redis)     // during the load, until it is over
	env   []string                                // of the gateway, beside the limits
	load  func(g *gateway, d time.Duration) tally // steady if nil
}

func states() []state {
	all := []state{
		{name: "well"},
		{name: "down from the start", down: true},
		{name: "wrong password", args: []string{"--requirepass", "right"}, env: []string{"REDIS_PASSWORD=wrong"}},
		{name: "EVAL refused", setup: func(r *redis) error {
			return r.do("ACL", "SETUSER", "default", "-eval", "-evalsha")
		}},
		{name: "read-only replica", args: []string{"--replicaof", "127.0.0.1 1"}},
		{name: "full (noeviction)", args: []string{"--maxmemory", "1mb", "--maxmemory-policy", "noeviction"}},
		{name: "full now and then", args: []string{"--maxmemory-policy", "noeviction"}, while: byTurns(
			[]string{"CONFIG", "SET", "maxmemory", "1"}, []string{"CONFIG", "SET", "maxmemory", "0"}, 400*time.Millisecond)},
		{name: "failover: read-only for a second, then master again", while: byTurns(
			[]string{"REPLICAOF", "127.0.0.1", "1"}, []string{"REPLICAOF", "NO", "ONE"}, time.Second)},
		{name: "killed, and back empty", while: func(ctx context.Context, r *redis) {
			for pause(ctx, time.Second) {
				r.kill()
				pause(context.Background(), time.Second)
				_ = r.start()
			}
		}},
		{name: "200 new clients at once", load: crowd},
		{name: "200 new clients at once, with pauses of 60 ms", load: crowd, while: pauses(60)},
	}
	for _, ms := range []int{10, 30, 60, 150, 500} {
		all = append(all, state{name: fmt.Sprintf("pauses of %d ms", ms), while: pauses(ms)})
	}
	return all
}

// pause sleeps; it reports whether to go on.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

func byTurns(bad, good []string, each time.Duration) func(ctx context.Context, r *redis) {
	return func(ctx context.Context, r *redis) {
		for pause(ctx, each) {
			_ = r.do(bad...)
			pause(context.Background(), each)
			_ = r.do(good...)
		}
	}
}

// pauses makes Redis answer nobody for so long, a quarter of the time.
func pauses(ms int) func(ctx context.Context, r *redis) {
	return func(ctx context.Context, r *redis) {
		for pause(ctx, time.Duration(3*ms)*time.Millisecond) {
			_ = r.do("CLIENT", "PAUSE", strconv.Itoa(ms), "ALL")
			pause(ctx, time.Duration(ms)*time.Millisecond)
		}
	}
}

func (s state) run(binary, dir string, during time.Duration) (row, error) {
	r, err := newRedis(dir, s.args)
	if err != nil {
		return row{}, err
	}
	defer r.kill()
	if !s.down {
		if err := r.start(); err != nil {
			return row{}, err
		}
	}
	if s.setup != nil {
		if err := s.setup(r); err != nil {
			return row{}, err
		}
	}
	g, err := startGateway(binary, append(s.env, "REDIS_ADDR="+r.addr()))
	if err != nil {
		return row{}, err
	}
	defer g.end()
	ctx, end := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	if s.while != nil {
		wait.Go(func() { s.while(ctx, r) })
	}
	load := s.load
	if load == nil {
		load = steady
	}
	t := load(g, during)
	end()
	wait.Wait()
	return row{State: s.name, Sent: t.sent, Refused: t.refused, Failed: t.failed, Slowest: t.slowest.Seconds() * 1000}, nil
}

// The limits of every state. The tenth client's requests are more than a fifth of what all may: so there are ten.
const (
	clientRate  = 50 // a second
	clientBurst = 5
	allRate     = clients * clientRate
	allBurst    = 1000

	clients = 10
	spacing = 5 * time.Second / clientRate
)

// steady has each client ask for a fifth of his limit.
func steady(g *gateway, d time.Duration) tally {
	var all tally
	var mu sync.Mutex
	var wait sync.WaitGroup
	end := time.Now().Add(d)
	for i := range clients {
		wait.Go(func() {
			c := g.client(i)
			defer c.close()
			time.Sleep(spacing * time.Duration(i) / clients)
			for time.Now().Before(end) {
				c.ask()
				time.Sleep(spacing)
			}
			mu.Lock()
			all.add(c.tally)
			mu.Unlock()
		})
	}
	wait.Wait()
	return all
}

// crowd sends one request of each of 200 clients at the same moment, once a second: all of them are a fifth of what all may.
func crowd(g *gateway, d time.Duration) tally {
	const people = allBurst / 5
	var all tally
	var mu sync.Mutex
	var named atomic.Int64
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second) {
		var ready, wait sync.WaitGroup
		ready.Add(people)
		for range people {
			wait.Go(func() {
				c := g.client(int(named.Add(1)))
				defer c.close()
				c.connect()
				ready.Done()
				ready.Wait()
				c.ask()
				mu.Lock()
				all.add(c.tally)
				mu.Unlock()
			})
		}
		wait.Wait()
	}
	return all
}

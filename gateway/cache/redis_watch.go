package cache

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

// hangUp closes all connections: a reply that did not come in time would be taken for that to a later question, if what is
// between here and Redis lost bytes; and rueidis keeps a connection on which anything comes.
func (r *remote) hangUp() {
	r.mu.Lock()
	conns := slices.Collect(maps.Keys(r.conns))
	r.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
}

// told is called by the goroutine that reads from Redis: what was changed by anybody, has expired or was evicted there is
// dropped. Nil says that everything was flushed, or that the connection is lost.
func (r *remote) told(names []rueidis.RedisMessage) {
	if names == nil {
		r.lose(true)
		return
	}
	now := time.Now().UnixMilli()
	for i := range names {
		name, err := names[i].ToString()
		if err != nil {
			continue
		}
		if name == r.names.mark() {
			r.memory.generation.Add(1)
			continue
		}
		k, ok := r.names.key(name)
		if !ok {
			r.hear(name)
			continue
		}
		why := uint64(oneChange)
		if r.queue.busy.Load() > 0 && r.queue.echo(k) {
			why = oneEcho
		}
		switch until, had := r.memory.delete(&k, why); {
		case why == oneEcho:
		case had && until <= now:
			r.expiries.Add(1)
		case had:
			r.pushes.Add(1)
		}
	}
}

// trusted reports whether Redis would have told what has changed until about now. It does not rely on watch to say
// that it would not: the process may have been stopped.
func (r *remote) trusted(now int64) bool { return now < r.until.Load() }

// lose takes memory for empty until a heartbeat on a connection that begins after this.
func (r *remote) lose(connection bool) {
	r.mu.Lock()
	if connection {
		r.losses++
	}
	was := r.until.Swap(0) != 0
	r.resting.Store(true)
	r.mu.Unlock()
	if was {
		r.lost.Add(1)
		r.memory.flush()
	}
	if connection {
		wake(r.kick)
	}
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// watch sends a heartbeat to every node, because rueidis connects again only when there is something to send, and until
// then nothing is told.
func (r *remote) watch() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for first := true; ; first = false {
		err := r.beat()
		if r.stop.Err() == nil {
			r.tellState(err)
		}
		if first {
			close(r.first)
		}
		pause := beatPause
		if err == nil {
			pause = r.restLeft(pause)
		}
		timer.Reset(pause)
		select {
		case <-r.stop.Done():
			return
		case <-r.kick:
			if err != nil { // one heartbeat after another would not help
				select {
				case <-r.stop.Done():
					return
				case <-time.After(beatPause / 10):
				}
			}
		case <-timer.C:
		}
	}
}

// restLeft is how long until the next heartbeat, at most pause: sooner if the breaker may close sooner.
func (r *remote) restLeft(pause time.Duration) time.Duration {
	if !r.resting.Load() {
		return pause
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return min(pause, max(time.Until(r.retry), 10*time.Millisecond))
}

var errLost = errors.New("the connection was lost meanwhile")

func (r *remote) beat() error {
	if r.link.Load() == nil || r.redial {
		if err := r.dial(); err != nil {
			return err
		}
	}
	r.mu.Lock()
	losses := r.losses
	r.mu.Unlock()
	began := time.Now()
	nodes, err := r.ping()
	took := time.Since(began)
	if err != nil {
		r.lose(false)
		if errors.Is(err, context.DeadlineExceeded) {
			r.hangUp()
		}
		r.redial = r.blind.Load() || errors.Is(err, rueidis.ErrNoCache) // whether it can push may have changed
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if losses != r.losses {
		return errLost
	}
	if !maps.Equal(nodes, r.nodes) { // a new node has told nothing yet
		r.nodes = nodes
		r.until.Store(0)
	}
	if blind := r.blind.Load(); r.until.Load() == 0 || blind && began.Sub(r.emptied) >= blindTime {
		r.emptied = began
		r.memory.flush()
		r.queue.wakeUp()
	}
	until := began.Add(trustTime)
	if most := r.emptied.Add(2 * blindTime); r.blind.Load() && most.Before(until) {
		until = most
	}
	r.until.Store(until.UnixMilli())
	if took < r.o.ReadTimeout && !time.Now().Before(r.retry) {
		r.resting.Store(false)
	}
	if r.queue.busy.Load() > 0 {
		r.queue.wakeUp()
	}
	return nil
}

func (r *remote) ping() (nodes map[string]bool, err error) {
	ctx, cancel := context.WithTimeout(r.stop, beatTimeout)
	defer cancel()
	clients := r.link.Load().Nodes()
	nodes = make(map[string]bool, len(clients))
	results := make(chan error, len(clients))
	for addr, c := range clients {
		nodes[addr] = true
		go func() { results <- c.Do(ctx, c.B().Ping().Build()).Error() }()
	}
	for range clients {
		err = errors.Join(err, <-results)
	}
	return nodes, err
}

// rest opens the breaker. The first fault in a while costs one heartbeat; with more of them Redis is left alone longer.
func (r *remote) rest() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.resting.Swap(true) {
		return
	}
	now := time.Now()
	if now.Sub(r.fault) > restMemory {
		r.pause = 0
	} else {
		r.pause = min(max(2*r.pause, restLeast), restMost)
	}
	r.fault, r.retry = now, now.Add(r.pause)
	wake(r.kick)
}

// blame counts a fault and, unless Redis has answered, opens the breaker.
func (r *remote) blame(err error) {
	var answer *rueidis.RedisError
	switch {
	case errors.As(err, &answer):
		switch text := answer.Error(); {
		case strings.HasPrefix(text, "WRONGTYPE"):
			r.faults[faultType].Add(1)
		case strings.HasPrefix(text, "OOM"):
			r.faults[faultFull].Add(1)
		case isReadOnly(err):
			r.faults[faultReadOnly].Add(1)
		default:
			r.faults[faultRefused].Add(1)
		}
		return
	case errors.Is(err, context.DeadlineExceeded):
		r.faults[faultTimeout].Add(1)
	default:
		r.faults[faultAway].Add(1)
	}
	r.rest()
}

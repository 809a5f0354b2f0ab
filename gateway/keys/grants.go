package keys

import (
	"container/heap"
	"sync"
	"weak"
)

// grants are the permissions that end by themselves, those of tokens. They hold none of them: a grant that nobody goes on by, and no
// token is remembered with, is forgotten, however far its end is.
type grants struct {
	mu    sync.Mutex
	queue endings
	sweep int // how many there may be before those that are gone are looked for
	over  bool
}

// An ending is when a grant ends.
type ending struct {
	at    int64 // Unix seconds
	grant weak.Pointer[Grant]
}

// fewGrants are not worth looking for those that are gone.
const fewGrants = 1 << 10

// add makes a grant until then.
func (g *grants) add(until int64) *Grant {
	made := new(Grant)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over {
		made.revoke()
		return made
	}
	if len(g.queue) >= max(g.sweep, fewGrants) {
		g.forget()
	}
	heap.Push(&g.queue, ending{until, weak.Make(made)})
	return made
}

// forget leaves out those that are gone. It is done when there are twice as many as the last time there were left, so that one of
// them costs a step or two.
func (g *grants) forget() {
	kept := g.queue[:0]
	for _, e := range g.queue {
		if e.grant.Value() != nil {
			kept = append(kept, e)
		}
	}
	clear(g.queue[len(kept):])
	g.queue, g.sweep = kept, 2*len(kept)
	heap.Init(&g.queue)
}

// expire takes back those whose time is over, and tells whether there were any.
func (g *grants) expire(now int64) (revoked bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.queue) > 0 && g.queue[0].at <= now {
		revoked = heap.Pop(&g.queue).(ending).revoke() || revoked
	}
	return revoked
}

// revoke takes back all, and those to come. It tells whether it was the first time.
func (g *grants) revoke() (now bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now, g.over = !g.over, true
	for _, e := range g.queue {
		e.revoke()
	}
	g.queue = nil
	return now
}

// revoked tells whether all are taken back.
func (g *grants) revoked() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.over
}

func (e ending) revoke() bool {
	grant := e.grant.Value()
	return grant != nil && grant.revoke()
}

// endings are a heap, the first one on top.
type endings []ending

func (e endings) Len() int           { return len(e) }
func (e endings) Less(i, j int) bool { return e[i].at < e[j].at }
func (e endings) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *endings) Push(x any)        { *e = append(*e, x.(ending)) }
func (e *endings) Pop() any {
	last := (*e)[len(*e)-1]
	(*e)[len(*e)-1] = ending{}
	*e = (*e)[:len(*e)-1]
	return last
}

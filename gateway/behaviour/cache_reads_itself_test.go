package behaviour

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"aigateway/gateway/testkit"
)

// Who leads reads the response for its own client as long as that takes what comes; the rest is left to others at any point.

// A told is an upstream that sends an event when it is told to, and says of a fetch that it was cut.
type told struct {
	*testkit.Upstream
	events []string
	next   chan int
	asked  atomic.Int32
	left   chan struct{}
}

func startTold(t *testing.T, events []string) *told {
	u := &told{events: events, next: make(chan int), left: make(chan struct{}, 8)}
	u.Upstream = testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		if c.ReadRequest().Err != nil {
			return
		}
		u.asked.Add(1)
		c.Send("HTTP/1.1 200 OK\r\n%s\r\nTransfer-Encoding: chunked\r\n\r\n", eventStream)
		gone := make(chan struct{})
		go func() { c.Closed(); close(gone) }()
		for sent := 0; sent < len(u.events); sent++ {
			select {
			case i := <-u.next:
				c.Send("%x\r\n%s\r\n", len(u.events[i]), u.events[i])
			case <-gone:
				u.left <- struct{}{}
				return
			case <-time.After(testkit.Patience):
				return
			}
		}
		c.Send("0\r\n\r\n")
	})
	return u
}

// send has it send events.
func (u *told) send(from, to int) {
	for i := from; i < to; i++ {
		u.next <- i
	}
}

// longEvents are events of a chat that no socket has room for together.
func longEvents(n int) (events []string) {
	for i := range n {
		events = append(events, fmt.Sprintf("data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%d%s\"},\"finish_reason\":null}]}\n\n", i, strings.Repeat("w", 2<<20)))
	}
	return append(events, chatEvents(0)...)
}

func wantEvents(t *testing.T, c *testkit.Peer, events []string) {
	t.Helper()
	want := strings.Join(events, "")
	for got := ""; got != want; {
		piece, err := c.ReadChunk()
		if got += piece; err != nil || piece == "" || !strings.HasPrefix(want, got) {
			t.Fatalf("%d bytes, %v; want %d", len(got), err, len(want))
		}
	}
}

// Others may come at any event. They have all from the first one on, and the client of who leads all as it comes.
func TestLeaderIsJoined(t *testing.T) {
	t.Parallel()
	events := chatEvents(4)
	for at := range len(events) {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			t.Parallel()
			u := startTold(t, events)
			g := startKeeping(t, u.URL, "")
			leader := g.crowd(1, same(askModel(chatPath, asked0s)))[0]
			leader.ReadHead() // before there is an event
			u.send(0, at)
			wantEvents(t, leader, events[:at])
			other := g.crowd(1, same(askModel(chatPath, asked0s)))[0]
			other.ReadHead()
			wantEvents(t, other, events[:at])
			for i := at; i < len(events); i++ { // as it comes, for both
				u.send(i, i+1)
				wantEvents(t, leader, events[i:i+1])
				wantEvents(t, other, events[i:i+1])
			}
			for _, c := range []*testkit.Peer{leader, other} {
				if piece, err := c.ReadChunk(); piece != "" || err != nil {
					t.Errorf("behind the end: %q, %v", piece, err)
				}
			}
			wantCached(t, g.Do(askModel(chatPath, asked0s)), "HIT", 200, strings.Join(events, ""))
			if n := u.asked.Load(); n != 1 {
				t.Errorf("the upstream was asked %d times", n)
			}
		})
	}
}

// The client of who leads may leave at any event, also where nothing comes for long: if somebody else is there, the gateway is done with it at
// once and the fetch goes on; else the upstream is told.
func TestLeaderLeavesSilence(t *testing.T) {
	t.Parallel()
	events := chatEvents(3)
	for at := range len(events) {
		for _, others := range []int{0, 1} {
			t.Run(fmt.Sprint(at, " ", others), func(t *testing.T) {
				t.Parallel()
				u := startTold(t, events)
				g := startKeeping(t, u.URL, "")
				leader := g.crowd(1, same(askModel(chatPath, asked0s)))[0]
				leader.ReadHead()
				u.send(0, at)
				wantEvents(t, leader, events[:at])
				others := g.crowd(others, same(askModel(chatPath, asked0s)))
				leader.Close()
				if len(others) == 0 {
					select {
					case <-u.left:
					case <-time.After(testkit.Patience):
						t.Error("the upstream is not told")
					}
					testkit.Eventually(t, "nothing is under way", func() bool { return g.Parts().Caching.Idle() && g.Parts().Caching.Taken() == 0 })
					return
				}
				testkit.Eventually(t, "the gateway is done with it", func() bool { return g.Parts().Open == 1 })
				u.send(at, len(events))
				wantCached(t, others[0].ReadResponse(), "MISS", 200, strings.Join(events, ""))
				if n := u.asked.Load(); n != 1 {
					t.Errorf("the upstream was asked %d times", n)
				}
			})
		}
	}
}

// The client of who leads may stop to read at any event: others have the rest all the same, and so has it when it reads on, or if it leaves, nobody minds.
func TestLeaderStalls(t *testing.T) {
	t.Parallel()
	events := longEvents(6)
	for at := range 3 {
		for _, then := range []string{"reads on", "leaves"} {
			if then == "reads on" && at != 1 {
				continue // with a window like this it takes seconds
			}
			t.Run(fmt.Sprint(at, " ", then), func(t *testing.T) {
				t.Parallel()
				u := startTold(t, events)
				g := startKeeping(t, u.URL, "", "CACHE_MAX_BODY_BYTES=33554432", "CACHE_MEMORY_BYTES=134217728")
				leader := g.DialNarrow(4096)
				leader.Send("%s", askModel(chatPath, asked0s))
				testkit.Eventually(t, "it is fetched", func() bool { return u.asked.Load() == 1 })
				leader.ReadHead()
				u.send(0, at)
				wantEvents(t, leader, events[:at])
				other := g.crowd(1, same(askModel(chatPath, asked0s)))[0]
				go u.send(at, len(events))
				wantCached(t, other.ReadResponse(), "MISS", 200, strings.Join(events, ""))
				if then == "leaves" {
					leader.Abort()
					testkit.Eventually(t, "the gateway is done with it", func() bool { return g.Parts().Open <= 1 })
				} else {
					wantEvents(t, leader, events[at:])
				}
				wantCached(t, g.Do(askModel(chatPath, asked0s)), "HIT", 200, strings.Join(events, ""))
			})
		}
	}
}

// A whole answer whose body comes behind its head, in pieces, is read by who leads, too.
func TestLeaderReadsWhole(t *testing.T) {
	t.Parallel()
	answer := chatAnswer("a rather long answer")
	at := strings.Index(answer, "\r\n\r\n") + 4
	next := make(chan struct{})
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		if c.ReadRequest().Err != nil {
			return
		}
		for _, piece := range []string{answer[:at], answer[at : at+10], answer[at+10:]} {
			c.Send("%s", piece)
			<-next
		}
	})
	t.Cleanup(func() { close(next) })
	g := startKeeping(t, up.URL, "")
	clients := g.crowd(3, same(askModel(chatPath, asked0)))
	clients[0].Close() // perhaps of who leads
	next <- struct{}{}
	testkit.Eventually(t, "the gateway is done with it", func() bool { return g.Parts().Open == 2 })
	next <- struct{}{}
	for _, c := range clients[1:] {
		wantCached(t, c.ReadResponse(), "MISS", 200, answer[at:])
	}
	wantCached(t, g.Do(askModel(chatPath, asked0)), "HIT", 200, answer[at:])
}

// What the gateway itself has asked for in a stream reaches neither the client of who leads, nor another one, nor the cache.
func TestLeaderReadsFiltered(t *testing.T) {
	t.Parallel()
	up := startCounter(t, usageOf(100, 400))
	up.wait = make(chan struct{})
	file := "pools: {p: {upstreams: [{url: \"" + up.URL + "\"}]}}\nroutes: [{path: \"/v1/*\", pool: p, cache: {post: true, ttl: 1h}}]\nmodels: [{name: m, pool: p}]\n"
	g := budgeted(t, up, keyFile("sk-a , limits: {tpm: 3000}"), file)
	ask := chatWith("sk-a", `{"model":"m","temperature":0,"stream":true,"max_tokens":9}`)
	events := []string{
		"data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n", "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n", "data: [DONE]\n\n"}
	leader := g.crowd(1, same(ask))[0]
	leader.ReadHead()
	wantEvents(t, leader, events[:1])
	other := g.crowd(1, same(ask))[0]
	close(up.wait)
	wantEvents(t, leader, events[1:])
	if piece, err := leader.ReadChunk(); piece != "" || err != nil {
		t.Errorf("behind the end: %q, %v", piece, err)
	}
	wantCached(t, other.ReadResponse(), "MISS", 200, strings.Join(events, ""))
	wantCached(t, g.Do(ask), "HIT", 200, strings.Join(events, ""))
	if last := up.last.Load().(string); !strings.Contains(last, "include_usage") {
		t.Errorf("nothing was asked for in %s", last)
	}
}

package proxy

import (
	"errors"
	"io"
	"os"
	"time"

	"aigateway/gateway/wire"
)

// An attempt is one try of a request at one upstream: its connection, and what has come of the response.
type attempt struct {
	upstream   *Upstream
	pool       *Pool              // that the place at upstream was taken for
	conn       *wire.UpstreamConn // nil: none yet, or none any more
	began      time.Duration      // as wire.Now
	contentBy  time.Duration      // when its first content is to be there, as wire.Now; 0: there is no such time
	switchedAt time.Duration      // when it became a tunnel, as wire.Now; 0: it is none
	response   wire.ResponseHead
	down       *wire.Buffer // what the upstream has sent; nil: nothing
	from       int          // first byte of the response head in down
	body       int          // first byte after the head
	end        int          // first free byte of down
	sent       int          // bytes of the head and the first part of the body
	used       bool         // conn has carried another request before
	over       bool         // the upstream has ended the connection in order, before a head
	heard      bool         // a byte of the response has come
	dirty      bool         // conn must not be used again
	unasked    bool         // the request, or a part of it, did not go out with the wait for the response
	trial      bool         // of a breaker that is half open
	hurried    bool         // the deadline of all attempts left this one less than an upstream's time
	placed     bool         // it has a place at upstream
}

// begin readies a for a try at an upstream that has a place for it.
func (a *attempt) begin(u *Upstream, pool *Pool) {
	a.upstream, a.pool, a.began, a.switchedAt = u, pool, wire.Now(), 0
	a.contentBy, a.placed, a.unasked = 0, true, false
	a.trial = u.breaker.State() == HalfOpen
	a.used, a.over, a.heard, a.dirty, a.hurried, a.response.Status = false, false, false, false, false, 0
}

// outdated tells whether an attempt that ended so only found that its connection, used before, had come to its end.
func (a *attempt) outdated(f Fault) bool { return f == BrokenResponse && a.used && !a.heard }

// leavePlace gives back the place at the upstream, if there is one.
func (a *attempt) leavePlace() {
	if a.placed {
		a.placed = false
		a.pool.release(a.upstream)
	}
}

// write sends the request, or the beginning of it. unsent tells that the upstream has got nothing.
func (a *attempt) write(message []byte) (f Fault, unsent bool) {
	a.sent = len(message)
	n, err := a.conn.Send(message, a.upstream.timeouts.Idle)
	if err == nil {
		return None, false
	}
	return readFault(err, TimeoutIdle), n == 0 && !errors.Is(err, os.ErrDeadlineExceeded)
}

// receive reads what the upstream sends, and only that: an error that comes with bytes comes again.
func (a *attempt) receive(p []byte, wait time.Duration) (int, error) {
	n, err := a.conn.Receive(p, wait)
	return a.received(n, err)
}

// receiveLate is receive into down.B[from:to], which is given back while nothing comes: it must not hold anything.
func (a *attempt) receiveLate(from, to int, wait time.Duration) (int, error) {
	n, err := a.conn.ReceiveInto(wire.Late(&a.down, from, to), wait)
	return a.received(n, err)
}

func (a *attempt) received(n int, err error) (int, error) {
	if n > 0 {
		return n, nil
	}
	a.unasked = err == wire.ErrUnasked
	return 0, err
}

// readFault says what it means that nothing more comes from an upstream; timeout names the phase.
func readFault(err error, timeout Fault) Fault {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return timeout
	}
	return BrokenResponse
}

// free gives the buffer back.
func (a *attempt) free() {
	if a.down != nil {
		a.down.Put()
		a.down = nil
	}
}

// responseRoom is kept free before what the upstream sends, so that the head for the client, which is a little
// longer than the upstream's, finds its place right before the body.
const responseRoom = 1024

// A headWait is how long a response head is waited for, and how much of it.
type headWait struct {
	most    int           // bytes of a head, and of all interim ones together
	within  time.Duration // from the end of the request
	ends    time.Duration // when that time is over, as wire.Now
	by      time.Duration // when a wait is over that is part of it, as wire.Now; ends, if there is none
	wait    time.Duration // for the next bytes
	looked  int           // bytes behind from in which no head ends
	interim int           // bytes of interim heads
	hedges  bool          // wait ends when a hedge may begin, and not with by
	content time.Duration // to the first content of a stream; 0: there is no such time
	first   bool          // and by is when it is to be there, if somebody else can be asked then
}

// waitForHead begins to wait for a response.
func (a *attempt) waitForHead(most int, within time.Duration) headWait {
	a.from, a.end = responseRoom, responseRoom
	by := wire.Now() + within
	return headWait{most: most, within: within, ends: by, by: by, wait: within}
}

// readHead reads the next head, with whatever comes behind it; it may be an interim one. A fault is a verdict on what has
// come, an error says why nothing more did.
func (a *attempt) readHead(w *headWait) (Fault, error) {
	limit := responseRoom + w.most
	for {
		came := a.came()
		if n := wire.FindHeadEnd(came, w.looked); n > 0 {
			a.body = a.from + n
			return a.scan(w), nil
		}
		w.looked = len(came)
		if a.end >= limit {
			return HeadTooLarge, nil
		}
		if wire.HasBareLF(came) {
			return BrokenResponse, nil // it will never be a good one
		}
		if a.heard {
			if w.wait = w.by - wire.Now(); w.wait <= 0 { // the whole head has one deadline
				return TimeoutResponse, nil
			}
		}
		n, err := a.receiveHead(limit, w.wait)
		a.end += n
		a.heard = a.heard || n > 0
		if err != nil {
			a.over = err == io.EOF
			return None, err
		}
	}
}

// came is what has come of the response and was not dropped.
func (a *attempt) came() []byte {
	if a.end == a.from {
		return nil
	}
	return a.down.B[a.from:a.end]
}

// needDown makes sure that down is there, if only to write in.
func (a *attempt) needDown() {
	if a.down == nil {
		a.down = wire.GetBuffer(wire.SmallBuffer)
	}
}

// part is what lies at from in down, which need not be there for nothing.
func (a *attempt) part(from, n int) []byte {
	if n == 0 {
		return nil
	}
	return a.down.B[from : from+n]
}

// receiveHead reads behind what has come, as far as limit. The buffer is there when the first of it comes.
func (a *attempt) receiveHead(limit int, wait time.Duration) (int, error) {
	if a.end == a.from {
		return a.receiveLate(a.from, min(limit, wire.SmallBuffer-wire.ChunkTail), wait)
	}
	if a.end == len(a.down.B)-wire.ChunkTail {
		a.grow(min(2*len(a.down.B), limit+wire.ChunkTail))
	}
	return a.receive(a.down.B[a.end:min(limit, len(a.down.B)-wire.ChunkTail)], wait)
}

// scan reads a head that is whole.
func (a *attempt) scan(w *headWait) Fault {
	if a.response.Scan(a.down.B[a.from:a.body]) != wire.None {
		return BrokenResponse
	}
	if a.response.Status < 200 && a.response.Status != 101 {
		if w.interim += a.body - a.from; w.interim > w.most {
			return BrokenResponse // all of them together may be as long as one head
		}
	}
	return None
}

// dropHead makes room for the head that follows an interim one.
func (a *attempt) dropHead(w *headWait) {
	a.end = a.from + copy(a.down.B[a.from:], a.down.B[a.body:a.end])
	w.looked = 0
}

// grow moves what the upstream has sent to a larger buffer.
func (a *attempt) grow(size int) {
	larger := wire.GetBuffer(size)
	copy(larger.B[a.from:], a.down.B[a.from:a.end])
	a.down.Put()
	a.down = larger
}

// awaitFinal reads the head of the final response, where there is no client for the interim ones.
func (a *attempt) awaitFinal(most int, within time.Duration) Fault {
	w := a.waitForHead(most, within)
	for {
		f, err := a.readHead(&w)
		switch {
		case err != nil:
			return readFault(err, TimeoutResponse)
		case f != None, a.response.Status >= 200:
			return f
		case a.response.Status == 101: // a protocol that was not asked for
			return BrokenResponse
		}
		a.dropHead(&w)
	}
}

// growBody is grow behind a head that was read, which is read once more: it lies elsewhere now.
func (a *attempt) growBody(size int) {
	a.grow(size)
	if a.response.Scan(a.down.B[a.from:a.body]) != wire.None {
		panic("BUG: a copy of a good head is refused")
	}
}

// lose draws the conclusion from an attempt with which its exchange does not go on, and ends it.
func (p *Proxy) lose(a *attempt, f Fault) {
	if a.conn != nil {
		_ = a.conn.Close()
	}
	p.report(a, f)
	if !a.outdated(f) {
		a.upstream.owner.Load().judge(a.upstream, f, a.response.Status, a.began)
	}
	a.leavePlace()
	a.free()
}

// report tells of an attempt, and returns how long it took.
func (p *Proxy) report(a *attempt, f Fault) (all time.Duration) {
	took := wire.Now() - a.began
	all = took
	if p.options.Observe != nil {
		if a.switchedAt > 0 {
			took = a.switchedAt - a.began // how long the peers talk says nothing about the upstream
		}
		p.options.Observe(a.upstream, f, a.response.Status, took)
	}
	return all
}

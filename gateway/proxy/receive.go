package proxy

import (
	"io"

	"aigateway/gateway/wire"
)

// Arrived tells whether all of a held response's body has come with its head.
func (x *Exchange) Arrived() bool { return x.length >= 0 && int64(x.end-x.body) >= x.length }

// Receive reads the body of a response that was taken and gives it to sink, in pieces that are borrowed until it
// returns. None means that the body is whole; an error of the sink ends the exchange as [ClientGone].
func (p *Proxy) Receive(x *Exchange, sink func(piece []byte) error) Fault {
	if x.Meter == nil {
		return p.receiveTaken(x, sink)
	}
	ended := BrokenResponse // a panic is none of the client's doing
	defer func() { x.Meter.Settle(x, ended) }()
	ended = p.receiveTaken(x, sink)
	return ended
}

// receiveTaken is Receive of a response that nobody meters.
func (p *Proxy) receiveTaken(x *Exchange, sink func(piece []byte) error) Fault {
	f := p.receiveAll(x, x.filtered(sink))
	if rest := x.filteredEnd(); f == None && len(rest) > 0 && sink(rest) != nil {
		f = ClientGone
	}
	x.taken = false
	if f == None {
		p.finish(x)
	} else {
		p.abandon(x)
	}
	p.observe(x, f)
	if f != None {
		x.upstream.owner.Load().judge(x.upstream, f, x.response.Status, x.began)
	}
	x.leavePlace()
	x.free()
	return f
}

// filtered is the sink of a response out of which something is taken.
func (x *Exchange) filtered(sink func([]byte) error) func([]byte) error {
	if !x.filters() {
		return sink
	}
	var out []byte
	return func(piece []byte) error {
		if out = x.Filter.Pass(out[:0], piece); len(out) == 0 {
			return nil
		}
		return sink(out)
	}
}

// filteredEnd is what its end leaves.
func (x *Exchange) filteredEnd() []byte {
	if !x.filters() {
		return nil
	}
	return x.Filter.End(nil)
}

func (p *Proxy) receiveAll(x *Exchange, sink func(piece []byte) error) Fault {
	s := &x.flow
	if !s.ahead {
		*s = stream{length: x.length, left: max(0, x.length), ended: x.length == 0}
	}
	s.events = x.response.EventStream() // now: the head is gone when more has come
	silence := x.silence()
	x.dirty = x.dirty || x.length == wire.UntilClose
	from, to := x.body, x.end
	for {
		data, ok := s.held, true
		if !s.ahead {
			data, ok = s.take(&x.attempt, from, to)
		}
		s.ahead = false
		if !ok {
			return BrokenResponse
		}
		x.metered(x.down.B[from : from+data])
		if data > 0 && sink(x.down.B[from:from+data]) != nil {
			return ClientGone
		}
		if s.ended {
			return None
		}
		from = x.from
		n, err := x.receive(x.down.B[from:], silence)
		if err == io.EOF && x.length == wire.UntilClose && !x.Gone() {
			return None
		}
		if err != nil {
			return x.readFault(err, TimeoutIdle)
		}
		to = from + n
	}
}

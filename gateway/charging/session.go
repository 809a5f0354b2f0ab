package charging

import (
	"aigateway/gateway/inference"
	"aigateway/gateway/proxy"
	"aigateway/gateway/ratelimit"
	"aigateway/gateway/telemetry"
	"aigateway/gateway/wire"
)

// A session is what is read of a tunnel of OpenAI's Realtime, in which each answer tells its usage.
type session struct {
	frames wire.Frames
	begun  bool
	paid   bool  // what was reserved is settled; what comes is charged as it comes
	pieces int64 // of answers that have not ended
}

// Hear implements [proxy.TunnelTap]. The tunnel ends behind the answer that leads into debt.
func (c *Charge) Hear(piece []byte) (n int, last []byte) {
	s := c.session
	s.begun = true
	for n < len(piece) {
		k, found := s.frames.Next(piece[n:])
		if n += k; found == wire.NoText || !c.hear(found) {
			continue
		}
		if f := ratelimit.Owing(wire.Now(), c.key, c.model, c.all); f.Refused() && found != wire.NoFrames {
			c.charging.options.Metrics.OverBudget(f.Name())
			return n, wire.AppendClose(nil, closePolicy, "no tokens are left of the limit "+f.Name())
		}
	}
	return len(piece), nil
}

var _ proxy.TunnelTap = (*Charge)(nil)

// closePolicy is the status of a close for who has broken a rule of the server: RFC 6455 §7.4.1.
const closePolicy = 1008

// hear takes in a message, and tells whether it cost something.
func (c *Charge) hear(found wire.Found) (cost bool) {
	s := c.session
	var u inference.Usage
	event := inference.UsageUntold
	switch {
	case found == wire.Text:
		event = u.ReadRealtime(s.frames.Text())
	case found == wire.LongText && !inference.MayEndRealtime(s.frames.Text()):
		return false
	}
	switch event {
	case inference.NothingUsed:
		return false
	case inference.ContentUsed:
		s.pieces++
		return false
	case inference.UsageTold:
		c.learn(u.Input, u.Output)
	case inference.UsageUntold:
		u.Input, u.Output = c.input, c.output
		c.charging.options.Metrics.UsageUnknown()
	case inference.AnswerStopped:
		u.Input, u.Output = c.input, s.pieces
		c.charging.options.Metrics.UsageUnknown()
	}
	s.pieces = 0
	c.pay(&u)
	return true
}

// pay charges what an answer has used: the first one of what was reserved, which is settled by that.
func (c *Charge) pay(u *inference.Usage) {
	now, tokens := wire.Now(), c.weigh(u.Input, u.Output, u.Cached)
	if s := c.session; !s.paid && c.reservation.Tokens() > 0 {
		s.paid = true
		c.reservation.SettleTokens(now, tokens)
	} else {
		ratelimit.Charge(now, tokens, c.key, c.model, c.all)
	}
	c.charging.ledger.Count(&c.line, now, &telemetry.Used{In: u.Input, Out: u.Output, Cached: u.Cached})
}

// endSession settles what is left at the end of the tunnel. Who leaves in the middle of an answer pays for what has passed.
func (c *Charge) endSession() {
	s := c.session
	s.frames.End()
	if s.pieces > 0 {
		c.pay(&inference.Usage{Input: c.input, Output: s.pieces})
	}
	c.reservation.Settle(wire.Now(), 0) // the permits; and the tokens, if there was no answer
}

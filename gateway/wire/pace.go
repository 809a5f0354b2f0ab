package wire

import "time"

// bodyWindow is the time over which a body's least rate is measured, if the options do not say otherwise.
const bodyWindow = 20 * time.Second

// paceSlots is how many parts the window has: it moves on by one at a time.
const paceSlots = 4

// A pace measures how fast a body comes. Its clock runs only while a client is waited for, so that an upstream which
// takes the body slowly, and with it the client, is never the client's fault.
type pace struct {
	spent time.Duration // waiting, in the slot under way
	slots int           // that are over
	bytes [paceSlots]int64
}

// add notes that n bytes came after so much waiting. It returns false when fewer than least bytes a second came in the
// last whole window.
func (p *pace) add(n int, waited, window time.Duration, least int64) bool {
	slot := window / paceSlots
	for p.spent += waited; p.spent >= slot; p.spent -= slot {
		if p.slots++; p.slots >= paceSlots && float64(p.sum()) < float64(least)*window.Seconds() {
			return false
		}
		p.bytes[p.slots%paceSlots] = 0
	}
	p.bytes[p.slots%paceSlots] += int64(n)
	return true
}

func (p *pace) sum() (all int64) {
	for _, n := range p.bytes {
		all += n
	}
	return all
}

package proxy

import "time"

// A meter measures how fast those who wait get their turn. Its time runs only while somebody does: what a queue lets through when
// nobody has to wait says nothing about how much it could.
type meter struct {
	cost   float64 // had its turn, by and by forgotten
	took   float64 // seconds, likewise
	events float64 // likewise
	last   time.Duration
}

// A meter remembers the last meterEvents turns or meterTime, whichever is more.
const (
	meterEvents = 32
	meterTime   = 2 * time.Second
	fewEvents   = 4 // say nothing yet

	// What was measured so long ago says nothing any more. Else a pool that once was slow would turn everybody away, and never
	// learn that it is not.
	meterAge = 10 * time.Second
)

// begin tells that somebody waits from now on.
func (m *meter) begin(at time.Duration) {
	if at-m.last > meterAge {
		*m = meter{}
	}
	m.last = at
}

// add tells that something of that cost has had its turn.
func (m *meter) add(at time.Duration, cost int64) {
	past := at - m.last
	m.last = at
	keep := 1 - min(1.0/meterEvents, float64(past)/float64(meterTime))
	m.cost = m.cost*keep + float64(cost)
	m.took = m.took*keep + past.Seconds()
	m.events = m.events*keep + 1
}

// rate is the cost that has its turn in a second where nobody waits; 0 is for not known.
func (m *meter) rate(at time.Duration) float64 {
	if at-m.last > meterAge {
		return 0
	}
	return m.rateIn(m.took)
}

// rateNow is that while somebody waits: the silence until now counts too.
func (m *meter) rateNow(at time.Duration) float64 { return m.rateIn(m.took + (at - m.last).Seconds()) }

func (m *meter) rateIn(took float64) float64 {
	if m.events < fewEvents || took <= 0 {
		return 0
	}
	return m.cost / took
}

// mean is the mean cost of what has had its turn, 0 if it is not known.
func (m *meter) mean() float64 {
	if m.events == 0 {
		return 0
	}
	return m.cost / m.events
}

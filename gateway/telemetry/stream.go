package telemetry

import (
	"bytes"
	"sync/atomic"
	"time"
)

// eventBounds fit counts of events.
var eventBounds = []time.Duration{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 50_000}

// streams are the series of answers that are event streams, all routes together.
type streams struct {
	open     atomic.Int64
	duration *histogram
	events   *histogram
}

func (m *Metrics) addStreams() {
	s := &m.streams
	s.duration, s.events = newHistogram(requestBounds), newCounts(eventBounds)
	m.histograms("stream_duration_seconds", "Time from the head of an event stream to its end.").histogram("", s.duration)
	m.histograms("stream_events", "Events of an event stream, whole or not.").histogram("", s.events)
	m.gauges("streams_open", "Event streams under way.").gauge("", func() float64 { return float64(s.open.Load()) })
}

// BeginStream counts an event stream as under way.
func (m *Metrics) BeginStream() {
	if m != nil {
		m.streams.open.Add(1)
	}
}

// EndStream counts an event stream that has ended, d after its head.
func (m *Metrics) EndStream(d time.Duration, events uint64) {
	if m == nil {
		return
	}
	m.streams.open.Add(-1)
	m.streams.duration.observe(d)
	m.streams.events.observe(time.Duration(events))
}

// Events counts the events of a stream as its bytes pass: a block of lines that are not all comments, up to an empty
// one (HTML Standard §9.2.5, with LF or CRLF as the end of a line). The zero value is ready.
type Events struct {
	N     uint64
	block bool // of the block: a line of it says something
	line  lineState
}

type lineState uint8

const (
	lineEmpty   lineState = iota
	lineContent           // it has begun, and says something
	lineComment
)

// Pass counts what ends in the piece.
func (e *Events) Pass(piece []byte) {
	for {
		i := bytes.IndexByte(piece, '\n')
		if i < 0 {
			e.begin(piece)
			return
		}
		e.begin(piece[:i])
		switch {
		case e.line == lineContent:
			e.block = true
		case e.line == lineEmpty && e.block:
			e.N++
			e.block = false
		}
		e.line = lineEmpty
		piece = piece[i+1:]
	}
}

// begin notes what kind of line a part of one makes it.
func (e *Events) begin(part []byte) {
	if e.line != lineEmpty || len(part) == 0 || len(part) == 1 && part[0] == '\r' {
		return
	}
	e.line = lineContent
	if part[0] == ':' {
		e.line = lineComment
	}
}

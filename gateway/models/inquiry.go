package models

import (
	"bytes"

	"aigateway/gateway/inference"
	"aigateway/gateway/keys"
	"aigateway/gateway/routing"
	"aigateway/gateway/wire"
)

// A Request is what is known of a request before its body is read. It is borrowed.
type Request struct {
	Head      *wire.RequestHead
	Path      []byte // of its target
	Forwarded []byte // the path as upstreams get it, where a route writes another one and that matters; nil: the same
	Key       *keys.Key
	Tenant    []byte // of Key
	Counts    bool   // its tokens are limited
	Estimates bool   // it matters how many it will need
	Pool      bool   // its route has a pool of its own, for what is for no model

	// Inquire
	spoken inference.Dialect
	byway  bool // by the path that upstreams get
}

// An Inquiry is where a request names its model.
type Inquiry uint8

// The inquiries.
const (
	NotAsked   Inquiry = iota // it does not matter
	ForNobody                 // nowhere: it is for no model
	ForList                   // nowhere: it asks which models there are
	InDisguise                // where it would not be seen: to somebody behind it is another request than as it came
	InCode                    // in a body that is coded, and cannot be read as it lies
	InQuery
	InBody
	InPrompt // it does not matter, but how the prompt begins, which upstreams go by
)

// dialect is what is spoken at the request's path. Where upstreams get another path, by which it is one of the API, it is on a byway: it
// stays with the route's pool, whichever model it names.
func (q *Request) dialect() (d inference.Dialect, byway bool) {
	if d = inference.DialectOf(q.Path); d == inference.Other && q.Forwarded != nil {
		return inference.DialectOf(q.Forwarded), true
	}
	return d, false
}

// Inquire says where the request names its model.
func (r *Route) Inquire(q *Request) Inquiry {
	limited := q.Key.Limited()
	q.spoken, q.byway = q.dialect()
	switch d, byway := q.spoken, q.byway; {
	case (r.table != nil || limited || q.Counts) && q.disguised(d):
		return InDisguise
	case d == inference.Models && r.lists() && !byway:
		return ForList
	case (byway || !r.decides()) && !limited && !q.Counts:
		if r.prompts && q.hasPrompt(d) {
			return InPrompt
		}
		return NotAsked
	case limited && d == inference.Other && q.Head.HasBody(): // which may name a model all the same
	case d == inference.Realtime && (q.Head.WebSocket || limited): // by WebRTC its body is no JSON
		return InQuery
	case limited && d.NamesModel() && q.Head.HasBody(): // in whatever way: somebody behind may take it for a POST
	case !d.NamesModel() || d == inference.Realtime || string(q.Head.Method) != "POST":
		return ForNobody
	}
	if isCoded(q.Head) {
		return InCode
	}
	return InBody
}

// disguised tells whether a path is another dialect's than d, which it has as it stands, to anybody behind: then what is asked there
// would not be counted, nor its model looked at. Some of those behind (Express) take any case, and a slash at the end, too.
func (q *Request) disguised(d inference.Dialect) bool {
	switch d {
	case inference.Other, inference.Models, inference.Audio:
	default: // which has one path, and that has no other reading
		return false
	}
	speaks := func(reading []byte) bool { return dialectOf(reading) == d }
	path := q.Path
	if q.Forwarded != nil && inference.DialectOf(path) == inference.Other {
		path = q.Forwarded
	}
	if q.Head.Plain {
		return !speaks(path)
	}
	return !routing.AllReadings(path, speaks)
}

// dialectOf is the dialect of a path to those who take any case, and a slash at the end, too.
func dialectOf(reading []byte) inference.Dialect {
	var room [64]byte
	lower := append(room[:0], bytes.TrimRight(reading, "/")...)
	for i, c := range lower {
		if 'A' <= c && c <= 'Z' {
			lower[i] = c | 0x20
		}
	}
	return inference.DialectOf(lower)
}

// hasPrompt tells whether the request has a prompt in a body that can be read as it lies.
func (q *Request) hasPrompt(d inference.Dialect) bool {
	if !d.NamesModel() || d == inference.Realtime || string(q.Head.Method) != "POST" || !q.Head.HasBody() {
		return false
	}
	return !q.Head.Encoded && (!d.Forms() || !inference.IsForm(q.Head.ContentType))
}

// isCoded tells whether the body has a coding, by one of the fields that say so.
func isCoded(h *wire.RequestHead) bool {
	if !h.Encoded { // as hardly any is
		return false
	}
	for name, value := range h.Lines() {
		if bytes.EqualFold(name, []byte("content-encoding")) && !bytes.EqualFold(value, []byte("identity")) {
			return true
		}
	}
	return false
}

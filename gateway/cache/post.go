package cache

import (
	"bytes"
	"crypto/sha256"

	"aigateway/gateway/wire"
)

// POST is kept only where an operator says so, of models, whose answers depend on the request alone: RFC 9110 §9.3.3 lets a
// cache do so when both sides know. Its key has the body, and whoever asks is part of it, so that the rules about credentials have
// nothing to say.

// An Asker is whom what is kept of POST is for.
type Asker uint8

// The askers.
const (
	ByCredentials Asker = iota // who shows the same cookies, keys and tokens
	ByTenant                   // who is the same tenant: what shows that goes no further, other credentials tell apart
	Anybody                    // all
)

// ReadPost is Read for a POST of which the key has the body, and the tenant if by is ByTenant.
func (r *Request) ReadPost(h *wire.RequestHead, o Origin, f *Fields, by Asker) {
	*r = Request{ifNoneMatch: r.ifNoneMatch[:0], others: r.others[:0], name: r.name, MaxAge: -1, MinFresh: -1, MaxStale: -1, StaleIfError: -1, keyed: o.Keyed}
	var pragma, control, json bool
	for name, value := range h.Lines() {
		switch {
		case is(name, "content-type"):
			json = isJSON(value)
		case is(name, "content-encoding"):
			r.refuse(ForBody)
		case is(name, wantPost): // says what the caller has read
		case wire.Indifferent(name):
		case is(name, "cache-control"):
			control = true
			r.readControl(value)
		case is(name, "pragma"):
			pragma = pragma || saysNoCache(value)
		case is(name, "range"), hasPrefix(name, "if-"): // no POST to a model has them, and what they would mean is not said
			r.refuse(ForOriginCondition)
		case bytes.IndexByte(name, '_') >= 0:
			r.underscored(name, value)
		case o.Keyed && wire.IsProtocol(name): // there may be a key in it
			r.refuse(ForUnkeyedField)
		case o.Keyed && wire.IsCredential(name), by == Anybody && showsWho(name), by == ByTenant && showsTenant(name), f.settles(name):
		default:
			r.other(name, value, o)
		}
	}
	if !json {
		r.refuse(ForBody)
	}
	r.NoCache = r.NoCache || pragma && !control
	r.Credentials = false // they are in the key, or do not matter
}

const wantPost = "x-cache-post"

// WantsPost tells whether the request asks for its answer to be kept, where that has to be asked for.
func WantsPost(h *wire.RequestHead) bool {
	v, ok := h.Field(wantPost)
	return ok && is(v, "on")
}

// isJSON tells whether a body of that type is read as JSON in UTF-8 by everybody.
func isJSON(contentType []byte) bool {
	const json, charset = "application/json", "charset="
	if !hasPrefix(contentType, json) {
		return false
	}
	rest := bytes.TrimLeft(contentType[len(json):], " \t")
	if len(rest) == 0 {
		return true
	}
	if rest[0] != ';' {
		return false
	}
	rest = bytes.Trim(rest[1:], " \t")
	return len(rest) == 0 || hasPrefix(rest, charset) && (is(rest[len(charset):], "utf-8") || is(rest[len(charset):], `"utf-8"`))
}

// showsWho tells whether the field says who asks.
func showsWho(name []byte) bool { return is(name, "authorization") || isCredential(name) }

// showsTenant tells whether the field is one of those in which a gateway's key may stand.
func showsTenant(name []byte) bool {
	return is(name, "authorization") || is(name, "x-api-key") || is(name, "api-key")
}

// A Post is what the key of a POST has beside what every key has.
type Post struct {
	Route, Model, Tenant []byte // as the operator calls them; empty: none
	Body                 [sha256.Size]byte
}

// AppendPostKey appends the text of the key of a POST that ReadPost has read: method, scheme, host and target as in
// [AppendKey], then for whom the answer is and by which of the gateway's routes it came, then hashes of the fields that may matter and
// of the body. What precedes them is readable, so that answers can be purged by it.
func (r *Request) AppendPostKey(dst []byte, o Origin, target []byte, p *Post) []byte {
	dst = appendOrigin(append(dst, keyPost...), o, target)
	for _, part := range [...][]byte{p.Route, p.Model, p.Tenant} {
		dst = append(appendSized(dst, len(part)), part...)
	}
	dst = append(append(dst, '\n'), p.Body[:]...)
	return r.appendClass(dst)
}

const keyPost = "POST "

// SplitPost takes apart what stands behind the target in the text of a POST's key: rest of [SplitKey].
func SplitPost(rest []byte) (p Post, ok bool) {
	for _, part := range [...]*[]byte{&p.Route, &p.Model, &p.Tenant} {
		if *part, rest, ok = cutSized(rest); !ok {
			return Post{}, false
		}
	}
	if len(rest) < 1+sha256.Size || rest[0] != '\n' {
		return Post{}, false
	}
	copy(p.Body[:], rest[1:])
	return p, true
}

// StorePost is Store for the answer to a POST. Its freshness is what it states, or TTL. It is kept as it came, so a coded one is not,
// of which nobody can see whether it is whole; and it is not asked about again, since that would be another generation.
func (p Policy) StorePost(req *Request, resp *Response, f *Fields) (Meta, Reason) {
	d, _ := resp.directives()
	switch {
	case req.bypass != None:
		return Meta{}, req.bypass
	case resp.status != 200:
		return Meta{}, ForStatus
	case resp.contentRange:
		return Meta{}, ForPartial
	case d.noStore:
		return Meta{}, ForNoStore
	case d.private:
		return Meta{}, ForPrivate
	case d.noCache && !resp.events: // before an event stream it is a spell against proxies that wait for its end
		return Meta{}, ForNoCache
	case len(resp.coding) > 0 && !is(resp.coding, "identity"):
		return Meta{}, ForCoding
	case resp.varies(f):
		return Meta{}, ForVaryAny
	case p.MaxBody > 0 && resp.length > p.MaxBody:
		return Meta{}, ForTooLarge
	}
	m := resp.meta()
	m.ETag, m.LastModified, m.StaleWhileRevalidate = nil, 0, 0
	m.Flags &^= NoCache
	seconds, stated := resp.lifetime()
	if m.Lifetime = seconds; !stated {
		m.Flags |= Heuristic
		m.Lifetime = clamp(int64(p.TTL.Seconds()))
	}
	if d.staleIfError == absent {
		m.StaleIfError = clamp(int64(p.StaleIfError.Seconds()))
	}
	if m.Keep() <= 0 {
		return Meta{}, ForUseless
	}
	return m, None
}

// varies tells whether the answer may be another one for a request with the same key: by a field that is not in it.
func (r *Response) varies(f *Fields) bool {
	if r.vary.any {
		return true
	}
	for _, name := range r.vary.names {
		if wire.Indifferent(name) && !is(name, "accept-encoding") && !(f != nil && hasName(f.Key, name)) {
			return true
		}
	}
	return false
}

// AppendPostHead appends the lines of a POST's answer as AppendHead does, to kept those that are for everybody, and to own those
// that are only for who has asked: cookies, what is left of limits, and which pages may read it.
func (r *Response) AppendPostHead(kept, own []byte, h *wire.ResponseHead) (k, o []byte) {
	dated := false
	for name, value := range h.Lines() {
		switch {
		case isOwn(name):
			own = appendLine(own, name, value)
		case isStored(name):
			dated = dated || is(name, "date")
			kept = appendLine(kept, name, value)
		}
	}
	if !dated {
		kept = r.appendDate(kept)
	}
	return kept, own
}

// isOwn tells whether a field of an answer is about who asked, and not about what.
func isOwn(name []byte) bool {
	return is(name, "set-cookie") || is(name, "retry-after") || hasPrefix(name, "ratelimit") || hasPrefix(name, "x-ratelimit") ||
		hasPrefix(name, "anthropic-ratelimit") || hasPrefix(name, "access-control-")
}

// AppendPlainLines appends the client's lines that travel on, but that codings are not accepted: the answer is for others too, who may
// not read them, and is looked at.
func AppendPlainLines(dst []byte, h *wire.RequestHead) []byte {
	return append(h.AppendLinesWithout(dst, "accept-encoding"), "Accept-Encoding: identity\r\n"...)
}

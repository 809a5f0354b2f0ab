// Package keys knows who may ask: the tenants of KEYS_FILE, by the hashes of their keys, and those whose tokens an issuer signs.
//
// Its door is [New], which makes a [Set] of what the file says; [Set.Find] tells whose a credential is, and [Generate] makes a
// key. A set never changes: another file makes another one, which goes on with what has stayed, and revokes the rest.
//
// The package does not know where a credential stands in a request, nor what becomes of one that is refused.
package keys

import (
	"crypto/sha256"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"aigateway/gateway/config"
	"aigateway/gateway/wire"
)

// A Key is a tenant that may ask. It never changes. A nil Key stands for everybody, where nobody needs one.
type Key struct {
	ID       string // of the file, or "jwt:" and the claim
	Label    string // of metrics: ID, or Others
	Index    int    // its place in the file; -1 for a tenant of tokens
	Limits   config.KeyLimits
	Priority config.Priority
	Weight   int

	tenant  []byte   // ID as bytes
	models  []string // globs
	limited bool     // to models
}

// Tenant is the id as bytes, which nobody may change.
func (k *Key) Tenant() []byte { return k.tenant }

// Others is the label of all keys that have no series of their own.
const Others = "other"

// labelled is how many keys of the file have a series of their own.
const labelled = 200

// Allows tells whether the tenant may ask a model, by its resolved name.
func (k *Key) Allows(model string) bool { return !k.Limited() || allows(k.models, model) }

// AllowsName is Allows for a name as it came, which is borrowed.
func (k *Key) AllowsName(model []byte) bool { return !k.Limited() || allows(k.models, model) }

// Limited tells whether there are models that the tenant may not ask.
func (k *Key) Limited() bool { return k != nil && k.limited }

// LimitsRequests tells whether the tenant has a limit of requests of its own.
func (k *Key) LimitsRequests() bool { return k != nil && (k.Limits.RPS > 0 || k.Limits.RPM > 0) }

func allows[T string | []byte](globs []string, model T) bool {
	for _, glob := range globs {
		if matches(glob, model) {
			return true
		}
	}
	return false
}

// matches tells whether a glob, in which * stands for any bytes, is that name. Going back to the last * alone is enough: what
// stands before it has matched as early as it can.
func matches[T string | []byte](glob string, name T) bool {
	at, star, from := 0, -1, 0
	for i := 0; i < len(name); {
		switch {
		case at < len(glob) && glob[at] == '*':
			star, from = at, i
			at++
		case at < len(glob) && glob[at] == name[i]:
			at++
			i++
		case star >= 0:
			from++
			at, i = star+1, from
		default:
			return false
		}
	}
	for at < len(glob) && glob[at] == '*' {
		at++
	}
	return at == len(glob)
}

// Reason is why a credential is refused; the zero Reason is that it is not.
type Reason uint8

// The reasons.
const (
	Granted       Reason = iota
	Missing              // there is none
	Unknown              // nobody has that key
	Expired              // the key's last day is over
	Disabled             // the key is switched off
	Ambiguous            // there are two
	BadToken             // no token that can be taken: its form, its algorithm, its claims
	BadSignature         // the issuer has not signed it so
	UnknownIssuer        // the issuer's key is not known, or nothing is known of the issuer
	ExpiredToken         // its time is over, or has not begun
	NotOperator          // not the operator's token
	reasons
)

var reasonNames = [reasons]string{"granted", "missing", "unknown", "expired", "disabled", "ambiguous",
	"token_malformed", "token_signature", "token_key", "token_expired", "operator"}

// String is the word that metrics show.
func (r Reason) String() string { return reasonNames[r] }

// The challenges of RFC 9110 §11.6.1; browsers and Prometheus know Basic.
const (
	bearerChallenge  = `Bearer realm="` + wire.Name + `"`
	invalidChallenge = bearerChallenge + `, error="invalid_token"` // RFC 6750 §3.1
	basicChallenge   = `Basic realm="` + wire.Name + `", charset="UTF-8"`
)

// Challenge is what a refusal for that reason asks for, as WWW-Authenticate has it; "" where the request itself is wrong.
func (r Reason) Challenge() string {
	switch r {
	case Granted, Ambiguous:
		return ""
	case Missing:
		return bearerChallenge
	case NotOperator:
		return basicChallenge
	}
	return invalidChallenge
}

// Reasons are the words for all refusals.
func Reasons() []string { return reasonNames[Missing:] }

// A Grant is one credential's permission, as long as it holds: what goes on by it ends when it does not hold any more.
type Grant struct {
	revoked atomic.Bool
	_       [12]byte // what is smaller than 16 bytes shares its memory with others, and is not gone before them
}

// Revoked tells whether the permission is over.
func (g *Grant) Revoked() *atomic.Bool { return &g.revoked }

// An Access is what a credential opens.
type Access struct {
	Key   *Key
	Grant *Grant
}

// A Set is everybody who may ask, at one time. A nil Set asks nobody who they are.
type Set struct {
	table   table
	keys    []*Key
	byID    map[string]config.Key
	tokens  *Tokens // nil: no tokens are taken
	soonest int64   // when the next key expires, in Unix seconds; 0: none will
}

// New makes the set of what the file says; nil, if there is no file. What has stayed the same since old, which may be nil, goes on
// with its grants, and so do the tokens of its issuer. [Set.Close] ends what there is of these.
func New(c *config.Keys, old *Set, o TokenOptions) *Set {
	if c == nil {
		return nil
	}
	entries := make([]entry, 0, len(c.List))
	s := &Set{byID: make(map[string]config.Key, len(c.List)), keys: make([]*Key, 0, len(c.List))}
	for i, stated := range c.List {
		k := &Key{
			ID: stated.ID, Label: Others, Index: i, Limits: stated.Limits, Priority: stated.Priority, Weight: stated.Weight,
			tenant: []byte(stated.ID), models: stated.Models, limited: stated.Models != nil,
		}
		if i < labelled {
			k.Label = k.ID
		}
		s.keys, s.byID[k.ID] = append(s.keys, k), stated
		for _, sum := range stated.Sums {
			e := entry{sum: sum, key: k, grant: old.grantOf(&sum, k.ID), disabled: stated.Disabled}
			if !stated.Expires.IsZero() {
				e.expires = stated.Expires.Unix()
			}
			entries = append(entries, e)
		}
	}
	switch {
	case old.Tokens().is(c.JWT):
		s.tokens = old.tokens
	case c.JWT != nil:
		s.tokens = NewTokens(c.JWT, o)
	}
	s.table = newTable(entries)
	s.soonest = s.nextExpiry(math.MinInt64)
	return s
}

// grantOf is the grant by which a key goes on, or a new one.
func (s *Set) grantOf(sum *[32]byte, id string) *Grant {
	if s != nil {
		if e := s.table.find(sum); e != nil && e.key.ID == id && !e.grant.revoked.Load() {
			return e.grant
		}
	}
	return new(Grant)
}

// Find tells whose key a credential is.
func (s *Set) Find(credential []byte, now time.Time) (Access, Reason) {
	sum := sha256.Sum256(credential)
	e := s.table.find(&sum)
	if e == nil {
		return Access{}, Unknown
	}
	if why := e.refuses(now.Unix()); why != Granted {
		return Access{Key: e.key}, why
	}
	return Access{e.key, e.grant}, Granted
}

func (e *entry) refuses(now int64) Reason {
	switch {
	case e.disabled:
		return Disabled
	case e.expires != 0 && now >= e.expires:
		return Expired
	}
	return Granted
}

// Keys are the tenants of the file, in its order.
func (s *Set) Keys() []*Key {
	if s == nil {
		return nil
	}
	return s.keys
}

// Limits tells whether there is, or may come, a tenant that may not ask every model.
func (s *Set) Limits() bool {
	t := s.Tokens()
	return t != nil && t.stated.ModelsClaim != "" || slices.ContainsFunc(s.Keys(), (*Key).Limited)
}

// Labels are the keys that have a series of their own.
func (s *Set) Labels() (labels []string) {
	for _, k := range s.Keys() {
		if k.Label != Others {
			labels = append(labels, k.Label)
		}
	}
	return labels
}

// Tokens are those that are taken beside keys; nil: none.
func (s *Set) Tokens() *Tokens {
	if s == nil {
		return nil
	}
	return s.tokens
}

// Close ends what goes on for a set in whose place next has come, which may be nil, unless it goes on for that one.
func (s *Set) Close(next *Set) {
	if t := s.Tokens(); t != next.Tokens() {
		t.Close()
	}
}

// Revoke takes back the grants that do not hold in next, and tells whether there were any. Without keys, a nil next, everybody
// may go on.
func (s *Set) Revoke(next *Set) (revoked bool) {
	if s == nil || next == nil {
		return false
	}
	for i := range s.table.entries {
		e := &s.table.entries[i]
		if n := next.table.find(&e.sum); n == nil || n.grant != e.grant || n.disabled {
			revoked = e.grant.revoke() || revoked
		}
	}
	if t := s.tokens; t != nil && t != next.tokens {
		revoked = t.grants.revoke() || revoked
	}
	return revoked
}

// Expire takes back the grants of keys and tokens whose time is over by now, and tells whether there were any. It is not to be called
// by two goroutines at once.
func (s *Set) Expire(now time.Time) (revoked bool) {
	at := now.Unix()
	if t := s.Tokens(); t != nil {
		revoked = t.grants.expire(at)
	}
	if s == nil || s.soonest == 0 || at < s.soonest {
		return revoked
	}
	for i := range s.table.entries {
		e := &s.table.entries[i]
		if e.refuses(at) == Expired {
			revoked = e.grant.revoke() || revoked
		}
	}
	s.soonest = s.nextExpiry(at)
	return revoked
}

// nextExpiry is when the first key after a time expires; 0: none does.
func (s *Set) nextExpiry(after int64) (soonest int64) {
	for i := range s.table.entries {
		e := &s.table.entries[i]
		if at := e.expires; at != 0 && at > after && (soonest == 0 || at < soonest) {
			soonest = max(at, 1)
		}
	}
	return soonest
}

func (g *Grant) revoke() (now bool) { return !g.revoked.Swap(true) }

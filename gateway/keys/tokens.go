package keys

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"net/http"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"aigateway/gateway/config"
)

// When the issuer is asked for its keys.
const (
	renewEvery   = 5 * time.Minute  // without a reason: keys may have been taken back
	renewPause   = 10 * time.Second // at least between two times, whatever tokens come
	renewTimeout = 5 * time.Second  // of one time, and the longest that a request waits for it
	maxSetBytes  = 256 << 10
)

// TokenOptions are what NewTokens needs besides the settings. The zero value is for use.
type TokenOptions struct {
	Fetch   func(ctx context.Context, url string) ([]byte, error) // nil: by HTTP
	Now     func() time.Time                                      // nil: the clock
	OnFault func(error)                                           // told when the issuer's keys cannot be had, if not nil; it must not block
}

// Tokens are the tokens of one issuer. What the issuer's keys are is asked for at the start, from time to time, and when a token
// names one that is not known; while the issuer is away they stay what they were.
type Tokens struct {
	stated  *config.JWT
	options TokenOptions
	signers atomic.Pointer[[]signer] // nil: not known yet
	seen    atomic.Pointer[memory]
	grants  grants

	stop    context.Context
	end     context.CancelFunc
	running sync.WaitGroup

	mu    sync.Mutex
	last  time.Time     // when the issuer was asked last
	round chan struct{} // closed when it has answered; nil: it is not being asked
}

// NewTokens begins to ask the issuer. [Tokens.Close] ends that.
func NewTokens(c *config.JWT, o TokenOptions) *Tokens {
	if o.Fetch == nil {
		o.Fetch = fetch
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	t := &Tokens{stated: c, options: o}
	t.seen.Store(newMemory())
	t.stop, t.end = context.WithCancel(context.Background())
	t.running.Go(t.keep)
	return t
}

// is tells whether t is of these settings.
func (t *Tokens) is(c *config.JWT) bool {
	return t != nil && c != nil && !t.grants.revoked() && reflect.DeepEqual(t.stated, c)
}

// Close ends what NewTokens began, and what goes on by its tokens is revoked.
func (t *Tokens) Close() {
	if t != nil {
		t.grants.revoke()
		t.end()
		t.running.Wait()
	}
}

// keep asks the issuer again and again.
func (t *Tokens) keep() {
	for {
		if round := t.ask(); round != nil {
			<-round
		}
		pause := renewEvery
		if t.signers.Load() == nil {
			pause = renewPause
		}
		timer := time.NewTimer(pause)
		select {
		case <-t.stop.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// ask has the issuer asked, unless it was lately. It returns what is closed when it has answered; nil: it is not being asked.
func (t *Tokens) ask() (round chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.options.Now()
	if t.round != nil || t.stop.Err() != nil || !t.last.IsZero() && now.Sub(t.last) < renewPause {
		return t.round
	}
	t.last, t.round = now, make(chan struct{})
	t.running.Go(t.renew)
	return t.round
}

// renew asks the issuer once.
func (t *Tokens) renew() {
	ctx, cancel := context.WithTimeout(t.stop, renewTimeout)
	defer cancel()
	signers, err := t.fetch(ctx)
	if err == nil {
		before := t.signers.Swap(&signers)
		if before != nil && !reflect.DeepEqual(*before, signers) { // some of what was remembered may be of a key that is gone
			t.seen.Store(newMemory())
		}
	} else if t.options.OnFault != nil && t.stop.Err() == nil {
		t.options.OnFault(err)
	}
	t.mu.Lock()
	close(t.round)
	t.round = nil
	t.mu.Unlock()
}

// fetch gets the issuer's keys. What it says may be anything: a panic costs this look.
func (t *Tokens) fetch(ctx context.Context) (signers []signer, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	text, err := t.options.Fetch(ctx, t.stated.JWKSURL.String())
	if err != nil {
		return nil, err
	}
	return parseSigners(text)
}

// Known tells whose a token is that was verified before and has not expired. It allocates nothing.
func (t *Tokens) Known(token []byte, now time.Time) (a Access, ok bool) {
	if v := t.seen.Load().find(token, now.Unix()); v != nil {
		return v.Access, true
	}
	return Access{}, false
}

// Verify tells whose a token is, by its signature. It may wait for the issuer, some seconds at most.
func (t *Tokens) Verify(token []byte, now time.Time) (Access, Reason) {
	seen := t.seen.Load() // that of the signers below, or one that is dropped
	who, why := verify(token, t.known(), t.stated, now)
	if why == UnknownIssuer && t.wait() {
		seen = t.seen.Load()
		who, why = verify(token, t.known(), t.stated, now)
	}
	if why != Granted {
		return Access{}, why
	}
	id := "jwt:" + who.tenant
	k := &Key{ID: id, Label: Others, Index: -1, Limits: t.stated.Limits, Weight: 1, tenant: []byte(id), models: who.models, limited: who.models != nil}
	a := Access{k, t.grants.add(who.until)}
	seen.add(token, a, who.until)
	return a, Granted
}

func (t *Tokens) known() []signer {
	if s := t.signers.Load(); s != nil {
		return *s
	}
	return nil
}

// wait waits until the issuer has been asked, and tells whether it was.
func (t *Tokens) wait() bool {
	round := t.ask()
	if round == nil {
		return false
	}
	<-round // renewTimeout at most
	return true
}

// fetch asks for an issuer's keys. Who is asked is who the operator said, not whom that one says: no redirects.
func fetch(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, errors.New("cannot ask for the issuer's keys")
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	client := http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10},
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("cannot reach the issuer: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the issuer answers %d for its keys", response.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxSetBytes+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot read the issuer's keys: %w", err)
	case len(text) > maxSetBytes:
		return nil, fmt.Errorf("the issuer's keys have more than %d bytes", maxSetBytes)
	}
	return text, nil
}

// A memory holds tokens that were found to be good, as many as there is room for. It is read without a lock. The tokens themselves
// are in it: to compare all of one is exact, and takes a third of what a cryptographic hash would.
type memory struct {
	seed  maphash.Seed // nobody chooses in whose place he lands
	lines [1 << 10]line
}

// A line is the places of tokens whose hashes end alike.
type line [8]atomic.Pointer[verified]

type verified struct {
	hash  uint64
	token []byte
	Access
	until int64 // Unix seconds
}

func newMemory() *memory { return &memory{seed: maphash.MakeSeed()} }

func (m *memory) find(token []byte, now int64) *verified {
	hash := maphash.Bytes(m.seed, token)
	l := &m.lines[hash%uint64(len(m.lines))]
	for i := range l {
		if v := l[i].Load(); v != nil && v.hash == hash && now < v.until && bytes.Equal(v.token, token) {
			return v
		}
	}
	return nil
}

// add remembers a token, in the place of the one that expires first.
func (m *memory) add(token []byte, a Access, until int64) {
	v := &verified{hash: maphash.Bytes(m.seed, token), token: slices.Clone(token), Access: a, until: until}
	l := &m.lines[v.hash%uint64(len(m.lines))]
	at, first := 0, int64(0)
	for i := range l {
		old := l[i].Load()
		if old == nil {
			at = i
			break
		}
		if i == 0 || old.until < first {
			at, first = i, old.until
		}
	}
	l[at].Store(v)
}

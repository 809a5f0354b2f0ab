package ratelimit

import (
	"context"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"aigateway/gateway/config"

	"github.com/redis/rueidis"
)

// SharedAccountOptions says what NewSharedAccounts is to make.
type SharedAccountOptions struct {
	AccountOptions
	config.Redis

	Keys    string               // how their names begin; gw:v1:tok if empty
	Timeout time.Duration        // of one call, after which this replica goes on with its share; 100 ms if 0
	Now     func() time.Duration // the clock that Reserve's times are of
	OnFault func(error)          // told of every failed call, if not nil; it must not block
}

// sharedAccounts leases tokens and permits of all accounts from Redis, for all replicas of the gateway together.
//
// One goroutine makes all calls, many buckets in one message: what requests wait for at once, everything else every tick, and for one
// bucket never more often than every callPause. So a token is either in Redis or with one replica; when it is lost on the way,
// nobody has it. What was reserved and not needed goes back to Redis, which alone knows whether there was room for it all the time.
//
// If Redis is late or away, a replica admits its share on its own, from a bucket as full as Redis last said, and tells it
// afterwards. It never admits everyone.
type sharedAccounts struct {
	o       SharedAccountOptions
	id      string // of this replica
	client  rueidis.Client
	kick    chan struct{}
	stop    context.Context
	end     context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex
	urgent []claim // somebody waits
	active []claim // something is to be told, sooner or later

	down     atomic.Bool
	trips    atomic.Int64 // how often it went down
	retry    atomic.Int64 // when to ask Redis again, by Now
	replicas atomic.Int64
	beat     time.Duration
	fewer    census
}

// A claim is what is leased from Redis: tokens or permits.
type claim interface {
	flag() *flags
	// question is what to ask now; ok is false if there is nothing. keep tells whether there will be, later.
	question(now time.Duration) (m message, ok, keep bool)
	answer(now time.Duration, r rueidis.RedisResult) error
	release() // who waits goes on without an answer
}

// flags say in which of the lists a lease is; of mu.
type flags struct{ urgent, active bool }

const (
	callPause = 100 * time.Millisecond // between two calls for one bucket
	tickTime  = 20 * time.Millisecond
	idleTime  = 500 * time.Millisecond // what was not spent for so long goes back;
	scarce    = 8                      // where less than that part of the bucket was left in Redis, another replica may wait for it:
	idleShort = 150 * time.Millisecond // then for so long
	askAgain  = 250 * time.Millisecond // the longest that a bucket is taken for empty without asking
	mostCalls = 128                    // in one message

	leaving = time.Duration(math.MaxInt64 / 2) // a time at which nothing is kept back
)

var (
	//go:embed tokens.lua
	tokensText string
	//go:embed permits.lua
	permitsText string
	//go:embed replicas.lua
	replicasText string

	tokensLua, permitsLua, replicasLua = newProgram(tokensText), newProgram(permitsText), newProgram(replicasText)
)

// A program is sent by its digest, and whole when Redis does not know it.
type program struct{ text, digest string }

func newProgram(text string) *program {
	return &program{text, fmt.Sprintf("%x", sha1.Sum([]byte(text)))}
}

// A message is one call of a program.
type message struct {
	program *program
	key     string
	args    []string
}

func (m *message) brief(c rueidis.Client) rueidis.Completed {
	return c.B().Evalsha().Sha1(m.program.digest).Numkeys(1).Key(m.key).Arg(m.args...).Build()
}

func (m *message) whole(c rueidis.Client) rueidis.Completed {
	return c.B().Eval().Script(m.program.text).Numkeys(1).Key(m.key).Arg(m.args...).Build()
}

// NewSharedAccounts makes accounts of all replicas together. It does not wait for Redis: until it has answered, this replica takes
// itself to be alone.
func NewSharedAccounts(o SharedAccountOptions) (*Accounts, error) {
	if len(o.Addrs) == 0 || o.Now == nil {
		return nil, errors.New("cannot share budgets: no address of Redis, or no clock")
	}
	if o.Keys == "" {
		o.Keys = "gw:v1:tok"
	}
	if o.Timeout == 0 {
		o.Timeout = 100 * time.Millisecond
	}
	var id [16]byte
	rand.Read(id[:])
	s := &sharedAccounts{o: o, id: hex.EncodeToString(id[:]), kick: make(chan struct{}, 1)}
	s.replicas.Store(1)
	s.down.Store(true)
	s.stop, s.end = context.WithCancel(context.Background())
	t := NewAccounts(o.AccountOptions)
	t.shared = s
	first := make(chan struct{})
	s.running.Go(func() { s.keep(first) })
	select {
	case <-first:
	case <-time.After(5 * o.Timeout):
	}
	return t, nil
}

// Close gives back what is not spent, and leaves.
func (t *Accounts) Close() {
	if t == nil || t.shared == nil {
		return
	}
	t.shared.end()
	t.shared.running.Wait()
}

// Away tells whether Redis is, so that each replica has only its share.
func (t *Accounts) Away() bool { return t != nil && t.shared != nil && t.shared.down.Load() }

// keyOf names a bucket. An id that could mean something to Redis or to whoever reads its keys is named by its digest.
func (s *sharedAccounts) keyOf(a *Account, what string) string {
	id := a.ID
	if a.Owner != Key {
		id = a.Owner.String() + "=" + id
	}
	if len(id) > 128 || strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' || r == '{' || r == '}' }) {
		digest := sha256.Sum256([]byte(id))
		id = "#" + hex.EncodeToString(digest[:16])
	}
	return s.o.Keys + ":{" + id + "}:" + what
}

// keep is the goroutine that makes all calls.
func (s *sharedAccounts) keep(first chan struct{}) {
	defer func() {
		if e := recover(); e != nil {
			s.fault(fmt.Errorf("BUG: %v", e))
			s.trip()
		}
	}()
	ticker := time.NewTicker(tickTime)
	defer ticker.Stop()
	for {
		select {
		case <-s.stop.Done():
			s.leave()
			return
		case <-s.kick:
			s.step(s.o.Now(), true)
		case <-ticker.C:
			s.step(s.o.Now(), false)
		}
		if first != nil {
			close(first)
			first = nil
		}
	}
}

// step asks what is to be asked now: of what is urgent, or of everything.
func (s *sharedAccounts) step(now time.Duration, urgent bool) {
	if s.down.Load() && int64(now) < s.retry.Load() {
		s.releaseAll()
		return
	}
	if s.client == nil {
		client, err := dial(s.o.Redis, s.o.Timeout)
		if err != nil {
			s.fault(err)
			s.trip()
			return
		}
		s.client = client
	}
	if now >= s.beat || s.down.Load() {
		if !s.showUp(now) {
			return
		}
		now = s.o.Now()
	}
	due, messages := s.due(now, urgent)
	s.askAll(due, messages)
}

func (s *sharedAccounts) askAll(due []claim, messages []message) {
	for from := 0; from < len(due); from += mostCalls {
		to := min(from+mostCalls, len(due))
		s.ask(due[from:to], messages[from:to])
	}
}

// due are the leases that have something to ask, and what.
func (s *sharedAccounts) due(now time.Duration, urgent bool) (due []claim, messages []message) {
	s.mu.Lock()
	list := s.urgent
	s.urgent = nil
	for _, l := range list {
		l.flag().urgent = false
	}
	if !urgent {
		list = append([]claim(nil), s.active...)
	}
	s.mu.Unlock()
	gone := make(map[claim]bool)
	for _, l := range list {
		m, ok, keep := l.question(now)
		if ok {
			due, messages = append(due, l), append(messages, m)
		}
		if !keep && !ok {
			gone[l] = true
		}
	}
	if urgent || len(gone) == 0 {
		return due, messages
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.active[:0]
	for _, l := range s.active {
		if gone[l] && !l.flag().urgent {
			l.flag().active = false
			continue
		}
		kept = append(kept, l)
	}
	clear(s.active[len(kept):])
	s.active = kept
	return due, messages
}

// list notes that a lease has something to tell; in a hurry if somebody waits.
func (s *sharedAccounts) list(l claim, hurry bool) {
	s.mu.Lock()
	f := l.flag()
	if !f.active {
		f.active = true
		s.active = append(s.active, l)
	}
	wake := hurry && !f.urgent
	if wake {
		f.urgent = true
		s.urgent = append(s.urgent, l)
	}
	s.mu.Unlock()
	if wake {
		select {
		case s.kick <- struct{}{}:
		default:
		}
	}
}

// ask makes the calls, and hands out what comes back.
func (s *sharedAccounts) ask(due []claim, messages []message) {
	late := time.AfterFunc(s.o.Timeout, func() {
		s.fault(errLate)
		s.trip()
	})
	ctx, cancel := context.WithTimeout(context.Background(), max(lateTime, s.o.Timeout))
	defer cancel()
	commands := make(rueidis.Commands, len(messages))
	for i := range messages {
		commands[i] = messages[i].brief(s.client)
	}
	results := s.client.DoMulti(ctx, commands...)
	inTime, now, failed := late.Stop(), s.o.Now(), false
	for i, r := range results {
		if isNoScript(r.Error()) {
			r = s.client.Do(ctx, messages[i].whole(s.client))
		}
		err := due[i].answer(now, r)
		if err == nil {
			continue
		}
		s.fault(err)
		if !isAboutKey(err) {
			failed = true
		}
	}
	switch {
	case failed:
		s.trip()
	case inTime:
		s.down.Store(false)
	}
}

// showUp tells that this replica is alive, and hears how many are.
func (s *sharedAccounts) showUp(now time.Duration) bool {
	s.beat = now + beatTime
	n, err := s.presence(aliveTime)
	if err != nil {
		s.fault(err)
		s.trip()
		return false
	}
	s.fewer.count(&s.replicas, n, now)
	s.down.Store(false)
	return true
}

func (s *sharedAccounts) presence(life time.Duration) (int64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), max(lateTime, s.o.Timeout))
	defer cancel()
	m := message{replicasLua, s.o.Keys + ":replicas", []string{s.id, strconv.FormatInt(life.Milliseconds(), 10)}}
	n, err := s.client.Do(ctx, m.whole(s.client)).AsInt64()
	switch {
	case err != nil:
		return 0, fmt.Errorf("cannot tell redis of this replica: %w", err)
	case n < 0 || n > maxReplicas:
		return 0, fmt.Errorf("cannot count replicas: nonsense from redis: %d", n)
	}
	return n, nil
}

// trip makes this replica go on with its share.
func (s *sharedAccounts) trip() {
	s.retry.Store(int64(s.o.Now() + probeTime))
	if s.down.CompareAndSwap(false, true) {
		s.trips.Add(1)
	}
	s.releaseAll()
}

func (s *sharedAccounts) releaseAll() {
	s.mu.Lock()
	list := s.urgent
	s.urgent = nil
	for _, l := range list {
		l.flag().urgent = false
	}
	s.mu.Unlock()
	for _, l := range list {
		l.release()
	}
}

// leave gives everything back.
func (s *sharedAccounts) leave() {
	if s.client == nil {
		return
	}
	defer s.client.Close()
	if s.down.Load() {
		return
	}
	s.mu.Lock()
	list := append([]claim(nil), s.active...)
	s.mu.Unlock()
	var due []claim
	var messages []message
	for _, l := range list {
		if m, ok, _ := l.question(leaving); ok {
			due, messages = append(due, l), append(messages, m)
		}
	}
	s.askAll(due, messages)
	_, _ = s.presence(0)
	s.down.Store(true)
}

func (s *sharedAccounts) fault(err error) {
	if s.o.OnFault != nil {
		s.o.OnFault(err)
	}
}

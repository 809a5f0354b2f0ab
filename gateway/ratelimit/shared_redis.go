package ratelimit

import (
	"context"
	"crypto/sha1"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"aigateway/gateway/config"

	"github.com/redis/rueidis"
)

//go:embed shared.lua
var script string

var (
	lua          = rueidis.NewLuaScript(script)
	scriptDigest = fmt.Sprintf("%x", sha1.Sum([]byte(script)))
)

type conn struct{ rueidis.Client }

// How long rueidis itself waits, measured with a Redis that hangs: with its defaults a call came back after ten minutes or never,
// with DisableRetry after 10 s. The deadline of every call is no longer than these, or than Timeout if that is more; they bound what happens behind the calls.
const (
	dialTimeout  = 200 * time.Millisecond
	writeTimeout = 300 * time.Millisecond

	sentinelPause = 5 * time.Second // between questions who the master is
)

// dial fails at once if Redis is not there; once it has succeeded, rueidis connects again by itself.
func (s *Shared) dial() error {
	client, err := dial(s.o.Redis, s.o.Timeout)
	if err != nil {
		return err
	}
	s.conn.Store(&conn{client})
	return nil
}

func dial(r config.Redis, timeout time.Duration) (rueidis.Client, error) {
	o := rueidis.ClientOption{
		InitAddress: r.Addrs, SelectDB: r.DB, Username: r.Username, Password: r.Password, TLSConfig: r.TLSConfig,
		Dialer:           net.Dialer{Timeout: max(dialTimeout, timeout)},
		ConnWriteTimeout: max(writeTimeout, timeout),
		DisableRetry:     true, // a call that is tried again could lease twice, and takes its time
		DisableCache:     true, AlwaysPipelining: true,
		ReadBufferEachConn: 32 << 10, WriteBufferEachConn: 32 << 10,
	}
	if r.Master != "" {
		o.Sentinel = rueidis.SentinelOption{
			MasterSet: r.Master, Username: r.SentinelUsername, Password: r.SentinelPassword, Dialer: o.Dialer, TLSConfig: o.TLSConfig,
			TopologyRefreshInterval: sentinelPause,
		}
	}
	client, err := rueidis.NewClient(o)
	if err != nil {
		return nil, fmt.Errorf("cannot connect to redis: %w", err)
	}
	return client, nil
}

// A question is one call of the script.
type question struct {
	keys    []string
	limit   *shared
	first   int64 // tokens of a bucket that is not there; -1: leave it so
	want    int64
	need    int64
	back    int64
	charge  int64
	flow    int64 // came in while charge was admitted,
	since   time.Duration
	least   int64  // never less, if there is so much
	replica string // with the keys of the replicas: who asks,
	alive   time.Duration
}

// An answer was checked: nothing in it is more than what was asked for, or than a bucket holds.
type answer struct {
	granted  int64
	left     int64
	wait     time.Duration // until there are more; 0 if there are, Never if there will not be
	replicas int64         // 0 if not asked
}

func (q *question) args(replicas int64) []string {
	n := func(i int64) string { return strconv.FormatInt(i, 10) }
	f := func(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }
	args := []string{
		f(q.limit.PerSecond), f(q.limit.most), n(q.first), n(q.want), n(q.need), n(replicas), n(q.back), n(q.charge),
		n(q.limit.life.Milliseconds()), n(q.least), n(q.flow),
	}
	if q.replica != "" {
		args = append(args, q.replica, n(q.alive.Milliseconds()))
	}
	return args
}

var (
	errAway = errors.New("cannot reach redis: not connected")
	errLate = errors.New("cannot lease tokens: redis is late")
)

// lateTime is how long an answer is good for. Nobody waits for it after Timeout, but what it grants is with nobody else: on a
// busy machine that were a tenth of a second's worth each time.
const lateTime = 600 * time.Millisecond

func (s *Shared) late() time.Duration { return max(lateTime, s.o.Timeout) }

// flow is what comes into a bucket in such a time.
func (l *shared) flow(d time.Duration) int64 {
	return int64(min(l.PerSecond*max(d, 0).Seconds(), maxBurst))
}

// ask makes one call. It waits for its turn for Timeout at most.
func (s *Shared) ask(q question, timeout time.Duration) (answer, error) {
	c := s.conn.Load()
	if c == nil {
		return answer{}, errAway
	}
	from := s.stop
	if from.Err() != nil {
		from = context.Background() // what is given back at the end
	}
	ctx, cancel := context.WithTimeout(from, timeout)
	defer cancel()
	// What waits in rueidis' own queue does not look at its deadline once the queue is full.
	turn := time.NewTimer(min(timeout, s.o.Timeout))
	defer turn.Stop()
	select {
	case s.calls <- struct{}{}:
		defer func() { <-s.calls }()
	case <-turn.C:
		return answer{}, errLate
	case <-ctx.Done():
		return answer{}, fmt.Errorf("cannot lease tokens: %w", ctx.Err())
	}
	if q.want > 0 {
		s.asked.Add(1)
	}
	values, err := lua.Exec(ctx, c, q.keys, q.args(s.replicas.Load())).AsIntSlice()
	if err != nil {
		return answer{}, fmt.Errorf("cannot lease tokens: %w", err)
	}
	a, err := q.check(values)
	if err == nil {
		s.granted.Add(uint64(a.granted))
	}
	return a, err
}

// check does not trust Redis, or whoever writes to it.
func (q *question) check(values []int64) (answer, error) {
	bad := func() (answer, error) {
		return answer{}, fmt.Errorf("cannot lease tokens: nonsense from redis: %d", values[:min(len(values), 8)])
	}
	if len(values) != 4 {
		return bad()
	}
	a := answer{granted: values[0], left: values[1], replicas: values[3]}
	if a.granted < 0 || a.granted > q.want || a.left < 0 || float64(a.left) > q.limit.most || a.replicas < 0 || a.replicas > maxReplicas {
		return bad()
	}
	const longest = int64(Never / time.Microsecond)
	switch wait := values[2]; {
	case wait < -1:
		return bad()
	case wait == -1 || wait >= longest:
		a.wait = Never
	default:
		a.wait = time.Duration(wait) * time.Microsecond
	}
	return a, nil
}

// isAboutKey tells a fault of one key from one of Redis: somebody else has written there.
func isAboutKey(err error) bool {
	var e *rueidis.RedisError
	return errors.As(err, &e) && (strings.Contains(e.Error(), "WRONGTYPE") || strings.Contains(e.Error(), "not a bucket of the gateway"))
}

func isNoScript(err error) bool {
	var e *rueidis.RedisError
	return errors.As(err, &e) && e.IsNoScript()
}

// The keys of a bucket, and of what is used together with it, have a hash tag in common, as a cluster demands.
func (s *Shared) bucketOfAll() string   { return s.o.Prefix + ":{all}" }
func (s *Shared) keyOfReplicas() string { return s.o.Prefix + ":{all}:replicas" }

// bucketOf names a client by a digest of what he is to the caller: of one length, printable, and no address in Redis.
func (s *Shared) bucketOf(id [16]byte, class uint8) string {
	const hex = "0123456789abcdef"
	key := make([]byte, 0, len(s.o.Prefix)+48)
	key = append(append(key, s.o.Prefix...), ":{"...)
	for _, b := range id {
		key = append(key, hex[b>>4], hex[b&15])
	}
	return string(strconv.AppendUint(append(key, "}:c"...), uint64(class), 10))
}

// giveBack sends tokens that were not spent, many buckets at a time, and reports whether Redis is there. What
// does not arrive is lost: nobody has it then.
func (s *Shared) giveBack(leases []lease, timeout time.Duration) bool {
	c := s.conn.Load()
	if c == nil || len(leases) == 0 {
		return c != nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	commands := make(rueidis.Commands, 0, len(leases))
	for i := range leases {
		e := &leases[i]
		q := question{limit: &s.limits[e.class], first: -1, back: e.tokens, charge: e.spent}
		if e.spent > 0 {
			clock := s.clock()
			q.first, q.flow = e.first(q.limit, clock), q.limit.flow(clock-e.since)
		}
		// By its digest: the script is there, or there would be no lease. If it was flushed, the tokens are lost.
		commands = append(commands, c.B().Evalsha().Sha1(scriptDigest).Numkeys(1).Key(s.bucketOf(e.id, e.class)).
			Arg(q.args(s.replicas.Load())...).Build())
	}
	began, told := s.clock(), false
	for i, result := range c.DoMulti(ctx, commands...) {
		err := result.Error()
		switch {
		case err == nil:
			s.returned.Add(uint64(leases[i].tokens))
		case isAboutKey(err) || isNoScript(err):
			s.fault(err)
		case !told:
			told = true // one for all of them
			s.trip(fmt.Errorf("cannot give tokens back: %w", err), began)
		}
	}
	return !told
}

package cache

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

// A names is what every key in Redis begins with; this is the one place that names them. A record has the digits of its
// Key behind it. The purge mark is written by a purge before it looks for records, so that all replicas hear of it, and those
// that cannot be told find it. For what else is said see redis_say.go.
type names string

const markTime = time.Hour // its end is told like a purge

func namesOf(prefix string) names { return names(prefix + ":v1:c:") }

func (n names) mark() string { return string(n) + "purge" }

func (n names) of(k Key) string {
	name := make([]byte, len(n)+2*len(k))
	copy(name, n)
	hex.Encode(name[len(n):], k[:])
	return string(name)
}

func (n names) key(name string) (k Key, ok bool) {
	digits, ok := strings.CutPrefix(name, string(n))
	if !ok || len(digits) != 2*len(k) {
		return k, false
	}
	_, err := hex.Decode(k[:], []byte(digits))
	return k, err == nil
}

// How long Redis is waited for.
const (
	beatPause     = 500 * time.Millisecond // between two heartbeats
	beatTimeout   = 400 * time.Millisecond // of one: a connection that is dead, or swallows everything, is noticed within beatPause + beatTimeout
	trustTime     = 1500 * time.Millisecond
	callTimeout   = 500 * time.Millisecond // of what no request waits for
	readTimeout   = 15 * time.Millisecond
	mostTimeout   = 20 * time.Millisecond
	openTimeout   = 250 * time.Millisecond
	purgeTime     = 30 * time.Second
	restLeast     = 100 * time.Millisecond // after the second fault in a row
	restMost      = 5 * time.Second
	sentinelPause = 5 * time.Second  // between questions who the master is: who misses the sentinels' word would ask the old one for good
	refusalTime   = time.Second      // after Redis has refused something, until it is tried again
	blindTime     = time.Second      // what Redis cannot tell us of is kept so long in memory, and up to the heartbeat after it
	restMemory    = 10 * time.Second // without a fault, until the next one counts as the first

	// What rueidis itself waits for is longer than every deadline; it bounds what happens behind them.
	dialTimeout  = 300 * time.Millisecond
	writeTimeout = 500 * time.Millisecond
)

const (
	mostReads    = 512 // at a time; rueidis has room for 1024 commands, and who waits for room does not look at his deadline
	batchRecords = 64
	batchBytes   = 4 << 20
	batchDeletes = 256
	scanCount    = 512
	peekBytes    = 1024 // of a record, to see whose it is
)

// A remote is the Redis tier. Two goroutines live in it: watch finds Redis, and finds out when it is lost; write does all
// writing, one after the other, so that a record that was asked for before a purge does not arrive after it.
type remote struct {
	o         RedisOptions
	names     names
	id        string // of this replica, in what it says
	maxRecord int
	memory    *memory
	link      atomic.Pointer[link]
	queue     queue
	reads     chan struct{}
	kick      chan struct{} // wakes watch
	stop      context.Context
	end       context.CancelFunc
	done      sync.WaitGroup
	first     chan struct{} // closed after the first heartbeat

	until   atomic.Int64 // Unix milliseconds until which memory is trusted; 0: it is not
	resting atomic.Bool  // no Get asks Redis

	mu     sync.Mutex // for the change of what follows, and of until and resting
	losses uint64     // connections
	pause  time.Duration
	retry  time.Time // not asked before
	fault  time.Time // the last
	nodes  map[string]bool
	conns  map[*conn]bool

	blind    atomic.Bool           // Redis cannot tell us what changes
	redial   bool                  // for watch alone, as the next three
	emptied  time.Time             // memory, because of blind
	state    RedisState            // that was told
	next     RedisState            // that was seen by the last heartbeat
	lacks    atomic.Pointer[error] // why it cannot
	refusal  atomic.Pointer[error] // the last
	alone    atomic.Bool           // memory has, or had, what Redis has not
	purgings chan string           // of other replicas, to be done in memory

	refuses     atomic.Int32 // a RedisState: what Redis said to the last write
	refusedAt   atomic.Int64 // Unix milliseconds
	restWrites  time.Time    // for write alone, as the next two: not tried before
	restDeletes time.Time
	lastMark    string // that was found; "": not looked for yet

	pushes, expiries, lost     atomic.Uint64
	hits, misses               atomic.Uint64
	written, unwritten, purges atomic.Uint64
	writtenBytes, unlinked     atomic.Uint64
	keptAlone                  atomic.Uint64
	faults                     [faultKinds]atomic.Uint64
}

type link struct{ rueidis.Client }

// The kinds of faults.
const (
	faultAway     = iota // no connection, or it broke
	faultTimeout         // no answer in time
	faultBusy            // too many reads at a time
	faultType            // somebody else's value under our key
	faultCorrupt         // not what was written
	faultFull            // maxmemory
	faultReadOnly        // a replica
	faultRefused         // any other error that Redis answered
	faultKinds
)

// RedisStats are the figures of the Redis tier.
type RedisStats struct {
	Hits, Misses uint64            // of records that were asked for
	Written      uint64            // records
	WrittenBytes uint64            // of records
	Dropped      uint64            // records that were not written: Redis away, full, or slower than they come
	Alone        uint64            // records that Redis refused and memory took
	Faults       map[string]uint64 // by kind: away, timeout, busy, wrong_type, corrupt, full, read_only, refused
	State        RedisState
	Trusted      bool // Redis tells what changes; else memory counts as empty
	Resting      bool // the breaker is open: no request asks Redis
	Queued       int  // records and deletions on their way
}

func newRemote(m *memory, maxRecord int, o RedisOptions) (*remote, error) {
	if len(o.Addrs) == 0 {
		return nil, errors.New("cannot find redis without an address")
	}
	if o.ReadTimeout <= 0 {
		o.ReadTimeout = readTimeout
	}
	o.ReadTimeout = min(o.ReadTimeout, mostTimeout)
	if o.refusalTime == 0 {
		o.refusalTime = refusalTime
	}
	if o.OnState == nil {
		o.OnState = func(RedisState, error) {}
	}
	if o.Selects == nil {
		o.Selects = func(string) func([]byte) bool { return nil }
	}
	r := &remote{
		o: o, names: namesOf(o.Prefix), maxRecord: maxRecord, memory: m, reads: make(chan struct{}, mostReads),
		kick: make(chan struct{}, 1), first: make(chan struct{}),
		conns: make(map[*conn]bool), id: rand.Text(), purgings: make(chan string, 16),
	}
	r.queue.init()
	r.resting.Store(true)
	r.stop, r.end = context.WithCancel(context.Background())
	r.done.Go(r.watch)
	r.done.Go(r.write)
	r.done.Go(r.forget)
	select {
	case <-r.first:
	case <-time.After(openTimeout):
	}
	return r, nil
}

func (r *remote) close() {
	r.end()
	r.done.Wait()
	if c := r.link.Load(); c != nil {
		c.Close()
	}
}

func (r *remote) stats() RedisStats {
	names := [faultKinds]string{"away", "timeout", "busy", "wrong_type", "corrupt", "full", "read_only", "refused"}
	st := RedisStats{
		Hits: r.hits.Load(), Misses: r.misses.Load(), Written: r.written.Load(), WrittenBytes: r.writtenBytes.Load(), Dropped: r.unwritten.Load(),
		Alone: r.keptAlone.Load(), State: r.stateNow(),
		Faults: make(map[string]uint64), Queued: int(r.queue.busy.Load()),
		Trusted: r.trusted(time.Now().UnixMilli()), Resting: r.resting.Load(),
	}
	for kind, name := range names {
		st.Faults[name] = r.faults[kind].Load()
	}
	return st
}

// dial fails at once if Redis is not there; once it has succeeded, rueidis connects again with the next command.
//
// There is one connection to a node, so that what is told comes in the order of the answers: a change after the answer to a
// read that came before it. What we change ourselves is told to us too. NOLOOP would spare us that, but is not safe: Redis
// tells once per turn of its loop, and of a key that two have changed in one turn it keeps only the first; that one would
// never hear of the other.
//
// A Redis that cannot tell what changes, or not in a way that one connection carries (RESP3), is used all the same: see blind.
func (r *remote) dial() error {
	o := r.options()
	client, err := rueidis.NewClient(o)
	blind := false
	if errors.Is(err, rueidis.ErrNoCache) || isOldest(err) {
		r.lacks.Store(new(cannotPush(err)))
		blind, o.DisableCache, o.OnInvalidations, o.ClientTrackingOptions = true, true, nil, nil
		client, err = rueidis.NewClient(o)
		if isOldest(err) && len(r.o.Addrs) == 1 && r.o.Master == "" { // as what stands between here and Redis may not know CLUSTER either
			o.AlwaysRESP2, o.ForceSingleClient = true, true
			client, err = rueidis.NewClient(o)
		}
	}
	if err != nil && strings.Contains(err.Error(), "SELECT is not allowed in cluster mode") {
		err = fmt.Errorf("a cluster has database 0 only, see REDIS_DB: %w", err)
	}
	if err != nil {
		return err
	}
	r.blind.Store(blind)
	r.redial = false
	if old := r.link.Swap(&link{client}); old != nil {
		old.Close()
	}
	return nil
}

// cannotPush says why in other words than rueidis, which speaks to programmers.
func cannotPush(err error) error {
	why, _, _ := strings.Cut(err.Error(), "\n")
	if err == rueidis.ErrNoCache {
		why = "it does not speak RESP3"
	}
	return fmt.Errorf("redis has no CLIENT TRACKING: %s", why)
}

// isOldest tells an answer that is an error from one that is about who asks.
func isOldest(err error) bool {
	var answer *rueidis.RedisError
	if !errors.As(err, &answer) {
		return false
	}
	for _, begins := range []string{"WRONGPASS", "NOAUTH", "LOADING", "MASTERDOWN", "CLUSTERDOWN"} {
		if strings.HasPrefix(answer.Error(), begins) {
			return false
		}
	}
	return true
}

func (r *remote) options() rueidis.ClientOption {
	o := rueidis.ClientOption{
		InitAddress: r.o.Addrs, SelectDB: r.o.DB, Username: r.o.Username, Password: r.o.Password, TLSConfig: r.o.TLSConfig,
		Dialer: net.Dialer{Timeout: dialTimeout}, ConnWriteTimeout: writeTimeout,
		DisableRetry: true, AlwaysPipelining: true, PipelineMultiplex: -1,
		ReadBufferEachConn: 64 << 10, WriteBufferEachConn: 64 << 10,
		CacheSizeEachConn:     1 << 20, // not used: what is kept in memory, memory keeps
		ClientTrackingOptions: []string{"PREFIX", string(r.names), "BCAST"},
		OnInvalidations:       r.told,
		DialCtxFn:             r.connect,
	}
	if r.o.Master != "" {
		o.Sentinel = rueidis.SentinelOption{
			MasterSet: r.o.Master, Username: r.o.SentinelUsername, Password: r.o.SentinelPassword, Dialer: o.Dialer, TLSConfig: o.TLSConfig,
			TopologyRefreshInterval: sentinelPause,
		}
	}
	return o
}

// A conn is known to its remote until it is closed.
type conn struct {
	net.Conn
	r *remote
}

func (r *remote) connect(ctx context.Context, addr string, d *net.Dialer, secure *tls.Config) (net.Conn, error) {
	var plain net.Conn
	var err error
	if secure != nil {
		plain, err = (&tls.Dialer{NetDialer: d, Config: secure}).DialContext(ctx, "tcp", addr)
	} else {
		plain, err = d.DialContext(ctx, "tcp", addr)
	}
	if err != nil {
		return nil, err
	}
	c := &conn{plain, r}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns[c] = true
	return c, nil
}

func (c *conn) Close() error {
	c.r.mu.Lock()
	delete(c.r.conns, c)
	c.r.mu.Unlock()
	return c.Conn.Close()
}

// get appends the record of k, from what is on its way to Redis or from there, and leaves it in memory.
func (r *remote) get(dst []byte, k Key, now int64) ([]byte, bool) {
	if r.queue.busy.Load() > 0 {
		rec, st, deleted := r.queue.find(k)
		if rec != nil && untilOf(rec) > now && r.trusted(now) && st.epoch == r.memory.epoch.Load() && r.memory.valid(&st) {
			return append(dst, rec...), true
		}
		if deleted {
			return dst, false
		}
	}
	if r.resting.Load() {
		return dst, false
	}
	st := r.memory.stamp(k)
	rec, err := r.read(k)
	switch {
	case err != nil:
		r.blame(err)
		return dst, false
	case len(rec) == 0:
		r.misses.Add(1)
		return dst, false
	case len(rec) > r.maxRecord || !Check(rec):
		r.faults[faultCorrupt].Add(1)
		r.delete(k)
		return dst, false
	case untilOf(rec) <= now:
		r.misses.Add(1)
		return dst, false
	}
	r.hits.Add(1)
	r.memory.put(&st, rec)
	return append(dst, rec...), true
}

// read asks for one byte more than a record may have, so that a value of any length costs no more memory than that.
func (r *remote) read(k Key) ([]byte, error) {
	c := r.link.Load()
	ctx, cancel := context.WithTimeout(r.stop, r.o.ReadTimeout)
	defer cancel()
	select {
	case r.reads <- struct{}{}:
		defer func() { <-r.reads }()
	case <-ctx.Done():
		r.faults[faultBusy].Add(1)
		return nil, nil
	}
	return c.Do(ctx, c.B().Getrange().Key(r.names.of(k)).Start(0).End(int64(r.maxRecord)).Build()).AsBytes()
}

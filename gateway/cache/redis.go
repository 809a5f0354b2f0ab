package cache

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

// Every key in Redis begins with namePrefix; this is the one place that names them. A record has the digits of its
// Key behind it. The purge mark is written by a purge before it looks for records, so that all replicas hear of it.
const (
	namePrefix = "gw:v1:c:"
	markName   = namePrefix + "purge"
	markTime   = time.Hour // its end is told like a purge
)

func nameOf(k Key) string {
	name := make([]byte, len(namePrefix)+2*len(k))
	copy(name, namePrefix)
	hex.Encode(name[len(namePrefix):], k[:])
	return string(name)
}

func keyOfName(name string) (k Key, ok bool) {
	digits, ok := strings.CutPrefix(name, namePrefix)
	if !ok || len(digits) != 2*len(k) {
		return k, false
	}
	_, err := hex.Decode(k[:], []byte(digits))
	return k, err == nil
}

// How long Redis is waited for.
const (
	beatPause   = 500 * time.Millisecond // between two heartbeats
	beatTimeout = 400 * time.Millisecond // of one: a connection that is dead, or swallows everything, is noticed within beatPause + beatTimeout
	trustTime   = 1500 * time.Millisecond
	callTimeout = 500 * time.Millisecond // of what no request waits for
	readTimeout = 15 * time.Millisecond
	mostTimeout = 20 * time.Millisecond
	openTimeout = 250 * time.Millisecond
	purgeTime   = 30 * time.Second
	restLeast   = 100 * time.Millisecond // after the second fault in a row
	restMost    = 5 * time.Second
	restMemory  = 10 * time.Second // without a fault, until the next one counts as the first

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

	pushes, expiries, lost     atomic.Uint64
	hits, misses               atomic.Uint64
	written, unwritten, purges atomic.Uint64
	writtenBytes, unlinked     atomic.Uint64
	faults                     [faultKinds]atomic.Uint64
}

type link struct{ rueidis.Client }

// The kinds of faults.
const (
	faultAway    = iota // no connection, or it broke
	faultTimeout        // no answer in time
	faultBusy           // too many reads at a time
	faultType           // somebody else's value under our key
	faultCorrupt        // not what was written
	faultFull           // maxmemory
	faultRefused        // any other error that Redis answered
	faultKinds
)

// RedisStats are the figures of the Redis tier.
type RedisStats struct {
	Hits, Misses uint64            // of records that were asked for
	Written      uint64            // records
	WrittenBytes uint64            // of records
	Dropped      uint64            // records that were not written: Redis away, full, or slower than they come
	Faults       map[string]uint64 // by kind: away, timeout, busy, wrong_type, corrupt, full, refused
	Trusted      bool              // Redis tells what changes; else memory counts as empty
	Resting      bool              // the breaker is open: no request asks Redis
	Queued       int               // records and deletions on their way
}

func newRemote(m *memory, maxRecord int, o RedisOptions) (*remote, error) {
	if len(o.Addrs) == 0 {
		return nil, errors.New("cannot find redis without an address")
	}
	if o.ReadTimeout <= 0 {
		o.ReadTimeout = readTimeout
	}
	o.ReadTimeout = min(o.ReadTimeout, mostTimeout)
	if o.OnFault == nil {
		o.OnFault = func(error) {}
	}
	r := &remote{
		o: o, maxRecord: maxRecord, memory: m, reads: make(chan struct{}, mostReads),
		kick: make(chan struct{}, 1), first: make(chan struct{}),
		conns: make(map[*conn]bool),
	}
	r.queue.init()
	r.resting.Store(true)
	r.stop, r.end = context.WithCancel(context.Background())
	r.done.Go(r.watch)
	r.done.Go(r.write)
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
	names := [faultKinds]string{"away", "timeout", "busy", "wrong_type", "corrupt", "full", "refused"}
	st := RedisStats{
		Hits: r.hits.Load(), Misses: r.misses.Load(), Written: r.written.Load(), WrittenBytes: r.writtenBytes.Load(), Dropped: r.unwritten.Load(),
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
func (r *remote) dial() error {
	o := rueidis.ClientOption{
		InitAddress: r.o.Addrs, SelectDB: r.o.DB, Password: r.o.Password,
		Dialer: net.Dialer{Timeout: dialTimeout}, ConnWriteTimeout: writeTimeout,
		DisableRetry: true, AlwaysPipelining: true, PipelineMultiplex: -1,
		ReadBufferEachConn: 64 << 10, WriteBufferEachConn: 64 << 10,
		CacheSizeEachConn:     1 << 20, // not used: what is kept in memory, memory keeps
		ClientTrackingOptions: []string{"PREFIX", namePrefix, "BCAST"},
		OnInvalidations:       r.told,
		DialCtxFn:             r.connect,
	}
	if r.o.TLS {
		o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if r.o.Master != "" {
		o.Sentinel = rueidis.SentinelOption{MasterSet: r.o.Master, Dialer: o.Dialer, TLSConfig: o.TLSConfig}
	}
	client, err := rueidis.NewClient(o)
	if err != nil {
		return err
	}
	r.link.Store(&link{client})
	return nil
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

// hangUp closes all connections: a reply that did not come in time would be taken for that to a later question, if what is
// between here and Redis lost bytes; and rueidis keeps a connection on which anything comes.
func (r *remote) hangUp() {
	r.mu.Lock()
	conns := slices.Collect(maps.Keys(r.conns))
	r.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
}

// told is called by the goroutine that reads from Redis: what was changed by anybody, has expired or was evicted there is
// dropped. Nil says that everything was flushed, or that the connection is lost.
func (r *remote) told(names []rueidis.RedisMessage) {
	if names == nil {
		r.lose(true)
		return
	}
	now := time.Now().UnixMilli()
	for i := range names {
		name, err := names[i].ToString()
		if err != nil {
			continue
		}
		if name == markName {
			r.memory.generation.Add(1)
			continue
		}
		k, ok := keyOfName(name)
		if !ok {
			continue
		}
		why := uint64(oneChange)
		if r.queue.busy.Load() > 0 && r.queue.echo(k) {
			why = oneEcho
		}
		switch until, had := r.memory.delete(&k, why); {
		case why == oneEcho:
		case had && until <= now:
			r.expiries.Add(1)
		case had:
			r.pushes.Add(1)
		}
	}
}

// trusted reports whether Redis would have told what has changed until about now. It does not rely on watch to say
// that it would not: the process may have been stopped.
func (r *remote) trusted(now int64) bool { return now < r.until.Load() }

// lose takes memory for empty until a heartbeat on a connection that begins after this.
func (r *remote) lose(connection bool) {
	r.mu.Lock()
	if connection {
		r.losses++
	}
	was := r.until.Swap(0) != 0
	r.resting.Store(true)
	r.mu.Unlock()
	if was {
		r.lost.Add(1)
		r.memory.flush()
	}
	if connection {
		wake(r.kick)
	}
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// watch sends a heartbeat to every node, because rueidis connects again only when there is something to send, and until
// then nothing is told.
func (r *remote) watch() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var away error
	for first := true; ; first = false {
		err := r.beat()
		if err != nil && away == nil && r.stop.Err() == nil {
			r.o.OnFault(fmt.Errorf("cannot use redis: %w", err))
		}
		away = err
		if first {
			close(r.first)
		}
		pause := beatPause
		if err == nil {
			pause = r.restLeft(pause)
		}
		timer.Reset(pause)
		select {
		case <-r.stop.Done():
			return
		case <-r.kick:
			if err != nil { // one heartbeat after another would not help
				select {
				case <-r.stop.Done():
					return
				case <-time.After(beatPause / 10):
				}
			}
		case <-timer.C:
		}
	}
}

// restLeft is how long until the next heartbeat, at most pause: sooner if the breaker may close sooner.
func (r *remote) restLeft(pause time.Duration) time.Duration {
	if !r.resting.Load() {
		return pause
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return min(pause, max(time.Until(r.retry), 10*time.Millisecond))
}

var errLost = errors.New("the connection was lost meanwhile")

func (r *remote) beat() error {
	if r.link.Load() == nil {
		if err := r.dial(); err != nil {
			return err
		}
	}
	r.mu.Lock()
	losses := r.losses
	r.mu.Unlock()
	began := time.Now()
	nodes, err := r.ping()
	took := time.Since(began)
	if err != nil {
		r.lose(false)
		if errors.Is(err, context.DeadlineExceeded) {
			r.hangUp()
		}
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if losses != r.losses {
		return errLost
	}
	if !maps.Equal(nodes, r.nodes) { // a new node has told nothing yet
		r.nodes = nodes
		r.until.Store(0)
	}
	if r.until.Load() == 0 {
		r.memory.flush()
		r.queue.wakeUp()
	}
	r.until.Store(began.Add(trustTime).UnixMilli())
	if took < r.o.ReadTimeout && !time.Now().Before(r.retry) {
		r.resting.Store(false)
	}
	if r.queue.busy.Load() > 0 {
		r.queue.wakeUp()
	}
	return nil
}

func (r *remote) ping() (nodes map[string]bool, err error) {
	ctx, cancel := context.WithTimeout(r.stop, beatTimeout)
	defer cancel()
	clients := r.link.Load().Nodes()
	nodes = make(map[string]bool, len(clients))
	results := make(chan error, len(clients))
	for addr, c := range clients {
		nodes[addr] = true
		go func() { results <- c.Do(ctx, c.B().Ping().Build()).Error() }()
	}
	for range clients {
		err = errors.Join(err, <-results)
	}
	return nodes, err
}

// rest opens the breaker. The first fault in a while costs one heartbeat; with more of them Redis is left alone longer.
func (r *remote) rest() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.resting.Swap(true) {
		return
	}
	now := time.Now()
	if now.Sub(r.fault) > restMemory {
		r.pause = 0
	} else {
		r.pause = min(max(2*r.pause, restLeast), restMost)
	}
	r.fault, r.retry = now, now.Add(r.pause)
	wake(r.kick)
}

// blame counts a fault and, unless Redis has answered, opens the breaker.
func (r *remote) blame(err error) {
	var answer *rueidis.RedisError
	switch {
	case errors.As(err, &answer):
		switch text := answer.Error(); {
		case strings.HasPrefix(text, "WRONGTYPE"):
			r.faults[faultType].Add(1)
		case strings.HasPrefix(text, "OOM"):
			r.faults[faultFull].Add(1)
		default:
			r.faults[faultRefused].Add(1)
		}
		return
	case errors.Is(err, context.DeadlineExceeded):
		r.faults[faultTimeout].Add(1)
	default:
		r.faults[faultAway].Add(1)
	}
	r.rest()
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
	return c.Do(ctx, c.B().Getrange().Key(nameOf(k)).Start(0).End(int64(r.maxRecord)).Build()).AsBytes()
}

func (r *remote) put(st Stamp, rec []byte, now int64) bool {
	if len(rec) > r.maxRecord || !r.trusted(now) || !r.memory.valid(&st) || !r.queue.put(st, rec) {
		r.unwritten.Add(1)
		return false
	}
	r.memory.drop(&st.key) // the new one is found in the queue
	return true
}

// delete is first for the queue: until it is done, nobody reads k from Redis. Who is reading it already may not keep it.
//
// The version comes first: whoever deletes in Redis because of the mark in the queue must not then write what was
// stored before it. It comes again at the end, for whoever has read in between.
func (r *remote) delete(k Key) {
	r.memory.version(&k).Add(oneDeletion)
	r.queue.delete(k)
	r.memory.delete(&k, oneDeletion)
}

// write does what is in the queue.
func (r *remote) write() {
	for {
		select {
		case <-r.stop.Done():
			r.finish()
			return
		case <-r.queue.wake:
		}
		for r.step() {
		}
	}
}

// finish deletes what is still to be deleted, for callTimeout at most.
func (r *remote) finish() {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	for more, err := true, error(nil); more && err == nil; {
		more, err = r.unlinkQueued(ctx)
	}
}

// step writes one batch and reports whether there may be another. The batch is taken first and the deletions after it, so
// that what was deleted and then stored again is deleted and stored in this order.
func (r *remote) step() bool {
	batch := r.queue.take()
	if !r.trusted(time.Now().UnixMilli()) {
		r.drop(batch)
		return len(batch) > 0
	}
	more, err := r.unlinkQueued(r.stop)
	if err != nil {
		r.drop(batch)
		r.blame(err)
		return false
	}
	if len(batch) > 0 {
		r.send(batch)
	}
	return more || len(batch) > 0
}

func (r *remote) drop(batch []*write) {
	r.unwritten.Add(uint64(len(batch)))
	r.queue.finish(batch)
}

// send writes records. One enters memory only when it is in Redis: what is not there cannot be purged from elsewhere.
func (r *remote) send(batch []*write) {
	defer r.queue.finish(batch)
	ctx, cancel := context.WithTimeout(r.stop, callTimeout)
	defer cancel()
	c, now := r.link.Load(), time.Now().UnixMilli()
	commands := make(rueidis.Commands, 0, len(batch))
	sent := make([]*write, 0, len(batch))
	for _, w := range batch {
		left := untilOf(w.rec) - now
		if left <= 0 || !r.memory.valid(&w.st) {
			r.unwritten.Add(1)
			continue
		}
		commands = append(commands, c.B().Set().Key(nameOf(w.st.key)).Value(rueidis.BinaryString(w.rec)).PxMilliseconds(left).Build())
		sent = append(sent, w)
	}
	if len(sent) == 0 {
		return
	}
	accepted := sent[:0:0]
	for i, result := range c.DoMulti(ctx, commands...) {
		w := sent[i]
		if err := result.Error(); err != nil {
			r.unwritten.Add(1)
			r.blame(err)
			continue
		}
		r.written.Add(1)
		r.writtenBytes.Add(uint64(len(w.rec)))
		if w.st.generation != r.memory.generation.Load() { // a purge may have looked here before this arrived
			r.delete(w.st.key)
			continue
		}
		accepted = append(accepted, w)
	}
	r.settle(ctx, accepted)
}

// settle takes into memory what was written, if it is still what Redis has. That is asked twice. We are told of our own
// writing before the first answer; so a change that we are told of after it is somebody else's, and the second answer and
// what we are told after that are no older than the stamp. What does not pass is read from Redis when it is asked for.
func (r *remote) settle(ctx context.Context, accepted []*write) {
	if r.checksums(ctx, accepted) == nil {
		return
	}
	stamps := make([]Stamp, len(accepted))
	for i, w := range accepted {
		stamps[i] = r.memory.stamp(w.st.key)
	}
	for i, sum := range r.checksums(ctx, accepted) {
		w := accepted[i]
		if _, _, deleted := r.queue.find(w.st.key); !deleted && sum == string(w.rec[4:8]) && w.st.epoch == stamps[i].epoch && r.memory.valid(&w.st) {
			r.memory.put(&stamps[i], w.rec)
		}
	}
}

// checksums returns the checksums in the records that Redis has under the keys of writes; nil without a connection.
func (r *remote) checksums(ctx context.Context, writes []*write) (sums []string) {
	if len(writes) == 0 {
		return nil
	}
	c := r.link.Load()
	commands := make(rueidis.Commands, len(writes))
	for i, w := range writes {
		commands[i] = c.B().Getrange().Key(nameOf(w.st.key)).Start(4).End(7).Build()
	}
	for _, result := range c.DoMulti(ctx, commands...) {
		sum, err := result.ToString()
		if result.NonRedisError() != nil {
			r.blame(err)
			return nil
		}
		sums = append(sums, sum)
	}
	return sums
}

// unlinkQueued deletes some of what is to be deleted, and reports whether there is more.
func (r *remote) unlinkQueued(base context.Context) (more bool, err error) {
	keys, serials, all := r.queue.takeDeletes()
	c := r.link.Load()
	if c == nil || len(keys) == 0 && !all {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(base, callTimeout)
	defer cancel()
	if all { // more than could be remembered
		if _, err := r.scan(ctx, nil); err != nil {
			return false, err
		}
		r.queue.deletedAll(serials[0])
		return true, nil
	}
	build := func(f func(name string) rueidis.Completed) rueidis.Commands {
		commands := make(rueidis.Commands, len(keys))
		for i, k := range keys {
			commands[i] = f(nameOf(k))
		}
		return commands
	}
	done := make([]bool, len(keys))
	for i, result := range c.DoMulti(ctx, build(func(name string) rueidis.Completed { return c.B().Unlink().Key(name).Build() })...) {
		n, e := result.AsInt64()
		done[i], err = e == nil, errors.Join(err, e)
		r.unlinked.Add(uint64(max(0, n)))
	}
	// We are told of our own doing before the second answer, and must know it then.
	for i, result := range c.DoMulti(ctx, build(func(name string) rueidis.Completed { return c.B().Exists().Key(name).Build() })...) {
		if e := result.Error(); e != nil {
			err = errors.Join(err, e)
		} else if done[i] {
			r.queue.deleted(keys[i], serials[i])
		}
	}
	return len(keys) == batchDeletes, err
}

var errAway = errors.New("cannot purge redis: it is away; what it holds may come back with it")

// purge deletes the records whose text of the key matches, nil: all, and returns how many.
func (r *remote) purge(ctx context.Context, match func(text []byte) bool) (int, error) {
	c := r.link.Load()
	if c == nil || !r.trusted(time.Now().UnixMilli()) {
		return 0, errAway
	}
	ctx, cancel := context.WithTimeout(ctx, purgeTime)
	defer cancel()
	call, cancelCall := context.WithTimeout(ctx, callTimeout)
	defer cancelCall()
	// All replicas hear this, and do not store what they are fetching, before the first record is looked at: what they
	// have already stored is found, what they store later was fetched later.
	mark := fmt.Sprint(r.purges.Add(1))
	if err := c.Do(call, c.B().Set().Key(markName).Value(mark).PxMilliseconds(markTime.Milliseconds()).Build()).Error(); err != nil {
		var answer *rueidis.RedisError
		if !errors.As(err, &answer) {
			return 0, fmt.Errorf("cannot purge redis: %w", err)
		} // full, say: deleting goes on
	}
	n, err := r.scan(ctx, match)
	if err != nil {
		return n, fmt.Errorf("cannot purge all of redis: %w", err)
	}
	_, _ = r.ping() // we have been told of all this before the answer: what is asked for from now on is stored
	return n, nil
}

func (r *remote) scan(ctx context.Context, match func(text []byte) bool) (n int, err error) {
	for _, node := range r.link.Load().Nodes() {
		for cursor := uint64(0); ; {
			entry, err := node.Do(ctx, node.B().Scan().Cursor(cursor).Match(namePrefix+"*").Count(scanCount).Build()).AsScanEntry()
			if err != nil {
				return n, err
			}
			keys, err := r.matching(ctx, entry.Elements, match)
			if err != nil {
				return n, err
			}
			gone, err := r.unlink(ctx, keys)
			n += gone
			if err != nil {
				return n, err
			}
			if cursor = entry.Cursor; cursor == 0 {
				break
			}
		}
	}
	return n, nil
}

// matching returns those names whose records' texts of the key match. It reads no more of them than it must.
func (r *remote) matching(ctx context.Context, names []string, match func(text []byte) bool) (keys []Key, err error) {
	c := r.link.Load()
	for length := int64(peekBytes); len(names) > 0; length = fixedSize + MaxKeyText {
		var commands rueidis.Commands
		var asked []Key
		for _, name := range names {
			k, ok := keyOfName(name)
			switch {
			case !ok:
			case match == nil:
				keys = append(keys, k)
			default:
				commands = append(commands, c.B().Getrange().Key(name).Start(0).End(length-1).Build())
				asked = append(asked, k)
			}
		}
		names = nil
		if len(commands) == 0 {
			break
		}
		for i, result := range c.DoMulti(ctx, commands...) {
			start, err := result.AsBytes()
			if err != nil {
				var answer *rueidis.RedisError
				if errors.As(err, &answer) {
					continue // not a record
				}
				return nil, err
			}
			text, ok := keyTextOf(start)
			switch {
			case ok && match(text):
				keys = append(keys, asked[i])
			case !ok && length == peekBytes && len(start) == peekBytes:
				names = append(names, nameOf(asked[i]))
			}
		}
	}
	return keys, nil
}

// unlink deletes keys, and what was read into memory from them meanwhile.
func (r *remote) unlink(ctx context.Context, keys []Key) (n int, err error) {
	if len(keys) == 0 {
		return 0, nil
	}
	c := r.link.Load()
	commands := make(rueidis.Commands, len(keys))
	for i, k := range keys {
		commands[i] = c.B().Unlink().Key(nameOf(k)).Build()
	}
	for i, result := range c.DoMulti(ctx, commands...) {
		gone, e := result.AsInt64()
		if e != nil {
			err = e
		}
		n += int(gone)
		r.memory.delete(&keys[i], oneDeletion)
	}
	return n, err
}

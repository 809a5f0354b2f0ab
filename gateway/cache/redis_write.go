package cache

import (
	"context"
	"time"

	"github.com/redis/rueidis"
)

func (r *remote) put(st Stamp, rec []byte, now int64) bool {
	if len(rec) > r.maxRecord || !r.trusted(now) || !r.memory.valid(&st) {
		r.unwritten.Add(1)
		return false
	}
	if !r.queue.put(write{st: st, rec: rec, replaces: r.memory.holds(&st.key)}) {
		r.unwritten.Add(1)
		return r.putAlone(&st, rec)
	}
	r.memory.drop(&st.key) // the new one is found in the queue
	return true
}

// putAlone takes into memory what comes faster than Redis takes it. If an older record is still on its way there, that would
// take its place when it has arrived; so this one is not kept.
func (r *remote) putAlone(st *Stamp, rec []byte) bool {
	if older, _, _ := r.queue.find(st.key); older != nil {
		return false
	}
	r.alone.Store(true)
	kept := r.memory.put(st, rec)
	if kept {
		r.keptAlone.Add(1)
	}
	return kept
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
		r.blame(err)
		if !answered(err) {
			r.drop(batch)
			return false
		}
		more = false // what Redis refuses to delete, nobody reads from there
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

// send writes records. One enters memory when it is in Redis, or when Redis has refused it.
func (r *remote) send(batch []*write) {
	defer r.queue.finish(batch)
	ctx, cancel := context.WithTimeout(r.stop, callTimeout)
	defer cancel()
	now := time.Now()
	fit := batch[:0:0]
	for _, w := range batch {
		if untilOf(w.rec) <= now.UnixMilli() || !r.memory.valid(&w.st) {
			r.unwritten.Add(1)
			continue
		}
		fit = append(fit, w)
	}
	if now.Before(r.restWrites) {
		r.unwritten.Add(uint64(len(fit)))
		r.keepAlone(ctx, fit)
		return
	}
	accepted, refused := r.set(ctx, fit, now.UnixMilli())
	r.settle(ctx, accepted)
	r.keepAlone(ctx, refused)
}

// set returns which of the records Redis has taken, and which it has refused. If it has refused all, the next ones are not
// sent for a while; in a cluster, another node may take them.
func (r *remote) set(ctx context.Context, fit []*write, now int64) (accepted, refused []*write) {
	if len(fit) == 0 {
		return nil, nil
	}
	c := r.link.Load()
	commands := make(rueidis.Commands, len(fit))
	for i, w := range fit {
		commands[i] = c.B().Set().Key(r.names.of(w.st.key)).Value(rueidis.BinaryString(w.rec)).PxMilliseconds(untilOf(w.rec) - now).Build()
	}
	var why error
	for i, result := range c.DoMulti(ctx, commands...) {
		w := fit[i]
		err := result.Error()
		if err == nil {
			r.written.Add(1)
			r.writtenBytes.Add(uint64(len(w.rec)))
			accepted = append(accepted, w)
			continue
		}
		r.unwritten.Add(1)
		r.blame(err)
		if answered(err) {
			why, refused = err, append(refused, w)
		}
	}
	switch {
	case why != nil:
		r.refuse(why)
		if len(accepted) == 0 && c.Mode() != rueidis.ClientModeCluster {
			r.restWrites = time.Now().Add(r.o.refusalTime)
		}
	case len(accepted) > 0:
		r.accept()
	}
	return accepted, refused
}

// settle takes into memory what was written, if it is still what Redis has. That is asked twice. We are told of our own
// writing before the first answer; so a change that we are told of after it is somebody else's, and the second answer and
// what we are told after that are no older than the stamp. What does not pass is read from Redis when it is asked for.
//
// Who purges or deletes says so before he looks at Redis. If what we wrote came after his look, he had said so before that,
// and we have heard it before the first answer.
func (r *remote) settle(ctx context.Context, accepted []*write) {
	if r.checksums(ctx, accepted) == nil {
		return
	}
	stamps := make([]Stamp, len(accepted))
	var revoked []Key
	for i, w := range accepted {
		stamps[i] = r.memory.stamp(w.st.key)
		if r.memory.revoked(&w.st) {
			revoked = append(revoked, w.st.key)
		}
	}
	// An echo, and no deletion: that was counted when it was asked for, and what was asked for after it is to be kept.
	if _, err := r.unlink(ctx, revoked, oneEcho); err != nil {
		for _, k := range revoked {
			r.delete(k)
		}
	}
	for i, sum := range r.checksums(ctx, accepted) {
		w := accepted[i]
		if _, _, deleted := r.queue.find(w.st.key); !deleted && sum == string(w.rec[4:8]) && w.st.epoch == stamps[i].epoch && r.memory.valid(&w.st) {
			r.memory.put(&stamps[i], w.rec)
		}
	}
}

// keepAlone takes into memory what Redis does not want. What Redis has under its name is older, and deleted. If there was
// something, we are told of our own doing, and cannot tell that from somebody else's in the same turn of Redis' loop; so this
// one is not kept, and the next is.
//
// Such a record is dropped as any other: by what Redis tells us. Whoever deletes or purges says so even if Redis has nothing.
func (r *remote) keepAlone(ctx context.Context, refused []*write) {
	c := r.link.Load()
	commands := make(rueidis.Commands, 0, len(refused))
	kept := refused[:0:0]
	for _, w := range refused {
		if !r.queue.refused(w.st.key) {
			commands = append(commands, c.B().Unlink().Key(r.names.of(w.st.key)).Build())
			kept = append(kept, w)
		}
	}
	if len(kept) == 0 {
		return
	}
	var replaced []string
	for i, result := range c.DoMulti(ctx, commands...) {
		w := kept[i]
		n, err := result.AsInt64()
		if err != nil && !answered(err) {
			r.blame(err)
			return
		}
		now := r.memory.stamp(w.st.key)
		if n > 0 || w.st.epoch != now.epoch || !r.memory.valid(&w.st) {
			continue
		}
		r.alone.Store(true)
		if r.memory.put(&now, w.rec) {
			r.keptAlone.Add(1)
		}
		if w.replaces {
			replaced = append(replaced, r.dropping(w.st.key))
		}
	}
	_ = r.say(ctx, replaced) // if nobody hears it, others have what was fresh when they asked
}

// checksums returns the checksums in the records that Redis has under the keys of writes; nil without a connection.
func (r *remote) checksums(ctx context.Context, writes []*write) (sums []string) {
	if len(writes) == 0 {
		return nil
	}
	c := r.link.Load()
	commands := make(rueidis.Commands, len(writes), len(writes)+1)
	for i, w := range writes {
		commands[i] = c.B().Getrange().Key(r.names.of(w.st.key)).Start(4).End(7).Build()
	}
	// In a cluster, what is said of a purge comes from the mark's node: its answer comes after that.
	commands = append(commands, c.B().Get().Key(r.names.mark()).Build())
	results := c.DoMulti(ctx, commands...)
	if mark, err := results[len(writes)].ToString(); err == nil || rueidis.IsRedisNil(err) {
		r.seeMark(mark)
	}
	for _, result := range results[:len(writes)] {
		sum, err := result.ToString()
		if result.NonRedisError() != nil {
			r.blame(err)
			return nil
		}
		sums = append(sums, sum)
	}
	return sums
}

// unlinkQueued deletes some of what is to be deleted, and reports whether there is more. It is said first: so who has written
// a record after it was deleted knows, and who keeps one that Redis has not. An error that Redis answered is returned if there is no other.
func (r *remote) unlinkQueued(base context.Context) (more bool, err error) {
	keys, serials, all := r.queue.takeDeletes()
	c := r.link.Load()
	if c == nil || len(keys) == 0 && !all || time.Now().Before(r.restDeletes) {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(base, callTimeout)
	defer cancel()
	defer func() {
		if answered(err) {
			r.refuse(err)
			r.restDeletes = time.Now().Add(r.o.refusalTime)
		}
	}()
	if all { // more than could be remembered
		if err := r.sayPurge(ctx, ""); err != nil {
			return false, err
		}
		if _, err := r.scan(ctx, nil); err != nil {
			return false, err
		}
		r.queue.deletedAll(serials[0])
		return true, nil
	}
	said := make([]string, len(keys))
	for i, k := range keys {
		said[i] = r.dropping(k)
	}
	if err := r.say(ctx, said); err != nil {
		return false, err
	}
	return len(keys) == batchDeletes, r.unlinkSaid(ctx, keys, serials)
}

func (r *remote) unlinkSaid(ctx context.Context, keys []Key, serials []uint64) (err error) {
	c := r.link.Load()
	build := func(f func(name string) rueidis.Completed) rueidis.Commands {
		commands := make(rueidis.Commands, len(keys))
		for i, k := range keys {
			commands[i] = f(r.names.of(k))
		}
		return commands
	}
	done := make([]bool, len(keys))
	for i, result := range c.DoMulti(ctx, build(func(name string) rueidis.Completed { return c.B().Unlink().Key(name).Build() })...) {
		n, e := result.AsInt64()
		done[i], err = e == nil, worse(err, e)
		r.unlinked.Add(uint64(max(0, n)))
	}
	// We are told of our own doing before the second answer, and must know it then.
	for i, result := range c.DoMulti(ctx, build(func(name string) rueidis.Completed { return c.B().Exists().Key(name).Build() })...) {
		if e := result.Error(); e != nil {
			err = worse(err, e)
		} else if done[i] {
			r.queue.deleted(keys[i], serials[i])
		}
	}
	return err
}

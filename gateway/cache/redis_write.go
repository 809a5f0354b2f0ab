package cache

import (
	"context"
	"errors"
	"time"

	"github.com/redis/rueidis"
)

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
		commands = append(commands, c.B().Set().Key(r.names.of(w.st.key)).Value(rueidis.BinaryString(w.rec)).PxMilliseconds(left).Build())
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
		commands[i] = c.B().Getrange().Key(r.names.of(w.st.key)).Start(4).End(7).Build()
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
			commands[i] = f(r.names.of(k))
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

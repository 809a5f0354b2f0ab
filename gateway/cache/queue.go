package cache

import (
	"slices"
	"sync"
	"sync/atomic"
)

// A queue holds what is on its way to Redis: records, which may be dropped, and deletions, which may not. What is in it
// is found in it.
type queue struct {
	busy atomic.Int64 // records and deletions
	wake chan struct{}

	mu      sync.Mutex
	order   []*write
	writes  map[Key]*write // the latest of each key, until it is done
	sent    map[Key]int    // records of the batch that is under way, of whose arrival we have not been told
	bytes   int
	deletes map[Key]uint64 // and which Delete asked for it last
	serial  uint64
	all     bool // too many to remember: everything is to be deleted
}

type write struct {
	st       Stamp
	rec      []byte
	replaces bool // what this replica had
}

const (
	queueRecords = 4096
	queueBytes   = 32 << 20
	queueDeletes = 1 << 16
)

func (q *queue) init() {
	q.wake = make(chan struct{}, 1)
	q.writes, q.deletes = make(map[Key]*write), make(map[Key]uint64)
	q.sent = make(map[Key]int)
}

func (q *queue) wakeUp() { wake(q.wake) }

// put takes w with a copy of its record, which gets its checksum. It refuses when there is no room.
func (q *queue) put(w write) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.order) >= queueRecords || q.bytes+len(w.rec) > queueBytes {
		return false
	}
	w.rec = slices.Clone(w.rec)
	seal(w.rec)
	q.order = append(q.order, &w)
	q.writes[w.st.key] = &w
	q.bytes += len(w.rec)
	q.busy.Add(1)
	q.wakeUp()
	return true
}

func (q *queue) delete(k Key) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, ok := q.deletes[k]; !ok {
		if q.all || len(q.deletes) >= queueDeletes {
			if !q.all {
				q.all = true
				q.busy.Add(1)
			}
			q.serial++
			q.wakeUp()
			return
		}
		q.busy.Add(1)
	}
	q.serial++
	q.deletes[k] = q.serial
	q.wakeUp()
}

// find returns the record of k if one is on its way, and whether what Redis has is to be deleted.
func (q *queue) find(k Key) (rec []byte, st Stamp, deleted bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	w := q.writes[k]
	if w != nil {
		rec, st = w.rec, w.st
	}
	_, deleted = q.deletes[k]
	return rec, st, deleted || q.all
}

// echo reports whether a change of k that Redis tells of is our own. If somebody else has changed k in the same turn of its
// loop, it tells only once.
func (q *queue) echo(k Key) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.sent[k] > 0 {
		q.sent[k]--
		return true
	}
	_, deleted := q.deletes[k]
	return deleted
}

// take returns the next records to write, one of each key: of what a later one replaces nobody needs to hear. They stay to be
// found until they are finished.
func (q *queue) take() (batch []*write) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, bytes := 0, 0
	for ; n < len(q.order) && len(batch) < batchRecords; n++ {
		w := q.order[n]
		if q.writes[w.st.key] != w {
			q.bytes -= len(w.rec)
			q.busy.Add(-1)
			continue
		}
		if len(batch) > 0 && bytes+len(w.rec) > batchBytes {
			break
		}
		bytes += len(w.rec)
		batch = append(batch, w)
		q.sent[w.st.key] = 1
	}
	q.order = slices.Delete(q.order, 0, n)
	return batch
}

// refused ends the waiting to be told of a record that Redis did not take, and reports whether it is too late: what we were
// told, and took for an echo, was somebody else's change.
func (q *queue) refused(k Key) (changed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	changed = q.sent[k] == 0
	delete(q.sent, k)
	return changed
}

func (q *queue) finish(batch []*write) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, w := range batch {
		if q.writes[w.st.key] == w {
			delete(q.writes, w.st.key)
		}
		delete(q.sent, w.st.key)
		q.bytes -= len(w.rec)
		q.busy.Add(-1)
	}
}

// takeDeletes returns some of what is to be deleted. It stays so until deleted is called with the same serial.
func (q *queue) takeDeletes() (keys []Key, serials []uint64, all bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.all {
		return nil, []uint64{q.serial}, true
	}
	for k, serial := range q.deletes {
		keys, serials = append(keys, k), append(serials, serial)
		if len(keys) == batchDeletes {
			break
		}
	}
	return keys, serials, false
}

func (q *queue) deleted(k Key, serial uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.deletes[k] == serial {
		delete(q.deletes, k)
		q.busy.Add(-1)
	}
}

// deletedAll ends what began with takeDeletes, unless a deletion was asked for meanwhile.
func (q *queue) deletedAll(serial uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.serial != serial {
		return
	}
	q.busy.Add(-1 - int64(len(q.deletes)))
	clear(q.deletes)
	q.all = false
}

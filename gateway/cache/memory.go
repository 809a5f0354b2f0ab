package cache

import (
	"encoding/binary"
	"hash/maphash"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/VictoriaMetrics/fastcache"
	"github.com/cespare/xxhash/v2"
)

// What fastcache v1.13.0 is built like; TestMemoryBound fails if that changes.
const (
	fastcacheBuckets = 512
	fastcacheChunk   = 64 << 10
	fastcachePair    = 4 // bytes before a key and its value
)

// MinMemoryBytes is the smallest bound that a memory tier can keep.
const MinMemoryBytes = 1 << 20

// entryOverhead is what an entry takes beside its bytes, measured: two slots of the ledger, and its place in the maps
// of fastcache, which keep those of the last round too.
const entryOverhead = 128

// A memory is fastcache, which is a ring of bytes for each of 512 buckets: the oldest goes first, whoever reads it.
// Around it, this keeps
//
//   - a bound. fastcache takes at least 32 MB, and steps of 32 MB. Only what is written to is really taken: keys are
//     chosen so that only some of the buckets are used, and their chunks are what the bound has room for.
//   - what is read: a record that is hit after half a round is written again, in front. What is not read within
//     half a round goes. That costs a hit nothing but a comparison.
//   - a number of entries, and their order, in a ledger.
//   - long records, in pieces, whose keys begin with a number that is never used twice. (SetBig of fastcache finds
//     pieces by a hash without a key over their content: who can make two contents meet exchanges one for the other.)
//   - the keys from being known: they are keyed hashes, so that nobody can aim at a bucket or at another's entry.
//
// Reading takes no lock but that of a bucket, shared. Writing takes mu.
type memory struct {
	c        *fastcache.Cache
	seeds    [2]maphash.Seed
	secret   uint64
	buckets  uint64 // of fastcacheBuckets, how many are used
	capacity uint64 // bytes of their chunks
	most     int    // entries
	largest  int    // bytes of a record

	epoch      atomic.Uint64   // of what may be read
	generation atomic.Uint64   // purges
	versions   []atomic.Uint64 // what happened to keys, which share them; see oneEcho
	written    atomic.Uint64   // bytes, ever
	next       atomic.Uint64   // sequence number of the next record
	evictions  atomic.Uint64
	entries    atomic.Int64

	mu      sync.Mutex // for writing
	ledger  ledger
	scratch []byte // a piece on its way in
	old     []byte // a piece that is looked at
}

// A ledger is what was written, in order. A slot without an id is empty: its record was deleted or written again.
type ledger struct {
	pages []*[pageSlots]slot
	first uint64 // sequence number of the oldest slot
	next  uint64
}

type slot struct {
	id   ident
	list bool   // of variants, not an answer
	at   uint64 // bytes that had been written before it
}

const pageSlots = 256

// An ident is what fastcache knows a record or a piece by.
type ident [17]byte

const (
	ofRecord = 1
	ofPiece  = 2
)

// Behind the first piece of a record is its trailer.
const (
	trailerSize = 28
	pieceSize   = fastcacheChunk/4 - fastcachePair - len(ident{}) - 1 // four pieces fill a chunk
	firstSize   = pieceSize - trailerSize
)

type trailer struct {
	epoch, seq, at uint64
	total          uint32 // bytes of the record
}

func newMemory(bound int64, entries int) *memory {
	bytes := uint64(max(bound, MinMemoryBytes))
	m := &memory{
		seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}, secret: rand.Uint64(),
		scratch: make([]byte, 0, pieceSize), old: make([]byte, 0, pieceSize),
		versions: make([]atomic.Uint64, versionsFor(bytes)),
	}
	// A quarter for keeping the books is enough for records of half a KB; with smaller ones there are fewer.
	books := min(uint64(max(entries, 1))*entryOverhead, bytes/4)
	m.most = int(books / entryOverhead)
	// The rest is chunks, and the places of pieces in fastcache's maps.
	total := (bytes - books - 8*uint64(len(m.versions))) / (fastcacheChunk + 4*entryOverhead)
	perBucket := max(4, (total+fastcacheBuckets-1)/fastcacheBuckets)
	m.buckets = total / perBucket
	m.capacity = m.buckets * perBucket * fastcacheChunk
	m.largest = int(m.capacity / 8)
	m.c = fastcache.New(int(perBucket * fastcacheChunk * fastcacheBuckets))
	return m
}

// versionsFor is a power of two. Keys that share a version refuse each other's answers: while one answer takes ten seconds,
// all replicas may store ten thousand, and of half a million versions that is 2 %.
func versionsFor(bytes uint64) int {
	n := 4096
	for n < 1<<19 && uint64(n)*8 < bytes/64 {
		n *= 2
	}
	return n
}

func (m *memory) identOf(k *Key) ident {
	return m.place(maphash.Bytes(m.seeds[0], k[:]), maphash.Bytes(m.seeds[1], k[:]), ofRecord)
}

func (m *memory) identOfPiece(seq uint64, index int) ident {
	return m.place(m.secret+seq, uint64(index)<<32, ofPiece)
}

// place makes an ident of two numbers, the first of them unique, that lies in one of the buckets that are used.
func (m *memory) place(unique, other uint64, kind byte) (id ident) {
	binary.LittleEndian.PutUint64(id[:], unique)
	id[16] = kind
	for ; ; other++ {
		binary.LittleEndian.PutUint64(id[8:], other)
		if xxhash.Sum64(id[:])%fastcacheBuckets < m.buckets {
			return id
		}
	}
}

func (m *memory) version(k *Key) *atomic.Uint64 {
	return &m.versions[binary.LittleEndian.Uint32(k[:])&uint32(len(m.versions)-1)]
}

// get appends the record of k to dst. Without one, dst is returned as long as it was.
func (m *memory) get(dst []byte, k *Key) (rec []byte, ok bool) {
	id := m.identOf(k)
	base := len(dst)
	dst, t, ok := m.read(dst, &id)
	if ok && (m.written.Load()-t.at > m.capacity/2 || m.next.Load()-t.seq > uint64(m.most)/2) {
		m.renew(&id, t, dst[base:])
	}
	return dst, ok
}

func (m *memory) read(dst []byte, id *ident) (rec []byte, t trailer, ok bool) {
	base := len(dst)
	if dst, ok = m.c.HasGet(dst, id[:]); !ok {
		return dst[:base], t, false
	}
	dst, t, ok = cutTrailer(dst, base)
	if !ok || t.epoch != m.epoch.Load() {
		return dst[:base], t, false
	}
	if missing := base + int(t.total) - len(dst); missing > 0 {
		dst = slices.Grow(dst, missing)
		for i := 1; len(dst) < base+int(t.total); i++ {
			piece := m.identOfPiece(t.seq, i)
			had := len(dst)
			dst = m.c.Get(dst, piece[:])
			if len(dst) == had {
				return dst[:base], t, false // overwritten
			}
		}
	}
	return dst, t, len(dst) == base+int(t.total)
}

func cutTrailer(dst []byte, base int) (rec []byte, t trailer, ok bool) {
	n := len(dst) - trailerSize
	if n < base {
		return dst[:base], t, false
	}
	le, b := binary.LittleEndian, dst[n:]
	t = trailer{epoch: le.Uint64(b), seq: le.Uint64(b[8:]), at: le.Uint64(b[16:]), total: le.Uint32(b[24:])}
	return dst[:n], t, true
}

// A Stamp says for which key and since when an answer is being fetched. If the key is deleted, purged or
// replaced elsewhere meanwhile, the answer is not stored.
type Stamp struct {
	key               Key
	version           uint64
	epoch, generation uint64
}

func (m *memory) stamp(k Key) Stamp {
	return Stamp{key: k, version: m.version(&k).Load(), epoch: m.epoch.Load(), generation: m.generation.Load()}
}

// What may happen to a key, as its version counts it.
const (
	oneEcho     = 1       // Redis told us what we did there ourselves
	oneChange   = 1 << 20 // Redis told us of a change
	oneDeletion = 1 << 42 // we, or another replica that says so, delete it
)

// valid reports whether nobody has deleted or changed the key since. That the memory as a whole was forgotten does not count.
func (m *memory) valid(st *Stamp) bool {
	return st.version/oneChange == m.version(&st.key).Load()/oneChange && st.generation == m.generation.Load()
}

// revoked reports whether somebody wants what was asked for at the stamp, or before it, to be nowhere.
func (m *memory) revoked(st *Stamp) bool {
	return st.version/oneDeletion != m.version(&st.key).Load()/oneDeletion || st.generation != m.generation.Load()
}

// Precedes tells whether something was done to the key between st and now, two stamps of it.
func (st *Stamp) Precedes(now *Stamp) bool {
	return st.generation < now.generation || st.version/oneChange < now.version/oneChange
}

// Key is what the stamp is of.
func (st *Stamp) Key() Key { return st.key }

// put stores rec, unless something has happened to its key since the stamp.
func (m *memory) put(st *Stamp, rec []byte) bool {
	id := m.identOf(&st.key)
	m.mu.Lock()
	defer m.mu.Unlock()
	if st.epoch != m.epoch.Load() || !m.valid(st) || st.version != m.version(&st.key).Load() {
		return false
	}
	m.forget(&id)
	return m.insert(&id, rec)
}

// renew writes a record again that is about to be overwritten, if it is still there and nobody else is writing.
func (m *memory) renew(id *ident, t trailer, rec []byte) {
	if !m.mu.TryLock() {
		return
	}
	defer m.mu.Unlock()
	now, ok := m.look(id)
	if !ok || now.seq != t.seq {
		return
	}
	m.forget(id)
	m.insert(id, rec)
}

// look reads the trailer of what is stored; mu is held. The piece itself is in m.old.
func (m *memory) look(id *ident) (t trailer, ok bool) {
	if m.old, ok = m.c.HasGet(m.old[:0], id[:]); !ok {
		return t, false
	}
	m.old, t, ok = cutTrailer(m.old, 0)
	return t, ok && t.epoch == m.epoch.Load()
}

// forget deletes what is stored under id and reports whether there was anything; mu is held.
func (m *memory) forget(id *ident) bool {
	t, ok := m.look(id)
	if !ok {
		return false
	}
	m.c.Del(id[:])
	if s := m.ledger.slot(t.seq); s != nil && s.id == *id {
		s.id = ident{}
		m.entries.Add(-1)
	}
	return true
}

// insert writes rec in front; mu is held, and nothing is stored under id.
func (m *memory) insert(id *ident, rec []byte) bool {
	if len(rec) > m.largest {
		return false
	}
	t := trailer{epoch: m.epoch.Load(), seq: m.ledger.next, at: m.written.Load(), total: uint32(len(rec))}
	cost := uint64(0)
	first := min(len(rec), firstSize)
	for i, at := 1, first; at < len(rec); i++ { // the first piece last: with it, the others are there
		end := min(at+pieceSize, len(rec))
		piece := m.identOfPiece(t.seq, i)
		cost += m.set(&piece, rec[at:end])
		at = end
	}
	le := binary.LittleEndian
	m.scratch = append(m.scratch[:0], rec[:first]...)
	for _, n := range [...]uint64{t.epoch, t.seq, t.at} {
		m.scratch = le.AppendUint64(m.scratch, n)
	}
	m.scratch = le.AppendUint32(m.scratch, t.total)
	cost += m.set(id, m.scratch)

	m.ledger.push(slot{id: *id, list: isList(rec), at: t.at})
	m.next.Store(m.ledger.next)
	m.written.Add(cost)
	m.entries.Add(1)
	m.trim()
	return true
}

// set writes a piece and returns what it costs.
func (m *memory) set(id *ident, piece []byte) uint64 {
	m.c.Set(id[:], piece)
	return uint64(fastcachePair + len(id) + len(piece))
}

// trim drops what is too much, too old, or empty from the end of the ledger; mu is held.
func (m *memory) trim() {
	l := &m.ledger
	for l.first < l.next {
		s := l.slot(l.first)
		if s.id != (ident{}) {
			if m.entries.Load() <= int64(m.most) && m.written.Load()-s.at <= m.capacity && l.next-l.first <= 2*uint64(m.most) {
				return
			}
			// If fastcache has overwritten it early and it has been written anew, that goes too: to look would cost more than that.
			m.c.Del(s.id[:])
			m.entries.Add(-1)
			m.evictions.Add(1)
		}
		l.pop()
	}
}

// delete drops k, and says why to those who are fetching it. It reports until when that would have been kept.
func (m *memory) delete(k *Key, why uint64) (until int64, ok bool) {
	id := m.identOf(k)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.version(k).Add(why)
	if ok = m.forget(&id); ok && len(m.old) >= fixedSize {
		until = untilOf(m.old)
	}
	return until, ok
}

// holds reports whether anything is stored under k, if only what is stale.
func (m *memory) holds(k *Key) bool {
	id := m.identOf(k)
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.look(&id)
	return ok
}

// drop makes room for a newer record of k.
func (m *memory) drop(k *Key) {
	id := m.identOf(k)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget(&id)
}

// flush forgets everything at once, and what is being fetched is not stored. It returns how many answers there were.
func (m *memory) flush() (answers int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for seq := m.ledger.first; seq < m.ledger.next; seq++ {
		if s := m.ledger.slot(seq); s != nil && s.id != (ident{}) && !s.list {
			answers++
		}
	}
	m.epoch.Add(1)
	m.entries.Store(0)
	m.ledger = ledger{first: m.ledger.next, next: m.ledger.next}
	return answers
}

// purge drops every record whose text of the key matches, and returns how many answers there were.
func (m *memory) purge(match func(text []byte) bool) (n int) {
	var buf []byte
	m.mu.Lock()
	defer m.mu.Unlock()
	for seq, end := m.ledger.first, m.ledger.next; seq < end; seq++ {
		if seq%64 == 0 { // let others write
			m.mu.Unlock()
			m.mu.Lock()
		}
		s := m.ledger.slot(seq)
		if s == nil || s.id == (ident{}) {
			continue
		}
		var t trailer
		var ok bool
		if buf, t, ok = m.read(buf[:0], &s.id); !ok || t.seq != seq {
			continue
		}
		if text, ok := keyTextOf(buf); ok && match(text) {
			id := s.id
			if !s.list {
				n++
			}
			m.forget(&id)
		}
	}
	return n
}

// bytes is what is really taken: chunks that were written to, fastcache's maps, and the ledger.
func (m *memory) bytes() uint64 {
	var s fastcache.Stats
	m.c.UpdateStats(&s)
	m.mu.Lock()
	pages := uint64(len(m.ledger.pages))
	m.mu.Unlock()
	const place = 45 // of fastcache's maps, measured
	return s.BytesSize + s.EntriesCount*place + pages*uint64(unsafe.Sizeof([pageSlots]slot{})) + uint64(len(m.versions))*8
}

func (m *memory) close() {
	m.flush()
	m.c.Reset()
}

func (l *ledger) push(s slot) {
	start := l.first / pageSlots
	if page := int(l.next/pageSlots - start); page == len(l.pages) {
		l.pages = append(l.pages, new([pageSlots]slot))
	}
	l.pages[l.next/pageSlots-start][l.next%pageSlots] = s
	l.next++
}

// slot is nil for what is not in the ledger any more.
func (l *ledger) slot(seq uint64) *slot {
	if seq < l.first || seq >= l.next {
		return nil
	}
	return &l.pages[seq/pageSlots-l.first/pageSlots][seq%pageSlots]
}

func (l *ledger) pop() {
	l.first++
	if l.first%pageSlots == 0 {
		l.pages[0] = nil
		l.pages = l.pages[1:]
	}
}

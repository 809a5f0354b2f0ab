package simulator

import (
	"container/list"
	"math/rand/v2"
	"slices"
	"time"
)

// KVBlock is how many tokens a block of an engine's cache holds.
const KVBlock = 16

// EngineOptions say how large and how fast an engine is. What is zero has its default.
type EngineOptions struct {
	Batch    int // sequences that are worked on at once; 32
	KVBlocks int // blocks of KVBlock tokens in its memory; 4096
	Chunk    int // tokens of prompts that are read in one step; 2048

	PerStep     time.Duration // what each step takes; 8 ms
	PerSequence time.Duration // and each sequence in it that gets a token; 200 µs
	PerToken    time.Duration // and each token of a prompt that is read in it; 100 µs

	Jitter float64 // by how much a step may take longer or shorter, as a share; 0.05
	Seed   uint64  // of the jitter
}

// An Engine models how inference engines work, in time that is told to it: by steps. In a step each sequence of the batch either reads on in its
// prompt (all of them together as much as a chunk) or gets one token. A step takes
//
//	PerStep + PerSequence × sequences that get a token + PerToken × tokens that are read, within ± Jitter
//
// A sequence enters the batch in the order of arrival, when there is room in it and memory for its prompt. What its prompt has in common with the
// beginning of earlier ones, by whole blocks, is not read again as long as it is in memory: blocks that no sequence uses stay there until their place is
// needed, and go the longest unused first, those of a sequence from its end. A sequence for whose next token there is no memory puts off the one that entered the batch last,
// which waits at the front again and reads anew what it has lost.
//
// It is deterministic, knows no clock and starts no goroutine. It is not safe for use by several at once.
type Engine struct {
	options EngineOptions
	rng     *rand.Rand
	waiting []*Job
	batch   []*Job // in the order in which they entered it
	until   time.Duration
	working bool

	blocks map[uint64]*kvBlock // by the chained hash of what they hold
	unused *list.List          // of *kvBlock, the longest unused first
	used   int                 // blocks that a sequence of the batch uses, each once

	asked, hits int64
}

// A kvBlock is a block of memory whose content is known by its hash.
type kvBlock struct {
	hash  uint64
	users int
	place *list.Element // in unused; nil: it is used
}

// A Job is a request to an engine. The caller fills the first part, and owns it again when it is done.
type Job struct {
	Blocks []uint64 // chained hashes of the whole blocks of the prompt and of what is answered
	Prompt int      // tokens
	Output int      // tokens to answer with, at least 1

	Arrived, First, Done time.Duration // when it came, had its first token and its last
	Hit                  int           // tokens of the prompt that were not read

	left    int // tokens to read
	read    int // tokens to read in this step
	written int // tokens that it has got
	held    int // of Blocks, that it uses
	own     int // blocks beside them
}

// NewEngine makes an idle engine.
func NewEngine(o EngineOptions) *Engine {
	o.Batch = either(o.Batch, 32)
	o.KVBlocks = either(o.KVBlocks, 4096)
	o.Chunk = either(o.Chunk, 2048)
	o.PerStep = either(o.PerStep, 8*time.Millisecond)
	o.PerSequence = either(o.PerSequence, 200*time.Microsecond)
	o.PerToken = either(o.PerToken, 100*time.Microsecond)
	o.Jitter = either(o.Jitter, 0.05)
	return &Engine{options: o, rng: rand.New(rand.NewPCG(o.Seed, 0)), blocks: make(map[uint64]*kvBlock), unused: list.New()}
}

func either[T int | float64 | time.Duration](v, standard T) T {
	if v == 0 {
		return standard
	}
	return v
}

// Submit adds a job at that time, which must not be before the last one told. One that can never fit into memory is refused.
func (e *Engine) Submit(now time.Duration, j *Job) bool {
	if blocksFor(j.Prompt+j.Output) > e.options.KVBlocks {
		return false
	}
	j.Arrived, j.First, j.Done, j.Hit = now, 0, 0, 0
	j.left, j.read, j.written, j.held, j.own = 0, 0, 0, 0, 0
	e.waiting = append(e.waiting, j)
	if !e.working {
		e.begin(now)
	}
	return true
}

// Finish ends a job that has all the tokens it wants; what it has is known from then on. One that is done already is left alone.
func (e *Engine) Finish(j *Job) {
	if j.Done == 0 && j.left == 0 && j.written > 0 {
		e.keep(j, j.Prompt+j.written)
	}
	e.Cancel(j)
}

// Cancel takes a job out whose client has left.
func (e *Engine) Cancel(j *Job) {
	if i := slices.Index(e.waiting, j); i >= 0 {
		e.waiting = slices.Delete(e.waiting, i, i+1)
	}
	if i := slices.Index(e.batch, j); i >= 0 {
		e.batch = slices.Delete(e.batch, i, i+1)
		e.release(j)
	}
}

// Next is when the step under way ends; working is false if there is none.
func (e *Engine) Next() (at time.Duration, working bool) { return e.until, e.working }

// Step ends the step under way, begins the next one, and returns the jobs that are done. Those that have got a token are told by their
// fields.
func (e *Engine) Step() (done []*Job) {
	now := e.until
	for _, j := range slices.Clone(e.batch) {
		if !slices.Contains(e.batch, j) {
			continue // put off
		}
		if j.left > 0 {
			if j.left -= j.read; j.left > 0 {
				continue
			}
			e.keep(j, j.Prompt+j.written)
		} else if !e.extend(j) {
			continue
		}
		if j.written++; j.First == 0 {
			j.First = now
		}
		if j.written == j.Output {
			j.Done = now
			e.keep(j, j.Prompt+j.written)
			e.batch = slices.DeleteFunc(e.batch, func(k *Job) bool { return k == j })
			e.release(j)
			done = append(done, j)
		}
	}
	e.begin(now)
	return done
}

// begin begins a step, if there is anything to do.
func (e *Engine) begin(now time.Duration) {
	for len(e.waiting) > 0 && len(e.batch) < e.options.Batch && e.enter(e.waiting[0]) {
		e.batch = append(e.batch, e.waiting[0])
		e.waiting = e.waiting[1:]
	}
	if e.working = len(e.batch) > 0; !e.working {
		return
	}
	took, budget := e.options.PerStep, e.options.Chunk
	for _, j := range e.batch {
		if j.left == 0 {
			took += e.options.PerSequence
			continue
		}
		j.read = min(j.left, budget)
		budget -= j.read
		took += time.Duration(j.read) * e.options.PerToken
	}
	e.until = now + time.Duration(float64(took)*(1+e.options.Jitter*(2*e.rng.Float64()-1)))
}

// enter gives a job memory for what it has to read, if there is.
func (e *Engine) enter(j *Job) bool {
	tokens := j.Prompt + j.written
	hit := e.Cached(j)
	revived := 0
	for _, h := range j.Blocks[:hit] {
		if e.blocks[h].users == 0 {
			revived++
		}
	}
	need := blocksFor(tokens+1) - hit
	if e.used+revived+need > e.options.KVBlocks {
		return false
	}
	for _, h := range j.Blocks[:hit] {
		e.use(e.blocks[h])
	}
	j.held, j.own, j.left = hit, 0, tokens-hit*KVBlock
	if j.First == 0 {
		j.Hit = hit * KVBlock
		e.asked, e.hits = e.asked+int64(j.Prompt), e.hits+int64(j.Hit)
	}
	return e.take(j, need)
}

// Cached is how many blocks of the job's prompt are in memory; the last token is read in any case.
func (e *Engine) Cached(j *Job) (n int) {
	most := min(len(j.Blocks), (j.Prompt+j.written-1)/KVBlock)
	for n < most && e.blocks[j.Blocks[n]] != nil {
		n++
	}
	return n
}

// take gives a job n blocks of its own. What is unused makes room.
func (e *Engine) take(j *Job, n int) bool {
	for range n {
		if e.used == e.options.KVBlocks {
			return false
		}
		if e.used+e.unused.Len() == e.options.KVBlocks {
			b := e.unused.Remove(e.unused.Front()).(*kvBlock)
			delete(e.blocks, b.hash)
		}
		e.used++
		j.own++
	}
	return true
}

// extend makes room for one more token, if need be by putting another job off; false if it was this one.
func (e *Engine) extend(j *Job) bool {
	for j.held+j.own < blocksFor(j.Prompt+j.written+1) {
		if e.take(j, 1) {
			continue
		}
		last := e.batch[len(e.batch)-1]
		e.batch = e.batch[:len(e.batch)-1]
		e.release(last)
		last.left = 0
		e.waiting = slices.Insert(e.waiting, 0, last)
		if last == j {
			return false
		}
	}
	return true
}

// keep makes what a job's own blocks hold known by their hashes, as far as so many tokens fill them.
func (e *Engine) keep(j *Job, tokens int) {
	for full := min(len(j.Blocks), tokens/KVBlock); j.held < full && j.own > 0; j.held++ {
		j.own--
		e.used--
		h := j.Blocks[j.held]
		if e.blocks[h] == nil {
			e.blocks[h] = &kvBlock{hash: h}
			e.blocks[h].place = e.unused.PushBack(e.blocks[h])
		}
		e.use(e.blocks[h])
	}
}

func (e *Engine) use(b *kvBlock) {
	if b.users++; b.place != nil {
		e.unused.Remove(b.place)
		b.place = nil
		e.used++
	}
}

// release gives a job's memory back; what is known of it stays until its place is needed.
func (e *Engine) release(j *Job) {
	for _, h := range slices.Backward(j.Blocks[:j.held]) {
		b := e.blocks[h]
		if b.users--; b.users == 0 {
			b.place = e.unused.PushBack(b)
			e.used--
		}
	}
	e.used -= j.own
	j.held, j.own = 0, 0
}

// blocksFor is how many blocks so many tokens take.
func blocksFor(tokens int) int { return (tokens + KVBlock - 1) / KVBlock }

// An EngineLoad is what an engine has to do.
type EngineLoad struct {
	Running, Waiting int
	KV               float64 // share of its memory that sequences use
	Asked, Hits      int64   // tokens of prompts since it began, and those that were not read
	Unread           int     // tokens of prompts that are still to be read, of running ones
}

// Load is what the engine has to do now.
func (e *Engine) Load() EngineLoad {
	l := EngineLoad{Running: len(e.batch), Waiting: len(e.waiting), KV: float64(e.used) / float64(e.options.KVBlocks), Asked: e.asked, Hits: e.hits}
	for _, j := range e.batch {
		l.Unread += j.left
	}
	return l
}

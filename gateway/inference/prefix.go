package inference

import (
	"crypto/rand"
	"encoding/binary"
	"math/bits"
)

// How prompts begin is told by hashes of their blocks, each chained to the one before: equal hashes are equal beginnings. The text is
// that of the body as it lies, which a conversation only continues.
const (
	prefixBlock = 1 << 10 // bytes
	prefixBytes = 64 << 10

	// MaxPrefix is how many hashes a prompt has at most: the last block of a text is one though it is shorter, if another text follows.
	MaxPrefix = prefixBytes/prefixBlock + len(texts) - 1
)

// texts are the members that a model reads.
var texts = [...]Member{SystemMember, MessagesMember, PromptMember, InputMember}

// A PrefixKey makes hashes that nobody outside the process can make equal. It never changes.
type PrefixKey struct{ keys keys }

// NewPrefixKey makes a key that nobody knows.
func NewPrefixKey() *PrefixKey {
	var random [32]byte
	_, _ = rand.Read(random[:]) // it never fails
	k := new(PrefixKey)
	for i := range k.keys {
		k.keys[i] = word(random[8*i:])
	}
	return k
}

// A Prefix hashes how a prompt begins while its body comes. Reset makes it ready for another one.
type Prefix struct {
	key    *PrefixKey
	left   int // bytes that are still looked at
	chain  uint64
	guess  uint64
	text   int64 // where the text begins that was read last, and 1
	short  int   // bytes in block
	n      int
	hashes [MaxPrefix]uint64
	block  [prefixBlock]byte // one that does not lie in one piece
}

// Reset makes p ready for a body.
func (p *Prefix) Reset(key *PrefixKey) {
	p.key, p.left, p.chain, p.guess, p.text, p.short, p.n = key, prefixBytes, 0, 0, 0, 0, 0
}

// Full tells whether nothing that may still come of the body matters.
func (p *Prefix) Full() bool { return p.left == 0 }

// Read reads a piece of the body, right behind the scanner.
func (p *Prefix) Read(s *Scanner, piece []byte) {
	if p.left == 0 {
		return
	}
	began := s.before - int64(len(piece))
	for at := began; ; { // the texts in the order in which they stand
		from, to := int64(-1), int64(0)
		for _, m := range texts {
			if f, t, ok := s.Begun(m); ok && t > at && (from < 0 || f < from) {
				from, to = f, t
			}
		}
		if from < 0 {
			return
		}
		if from+1 != p.text {
			p.next(from)
		}
		p.read(piece[max(at, from)-began : to-began])
		at = to
	}
}

// next begins another text. What was left of the one before is a block.
func (p *Prefix) next(from int64) {
	if p.short > 0 {
		p.add(p.block[:p.short])
		p.short = 0
	}
	p.text = from + 1
}

func (p *Prefix) read(text []byte) {
	text = text[:min(len(text), p.left)]
	p.left -= len(text)
	if p.short > 0 {
		n := copy(p.block[p.short:], text)
		text = text[n:]
		if p.short += n; p.short < prefixBlock {
			return
		}
		p.add(p.block[:])
	}
	for ; len(text) >= prefixBlock; text = text[prefixBlock:] {
		p.add(text[:prefixBlock])
	}
	p.short = copy(p.block[:], text)
}

func (p *Prefix) add(block []byte) {
	if p.n == len(p.hashes) {
		return
	}
	p.chain = fold(p.chain, p.key.keys.hash(block))
	p.hashes[p.n] = p.chain
	if p.n == 0 {
		p.guess = sharedKeys.hash(block)
	}
	p.n++
}

// Hashes are those of the blocks with which the prompt begins, as far as it has been read, for a model and a tenant; the last block counts
// only if it is whole, for what follows may be a part of it. guess is a hash of the first block that is the same in every
// process; 0 if there is no block. p must be Reset before it reads on.
func (p *Prefix) Hashes(model, tenant []byte) (hashes []uint64, guess uint64) {
	if p.n == 0 {
		return nil, 0
	}
	of := fold(p.key.keys.hash(model), p.key.keys.hash(tenant))
	for i := range p.hashes[:p.n] {
		p.hashes[i] = fold(of, p.hashes[i])
	}
	return p.hashes[:p.n], max(1, fold(fold(sharedKeys.hash(model), sharedKeys.hash(tenant)), p.guess))
}

// fold chains a hash to one before it.
func fold(chain, h uint64) uint64 {
	return multiply(chain^0x9e3779b97f4a7c15, h^0xd1b54a32d192ed03) ^ bits.RotateLeft64(chain, 32)
}

// keys are secret, or else shared by all processes: then who makes texts collide gets a hot upstream, whose load is bounded.
type keys [4]uint64

var sharedKeys = keys{0xa0761d6478bd642f, 0xe7037ed1a0b428db, 0x8ebc6af09c88c6e3, 0x589965cc75374cc3}

// hash is a chain of multiplications on each of four lanes, which a processor makes side by side. Who does not know the keys knows no
// state of a lane, and so cannot make two texts equal but by chance.
func (k *keys) hash(b []byte) uint64 {
	n := uint64(len(b))
	x, y, z, w := k[0]^n, k[1], k[2], k[3]
	for ; len(b) >= 64; b = b[64:] {
		x = multiply(x^word(b), word(b[8:])^k[1])
		y = multiply(y^word(b[16:]), word(b[24:])^k[2])
		z = multiply(z^word(b[32:]), word(b[40:])^k[3])
		w = multiply(w^word(b[48:]), word(b[56:])^k[0])
	}
	if len(b) > 0 {
		var rest [64]byte
		copy(rest[:], b)
		b = rest[:]
		x = multiply(x^word(b), word(b[8:])^k[1])
		y = multiply(y^word(b[16:]), word(b[24:])^k[2])
		z = multiply(z^word(b[32:]), word(b[40:])^k[3])
		w = multiply(w^word(b[48:]), word(b[56:])^k[0])
	}
	return multiply(multiply(x^k[2], y^k[3])^k[1], multiply(z^k[0], w^k[1])^n)
}

func word(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }

// multiply is both halves of a product.
func multiply(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

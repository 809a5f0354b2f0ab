package inference

import (
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

// A Prefix hashes how a prompt begins while its body comes. Reset makes it ready for another one.
type Prefix struct {
	left   int // bytes that are still looked at
	chain  uint64
	text   int64 // where the text begins that was read last, and 1
	short  int   // bytes in block
	n      int
	hashes [MaxPrefix]uint64
	block  [prefixBlock]byte // one that does not lie in one piece
}

// Reset makes p ready for a body.
func (p *Prefix) Reset() { p.left, p.chain, p.text, p.short, p.n = prefixBytes, 0, 0, 0, 0 }

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
	p.chain = fold(p.chain, blockHash(block))
	p.hashes[p.n] = p.chain
	p.n++
}

// Hashes are those of the blocks with which the prompt begins, as far as it has been read, for a model and a tenant; the last block counts
// only if it is whole, for what follows may be a part of it. They are the same in every process. p must be Reset before it reads on.
func (p *Prefix) Hashes(model, tenant []byte) []uint64 {
	if p.n == 0 {
		return nil
	}
	of := fold(blockHash(model), blockHash(tenant))
	for i := range p.hashes[:p.n] {
		p.hashes[i] = fold(of, p.hashes[i])
	}
	return p.hashes[:p.n]
}

// fold chains a hash to one before it.
func fold(chain, h uint64) uint64 {
	return multiply(chain^0x9e3779b97f4a7c15, h^0xd1b54a32d192ed03) ^ bits.RotateLeft64(chain, 32)
}

// keys of the lanes, and of what they become.
const (
	key0 = 0xa0761d6478bd642f
	key1 = 0xe7037ed1a0b428db
	key2 = 0x8ebc6af09c88c6e3
	key3 = 0x589965cc75374cc3
)

// blockHash is a chain of multiplications on each of four lanes, which a processor makes side by side. It has no secret, so that replicas agree:
// who makes texts collide sends his own requests to one upstream, whose load is bounded.
func blockHash(b []byte) uint64 {
	n := uint64(len(b))
	x, y, z, w := key0^n, uint64(key1), uint64(key2), uint64(key3)
	for ; len(b) >= 64; b = b[64:] {
		x = multiply(x^word(b), word(b[8:])^key1)
		y = multiply(y^word(b[16:]), word(b[24:])^key2)
		z = multiply(z^word(b[32:]), word(b[40:])^key3)
		w = multiply(w^word(b[48:]), word(b[56:])^key0)
	}
	if len(b) > 0 {
		var rest [64]byte
		copy(rest[:], b)
		b = rest[:]
		x = multiply(x^word(b), word(b[8:])^key1)
		y = multiply(y^word(b[16:]), word(b[24:])^key2)
		z = multiply(z^word(b[32:]), word(b[40:])^key3)
		w = multiply(w^word(b[48:]), word(b[56:])^key0)
	}
	return multiply(multiply(x^key2, y^key3)^key1, multiply(z^key0, w^key1)^n)
}

func word(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }

// multiply is both halves of a product.
func multiply(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

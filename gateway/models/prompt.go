package models

import "aigateway/gateway/inference"

// A prompt is how the prompt of a request begins, for pools that go by that. A nil prompt is none.
type prompt struct {
	prefix inference.Prefix
	on     bool     // it is read
	only   bool     // and nothing else of the body decides
	hashes []uint64 // borrowed from prefix; nil: not yet, or there is nothing
}

// begin readies p, or another one if it is nil, for a body.
func (p *prompt) begin() *prompt {
	if p == nil {
		p = new(prompt)
	}
	p.prefix.Reset()
	p.on, p.only, p.hashes = true, false, nil
	return p
}

// beginAlone is begin for a body of which nothing else decides.
func (p *prompt) beginAlone() *prompt {
	p = p.begin()
	p.only = true
	return p
}

func (p *prompt) reset() {
	if p != nil {
		p.on, p.only, p.hashes = false, false, nil
	}
}

func (p *prompt) read(s *inference.Scanner, piece []byte) {
	if p != nil && p.on {
		p.prefix.Read(s, piece)
	}
}

// alone tells whether nothing else of the body decides: what is wrong with it is the upstream's business.
func (p *prompt) alone() bool { return p != nil && p.only }

// done tells whether nothing that still comes of the body matters to anybody.
func (p *prompt) done() bool { return p.alone() && !p.on }

// hashed are the hashes of the prompt's blocks.
func (p *prompt) hashed() []uint64 {
	if p == nil {
		return nil
	}
	return p.hashes
}

// hash makes the hashes of what has come of the prompt, now that its model is known. One tenant's are none of another's; all who need no key
// are one.
func (p *prompt) hash(model, tenant []byte) {
	if p != nil && p.on {
		p.on, p.hashes = false, p.prefix.Hashes(model, tenant)
	}
}

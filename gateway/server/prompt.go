package server

import (
	"aigateway/gateway/inference"
	"aigateway/gateway/proxy"
)

// A prompt is how the prompt of a request begins, for pools that go by that. A nil prompt is none.
type prompt struct {
	prefix inference.Prefix
	on     bool     // it is read
	only   bool     // and nothing else of the body decides
	hashes []uint64 // borrowed from prefix; nil: not yet, or there is nothing
}

// begin readies p, or another one, for a body of which nothing else may decide.
func (p *prompt) begin(only bool) *prompt {
	if p == nil {
		p = new(prompt)
	}
	p.prefix.Reset()
	p.on, p.only, p.hashes = true, only, nil
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

// askPrompt reads how a prompt begins where nothing else of the body decides.
func (g *Gateway) askPrompt(x *exchange, d inference.Dialect) (done bool) {
	if !d.NamesModel() || d == inference.Realtime || string(x.head.Method) != "POST" || !x.head.HasBody() {
		return false
	}
	if _, coded := x.head.Field("content-encoding"); coded {
		return false
	}
	if kind, _ := x.head.Field("content-type"); d.Forms() && inference.IsForm(kind) {
		return false
	}
	a := x.asks(d)
	a.place = inJSON
	a.scan.Reset()
	a.prompt = a.prompt.begin(true)
	if fault := g.collect(x); fault != proxy.None {
		g.conclude(x, fault, 0)
		return true
	}
	name, _ := a.scan.Model()
	a.prompt.hash(name, x.tenant.ID)
	return false
}

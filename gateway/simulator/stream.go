package simulator

import (
	"encoding/json"
	"net/http"
)

// script is everything a stream of a chat or text completion will say.
type script struct {
	conversation
	head   completion // what all chunks have in common
	tokens []string
	reason string
	total  json.RawMessage // the usage
}

// frame is one server-sent event. OpenAI's completions do not name theirs.
type frame struct {
	name string
	data []byte
}

// play is a stream of any dialect: what opens and closes it lies ready, the event of a token is made in its turn.
type play struct {
	opening, closing []frame
	tokens           []string
	part             func(i int, token string) frame
}

// events is how many a whole stream has.
func (p play) events() int { return len(p.opening) + len(p.tokens) + len(p.closing) }

// stream sends a play as server-sent events, one flush each.
func (g generation) stream(w http.ResponseWriter, r *http.Request, p play) error {
	out, err := g.open(w, p.events())
	if err != nil {
		return err
	}
	if err := p.perform(func() error { return g.next(r.Context()) }, out.send); err != nil {
		return err
	}
	return out.close()
}

// perform sends one event after the other, and pauses between two tokens.
func (p play) perform(pause func() error, send func(frame) error) error {
	for _, f := range p.opening {
		if err := send(f); err != nil {
			return err
		}
	}
	for i, token := range p.tokens {
		if i > 0 {
			if err := pause(); err != nil {
				return err
			}
		}
		if err := send(p.part(i, token)); err != nil {
			return err
		}
	}
	for _, f := range p.closing {
		if err := send(f); err != nil {
			return err
		}
	}
	return nil
}

// play is the role, the tokens, the finish_reason, the usage where wanted, and [DONE].
func (c script) play() play {
	if c.withUsage {
		c.head.Usage = json.RawMessage("null") // on every chunk but the one that has it
	}
	p := play{tokens: c.tokens, part: func(_ int, token string) frame { return c.say(c.part(token)) }}
	for _, one := range c.opening {
		p.opening = append(p.opening, c.say(one))
	}
	last := c.closing()
	last.FinishReason = &c.reason
	p.closing = append(p.closing, c.say(last))
	if c.withUsage {
		end := c.head
		end.Choices, end.Usage = []choice{}, c.total
		p.closing = append(p.closing, frame{data: encode(end)})
	}
	p.closing = append(p.closing, frame{data: []byte("[DONE]")})
	return p
}

// say is the chunk with one choice.
func (c script) say(one choice) frame {
	c.head.Choices = []choice{one}
	return frame{data: encode(c.head)}
}

// sender is an open stream.
type sender struct {
	w       http.ResponseWriter
	control *http.ResponseController
	left    int  // events until the cut
	cut     bool // whether there is one
}

// open sends the head of a stream that will have n events if it is not cut.
func (g generation) open(w http.ResponseWriter, n int) (*sender, error) {
	e := &sender{w: w, control: http.NewResponseController(w)}
	e.left, e.cut = g.cutAt(n)
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	w.WriteHeader(http.StatusOK)
	return e, e.control.Flush()
}

// send writes one event, which reaches the client before send returns.
func (e *sender) send(f frame) error {
	if e.cut && e.left == 0 {
		return errCut
	}
	e.left--
	event := make([]byte, 0, len("event: \ndata: \n\n")+len(f.name)+len(f.data))
	if f.name != "" {
		event = append(append(append(event, "event: "...), f.name...), '\n')
	}
	event = append(append(append(event, "data: "...), f.data...), "\n\n"...)
	if _, err := e.w.Write(event); err != nil {
		return err
	}
	return e.control.Flush()
}

// close comes after the last event. A cut that lies behind it takes away the last chunk of the message.
func (e *sender) close() error {
	if e.cut {
		return errCut
	}
	return nil
}

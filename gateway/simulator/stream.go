package simulator

import (
	"encoding/json"
	"net/http"
)

// script is everything a stream will say.
type script struct {
	conversation
	head   completion // what all chunks have in common
	tokens []string
	reason string
	total  json.RawMessage // the usage
}

// events is how many a whole stream has: the role, the tokens, the finish_reason, the usage where wanted, and [DONE].
func (c script) events() int {
	n := len(c.opening) + len(c.tokens) + 2
	if c.withUsage {
		n++
	}
	return n
}

// stream sends a script as server-sent events, one flush each.
func (g generation) stream(w http.ResponseWriter, r *http.Request, c script) error {
	if c.withUsage {
		c.head.Usage = json.RawMessage("null") // on every chunk but the one that has it
	}
	out, err := g.open(w, c.events())
	if err != nil {
		return err
	}
	if len(c.opening) > 0 {
		if err := out.send(c.say(c.opening[0])); err != nil {
			return err
		}
	}
	for i, token := range c.tokens {
		if i > 0 {
			if err := pause(r.Context(), g.pace); err != nil {
				return err
			}
		}
		if err := out.send(c.say(c.part(token))); err != nil {
			return err
		}
	}
	return c.finish(out)
}

// finish sends what follows the tokens.
func (c script) finish(out *sender) error {
	last := c.closing()
	last.FinishReason = &c.reason
	if err := out.send(c.say(last)); err != nil {
		return err
	}
	if c.withUsage {
		c.head.Choices, c.head.Usage = []choice{}, c.total
		if err := out.send(encode(c.head)); err != nil {
			return err
		}
	}
	if err := out.send([]byte("[DONE]")); err != nil {
		return err
	}
	return out.close()
}

// say is the chunk with one choice.
func (c script) say(one choice) []byte {
	c.head.Choices = []choice{one}
	return encode(c.head)
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
func (e *sender) send(data []byte) error {
	if e.cut && e.left == 0 {
		return errCut
	}
	e.left--
	frame := make([]byte, 0, len("data: \n\n")+len(data))
	frame = append(frame, "data: "...)
	frame = append(frame, data...)
	frame = append(frame, "\n\n"...)
	if _, err := e.w.Write(frame); err != nil {
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

package simulator

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
)

// realtime answers GET /v1/realtime: OpenAI's Realtime over a websocket, in text. Each response.create is a generation, with the
// switches of the handshake; a demanded error is a response that has failed, a cut ends the connection.
func (s *Simulator) realtime(w http.ResponseWriter, r *http.Request) error {
	accepted, err := handshake(r)
	if err != nil {
		return err
	}
	model, err := s.resolve(r.URL.Query().Get("model"))
	if err != nil {
		return err
	}
	demanded, err := readSwitches(r.Header)
	if err != nil {
		return err
	}
	s.conns.Add(1) // track forgets a connection that is taken over
	defer s.conns.Done()
	socket, err := upgrade(w, r, accepted)
	if err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(r.Context())
	shut := context.AfterFunc(ctx, func() { _ = socket.conn.Close() })
	messages, listened := make(chan []byte, 16), make(chan struct{})
	go func() {
		defer close(listened)
		end(socket.listen(ctx, messages))
	}()
	// The end of this session, whoever brings it about: the connection is closed, and its reader has gone.
	defer func() {
		end(nil)
		if shut() {
			_ = socket.conn.Close()
		}
		<-listened
	}()
	t := &talk{sim: s, socket: socket, question: question{model: model}, demanded: demanded}
	t.serve(ctx, messages)
	return nil
}

// talk is one client's session.
type talk struct {
	sim      *Simulator
	socket   *websocket
	demanded switches
	question     // what a response answers: what was said last, and how many tokens all of it has
	events   int // sent about the session; those of a response have numbers of their own
}

// serve answers one message after the other until the connection ends.
func (t *talk) serve(ctx context.Context, messages <-chan []byte) {
	err := t.say("session.created", object{"session": t.describe()})
	for err == nil {
		select {
		case text := <-messages:
			err = t.hearEvent(ctx, text)
		case <-ctx.Done():
			return
		}
	}
}

func (t *talk) describe() object {
	return object{"type": "realtime", "object": "realtime.session", "id": "sess_simulator", "model": t.model,
		"output_modalities": []string{"text"}}
}

// say sends one event about the session.
func (t *talk) say(name string, o object) error {
	t.events++
	o["type"], o["event_id"] = name, "event_"+strconv.Itoa(t.events)
	return t.socket.write(opText, encode(o))
}

// hearEvent does what one of the client's events asks. What cannot be done is said, and the session goes on.
func (t *talk) hearEvent(ctx context.Context, text []byte) error {
	m, err := readMembers(text)
	if err == nil {
		err = t.obey(ctx, m)
	}
	f, ok := errors.AsType[*fault](err)
	if !ok {
		return err
	}
	id, _, _ := member[string](m, "event_id", "a string")
	return t.say("error", object{"error": object{"type": f.kind(), "code": f.code, "message": f.message, "param": f.param, "event_id": id}})
}

func (t *talk) obey(ctx context.Context, m members) error {
	kind, _, err := member[string](m, "type", "a string")
	if err != nil {
		return err
	}
	switch kind {
	case "session.update":
		if err := t.update(m, "session"); err != nil {
			return err
		}
		return t.say("session.updated", object{"session": t.describe()})
	case "conversation.item.create":
		item, _, err := member[members](m, "item", "an object")
		if err != nil {
			return err
		}
		if err := t.hearItem(item); err != nil {
			return err
		}
		o := object{"item": json.RawMessage(m["item"]), "previous_item_id": nil}
		if err := t.say("conversation.item.added", o); err != nil {
			return err
		}
		return t.say("conversation.item.done", o)
	case "response.create":
		q := t.question // the response's own limit and input stay with it
		if err := q.update(m, "response"); err != nil {
			return err
		}
		return t.respond(ctx, q)
	}
	return wrongValue("type", "session.update, conversation.item.create or response.create")
}

// update takes in what a session's and a response's settings have in common.
func (q *question) update(m members, name string) error {
	o, _, err := member[members](m, name, "an object")
	if err != nil {
		return err
	}
	if n, ok, err := member[int](o, "max_output_tokens", "an integer"); err == nil && ok { // or "inf"
		if n < 1 {
			return wrongValue("max_output_tokens", "an integer of at least 1")
		}
		q.limit = n
	}
	items, _, err := member[[]members](o, "input", "an array of objects")
	if err != nil {
		return err
	}
	for _, item := range items {
		if err := q.hearItem(item); err != nil {
			return err
		}
	}
	return nil
}

// hearItem takes in a message. Other items say nothing.
func (q *question) hearItem(item members) error {
	if kind, _, _ := member[string](item, "type", "a string"); kind != "message" {
		return nil
	}
	text, err := item.text("item.")
	if err != nil {
		return err
	}
	q.hear(text)
	return nil
}

// respond is one generation, from response.created to response.done.
func (t *talk) respond(ctx context.Context, q question) error {
	g, err := t.sim.generate(ctx, t.demanded, nil)
	a := spoken{question: q, id: g.id}
	if f, ok := errors.AsType[*fault](err); ok {
		details := object{"type": "failed", "error": object{"type": f.kind(), "code": f.code}}
		return t.say("response.done", object{"response": a.state("failed", details)})
	}
	if err == nil {
		a.tokens, a.reason = q.speak(g.tokens)
		t.prompt += len(a.tokens) // the next response reads this one too
		err = t.recite(ctx, g, a.play())
	}
	switch {
	case errors.Is(err, errCut):
		t.sim.cut.Add(1)
	case err != nil && !errors.Is(context.Cause(ctx), errClosed):
		t.sim.cancelled.Add(1)
	}
	return err
}

// recite sends a play, or as much of it as there is before the cut.
func (t *talk) recite(ctx context.Context, g generation, p play) error {
	left, cut := g.cutAt(p.events() - 1) // without its last event, or it would be whole
	return p.perform(func() error { return pause(ctx, g.pace) }, func(f frame) error {
		if cut && left == 0 {
			return errCut
		}
		left--
		return t.socket.write(opText, f.data)
	})
}

// spoken is a response in Realtime's form.
type spoken struct {
	question
	id     string
	tokens []string
	reason string
}

func (a spoken) play() play {
	number := 0
	event := func(name string, o object) frame {
		number++
		o["type"], o["event_id"], o["response_id"], o["output_index"] = name, "event_"+a.id+"_"+strconv.Itoa(number), "resp_"+a.id, 0
		return frame{name, encode(o)}
	}
	within := func(name string, o object) frame {
		o["item_id"], o["content_index"] = "item_"+a.id, 0
		return event(name, o)
	}
	whole := strings.Join(a.tokens, "")
	status, details := "completed", object(nil)
	if a.reason == "length" {
		status, details = "incomplete", object{"type": "incomplete", "reason": "max_output_tokens"}
	}
	end := a.state(status, details)
	end["output"], end["usage"] = []object{a.item(status, whole)}, a.usage()
	p := play{tokens: a.tokens}
	p.opening = []frame{
		event("response.created", object{"response": a.state("in_progress", nil)}),
		event("response.output_item.added", object{"item": a.item("in_progress", "")}),
		within("response.content_part.added", object{"part": object{"type": "text", "text": ""}}),
	}
	p.part = func(i int, token string) frame {
		number = len(p.opening) + i
		return within("response.output_text.delta", object{"delta": token})
	}
	number += len(a.tokens)
	p.closing = []frame{
		within("response.output_text.done", object{"text": whole}),
		within("response.content_part.done", object{"part": object{"type": "text", "text": whole}}),
		event("response.output_item.done", object{"item": a.item(status, whole)}),
		event("response.done", object{"response": end}),
	}
	return p
}

func (a spoken) state(status string, details object) object {
	o := object{"object": "realtime.response", "id": "resp_" + a.id, "status": status, "status_details": nil, "output": []object{},
		"output_modalities": []string{"text"}, "usage": nil}
	if details != nil {
		o["status_details"] = details
	}
	return o
}

func (a spoken) item(status, said string) object {
	content := []object{}
	if status != "in_progress" {
		content = append(content, object{"type": "output_text", "text": said})
	}
	return object{"id": "item_" + a.id, "object": "realtime.item", "type": "message", "role": "assistant", "status": status, "content": content}
}

func (a spoken) usage() object {
	n := len(a.tokens)
	return object{"input_tokens": a.prompt, "output_tokens": n, "total_tokens": a.prompt + n,
		"input_token_details":  object{"text_tokens": a.prompt, "audio_tokens": 0, "cached_tokens": 0},
		"output_token_details": object{"text_tokens": n, "audio_tokens": 0}}
}

package simulator

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// object is a JSON object of a dialect whose every event has another shape.
type object map[string]any

// respond answers POST /v1/responses, OpenAI's second way to chat.
func (s *Simulator) respond(w http.ResponseWriter, r *http.Request) error {
	q, g, err := accept(s, w, r, decodeResponse)
	if err != nil {
		return err
	}
	a := newResponse(q, g)
	if q.stream {
		return g.stream(w, r, a.play())
	}
	return g.replyWhole(w, a.ended())
}

func decodeResponse(body []byte) (question, error) {
	m, err := readModelRequest(body)
	if err != nil {
		return question{}, err
	}
	q, err := m.common("max_output_tokens")
	if err != nil {
		return q, err
	}
	instructions, _, err := member[string](m, "instructions", "a string")
	if err != nil {
		return q, err
	}
	q.hear(instructions)
	const kind = "a string or an array of objects"
	if text, ok, err := member[string](m, "input", kind); err == nil && ok {
		q.hear(text)
		return q, nil
	}
	items, ok, err := member[[]members](m, "input", kind)
	switch {
	case err != nil:
		return q, err
	case !ok:
		return q, missing("input")
	case len(items) == 0:
		return q, wrongValue("input", "at least one item")
	}
	return q, q.hearItems(items)
}

// hearItems takes in the messages among the items. The others (a tool's call, its output) have no role.
func (q *question) hearItems(items []members) error {
	for i, item := range items {
		if _, ok := item["role"]; !ok {
			continue
		}
		text, err := item.text("input[" + strconv.Itoa(i) + "].")
		if err != nil {
			return err
		}
		q.hear(text)
	}
	return nil
}

// response is an answer in the form of /v1/responses.
type response struct {
	id, item, model string
	created         int64
	tokens          []string
	cut             bool // by max_output_tokens
	prompt          int
}

func newResponse(q question, g generation) response {
	tokens, reason := q.speak(g.tokens)
	return response{id: "resp_" + g.id, item: "msg_" + g.id, model: g.model, created: time.Now().Unix(),
		tokens: tokens, cut: reason == "length", prompt: q.prompt}
}

// state is the response while it is made.
func (a response) state(status string) object {
	return object{"id": a.id, "object": "response", "created_at": a.created, "status": status, "model": a.model, "output": []object{},
		"error": nil, "incomplete_details": nil, "instructions": nil, "metadata": object{}, "parallel_tool_calls": true,
		"temperature": 1, "tool_choice": "auto", "tools": []object{}, "top_p": 1, "usage": nil}
}

// status is how it ended.
func (a response) status() string {
	if a.cut {
		return "incomplete"
	}
	return "completed"
}

func (a response) ended() object {
	end := a.state(a.status())
	if a.cut {
		end["incomplete_details"] = object{"reason": "max_output_tokens"}
	}
	end["output"] = []object{a.message(a.status(), []object{a.text(strings.Join(a.tokens, ""))})}
	end["usage"] = object{"input_tokens": a.prompt, "input_tokens_details": object{"cached_tokens": 0, "cache_write_tokens": 0},
		"output_tokens": len(a.tokens), "output_tokens_details": object{"reasoning_tokens": 0}, "total_tokens": a.prompt + len(a.tokens)}
	return end
}

func (a response) message(status string, content []object) object {
	return object{"id": a.item, "type": "message", "role": "assistant", "status": status, "content": content}
}

func (a response) text(text string) object {
	return object{"type": "output_text", "text": text, "annotations": []object{}, "logprobs": []object{}}
}

// play numbers its events, as the SDKs' types want them.
func (a response) play() play {
	number := 0
	event := func(name string, o object) frame {
		o["type"], o["sequence_number"] = name, number
		number++
		return frame{name, encode(o)}
	}
	whole := strings.Join(a.tokens, "")
	inText := func(o object) object {
		o["item_id"], o["output_index"], o["content_index"] = a.item, 0, 0
		return o
	}
	p := play{tokens: a.tokens}
	p.opening = []frame{
		event("response.created", object{"response": a.state("in_progress")}),
		event("response.in_progress", object{"response": a.state("in_progress")}),
		event("response.output_item.added", object{"output_index": 0, "item": a.message("in_progress", []object{})}),
		event("response.content_part.added", inText(object{"part": a.text("")})),
	}
	first := number
	p.part = func(i int, token string) frame {
		o := inText(object{"delta": token, "logprobs": []object{}})
		o["type"], o["sequence_number"] = "response.output_text.delta", first+i
		return frame{"response.output_text.delta", encode(o)}
	}
	number += len(a.tokens)
	p.closing = []frame{
		event("response.output_text.done", inText(object{"text": whole, "logprobs": []object{}})),
		event("response.content_part.done", inText(object{"part": a.text(whole)})),
		event("response.output_item.done", object{"output_index": 0, "item": a.message(a.status(), []object{a.text(whole)})}),
		event("response."+a.status(), object{"response": a.ended()}),
	}
	return p
}

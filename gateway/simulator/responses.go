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
		return q, q.mayCall(m)
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
	if err := q.hearItems(items); err != nil {
		return q, err
	}
	return q, q.mayCall(m)
}

// hearItems takes in the messages among the items. The others (a tool's call, its output) have no role.
func (q *question) hearItems(items []members) error {
	for i, item := range items {
		if _, ok := item["role"]; !ok {
			kind, _, _ := member[string](item, "type", "a string")
			q.result = kind == "function_call_output"
			continue
		}
		text, err := item.text("input[" + strconv.Itoa(i) + "].")
		if err != nil {
			return err
		}
		q.hear(text)
		q.result = false
	}
	return nil
}

// response is an answer in the form of /v1/responses.
type response struct {
	id, model string
	tool      string // that is called; "": none
	created   int64
	tokens    []string
	cut       bool // by max_output_tokens
	prompt    int
}

func newResponse(q question, g generation) response {
	tokens, reason := q.speak(g.tokens)
	return response{id: g.id, model: g.model, tool: q.call.name, created: time.Now().Unix(),
		tokens: tokens, cut: reason == "length", prompt: q.prompt}
}

// state is the response while it is made.
func (a response) state(status string) object {
	return object{"id": "resp_" + a.id, "object": "response", "created_at": a.created, "status": status, "model": a.model, "output": []object{},
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
	end["output"] = []object{a.item(a.status(), strings.Join(a.tokens, ""))}
	end["usage"] = object{"input_tokens": a.prompt, "input_tokens_details": object{"cached_tokens": 0, "cache_write_tokens": 0},
		"output_tokens": len(a.tokens), "output_tokens_details": object{"reasoning_tokens": 0}, "total_tokens": a.prompt + len(a.tokens)}
	return end
}

// item is the one thing in the output: a message, of nothing at first, or a call.
func (a response) item(status, said string) object {
	if a.tool != "" {
		return object{"id": a.itemID(), "type": "function_call", "status": status, "call_id": "call_" + a.id, "name": a.tool, "arguments": said}
	}
	content := []object{}
	if status != "in_progress" {
		content = append(content, a.text(said))
	}
	return object{"id": a.itemID(), "type": "message", "role": "assistant", "status": status, "content": content}
}

func (a response) itemID() string {
	if a.tool != "" {
		return "fc_" + a.id
	}
	return "msg_" + a.id
}

func (a response) text(text string) object {
	return object{"type": "output_text", "text": text, "annotations": []object{}, "logprobs": []object{}}
}

// numbered makes events and numbers them, as the SDKs' types want them.
type numbered struct {
	response
	next int
}

func (a *numbered) event(name string, o object) frame {
	o["type"], o["sequence_number"] = name, a.next
	a.next++
	return frame{name, encode(o)}
}

// within is an event about the item, or about the text in it.
func (a *numbered) within(name string, o object) frame {
	o["item_id"], o["output_index"] = a.itemID(), 0
	if a.tool == "" {
		o["content_index"] = 0
	}
	return a.event(name, o)
}

func (a response) play() play {
	e := &numbered{response: a}
	whole := strings.Join(a.tokens, "")
	p := play{tokens: a.tokens}
	p.opening = []frame{
		e.event("response.created", object{"response": a.state("in_progress")}),
		e.event("response.in_progress", object{"response": a.state("in_progress")}),
		e.event("response.output_item.added", object{"output_index": 0, "item": a.item("in_progress", "")}),
	}
	if a.tool == "" {
		p.opening = append(p.opening, e.within("response.content_part.added", object{"part": a.text("")}))
	}
	first := e.next
	p.part = func(i int, token string) frame {
		one := numbered{a, first + i}
		if a.tool != "" {
			return one.within("response.function_call_arguments.delta", object{"delta": token})
		}
		return one.within("response.output_text.delta", object{"delta": token, "logprobs": []object{}})
	}
	e.next += len(a.tokens)
	if a.tool != "" {
		p.closing = []frame{e.within("response.function_call_arguments.done", object{"name": a.tool, "arguments": whole})}
	} else {
		p.closing = []frame{
			e.within("response.output_text.done", object{"text": whole, "logprobs": []object{}}),
			e.within("response.content_part.done", object{"part": a.text(whole)}),
		}
	}
	p.closing = append(p.closing,
		e.event("response.output_item.done", object{"output_index": 0, "item": a.item(a.status(), whole)}),
		e.event("response."+a.status(), object{"response": a.ended()}))
	return p
}

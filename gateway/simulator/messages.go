package simulator

import (
	"encoding/json"
	"net/http"
	"strings"
)

// isMessages tells the paths of Anthropic's API, whose faults have a shape of their own.
func isMessages(path string) bool {
	return path == "/v1/messages" || strings.HasPrefix(path, "/v1/messages/")
}

// anthropicKind is the type of a fault in Anthropic's API.
func anthropicKind(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "authentication_error"
	case http.StatusForbidden:
		return "permission_error"
	case http.StatusNotFound:
		return "not_found_error"
	case http.StatusRequestEntityTooLarge:
		return "request_too_large"
	case http.StatusTooManyRequests:
		return "rate_limit_error"
	case http.StatusServiceUnavailable, 529:
		return "overloaded_error"
	}
	if status >= 500 {
		return "api_error"
	}
	return "invalid_request_error"
}

// converse answers POST /v1/messages.
func (s *Simulator) converse(w http.ResponseWriter, r *http.Request) error {
	q, g, err := accept(s, w, r, decodeConversation)
	if err != nil {
		return err
	}
	a := newReply(q, g)
	if q.stream {
		return g.stream(w, r, a.play())
	}
	return g.replyWhole(w, a.whole())
}

// countTokens answers POST /v1/messages/count_tokens.
func (s *Simulator) countTokens(w http.ResponseWriter, r *http.Request) error {
	q, g, err := accept(s, w, r, decodeMessages)
	if err != nil {
		return err
	}
	return g.replyWhole(w, object{"input_tokens": q.prompt})
}

// decodeConversation decodes messages that are to be answered: how long the answer may be must be stated.
func decodeConversation(body []byte) (question, error) {
	q, err := decodeMessages(body)
	if err == nil && q.limit == 0 {
		err = missing("max_tokens")
	}
	return q, err
}

func decodeMessages(body []byte) (question, error) {
	m, err := readModelRequest(body)
	if err != nil {
		return question{}, err
	}
	q, err := m.common("max_tokens")
	if err != nil {
		return q, err
	}
	system, err := m.prose("system", "")
	if err != nil {
		return q, err
	}
	q.hear(system)
	if err := q.hearMessages(m); err != nil {
		return q, err
	}
	return q, q.mayCall(m)
}

// answered is an answer in Anthropic's form.
type answered struct {
	id, model, stop string
	tool            string // that is called; "": none
	tokens          []string
	prompt          int
}

func newReply(q question, g generation) answered {
	tokens, reason := q.speak(g.tokens)
	a := answered{id: g.id, model: g.model, stop: "end_turn", tool: q.call.name, tokens: tokens, prompt: q.prompt}
	switch reason {
	case "length":
		a.stop = "max_tokens"
	case "tool_calls":
		a.stop = "tool_use"
	}
	return a
}

func (a answered) usage(output int) object {
	return object{"input_tokens": a.prompt, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": output}
}

// block is the one part of the answer: a text, or a call. Arguments that max_tokens has cut are no JSON, and left out.
func (a answered) block(said string) object {
	if a.tool == "" {
		return object{"type": "text", "text": said}
	}
	if !json.Valid([]byte(said)) {
		said = "{}"
	}
	return object{"type": "tool_use", "id": "toolu_" + a.id, "name": a.tool, "input": json.RawMessage(said)}
}

// increment is what a token adds to the block.
func (a answered) increment(token string) object {
	if a.tool == "" {
		return object{"type": "text_delta", "text": token}
	}
	return object{"type": "input_json_delta", "partial_json": token}
}

func (a answered) whole() object {
	return object{"id": "msg_" + a.id, "type": "message", "role": "assistant", "model": a.model,
		"content":     []object{a.block(strings.Join(a.tokens, ""))},
		"stop_reason": a.stop, "stop_sequence": nil, "usage": a.usage(len(a.tokens))}
}

func (a answered) play() play {
	event := func(name string, o object) frame {
		o["type"] = name
		return frame{name, encode(o)}
	}
	begun := a.whole()
	begun["content"], begun["stop_reason"], begun["usage"] = []object{}, nil, a.usage(0)
	return play{
		tokens: a.tokens,
		opening: []frame{
			event("message_start", object{"message": begun}),
			event("content_block_start", object{"index": 0, "content_block": a.block("")}),
			event("ping", object{}),
		},
		part: func(_ int, token string) frame {
			return event("content_block_delta", object{"index": 0, "delta": a.increment(token)})
		},
		closing: []frame{
			event("content_block_stop", object{"index": 0}),
			event("message_delta", object{"delta": object{"stop_reason": a.stop, "stop_sequence": nil}, "usage": a.usage(len(a.tokens))}),
			event("message_stop", object{}),
		},
	}
}

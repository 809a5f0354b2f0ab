package inference

import "bytes"

// Content tells whether an event of a stream has something in it for whoever waits: text, thoughts, a call of a tool, a refusal, sound.
// Events of roles, pings, usage and ends have not, errors neither. data is the event's, borrowed.
func (d Dialect) Content(data []byte) bool {
	event := object(data)
	if event == nil {
		return false
	}
	switch d {
	case Chat, Completions:
		return choicesSay(member(event, "choices"))
	case Messages:
		return isString(member(event, "type"), "content_block_delta") && deltaSays(member(event, "delta"))
	case Responses, Realtime, Audio: // response.output_text.delta, response.function_call_arguments.delta, transcript.text.delta …
		return bytes.HasSuffix(text(member(event, "type")), []byte(".delta")) && says(member(event, "delta"))
	}
	return false
}

// choicesSay tells whether one of the choices of a chunk says something.
func choicesSay(choices []byte) bool {
	for w := walkOf(choices); ; {
		_, choice, ok := w.next()
		if !ok {
			return false
		}
		for c := walkOf(choice); ; {
			name, v, ok := c.next()
			if !ok {
				break
			}
			if string(name) == "text" && says(v) || string(name) == "delta" && deltaSays(v) {
				return true
			}
		}
	}
}

// deltaSays tells whether a delta has anything but what it is: its role, its type, a signature.
func deltaSays(delta []byte) bool {
	for w := walkOf(delta); ; {
		name, v, ok := w.next()
		if !ok {
			return false
		}
		switch string(name) {
		case "role", "type", "signature", "index", "name", "id":
		default:
			if says(v) {
				return true
			}
		}
	}
}

// Ends tells whether an event is the one that ends a stream which is whole.
func (d Dialect) Ends(data []byte) bool {
	switch d {
	case Chat, Completions:
		return string(bytes.Trim(data, " \t\r\n")) == "[DONE]"
	case Messages:
		return isString(member(object(data), "type"), "message_stop")
	case Responses:
		switch string(text(member(object(data), "type"))) {
		case "response.completed", "response.incomplete", "response.failed":
			return true
		}
	case Audio:
		return isString(member(object(data), "type"), "transcript.text.done") || isString(member(object(data), "type"), "speech.audio.done")
	}
	return false
}

// Fails tells whether an event says that the generation has failed: its stream is then not one to keep.
func (d Dialect) Fails(data []byte) bool {
	event := object(data)
	switch string(text(member(event, "type"))) {
	case "error", "response.failed":
		return true
	}
	return says(member(event, "error"))
}

// ContextExceeded tells whether the body of a 400 says that the request does not fit into the model's context: as OpenAI, vLLM or
// llama.cpp say it.
func ContextExceeded(answer []byte) bool {
	e := member(object(answer), "error")
	if e == nil {
		e = object(answer) // older vLLM
	}
	message := text(member(e, "message"))
	switch string(text(member(e, "type"))) {
	case "exceed_context_size_error":
		return true
	case "BadRequestError":
		return bytes.Contains(message, []byte("max_model_len")) || bytes.Contains(message, []byte("maximum context length"))
	}
	return isString(member(e, "code"), "context_length_exceeded")
}

// Usage is what an answer tells about its tokens.
type Usage struct {
	Input  int64 // all of them, also those that a cache of the engine spared
	Output int64
	Cached int64 // of the input

	fresh, created int64 // of Messages: the input that no cache had, and what was written to one
}

// Read takes in what an event's data, or a whole answer, tells about usage where its dialect has it, and tells whether it did.
// Later events win: a stream states what it has so far, or in parts.
func (u *Usage) Read(d Dialect, data []byte) bool {
	answer := object(data)
	if answer == nil {
		return false
	}
	v := member(answer, "usage")
	if len(v) == 0 {
		switch d {
		case Messages: // message_start
			v = member(member(answer, "message"), "usage")
		case Responses, Realtime: // response.completed, response.done
			v = member(member(answer, "response"), "usage")
		}
	}
	if len(v) == 0 || v[0] != '{' {
		return false
	}
	return u.take(d, v)
}

// take reads a usage object.
func (u *Usage) take(d Dialect, usage []byte) (states bool) {
	for w := walkOf(usage); ; {
		name, v, ok := w.next()
		if !ok {
			break
		}
		switch string(name) {
		case "prompt_tokens", "input_tokens":
			states = set(&u.fresh, v) || states
		case "completion_tokens", "output_tokens":
			states = set(&u.Output, v) || states
		case "cache_read_input_tokens":
			set(&u.Cached, v)
		case "cache_creation_input_tokens":
			set(&u.created, v)
		case "prompt_tokens_details", "input_tokens_details", "input_token_details":
			set(&u.Cached, member(v, "cached_tokens"))
		}
	}
	u.Input = u.fresh
	if d == Messages { // Anthropic's input_tokens are only those that no cache had or got
		u.Input += u.Cached + u.created
	}
	return states
}

// set sets n to the count that v is, if it is one.
func set(n *int64, v []byte) bool {
	to, ok := count(v)
	if ok {
		*n = to
	}
	return ok
}

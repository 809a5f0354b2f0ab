package simulator

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// decodeChat reads the body of a chat completion. Members that would not change the echo (temperature, seed, …) pass unread.
func decodeChat(body []byte) (question, error) {
	m, err := readModelRequest(body)
	if err != nil {
		return question{}, err
	}
	q, err := m.common("max_completion_tokens", "max_tokens")
	if err != nil {
		return q, err
	}
	if err := q.hearMessages(m); err != nil {
		return q, err
	}
	return q, q.mayCall(m)
}

// hearMessages takes in the conversation of chat completions and of Messages.
func (q *question) hearMessages(m members) error {
	messages, ok, err := member[[]members](m, "messages", "an array of objects")
	switch {
	case err != nil:
		return err
	case !ok:
		return missing("messages")
	case len(messages) == 0:
		return wrongValue("messages", "at least one message")
	}
	for i, said := range messages {
		text, err := said.text("messages[" + strconv.Itoa(i) + "].")
		if err != nil {
			return err
		}
		q.hear(text)
		q.result = said.isResult()
	}
	return nil
}

// hear takes in what was said last.
func (q *question) hear(text string) {
	q.echo = text
	q.prompt += len(tokenize(text))
}

// text is what a chat message says: a string, the text parts of an array, or nothing (an assistant's tool call).
func (m members) text(at string) (string, error) {
	role, ok, err := member[string](m, "role", "a string")
	switch {
	case err != nil:
		return "", wrongType(at+"role", "a string")
	case !ok:
		return "", missing(at + "role")
	case !slices.Contains([]string{"developer", "system", "user", "assistant", "tool", "function"}, role):
		return "", wrongValue(at+"role", "developer, system, user, assistant, tool or function")
	}
	return m.prose("content", at)
}

// prose is a member that is a string or an array of parts, of which those with text and functions' results count.
func (m members) prose(name, at string) (string, error) {
	if text, _, err := member[string](m, name, "a string"); err == nil {
		return text, nil
	}
	parts, _, err := member[[]members](m, name, "a string or an array of parts")
	if err != nil {
		return "", wrongType(at+name, "a string or an array of parts")
	}
	var all strings.Builder
	for i, part := range parts {
		if part.isToolResult() {
			all.WriteString(part.outcome())
			continue
		}
		text, _, err := member[string](part, "text", "a string")
		if err != nil {
			return "", wrongType(at+name+"["+strconv.Itoa(i)+"].text", "a string")
		}
		all.WriteString(text)
	}
	return all.String(), nil
}

// decodeCompletion reads the body of a text completion.
func decodeCompletion(body []byte) (question, error) {
	m, err := readModelRequest(body)
	if err != nil {
		return question{}, err
	}
	q, err := m.common("max_tokens")
	if err != nil {
		return q, err
	}
	prompts, err := readInputs(m, "prompt")
	if err != nil {
		return q, err
	}
	if len(prompts) != 1 {
		return q, wrongValue("prompt", "one prompt, which is all the simulator answers at a time")
	}
	q.echo, q.prompt = prompts[0].text, prompts[0].tokens
	return q, nil
}

// readModelRequest reads a body and insists, as OpenAI does, that it names a model.
func readModelRequest(body []byte) (members, error) {
	m, err := readMembers(body)
	if err != nil {
		return nil, err
	}
	name, ok, err := member[string](m, "model", "a string")
	switch {
	case err != nil:
		return nil, err
	case !ok || name == "":
		return nil, missing("model")
	}
	return m, nil
}

// model is the name in a body that readModelRequest has accepted, or "".
func (m members) model() string {
	name, _, _ := member[string](m, "model", "a string")
	return name
}

// common reads what chat and text completions share. The smallest of the limits holds.
func (m members) common(limits ...string) (question, error) {
	q := question{model: m.model()}
	for _, name := range limits {
		n, ok, err := member[int](m, name, "an integer")
		switch {
		case err != nil:
			return q, err
		case ok && n < 1:
			return q, wrongValue(name, "an integer of at least 1")
		case ok && (q.limit == 0 || n < q.limit):
			q.limit = n
		}
	}
	n, ok, err := member[int](m, "n", "an integer")
	if err != nil {
		return q, err
	}
	if ok && n != 1 {
		return q, wrongValue("n", "1, the only number of choices the simulator makes")
	}
	if q.stream, _, err = member[bool](m, "stream", "a boolean"); err != nil {
		return q, err
	}
	options, ok, err := member[members](m, "stream_options", "an object")
	if err != nil || !ok {
		return q, err
	}
	if !q.stream {
		return q, &fault{status: http.StatusBadRequest, param: "stream_options", code: "invalid_value",
			message: "The 'stream_options' parameter is only allowed when 'stream' is enabled."}
	}
	if q.withUsage, _, err = member[bool](options, "include_usage", "a boolean"); err != nil {
		return q, wrongType("stream_options.include_usage", "a boolean")
	}
	return q, nil
}

// input is one text of a "prompt" or "input" member.
type input struct {
	text   string
	tokens int
}

// readInputs reads a member that is a string, an array of strings, an array of token numbers, or an array of such arrays.
// LangChain, for one, sends numbers. They are taken as text, brackets and all, which is enough to tell them apart.
func readInputs(m members, name string) ([]input, error) {
	const kind = "a string, an array of strings or an array of token numbers"
	raw, ok, err := member[json.RawMessage](m, name, kind)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, missing(name)
	}
	if one, ok := readInput(raw); ok {
		return []input{one}, nil
	}
	var several []json.RawMessage
	if json.Unmarshal(raw, &several) != nil {
		return nil, wrongType(name, kind)
	}
	inputs := make([]input, 0, len(several))
	for _, raw := range several {
		one, ok := readInput(raw)
		if !ok {
			return nil, wrongType(name, kind)
		}
		inputs = append(inputs, one)
	}
	if len(inputs) == 0 {
		return nil, wrongValue(name, "at least one input")
	}
	return inputs, nil
}

// readInput takes a string or an array of numbers, neither of them empty.
func readInput(raw json.RawMessage) (input, bool) {
	var text string
	if json.Unmarshal(raw, &text) == nil && text != "" {
		return input{text, len(tokenize(text))}, true
	}
	var numbers []int
	if json.Unmarshal(raw, &numbers) == nil && len(numbers) > 0 {
		return input{string(encode(numbers)), len(numbers)}, true
	}
	return input{}, false
}

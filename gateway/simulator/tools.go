package simulator

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// call is the function that an answer calls instead of echoing: the one that tool_choice names, else the first there is. The
// model is a willing one: it calls whenever it may, unless what was said last is a function's result.
type call struct {
	name      string // "": none
	arguments string // a JSON object: the echo's text as the first member that the function requires, else as "text"
}

// tool is a function as chat completions, Responses and Messages describe it.
type tool struct{ name, argument string }

// mayCall decides what the question's answer calls, when all messages have been heard.
func (q *question) mayCall(m members) error {
	tools, err := readTools(m)
	if err != nil || len(tools) == 0 {
		return err
	}
	chosen, err := choose(m, tools)
	if err != nil || chosen.name == "" || q.result {
		return err
	}
	arguments := encode(map[string]string{chosen.argument: q.echo})
	q.call = call{chosen.name, string(arguments)}
	return nil
}

// readTools are the functions among the tools. What else there is (a search, a computer) is never called.
func readTools(m members) ([]tool, error) {
	described, _, err := member[[]members](m, "tools", "an array of objects")
	if err != nil {
		return nil, err
	}
	var tools []tool
	for i, one := range described {
		at := "tools[" + strconv.Itoa(i) + "]"
		kind, _, err := member[string](one, "type", "a string")
		if err != nil {
			return nil, wrongType(at+".type", "a string")
		}
		if kind != "" && kind != "function" && kind != "custom" {
			continue
		}
		if inner, ok, err := member[members](one, "function", "an object"); err != nil {
			return nil, wrongType(at+".function", "an object")
		} else if ok {
			one = inner
		}
		name, ok, err := member[string](one, "name", "a string")
		if err != nil {
			return nil, wrongType(at+".name", "a string")
		}
		if !ok || name == "" {
			return nil, missing(at + ".name")
		}
		tools = append(tools, tool{name, one.argument()})
	}
	return tools, nil
}

// argument is the first member that a function's schema requires. A schema of another shape requires none.
func (m members) argument() string {
	raw := m["parameters"]
	if raw == nil {
		raw = m["input_schema"] // Messages
	}
	var schema struct {
		Required []string `json:"required"`
	}
	if json.Unmarshal(raw, &schema) != nil || len(schema.Required) == 0 {
		return "text"
	}
	return schema.Required[0]
}

// choose reads tool_choice: a word, or an object that has the word as its type or names a function. No tool: none is wanted.
func choose(m members, tools []tool) (tool, error) {
	word, _, err := member[string](m, "tool_choice", "a string or an object")
	var name string
	if err != nil {
		o, _, err := member[members](m, "tool_choice", "a string or an object")
		if err != nil {
			return tool{}, err
		}
		word, _, _ = member[string](o, "type", "a string")
		if inner, ok, _ := member[members](o, "function", "an object"); ok {
			o = inner
		}
		name, _, _ = member[string](o, "name", "a string")
	}
	if word == "none" {
		return tool{}, nil
	}
	if name == "" {
		return tools[0], nil
	}
	i := slices.IndexFunc(tools, func(t tool) bool { return t.name == name })
	if i < 0 {
		return tool{}, wrongValue("tool_choice", "one of the tools")
	}
	return tools[i], nil
}

// isResult tells what a function gave back, in chat completions and in Messages, from what somebody said.
func (m members) isResult() bool {
	if role, _, _ := member[string](m, "role", "a string"); role == "tool" || role == "function" {
		return true
	}
	parts, _, _ := member[[]members](m, "content", "an array")
	return slices.ContainsFunc(parts, members.isToolResult)
}

func (m members) isToolResult() bool {
	kind, _, _ := member[string](m, "type", "a string")
	return kind == "tool_result"
}

// outcome is what a tool_result says: a string, or the text of its parts.
func (m members) outcome() string {
	if text, _, err := member[string](m, "content", "a string"); err == nil {
		return text
	}
	parts, _, _ := member[[]members](m, "content", "an array")
	var all strings.Builder
	for _, part := range parts {
		text, _, _ := member[string](part, "text", "a string")
		all.WriteString(text)
	}
	return all.String()
}

// toolCall is a call in a chat completion's message, and in the deltas of a stream, which have an index and, but for the first,
// arguments only.
type toolCall struct {
	Index    *int         `json:"index,omitempty"`
	ID       string       `json:"id,omitempty"`
	Type     string       `json:"type,omitempty"`
	Function functionCall `json:"function"`
}

type functionCall struct {
	Name      string `json:"name,omitempty"`
	Arguments string `json:"arguments"`
}

// callDialect is chatDialect for an answer that calls.
func callDialect(name, id string) dialect {
	d := chatDialect()
	said := func(arguments string) toolCall {
		return toolCall{ID: "call_" + id, Type: "function", Function: functionCall{name, arguments}}
	}
	begun := said("")
	begun.Index = new(int)
	d.opening = []choice{{Delta: &delta{Role: "assistant", ToolCalls: []toolCall{begun}}}}
	d.whole = func(arguments string) choice {
		return choice{Message: &message{Role: "assistant", ToolCalls: []toolCall{said(arguments)}, Annotations: []struct{}{}}}
	}
	d.part = func(token string) choice {
		return choice{Delta: &delta{ToolCalls: []toolCall{{Index: new(int), Function: functionCall{Arguments: token}}}}}
	}
	return d
}

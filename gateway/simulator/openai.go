package simulator

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// question is what a chat or text completion asks for.
type question struct {
	model     string // as asked for
	echo      string // the text that comes back: the last message, or the prompt
	prompt    int    // tokens of everything that was said
	limit     int    // max_tokens; 0: none
	stream    bool
	withUsage bool // stream_options.include_usage
	result    bool // what was said last is what a function gave back
	call      call // instead of the echo
}

func (q question) named() string { return q.model }

// completion is the body of a whole answer and of a stream's chunk, for chat and text alike.
type completion struct {
	ID                string          `json:"id"`
	Object            string          `json:"object"`
	Created           int64           `json:"created"` // Unix seconds
	Model             string          `json:"model"`
	Choices           []choice        `json:"choices"`
	Usage             json.RawMessage `json:"usage,omitempty"`
	ServiceTier       string          `json:"service_tier,omitempty"`
	SystemFingerprint string          `json:"system_fingerprint"`
}

// choice has one of Text, Message and Delta.
type choice struct {
	Index        int       `json:"index"`
	Text         *string   `json:"text,omitempty"`
	Message      *message  `json:"message,omitempty"`
	Delta        *delta    `json:"delta,omitempty"`
	Logprobs     *struct{} `json:"logprobs"`      // always null
	FinishReason *string   `json:"finish_reason"` // null until the end
}

type message struct {
	Role        string     `json:"role"`
	Content     *string    `json:"content"` // null where a function is called
	ToolCalls   []toolCall `json:"tool_calls,omitempty"`
	Refusal     *string    `json:"refusal"`     // always null
	Annotations []struct{} `json:"annotations"` // always empty
}

type delta struct {
	Role    string          `json:"role,omitempty"`
	Content *string         `json:"content,omitempty"`
	Refusal json.RawMessage `json:"refusal,omitempty"` // null beside the role, else absent

	ToolCalls []toolCall `json:"tool_calls,omitempty"`
}

type usage struct {
	PromptTokens            int               `json:"prompt_tokens"`
	CompletionTokens        int               `json:"completion_tokens"`
	TotalTokens             int               `json:"total_tokens"`
	PromptTokensDetails     promptDetails     `json:"prompt_tokens_details"`
	CompletionTokensDetails completionDetails `json:"completion_tokens_details"`
}

type promptDetails struct {
	CachedTokens int `json:"cached_tokens"`
	AudioTokens  int `json:"audio_tokens"`
}

type completionDetails struct {
	ReasoningTokens          int `json:"reasoning_tokens"`
	AudioTokens              int `json:"audio_tokens"`
	AcceptedPredictionTokens int `json:"accepted_prediction_tokens"`
	RejectedPredictionTokens int `json:"rejected_prediction_tokens"`
}

// dialect is where the chat and the text form of an answer differ.
type dialect struct {
	id, object, chunk, tier string

	opening []choice // a stream's first chunk; none for text
	whole   func(text string) choice
	part    func(token string) choice
	closing func() choice // a stream's chunk with the finish_reason
}

func chatDialect() dialect {
	return dialect{
		id: "chatcmpl-", object: "chat.completion", chunk: "chat.completion.chunk", tier: "default",
		opening: []choice{{Delta: &delta{Role: "assistant", Content: new(""), Refusal: json.RawMessage("null")}}},
		whole: func(text string) choice {
			return choice{Message: &message{Role: "assistant", Content: &text, Annotations: []struct{}{}}}
		},
		part:    func(token string) choice { return choice{Delta: &delta{Content: &token}} },
		closing: func() choice { return choice{Delta: &delta{}} },
	}
}

func textDialect() dialect {
	text := func(text string) choice { return choice{Text: &text} }
	return dialect{
		id: "cmpl-", object: "text_completion", chunk: "text_completion",
		whole: text, part: text, closing: func() choice { return text("") },
	}
}

func (s *Simulator) chat(w http.ResponseWriter, r *http.Request) error {
	q, g, err := accept(s, w, r, decodeChat)
	if err != nil {
		return err
	}
	if q.call.name != "" {
		return conversation{q, callDialect(q.call.name, g.id)}.answer(w, r, g)
	}
	return conversation{q, chatDialect()}.answer(w, r, g)
}

func (s *Simulator) complete(w http.ResponseWriter, r *http.Request) error {
	q, g, err := accept(s, w, r, decodeCompletion)
	if err != nil {
		return err
	}
	return conversation{q, textDialect()}.answer(w, r, g)
}

// conversation is a question and the form its answer takes.
type conversation struct {
	question
	dialect
}

func (c conversation) answer(w http.ResponseWriter, r *http.Request, g generation) error {
	tokens, reason := c.speak(g.tokens)
	head := completion{
		ID:                c.id + g.id,
		Created:           time.Now().Unix(),
		Model:             g.model,
		ServiceTier:       c.tier,
		SystemFingerprint: "fp_" + g.model,
	}
	u := encode(usage{PromptTokens: c.prompt, CompletionTokens: len(tokens), TotalTokens: c.prompt + len(tokens)})
	if c.stream {
		head.Object = c.chunk
		return g.stream(w, r, script{c, head, tokens, reason, u}.play())
	}
	end := c.whole(strings.Join(tokens, ""))
	end.FinishReason = &reason
	head.Object, head.Choices, head.Usage = c.object, []choice{end}, u
	return g.replyWhole(w, head)
}

// speak is the answer's tokens, or those of the arguments of its call, and why it ended. A wanted number below 0 is the echo's
// own; arguments are never padded.
func (q question) speak(wanted int) (tokens []string, reason string) {
	tokens, reason = tokenize("echo: "+q.echo), "stop"
	if q.call.name != "" {
		tokens, reason = tokenize(q.call.arguments), "tool_calls"
	} else if wanted >= 0 {
		tokens = tokens[:min(wanted, len(tokens))]
		for len(tokens) < wanted {
			tokens = append(tokens, " token")
		}
	}
	if q.limit > 0 && len(tokens) > q.limit {
		return tokens[:q.limit], "length"
	}
	return tokens, reason
}

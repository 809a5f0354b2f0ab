package simulator

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// vocabulary numbers the tokens that /tokenize has met, so that /detokenize finds them again. It keeps the last 65,536.
type vocabulary struct {
	mu   sync.Mutex
	ids  map[string]int
	text map[int]string
	next int
}

const vocabularySize = 1 << 16

func (v *vocabulary) number(tokens []string) []int {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.ids == nil {
		v.ids, v.text = make(map[string]int), make(map[int]string)
	}
	numbers := make([]int, len(tokens))
	for i, token := range tokens {
		id, ok := v.ids[token]
		if !ok {
			id = v.next
			v.next++
			v.ids[token], v.text[id] = id, token
			delete(v.ids, v.text[id-vocabularySize])
			delete(v.text, id-vocabularySize)
		}
		numbers[i] = id
	}
	return numbers
}

func (v *vocabulary) join(numbers []int) (string, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	var all strings.Builder
	for _, id := range numbers {
		token, ok := v.text[id]
		if !ok {
			return "", false
		}
		all.WriteString(token)
	}
	return all.String(), true
}

// maxModelLength is what the engines call the longest context they take. The simulator enforces none.
const maxModelLength = 131_072

// tokenize answers POST /tokenize in vLLM's shape. A model need not be stated, and llama.cpp's "content" does as well.
func (s *Simulator) tokenize(w http.ResponseWriter, r *http.Request) error {
	q, g, err := accept(s, w, r, decodeTokenize)
	if err != nil {
		return err
	}
	numbers := s.words.number(tokenize(q.text))
	return g.replyWhole(w, object{"count": len(numbers), "max_model_len": maxModelLength, "tokens": numbers, "token_strs": nil})
}

// tokenization is what a request to tokenize asks for.
type tokenization struct{ model, text string }

func (q tokenization) named() string { return q.model }

func decodeTokenize(body []byte) (q tokenization, err error) {
	m, err := readMembers(body)
	if err != nil {
		return q, err
	}
	if q.model, _, err = member[string](m, "model", "a string"); err != nil {
		return q, err
	}
	for _, name := range []string{"prompt", "content"} {
		var ok bool
		if q.text, ok, err = member[string](m, name, "a string"); err != nil || ok {
			return q, err
		}
	}
	if _, ok := m["messages"]; !ok {
		return q, missing("prompt")
	}
	messages, _, err := member[[]members](m, "messages", "an array of objects")
	if err != nil {
		return q, err
	}
	var all strings.Builder
	for i, said := range messages {
		one, err := said.text("messages[" + strconv.Itoa(i) + "].")
		if err != nil {
			return q, err
		}
		all.WriteString(one)
	}
	q.text = all.String()
	return q, nil
}

// detokenize answers POST /detokenize for what this simulator has tokenized.
func (s *Simulator) detokenize(w http.ResponseWriter, r *http.Request) error {
	q, g, err := accept(s, w, r, decodeDetokenize)
	if err != nil {
		return err
	}
	text, ok := s.words.join(q.numbers)
	if !ok {
		return wrongValue("tokens", "numbers that /tokenize has given lately")
	}
	return g.replyWhole(w, struct {
		Prompt  string `json:"prompt"`
		Content string `json:"content"` // llama.cpp's name
	}{text, text})
}

// detokenization is what a request to detokenize asks for.
type detokenization struct {
	model   string
	numbers []int
}

func (q detokenization) named() string { return q.model }

func decodeDetokenize(body []byte) (q detokenization, err error) {
	m, err := readMembers(body)
	if err != nil {
		return q, err
	}
	if q.model, _, err = member[string](m, "model", "a string"); err != nil {
		return q, err
	}
	const kind = "an array of integers"
	raw, ok, err := member[json.RawMessage](m, "tokens", kind)
	switch {
	case err != nil:
		return q, err
	case !ok:
		return q, missing("tokens")
	case json.Unmarshal(raw, &q.numbers) != nil:
		return q, wrongType("tokens", kind)
	}
	return q, nil
}

// ready answers GET /health and /ping as vLLM does: 200 and nothing, or 503 while the model loads.
func (s *Simulator) ready(w http.ResponseWriter, _ *http.Request) error {
	select {
	case <-s.loaded:
		writeHead(w, http.StatusOK, 0)
	default:
		writeHead(w, http.StatusServiceUnavailable, 0)
	}
	return nil
}

// version answers GET /version.
func (s *Simulator) version(w http.ResponseWriter, _ *http.Request) error {
	reply(w, http.StatusOK, object{"version": "0.0.0+simulator"})
	return nil
}

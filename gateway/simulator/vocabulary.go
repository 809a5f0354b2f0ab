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
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	name, text, err := decodeTokenize(body)
	if err != nil {
		return err
	}
	if _, err := s.resolve(name); err != nil {
		return err
	}
	g, err := s.work(r)
	if err != nil {
		return err
	}
	numbers := s.words.number(tokenize(text))
	return g.replyWhole(w, object{"count": len(numbers), "max_model_len": maxModelLength, "tokens": numbers, "token_strs": nil})
}

func decodeTokenize(body []byte) (model, text string, err error) {
	m, err := readMembers(body)
	if err != nil {
		return "", "", err
	}
	if model, _, err = member[string](m, "model", "a string"); err != nil {
		return "", "", err
	}
	for _, name := range []string{"prompt", "content"} {
		text, ok, err := member[string](m, name, "a string")
		if err != nil || ok {
			return model, text, err
		}
	}
	if _, ok := m["messages"]; !ok {
		return "", "", missing("prompt")
	}
	messages, _, err := member[[]members](m, "messages", "an array of objects")
	if err != nil {
		return "", "", err
	}
	var all strings.Builder
	for i, said := range messages {
		one, err := said.text("messages[" + strconv.Itoa(i) + "].")
		if err != nil {
			return "", "", err
		}
		all.WriteString(one)
	}
	return model, all.String(), nil
}

// detokenize answers POST /detokenize for what this simulator has tokenized.
func (s *Simulator) detokenize(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	name, numbers, err := decodeDetokenize(body)
	if err != nil {
		return err
	}
	if _, err := s.resolve(name); err != nil {
		return err
	}
	g, err := s.work(r)
	if err != nil {
		return err
	}
	text, ok := s.words.join(numbers)
	if !ok {
		return wrongValue("tokens", "numbers that /tokenize has given lately")
	}
	return g.replyWhole(w, struct {
		Prompt  string `json:"prompt"`
		Content string `json:"content"` // llama.cpp's name
	}{text, text})
}

func decodeDetokenize(body []byte) (model string, numbers []int, err error) {
	m, err := readMembers(body)
	if err != nil {
		return "", nil, err
	}
	if model, _, err = member[string](m, "model", "a string"); err != nil {
		return "", nil, err
	}
	const kind = "an array of integers"
	raw, ok, err := member[json.RawMessage](m, "tokens", kind)
	switch {
	case err != nil:
		return "", nil, err
	case !ok:
		return "", nil, missing("tokens")
	case json.Unmarshal(raw, &numbers) != nil:
		return "", nil, wrongType("tokens", kind)
	}
	return model, numbers, nil
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

package simulator

import (
	"cmp"
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// pairs is what a rerank or score request asks for: how alike two texts are, one pair after the other.
type pairs struct {
	model    string
	left     []input // one for all of right, or as many
	right    []input
	most     int  // top_n; 0: all
	withText bool // return_documents
}

func (p pairs) named() string { return p.model }

// rerank answers POST /v1/rerank in the shape of Jina, Cohere and vLLM.
func (s *Simulator) rerank(w http.ResponseWriter, r *http.Request) error {
	p, g, err := accept(s, w, r, decodeRerank)
	if err != nil {
		return err
	}
	tokens := p.tokens()
	return g.replyWhole(w, object{"id": "rerank-" + g.id, "model": g.model, "results": p.ranked(),
		"usage": object{"prompt_tokens": tokens, "total_tokens": tokens}})
}

// score answers POST /v1/score in vLLM's shape.
func (s *Simulator) score(w http.ResponseWriter, r *http.Request) error {
	p, g, err := accept(s, w, r, decodeScore)
	if err != nil {
		return err
	}
	data := make([]object, len(p.right))
	for i := range data {
		data[i] = object{"index": i, "object": "score", "score": p.likeness(i)}
	}
	tokens := p.tokens()
	return g.replyWhole(w, object{"id": "score-" + g.id, "object": "list", "created": time.Now().Unix(), "model": g.model, "data": data,
		"usage": object{"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0}})
}

func decodeRerank(body []byte) (pairs, error) {
	m, err := readModelRequest(body)
	if err != nil {
		return pairs{}, err
	}
	p := pairs{model: m.model()}
	query, ok, err := member[string](m, "query", "a string")
	switch {
	case err != nil:
		return p, err
	case !ok:
		return p, missing("query")
	}
	p.left = []input{{query, len(tokenize(query))}}
	if p.right, err = readDocuments(m); err != nil {
		return p, err
	}
	n, ok, err := member[int](m, "top_n", "an integer")
	switch {
	case err != nil:
		return p, err
	case ok && n < 1:
		return p, wrongValue("top_n", "an integer of at least 1")
	}
	p.most = n
	include, ok, err := member[bool](m, "return_documents", "a boolean")
	p.withText = !ok || include
	return p, err
}

// readDocuments takes strings and objects with a text.
func readDocuments(m members) ([]input, error) {
	const kind = "an array of strings or of objects with a text"
	raws, ok, err := member[[]json.RawMessage](m, "documents", kind)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, missing("documents")
	case len(raws) == 0 || len(raws) > maxInputs:
		return nil, wrongValue("documents", "1 to 2048 documents")
	}
	documents := make([]input, len(raws))
	for i, raw := range raws {
		text, ok, err := member[string](members{"text": raw}, "text", "a string")
		if err != nil {
			var part members
			_ = json.Unmarshal(raw, &part) // another kind has no members
			text, ok, err = member[string](part, "text", "a string")
		}
		if err != nil || !ok {
			return nil, wrongType("documents["+strconv.Itoa(i)+"]", "a string or an object with a text")
		}
		documents[i] = input{text, len(tokenize(text))}
	}
	return documents, nil
}

func decodeScore(body []byte) (pairs, error) {
	m, err := readModelRequest(body)
	if err != nil {
		return pairs{}, err
	}
	p := pairs{model: m.model()}
	if p.left, err = readInputs(m, "text_1"); err != nil {
		return p, err
	}
	if p.right, err = readInputs(m, "text_2"); err != nil {
		return p, err
	}
	if len(p.left) != 1 && len(p.left) != len(p.right) || len(p.right) > maxInputs {
		return p, wrongValue("text_2", "as many texts as text_1, or text_1 to be one, and 2048 at most")
	}
	return p, nil
}

// query is what the i-th text is held against.
func (p pairs) query(i int) input {
	if len(p.left) == 1 {
		return p.left[0]
	}
	return p.left[i]
}

// tokens counts as a cross-encoder reads: both texts of each pair.
func (p pairs) tokens() (n int) {
	for i, one := range p.right {
		n += p.query(i).tokens + one.tokens
	}
	return n
}

// likeness is the cosine of the two texts as sets of words: 1 for the same words, 0 for none in common.
func (p pairs) likeness(i int) float64 {
	a, b := wordsOf(p.query(i).text), wordsOf(p.right[i].text)
	if len(a) == 0 || len(b) == 0 {
		return 0
	}
	common := 0
	for word := range a {
		if b[word] {
			common++
		}
	}
	return float64(common) / math.Sqrt(float64(len(a)*len(b)))
}

func wordsOf(text string) map[string]bool {
	set := make(map[string]bool)
	for _, word := range strings.Fields(strings.ToLower(text)) {
		set[word] = true
	}
	return set
}

type rank struct {
	Index    int     `json:"index"`
	Score    float64 `json:"relevance_score"`
	Document *object `json:"document,omitempty"`
}

// ranked is the likest first; of two alike, the first.
func (p pairs) ranked() []rank {
	ranks := make([]rank, len(p.right))
	for i, one := range p.right {
		ranks[i] = rank{Index: i, Score: p.likeness(i)}
		if p.withText {
			ranks[i].Document = &object{"text": one.text}
		}
	}
	slices.SortStableFunc(ranks, func(a, b rank) int { return cmp.Compare(b.Score, a.Score) })
	if p.most > 0 && p.most < len(ranks) {
		return ranks[:p.most]
	}
	return ranks
}

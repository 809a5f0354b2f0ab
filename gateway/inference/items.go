package inference

import (
	"crypto/sha256"
	"strconv"
)

// MaxItems is how many inputs of one request for embeddings are looked at one by one.
const MaxItems = 4096

// Items appends where each input of a request for embeddings stands in the body: texts, or lists of tokens. A list of tokens
// is one input, a list of such lists is several. ok is false for inputs of other kinds, for none and for too many.
func (c *Canon) Items(dst [][]byte) (items [][]byte, ok bool) {
	v := c.Value("input")
	switch {
	case len(v) == 0:
		return dst, false
	case v[0] == '"':
		return append(dst, v), true
	case v[0] != '[':
		return dst, false
	}
	first := skipSpace(v, 1)
	if c := v[first]; c == '-' || '0' <= c && c <= '9' {
		return append(dst, v), isTokens(v)
	}
	kind, before := v[first], len(dst)
	for w := walkOf(v); ; {
		_, item, more := w.next()
		if !more {
			break
		}
		if item[0] != kind || kind != '"' && !isTokens(item) || len(dst)-before == MaxItems {
			return dst, false
		}
		dst = append(dst, item)
	}
	return dst, len(dst) > before
}

// isTokens tells whether v is a list of whole numbers.
func isTokens(v []byte) bool {
	if v[0] != '[' {
		return false
	}
	some := false
	for w := walkOf(v); ; some = true {
		_, n, more := w.next()
		if !more {
			return some
		}
		if digits(n) != len(n) {
			return false
		}
	}
}

// SumItem is what tells an input apart from others: rest is the Sum of the request without its input.
func (c *Canon) SumItem(rest [sha256.Size]byte, item []byte) [sha256.Size]byte {
	if c.hash == nil {
		c.hash = sha256.New()
	}
	c.hash.Reset()
	c.sum = rest
	_, _ = c.hash.Write(itemPrefix)
	_, _ = c.hash.Write(c.sum[:])
	writeTight(c.hash, item)
	c.hash.Sum(c.sum[:0])
	return c.sum
}

var itemPrefix = []byte("input\x00")

// AppendWithItems appends the request with other inputs: the canonical text, with all its members, and these for input. It says
// where the model stands in what it has appended; from is -1 if there is none.
func (c *Canon) AppendWithItems(dst []byte, items [][]byte) (body []byte, from, to int) {
	start := len(dst)
	c.modelAt = -1
	dst = c.AppendTo(dst, Embeddings, "input")
	if from = -1; c.modelAt >= 0 {
		from = c.modelAt - start
		to = from + len(c.Value("model"))
	}
	dst = dst[:len(dst)-1]
	if dst[len(dst)-1] != '{' {
		dst = append(dst, ',')
	}
	dst = append(dst, `"input":[`...)
	for i, item := range items {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, item...)
	}
	return append(dst, "]}"...), from, to
}

// An Embedding is one of an answer, as it stands there: a list of numbers, or a string of them in base64.
type Embedding []byte

// Vectors are what an answer to a request for embeddings has, borrowed.
type Vectors struct {
	ByIndex []Embedding
	Model   []byte // as JSON; nil: it does not say
	Usage   Usage
}

// ReadVectors reads an answer to a request of n inputs. ok is false unless it has exactly one embedding for each, and nothing that
// is not known here.
func ReadVectors(answer []byte, n int) (v Vectors, ok bool) {
	r := Embeddings.ReadAnswer(answer)
	answer = object(answer)
	if r.Doubt != NoDoubt || answer == nil {
		return Vectors{}, false
	}
	v = Vectors{ByIndex: make([]Embedding, n), Usage: r.Usage, Model: member(answer, "model")}
	found := 0
	for w := walkOf(member(answer, "data")); ; found++ {
		_, item, more := w.next()
		if !more {
			break
		}
		i, embedding, ok := readVector(item)
		if !ok || i >= n || v.ByIndex[i] != nil {
			return Vectors{}, false
		}
		v.ByIndex[i] = embedding
	}
	return v, found == n
}

// readVector reads one element of data.
func readVector(item []byte) (index int, e Embedding, ok bool) {
	index = -1
	for w := walkOf(item); ; {
		name, v, more := w.next()
		if !more {
			break
		}
		switch string(name) {
		case "index":
			n, ok := count(v)
			if !ok || index >= 0 || n > MaxItems {
				return 0, nil, false
			}
			index = int(n)
		case "embedding":
			if e != nil || v[0] != '"' && v[0] != '[' || !says(v) {
				return 0, nil, false
			}
			e = Embedding(v)
		case "object", "encoding_format": // the second one from llama.cpp: what the request has asked for, said again
		default:
			return 0, nil, false
		}
	}
	return index, e, index >= 0 && e != nil
}

// AppendVectorsBegin, AppendVector and AppendVectorsEnd append an answer to a request for embeddings, one by one.
func AppendVectorsBegin(dst []byte) []byte { return append(dst, `{"object":"list","data":[`...) }

// AppendVector appends the embedding of the input i.
func AppendVector(dst []byte, i int, e Embedding) []byte {
	if i > 0 {
		dst = append(dst, ',')
	}
	dst = strconv.AppendInt(append(dst, `{"object":"embedding","index":`...), int64(i), 10)
	return append(append(append(dst, `,"embedding":`...), e...), '}')
}

// AppendVectorsEnd appends what stands behind them: the model as JSON, nil if nobody has said it, and the tokens that were read.
func AppendVectorsEnd(dst, model []byte, tokens int64) []byte {
	dst = append(dst, ']')
	if model != nil {
		dst = append(append(dst, `,"model":`...), model...)
	}
	dst = strconv.AppendInt(append(dst, `,"usage":{"prompt_tokens":`...), tokens, 10)
	dst = strconv.AppendInt(append(dst, `,"total_tokens":`...), tokens, 10)
	return append(dst, "}}"...)
}

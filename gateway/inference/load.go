package inference

import (
	"bytes"
	"math"
	"strconv"
)

// A Load is what an engine says of itself on its page of metrics.
type Load struct {
	Engine  string  // its family: "vllm", "sglang", "llamacpp", "trtllm"
	Running int64   // requests that it works on
	Waiting int64   // requests that it has, and does not work on yet
	KV      float64 // the share of its KV cache in use, 0 to 1; negative: it does not say
	Hits    float64 // tokens of prompts that were in its prefix cache, since it began; negative: it does not say
	Asked   float64 // tokens of prompts since it began; negative: it does not say
}

// A family is how engines of one kind call what they say.
type family struct {
	name             string
	prefix           string // of all its names
	running, waiting string
	kv               string // "": none
	hits, asked      string // counters of tokens; "": none
	computed         bool   // asked counts only what was no hit
}

var families = [...]family{
	{name: "vllm", prefix: "vllm:", running: "vllm:num_requests_running", waiting: "vllm:num_requests_waiting", kv: "vllm:kv_cache_usage_perc",
		hits: "vllm:prefix_cache_hits_total", asked: "vllm:prefix_cache_queries_total"},
	{name: "sglang", prefix: "sglang:", running: "sglang:num_running_reqs", waiting: "sglang:num_queue_reqs", kv: "sglang:token_usage",
		hits: "sglang:cached_tokens_total", asked: "sglang:prompt_tokens_total"},
	{name: "llamacpp", prefix: "llamacpp:", running: "llamacpp:requests_processing", waiting: "llamacpp:requests_deferred",
		hits: "llamacpp:prompt_tokens_cached_total", asked: "llamacpp:prompt_tokens_total", computed: true},
	{name: "trtllm", prefix: "trtllm_", running: "trtllm_num_requests_running", waiting: "trtllm_num_requests_waiting", kv: "trtllm_kv_cache_utilization"},
}

// maxRequests is more than any engine has: a figure above it is absurd.
const maxRequests = 1 << 20

// ReadLoad reads a page of metrics in Prometheus' text format. engine is a family's name, or "auto" for whichever the page is
// of. It is ok if the page says both what runs and what waits, and nothing absurd. An engine of several ranks has a series for each:
// requests and tokens are added up, shares of a cache averaged; the other halves of one rank (tp_rank, pp_rank) say the same again.
func ReadLoad(engine string, page []byte) (l Load, ok bool) {
	var of *family
	var running, waiting, kv, hits, asked series
	for len(page) > 0 {
		var line []byte
		line, page, _ = bytes.Cut(page, []byte("\n"))
		if of == nil {
			if of = familyOf(engine, line); of == nil {
				continue
			}
		}
		if len(line) <= len(of.prefix) || string(line[:len(of.prefix)]) != of.prefix {
			continue
		}
		name, labels, value := sample(line)
		var to *series
		switch string(name) {
		case of.running:
			to = &running
		case of.waiting:
			to = &waiting
		case of.kv:
			to = &kv
		case of.hits:
			to = &hits
		case of.asked:
			to = &asked
		default:
			continue
		}
		if !otherHalf(labels) {
			to.add(value)
		}
	}
	if of == nil || !running.within(maxRequests) || !waiting.within(maxRequests) || kv.n > 0 && !kv.within(float64(kv.n)) {
		return Load{}, false
	}
	l = Load{Engine: of.name, Running: int64(running.sum), Waiting: int64(waiting.sum), KV: -1, Hits: -1, Asked: -1}
	if kv.n > 0 {
		l.KV = kv.sum / float64(kv.n)
	}
	if hits.within(math.MaxInt64) && asked.within(math.MaxInt64) {
		if l.Hits, l.Asked = hits.sum, asked.sum; of.computed {
			l.Asked += l.Hits
		}
		l.Hits = min(l.Hits, l.Asked) // it may have read on between the two
	}
	return l, true
}

// familyOf is the family whose line that is; nil if it is none's, or not that engine's.
func familyOf(engine string, line []byte) *family {
	for i := range families {
		f := &families[i]
		if (engine == "auto" || engine == f.name) && len(line) > len(f.prefix) && string(line[:len(f.prefix)]) == f.prefix {
			return f
		}
	}
	return nil
}

// A series adds up the samples of one name.
type series struct {
	n      int
	sum    float64
	absurd bool
}

func (s *series) add(value []byte) {
	v, err := strconv.ParseFloat(string(value), 64)
	s.n++
	if s.sum += v; err != nil || !(v >= 0) || math.IsInf(v, 0) {
		s.absurd = true
	}
}

// within tells whether there is a sample, all make sense, and they are no more than that together.
func (s *series) within(most float64) bool { return s.n > 0 && !s.absurd && s.sum <= most }

// sample takes a line apart: name{labels} value timestamp. What is no such line has no name.
func sample(line []byte) (name, labels, value []byte) {
	i := bytes.IndexAny(line, "{ \t")
	if i < 0 {
		return nil, nil, nil
	}
	name, rest := line[:i], line[i:]
	if rest[0] == '{' {
		end := labelsEnd(rest)
		if end < 0 {
			return nil, nil, nil
		}
		labels, rest = rest[1:end], rest[end+1:]
	}
	rest = bytes.Trim(rest, " \t\r")
	if i := bytes.IndexAny(rest, " \t"); i >= 0 {
		rest = rest[:i] // a timestamp follows
	}
	return name, labels, rest
}

// labelsEnd is the index of the brace that ends the labels that begin b; a value may hold one, and escaped quotes.
func labelsEnd(b []byte) int {
	quoted := false
	for i := 1; i < len(b); i++ {
		switch c := b[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == '}' && !quoted:
			return i
		}
	}
	return -1
}

// otherHalf tells whether a sample is of a rank that works on the same requests as the first one.
func otherHalf(labels []byte) bool {
	for _, name := range []string{`tp_rank="`, `pp_rank="`} {
		if i := bytes.Index(labels, []byte(name)); i >= 0 {
			if v := labels[i+len(name):]; len(v) > 1 && (v[0] != '0' || v[1] != '"') {
				return true
			}
		}
	}
	return false
}

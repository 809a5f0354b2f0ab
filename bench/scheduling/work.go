package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"time"

	"aigateway/gateway/simulator"
)

// What people do.
const (
	engines    = 8
	turns      = 10
	apps       = 20 // system prompts
	zipf       = 1.1
	begin      = 300 * time.Millisecond // in which a conversation begins, in the mean
	think      = 4 * time.Second        // on average, between an answer and the next question
	tokenBytes = 4
)

// A conversation is its turns; the first ends before the second is asked.
type conversation struct {
	name   string
	starts time.Duration
	turns  []turn
}

// A turn is one request.
type turn struct {
	body   []byte        // as a client sends it
	blocks []uint64      // of the engine
	prompt int           // tokens
	output int           // tokens
	think  time.Duration // before it
}

// newWork makes the conversations of a seed; fewer people come in less time.
func newWork(seed uint64, people int) []*conversation {
	rng := rand.New(rand.NewPCG(seed, 1))
	system := make([]string, apps)
	for i := range system {
		system[i] = words(rng, 1500+rng.IntN(6500))
	}
	var all []*conversation
	for i := range people {
		c := &conversation{name: fmt.Sprint("session-", i), starts: time.Duration(rng.Float64() * float64(people) * float64(begin))}
		text := fmt.Sprintf(`[{"role":"system","content":%q}`, system[popular(rng, apps, zipf)])
		for range turns {
			text += fmt.Sprintf(`,{"role":"user","content":%q}`, words(rng, int(spread(rng, 600))))
			t := turn{body: []byte(`{"model":"m","stream":true,"messages":` + text + `]}`), prompt: len(text) / tokenBytes, output: 1 + int(spread(rng, 120))}
			t.think = time.Duration(rng.ExpFloat64() * float64(think))
			text += fmt.Sprintf(`,{"role":"assistant","content":%q}`, words(rng, tokenBytes*t.output))
			t.blocks = blocksOf(text)
			c.turns = append(c.turns, t)
		}
		all = append(all, c)
	}
	return all
}

// spread is log-normal: half are below the middle, a few far above it.
func spread(rng *rand.Rand, middle float64) float64 {
	return middle * math.Exp(max(-2, min(2, rng.NormFloat64()))*0.7)
}

// popular draws one of n by Zipf's law.
func popular(rng *rand.Rand, n int, s float64) int {
	sum := 0.0
	for i := range n {
		sum += math.Pow(float64(i+1), -s)
	}
	at := rng.Float64() * sum
	for i := range n {
		if at -= math.Pow(float64(i+1), -s); at < 0 {
			return i
		}
	}
	return n - 1
}

func words(rng *rand.Rand, n int) string {
	var b strings.Builder
	for b.Len() < n {
		fmt.Fprintf(&b, "w%d ", rng.IntN(100000))
	}
	return b.String()[:n]
}

// blocksOf is the chained hashes of a text's blocks, as an engine has them.
func blocksOf(text string) (all []uint64) {
	h := uint64(1)
	for ; len(text) >= simulator.KVBlock*tokenBytes; text = text[simulator.KVBlock*tokenBytes:] {
		for i := range simulator.KVBlock * tokenBytes {
			h = (h ^ uint64(text[i])) * 1099511628211
		}
		h ^= h >> 29
		all = append(all, h)
	}
	return all
}

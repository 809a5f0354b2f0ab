package bench

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"aigateway/gateway/inference"
)

// keeps are a gateway that keeps models' answers, and one that lets them pass.
var keeps = map[string]look{
	"keeps":  {file: keepsFile(", cache: {post: true, ttl: 1h}"), environ: []string{"CACHE_MEMORY_BYTES=16777216"}},
	"passes": {file: keepsFile("")},
	"again":  {file: keepsFile("")},
}

func keepsFile(more string) string {
	return "pools: {p: {upstreams: [{url: \"http://UPSTREAM\"}]}}\nroutes: [{path: \"/fresh/*\", pool: p, cache: {ttl: 1h}}, {path: \"/v1/*\", pool: p" + more + "}]\n"
}

// An inquiry is what is asked of one of the gateways.
type inquiry struct {
	name, of string
	question
}

// completion is an upstream's answer to a chat, whole, of about that many bytes.
func completion(size int) string {
	body := fmt.Sprintf(`{"id":"c","choices":[{"index":0,"message":{"role":"assistant","content":%q},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":99},"x":"the end"}`, strings.Repeat("r", size-180))
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nserver: uvicorn\r\ncontent-length: %d\r\ncontent-type: application/json\r\n\r\n%s", len(body), body)
}

// chatOf asks for a completion of 2 KB with a prompt of that size.
func chatOf(prompt int, line string) question {
	body := fmt.Sprintf(`{"model":"m","temperature":0,"messages":[{"role":"user","content":%q}]}`, numbered+strings.Repeat(" tell me more.", prompt/14))
	ask := fmt.Sprintf("POST /v1/chat/completions?/chat/2048 HTTP/1.1\r\nHost: gateway.example\r\nAccept: application/json\r\nAccept-Encoding: gzip, deflate\r\n"+
		"User-Agent: bench/1.0\r\nContent-Type: application/json\r\nAuthorization: Bearer sk-0123456789abcdef\r\n%sContent-Length: %d\r\n\r\n%s", line, len(body), body)
	return newQuestion([]byte(ask), completion(2<<10))
}

// numbered stands in a prompt where each request has another number.
const numbered = "00000000"

// prompts are the sizes of what is asked, in bytes.
var prompts = []int{200, 3 << 10, 30 << 10}

// BenchmarkGenerations is what a hit of a model's answer costs, in CPU time, all in turns, the median of them: of a completion of 2 KB beside a hit of a
// GET of that size, with what making the key costs.
func BenchmarkGenerations(b *testing.B) {
	up := start(b, "upstream", "")
	all := []inquiry{{"get", "keeps", newQuestion(hitRequest(2<<10), response(0, 2<<10))}}
	for _, prompt := range prompts {
		all = append(all, inquiry{fmt.Sprintf("post-%d", prompt), "keeps", chatOf(prompt, "")})
	}
	cpu := inquire(b, up, all)
	for i, prompt := range prompts {
		hashing := hashingOf(prompt)
		b.ReportMetric(hashing, fmt.Sprintf("hashing-%d-cpu-µs", prompt))
		b.ReportMetric((cpu[i+1]-hashing)/cpu[0], fmt.Sprintf("beside-hashing-%d-×", prompt))
	}
}

// hashingOf is what it costs to make the key of a request with a prompt of that size, in CPU µs: the median of some rounds.
func hashingOf(prompt int) float64 {
	const round = 2000
	_, body, _ := bytes.Cut(chatOf(prompt, "").request, []byte("\r\n\r\n"))
	var c inference.Canon
	var rounds []int64
	for range 15 {
		before := cpuTime()
		for range round {
			if c.Read(body) != inference.Accepted || inference.Chat.Doubt(&c, inference.Deterministic) != inference.NoDoubt {
				panic("BUG: the request of the benchmark has no key")
			}
			c.Sum(inference.Chat, "")
		}
		rounds = append(rounds, cpuTime()-before)
	}
	slices.Sort(rounds)
	return float64(rounds[len(rounds)/2]) / 1e3 / round
}

// inquire asks all in turns, and returns and reports the CPU time that each takes, in µs a request: the median of its turns.
func inquire(b *testing.B, up *child, all []inquiry) (cpu []float64) {
	const turn, warm = 1000, 8000
	children := map[string]*child{}
	for _, q := range all {
		p := children[q.of]
		if p == nil {
			p = start(b, q.of, up.addr)
			defer p.stop()
			children[q.of] = p
		}
		drive(b, dialing(p), warm, q.question)
	}
	turns := make([][]float64, len(all))
	b.ResetTimer()
	for count := 0; count < b.N; count += turn {
		for i := range all {
			at := (i + count/turn) % len(all) // nobody is always first
			p := children[all[at].of]
			before := p.cpu(b)
			if failed := drive(b, dialing(p), turn, all[at].question); failed > 0 {
				b.Errorf("%s: %d of %d requests failed", all[at].name, failed, turn)
			}
			turns[at] = append(turns[at], float64(p.cpu(b)-before)/1e3/turn)
		}
	}
	b.StopTimer()
	b.ReportMetric(0, "ns/op")
	for i, q := range all {
		slices.Sort(turns[i])
		cpu = append(cpu, turns[i][len(turns[i])/2])
		b.ReportMetric(cpu[i], q.name+"-cpu-µs/op")
	}
	return cpu
}

func dialing(p *child) func() (net.Conn, error) {
	return func() (net.Conn, error) { return net.Dial("tcp", p.addr) }
}

package bench

import (
	"fmt"
	"net"
	"strings"
	"testing"
)

// keeps are a gateway that keeps models' answers, and one that lets them pass.
var keeps = map[string]look{
	"keeps":  {file: keepsFile(", cache: {post: true, ttl: 1h}")},
	"passes": {file: keepsFile("")},
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
	body := fmt.Sprintf(`{"model":"m","temperature":0,"messages":[{"role":"user","content":%q}]}`, strings.Repeat("tell me more. ", prompt/14))
	ask := fmt.Sprintf("POST /v1/chat/completions?/chat/2048 HTTP/1.1\r\nHost: gateway.example\r\nAccept: application/json\r\nAccept-Encoding: gzip, deflate\r\n"+
		"User-Agent: bench/1.0\r\nContent-Type: application/json\r\nAuthorization: Bearer sk-0123456789abcdef\r\n%sContent-Length: %d\r\n\r\n%s", line, len(body), body)
	return newQuestion([]byte(ask), completion(2<<10))
}

// BenchmarkGenerations is what it costs that models' answers are kept, in CPU time a request, all in turns: a hit of a completion of 2 KB
// beside a hit of a GET of that size, and a miss, which is kept, beside the same request where nothing is.
func BenchmarkGenerations(b *testing.B) {
	up := start(b, "upstream", "")
	b.Run("hit", func(b *testing.B) {
		var all []inquiry
		all = append(all, inquiry{"get", "keeps", newQuestion(hitRequest(2<<10), response(0, 2<<10))})
		for _, prompt := range []int{200, 3 << 10, 30 << 10} {
			all = append(all, inquiry{fmt.Sprintf("post-%d", prompt), "keeps", chatOf(prompt, "")})
		}
		inquire(b, up, all)
	})
	for _, prompt := range []int{200, 3 << 10, 30 << 10} {
		b.Run(fmt.Sprintf("miss/prompt=%d", prompt), func(b *testing.B) {
			inquire(b, up, []inquiry{
				{"passes", "passes", chatOf(prompt, "Cache-Control: no-cache\r\n")},
				{"missed", "keeps", chatOf(prompt, "Cache-Control: no-cache\r\n")},
			})
		})
	}
}

// inquire asks all in turns, and reports the CPU time that each takes.
func inquire(b *testing.B, up *child, all []inquiry) {
	const turn = 2000
	children := map[string]*child{}
	cpu, count := make([]int64, len(all)), 0
	for _, q := range all {
		p := children[q.of]
		if p == nil {
			p = start(b, q.of, up.addr)
			defer p.stop()
			children[q.of] = p
		}
		drive(b, dialing(p), 2000, q.question)
	}
	b.ResetTimer()
	for count < b.N {
		n := min(turn, b.N-count)
		for i := range all {
			at := (i + count/turn) % len(all) // nobody is always first
			p := children[all[at].of]
			before := p.cpu(b)
			if failed := drive(b, dialing(p), n, all[at].question); failed > 0 {
				b.Errorf("%s: %d of %d requests failed", all[at].name, failed, n)
			}
			cpu[at] += p.cpu(b) - before
		}
		count += n
	}
	b.StopTimer()
	b.ReportMetric(0, "ns/op")
	for i, q := range all {
		b.ReportMetric(float64(cpu[i])/1e3/float64(b.N), q.name+"-cpu-µs/op")
	}
}

func dialing(p *child) func() (net.Conn, error) {
	return func() (net.Conn, error) { return net.Dial("tcp", p.addr) }
}

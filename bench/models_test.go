package bench

import (
	"fmt"
	"strings"
	"testing"
)

// asks are gateways that know more and more of models.
var (
	askNames = []string{"ask-nothing", "ask-model", "ask-alias"}

	asks = map[string]look{
		"ask-nothing": {},
		"ask-model":   {file: modelsFile("{name: m, pool: llm}")},
		"ask-alias":   {file: modelsFile("{name: n, pool: llm, upstream_model: org/model-of-another-length, aliases: [m]}")},
	}
)

func modelsFile(model string) string { return "models: [" + model + ", {name: other, pool: llm}]\n" }

// BenchmarkModels is what it costs to look for the model of a request, which stands behind its messages, and to rename it: the CPU
// time of a POST, answered by a completion of 2 KB, beside the same one where models decide nothing, all in turns.
func BenchmarkModels(b *testing.B) {
	up := start(b, "upstream", "")
	for _, size := range []int{1 << 10, 16 << 10, 100 << 10} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			body := fmt.Sprintf(`{"messages":[{"role":"user","content":%q}],"stream":false,"model":"m"}`, strings.Repeat("tell me more. ", size/14))
			ask := fmt.Sprintf("POST /v1/chat/completions?/chat/2048 HTTP/1.1\r\nHost: gateway.example\r\nAccept: application/json\r\n"+
				"User-Agent: bench/1.0\r\nContent-Type: application/json\r\nAuthorization: Bearer sk-0123456789abcdef\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			inTurns(b, askNames, up, newQuestion([]byte(ask), completion(2<<10)), 0)
		})
	}
}

package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"aigateway/gateway/inference"

	"github.com/bytedance/sonic"
	"github.com/tidwall/gjson"
	"github.com/valyala/fastjson"
)

// What it costs to find the model in a body. The scanner reads to the end and judges the structure, finds all other members that
// decide, and refuses duplicates; of the rivals, json.Valid and fastjson judge, gjson and sonic go for the first "model" only.
func BenchmarkScan(b *testing.B) {
	shapes := []struct {
		name string
		make func(size int) []byte
	}{{"chat", chatBody}, {"tools", toolsBody}, {"tokens", tokensBody}}
	for _, shape := range shapes {
		for _, size := range []int{3 << 10, 100 << 10} {
			body := shape.make(size)
			f := func(impl string, find func() string) {
				b.Run(fmt.Sprintf("shape=%s/size=%dKB/impl=%s", shape.name, size>>10, impl), func(b *testing.B) {
					b.ReportAllocs()
					b.SetBytes(int64(len(body)))
					for b.Loop() {
						if model := find(); model != "llama-8b" {
							b.Fatalf("found %q", model)
						}
					}
				})
			}
			var scanner inference.Scanner
			f("gateway", func() string {
				scanner.Reset()
				scanner.Scan(body)
				if scanner.End() != inference.Accepted {
					return "refused"
				}
				if model, _ := scanner.Model(); string(model) == "llama-8b" {
					return "llama-8b"
				}
				return "another"
			})
			f("json-valid", func() string {
				if !json.Valid(body) {
					return "invalid"
				}
				return "llama-8b"
			})
			var parser fastjson.Parser
			f("fastjson", func() string {
				v, err := parser.ParseBytes(body)
				if err != nil || string(v.GetStringBytes("model")) != "llama-8b" {
					return "another"
				}
				return "llama-8b"
			})
			f("gjson", func() string { return gjson.GetBytes(body, "model").Str })
			f("sonic", func() string {
				node, err := sonic.Get(body, "model")
				if err != nil {
					return "another"
				}
				model, _ := node.String()
				return model
			})
			f("sonic-valid", func() string {
				if !sonic.Valid(body) {
					return "invalid"
				}
				node, err := sonic.Get(body, "model")
				if err != nil {
					return "another"
				}
				model, _ := node.String()
				return model
			})
			f("sonic-struct", func() string {
				var into struct{ Model string }
				if err := sonic.ConfigStd.Unmarshal(body, &into); err != nil {
					return err.Error()
				}
				return into.Model
			})
		}
	}
}

// chatBody is a conversation as SDKs send it: the model stands behind the messages.
func chatBody(size int) []byte {
	const words = "The gateway passes what it is given and says \"why\" when it does not. Nothing is guessed, nothing is lost, and whoever leaves is let go. " +
		"A line ends here.\nAnother one begins with some numbers, 12345 and 67.8, and with a path such as /v1/chat/completions; it goes on for a while so that it is as long as lines are. "
	b := []byte(`{"messages":[{"role":"system","content":"You are a helpful assistant."}`)
	for i := 0; ; i++ {
		n := min(200+(i*379)%1100, size-len(b)-160)
		if n < 20 {
			break
		}
		text, _ := json.Marshal(strings.Repeat(words, 5)[:n])
		b = fmt.Appendf(b, `,{"role":%q,"content":%s}`, []string{"user", "assistant"}[i%2], text)
	}
	return append(b, `],"temperature":0.7,"max_tokens":512,"stream":true,"stream_options":{"include_usage":true},"model":"llama-8b"}`...)
}

// toolsBody is nearly all structure.
func toolsBody(size int) []byte {
	b := []byte(`{"messages":[{"role":"user","content":"What is the weather?"}],"tools":[`)
	for i := 0; len(b) < size-400; i++ {
		b = fmt.Appendf(b, `{"type":"function","function":{"name":"f%d","description":"Look up the weather of a city","parameters":{"type":"object","properties":`+
			`{"city":{"type":"string","description":"The city"},"days":{"type":"integer","minimum":1,"maximum":14}},"required":["city"]}}},`, i)
	}
	return append(bytes.TrimSuffix(b, []byte(",")), `],"model":"llama-8b"}`...)
}

// tokensBody is what is embedded, as tokens.
func tokensBody(size int) []byte {
	b := []byte(`{"input":[1`)
	for i := 0; len(b) < size-30; i++ {
		b = fmt.Appendf(b, ",%d", i*7919%128000)
	}
	return append(b, `],"model":"llama-8b"}`...)
}

package behaviour

import (
	"aigateway/gateway/server"
	"aigateway/gateway/testkit"
	"bytes"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"

	"aigateway/gateway/telemetry"
)

// Nothing is allocated for a request in steady state: not for one answered whole, and not for a stream. The
// client and the upstream of these tests allocate nothing either, so whatever is counted is the gateway's.
func TestAllocExchange(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	chunks := "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
	for i := range 20 {
		event := fmt.Sprintf("data: {\"token\":%d}\n\n", i)
		chunks += fmt.Sprintf("%x\r\n%s\r\n", len(event), event)
	}
	chunks += "0\r\n\r\n"
	get := "GET /infer/python?prompt=x HTTP/1.1\r\nHost: a.example\r\nAccept: */*\r\nUser-Agent: test\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n"
	post := func(n int) string {
		return fmt.Sprintf("POST /infer/python HTTP/1.1\r\nHost: a.example\r\nContent-Type: application/json\r\n"+
			"Authorization: Bearer x\r\nContent-Length: %d\r\n\r\n%s", n, strings.Repeat("x", n))
	}
	file, keys := "", ""
	lines := telemetry.NewLines(io.Discard)
	defer lines.Close()
	f := func(name, request, response string, environ ...string) {
		t.Run(name, func(t *testing.T) {
			up := startCannedUpstream(t, response)
			environ = append(environ, "PY_SERVICE_URL="+up, "LLM_SERVICE_URL="+up, "RATE_LIMIT_ENABLED=true", // and lets all in
				"GLOBAL_RPS=1000000000", "GLOBAL_BURST=1000000000", "CLIENT_RPS=1000000000", "CLIENT_BURST=1000000000")
			s := testkit.Settings(t, file, environ)
			if keys != "" {
				s = keyed(t, keys, file, environ...)
			}
			g := serve(t, s, server.Options{Lines: lines})
			c := g.Dial()
			buf := make([]byte, 256<<10)
			end := []byte(response[len(response)-7:])
			req := []byte(request)
			exchange := func() {
				if _, err := c.Conn.Write(req); err != nil {
					t.Fatal(err)
				}
				for n := 0; !bytes.HasSuffix(buf[:n], end); {
					m, err := c.Conn.Read(buf[n:])
					if err != nil {
						t.Fatalf("after %q: %v", buf[:n], err)
					}
					n += m
				}
			}
			for range 200 { // pools and slices reach their size
				exchange()
			}
			allocatesNothing(t, exchange)
		})
	}
	f("get", get, testkit.Answer("result!"))
	f("post 1 KB", post(1<<10), testkit.Answer(strings.Repeat("y", 1<<10)+"result!"))
	f("post 64 KB", post(64<<10), testkit.Answer(strings.Repeat("y", 64<<10-7)+"result!"))
	f("post 200 KB", post(200<<10), testkit.Answer("result!"))
	f("post in /v1", strings.Replace(post(200), "/infer/python", "/v1/chat/completions", 1), testkit.Answer("{} result!"))
	f("stream of 20 events", get, chunks)
	f("stream of 192 KB", get, testkit.Answer(strings.Repeat("y", 192<<10)+"result!"))

	// With models, one of which is renamed in the middle of a body that has it last.
	file = "pools: {llm: {discover: true}}\nmodels: [{name: m, pool: llm, upstream_model: a/longer-name, aliases: [n]}, {name: o, pool: llm}]"
	ask := func(model string, n int) string {
		body := fmt.Sprintf(`{"messages":[%q],"model":%q}`, strings.Repeat("x", n), model)
		return fmt.Sprintf("POST /v1/chat/completions HTTP/1.1\r\nHost: a.example\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	for _, n := range []int{100, 30 << 10, 100 << 10} {
		f(fmt.Sprintf("model as it is, %d bytes", n), ask("o", n), testkit.Answer("{} result!"))
		f(fmt.Sprintf("model renamed, %d bytes", n), ask("n", n), testkit.Answer("{} result!"))
	}
	f("no such model", ask("p", 100), "HTTP/1.1 200 OK\r\n\r\nfound\"}}\n")
	for _, discover := range []string{"true", "false"} {
		file = "pools: {llm: {balance: prefix, engine: none, discover: " + discover + "}}"
		f("prompt, discover "+discover, ask("m", 30<<10), testkit.Answer("{} result!"))
		f("long prompt, discover "+discover, ask("m", 300<<10), testkit.Answer("{} result!"))
	}
	file = ""

	// With a stream that is held back to its first content.
	file = "pools: {llm: {discover: false, fallback: python, timeouts: {first_token: 30s, inter_token: 30s}}}"
	words := sseHead + chunk(role) + chunk(word("a")) + chunk(word("b")) + chunk(done) + "0\r\n\r\n"
	f("first content", generate("x"), words)
	file = ""

	// With keys, whose models are looked at; and where the key is not one.
	keys = keyFile("x", "y , models: [m*]")
	withY := strings.NewReplacer("Bearer x", "Bearer y", strings.Repeat("x", 200), `{"messages":"`+strings.Repeat("x", 200-27)+`","model":"m"}`)
	f("key: get", strings.Replace(get, "X-Forwarded", "x-api-key: x\r\nX-Forwarded", 1), testkit.Answer("result!"))
	f("key: post in /v1", strings.Replace(post(200), "/infer/python", "/v1/chat/completions", 1), testkit.Answer("{} result!"))
	f("key: post in /v1, of some models", withY.Replace(strings.Replace(post(200), "/infer/python", "/v1/chat/completions", 1)), testkit.Answer("{} result!"))
	f("wrong key", "GET /v1/x HTTP/1.1\r\nHost: a.example\r\nx-api-key: z\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\ninvalid_api_key\"}}\n")
	// With budgets, whole and as a stream that is asked for its usage.
	keys = keyFile("x , limits: {rpm: 1000000000, tpm: 1000000000, tpd: 1000000000, concurrency: 10}")
	budgeted := func(body string) string {
		return "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer x\r\nContent-Length: " + itoa(len(body)) + "\r\n\r\n" + body
	}
	usage := `"usage":{"prompt_tokens":10,"completion_tokens":2}}`
	f("budget: post in /v1", budgeted(`{"model":"m","max_tokens":5,"messages":[]}`), testkit.Answer(`{"model":"m",`+usage+"result!"))
	counted := `data: {"choices":[],` + usage + "\n\n"
	f("budget: stream in /v1", budgeted(`{"model":"m","stream":true,"max_tokens":5,"messages":[]}`),
		strings.TrimSuffix(chunks, "0\r\n\r\n")+fmt.Sprintf("%x\r\n%s\r\n", len(counted), counted)+"0\r\n\r\n")
	keys = ""

	// With everything on that tells of requests. The collector takes connections and never answers: what happens in a
	// request is the same, and the delivery of spans, which is not part of one, stands still.
	collector, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer collector.Close()
	on := []string{"ACCESS_LOG=true", "SERVER_TIMING=true", "GENAI_MODELS=m", "OTEL_EXPORTER_OTLP_ENDPOINT=http://" + collector.Addr().String()}
	inV1 := strings.Replace(post(200), "/infer/python", "/v1/chat/completions", 1)
	f("seen: get", get, testkit.Answer("result!"), on...)
	f("seen: post in /v1", inV1, testkit.Answer(`{"model":"m","usage":{"prompt_tokens":1,"completion_tokens":2}} result!`), on...)
	f("seen: stream in /v1", inV1, chunks, on...)

	file = "pools: {python: {hedge: 10s}}\n"
	f("get of a pool that may hedge", get, testkit.Answer("result!"))
}

// allocatesNothing runs an exchange many times and counts what is allocated meanwhile. Probes, timers and a batch of
// lines allocate now and then, and more often beside slow exchanges; a request must not. So the best of a few goes counts.
func allocatesNothing(t *testing.T, exchange func()) {
	t.Helper()
	allocatesAtMost(t, 0.05, exchange)
}

// allocatesAtMost is allocatesNothing for what may allocate so often an exchange.
func allocatesAtMost(t *testing.T, most float64, exchange func()) {
	t.Helper()
	const runs = 2000
	var least, bytes float64
	for try := 0; try == 0 || least > most && try < 10; try++ {
		var before, after runtime.MemStats
		runtime.GC()
		for range 50 { // pools refill after the collection
			exchange()
		}
		runtime.ReadMemStats(&before)
		for range runs {
			exchange()
		}
		runtime.ReadMemStats(&after)
		if got := float64(after.Mallocs-before.Mallocs) / runs; try == 0 || got < least {
			least, bytes = got, float64(after.TotalAlloc-before.TotalAlloc)/runs
		}
	}
	t.Logf("%.4f allocations, %.1f bytes a request", least, bytes)
	if least > most {
		t.Errorf("%.2f allocations a request, %.0f bytes", least, bytes)
	}
}

// startCannedUpstream answers every request with the same response, without allocating. Every
// chunk and every piece of the response that ends with an empty line is a write of its own.
func startCannedUpstream(t *testing.T, response string) (url string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	var pieces [][]byte
	for _, p := range strings.SplitAfter(response, "\n\n\r\n") {
		pieces = append(pieces, []byte(p))
	}
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				buf := make([]byte, 1<<20)
				head := []byte("\r\n\r\n")
				for n := 0; ; {
					m, err := conn.Read(buf[n:])
					if err != nil {
						return
					}
					n += m
					at := bytes.Index(buf[:n], head)
					if at < 0 {
						continue
					}
					if bytes.HasPrefix(buf[:n], []byte("GET /healthz")) {
						io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
						return
					}
					if n < at+4+bodyLen(buf[:at]) {
						continue
					}
					n = 0
					for _, p := range pieces {
						if _, err := conn.Write(p); err != nil {
							return
						}
					}
				}
			}()
		}
	}()
	return "http://" + ln.Addr().String()
}

func bodyLen(head []byte) (n int) {
	name := []byte("Content-Length: ")
	at := bytes.Index(head, name)
	if at < 0 {
		return 0
	}
	for _, c := range head[at+len(name):] {
		if c < '0' || c > '9' {
			break
		}
		n = n*10 + int(c-'0')
	}
	return n
}

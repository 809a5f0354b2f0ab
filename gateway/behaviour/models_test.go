package behaviour

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"aigateway/gateway/testkit"
)

// A lister is an upstream that lists models, and answers each request with the model that it asks for.
type lister struct {
	*testkit.Upstream
	mu     sync.Mutex
	list   string // the whole answer to GET /v1/models
	looked int
}

func startLister(t *testing.T, list string) *lister {
	l := &lister{list: list}
	l.Upstream = testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		for {
			switch r := c.ReadRequest(); {
			case r.Err != nil:
				return
			case strings.HasPrefix(r.First, "GET /v1/models "):
				l.mu.Lock()
				l.looked++
				list := l.list
				l.mu.Unlock()
				c.Send("%s", list)
				return
			default:
				c.Send("%s", testkit.Answer(fmt.Sprintf(`{"model":%q,"usage":{"prompt_tokens":1,"completion_tokens":2}}`, r.Body)))
			}
		}
	})
	return l
}

func (l *lister) looks() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.looked
}

func listOf(names ...string) string {
	var entries []string
	for _, name := range names {
		entries = append(entries, fmt.Sprintf(`{"id":%q,"object":"model"}`, name))
	}
	return `{"object":"list","data":[` + strings.Join(entries, ",") + `]}`
}

// seenAs asks for a generation and tells by which model it was counted.
func (g *testGateway) seenAs(model string) string {
	g.T.Helper()
	before := g.series()
	g.Do(fmt.Sprintf("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(model), model))
	testkit.Eventually(g.T, "nothing is under way", g.idle)
	for series, n := range g.series() {
		if rest, ok := strings.CutPrefix(series, `gen_ai_server_request_duration_count{gen_ai_operation_name="chat",gen_ai_provider_name="openai",gen_ai_response_model="`); ok && n > before[series] {
			name, _, _ := strings.Cut(rest, `"`)
			return name
		}
	}
	return ""
}

const discovering = "pools:\n  llm: {discover: true, health: {interval: 1s}}\n"

// What upstreams list has its name in metrics, without a setting, whatever the framing; what only clients say is "other".
func TestListedModelsHaveNames(t *testing.T) {
	for name, list := range map[string]string{
		"length":  testkit.Answer(listOf("org/model-1", "tiny")),
		"chunked": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunksOf(listOf("org/model-1", "tiny"), 7),
		"close":   "HTTP/1.0 200 OK\r\n\r\n" + listOf("org/model-1", "tiny"),
		"long":    testkit.Answer(strings.TrimSuffix(listOf("org/model-1", "tiny"), "}") + `,"x":"` + strings.Repeat("x", 200<<10) + `"}`),
	} {
		t.Run(name, func(t *testing.T) {
			up := startLister(t, list)
			g := startGatewayFile(t, discovering, "LLM_SERVICE_URL="+up.URL)
			testkit.Eventually(t, "the listed model has its name", func() bool { return g.seenAs("tiny") == "tiny" })
			if got := g.seenAs("org/model-1"); got != "org/model-1" {
				t.Errorf("the other one is %q", got)
			}
			if got := g.seenAs("what-a-client-says"); got != "other" {
				t.Errorf("what nobody lists is %q", got)
			}
		})
	}
}

func chunksOf(text string, size int) (chunks string) {
	for len(text) > 0 {
		n := min(size, len(text))
		chunks += fmt.Sprintf("%x\r\n%s\r\n", n, text[:n])
		text = text[n:]
	}
	return chunks + "0\r\n\r\n"
}

// What is no list makes no names, and no follow-up: no redirect, nothing too long or cut, no names that none could be.
func TestWhatIsNoListOfModels(t *testing.T) {
	other := startLister(t, testkit.Answer(listOf("elsewhere")))
	var many []string
	for i := range 300 {
		many = append(many, fmt.Sprintf("m%03d", i))
	}
	for name, list := range map[string]string{
		"redirect":    "HTTP/1.1 302 Found\r\nLocation: " + other.URL + "/v1/models\r\nContent-Length: 0\r\n\r\n",
		"401":         "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n",
		"too long":    testkit.Answer(strings.TrimSuffix(listOf("tiny"), "}") + `,"x":"` + strings.Repeat("x", 256<<10) + `"}`),
		"cut":         strings.ReplaceAll(testkit.Answer(listOf("tiny")), "Content-Length: ", "Content-Length: 1"),
		"garbage":     testkit.Answer(`{"data":[{"id":"tiny"}`),
		"unprintable": testkit.Answer(listOf("tiny\n", "x")),
		"endless":     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1000\r\n"+strings.Repeat(" ", 4096)+"\r\n", 80),
	} {
		t.Run(name, func(t *testing.T) {
			up := startLister(t, list)
			g := startGatewayFile(t, discovering, "LLM_SERVICE_URL="+up.URL)
			testkit.Eventually(t, "the upstream was asked", func() bool { return up.looks() > 0 })
			if got := g.seenAs("tiny"); got != "other" {
				t.Errorf("the model is %q", got)
			}
		})
	}
	if other.looks() > 0 {
		t.Error("a redirect was followed")
	}

	up := startLister(t, testkit.Answer(listOf(many...)))
	g := startGatewayFile(t, discovering, "LLM_SERVICE_URL="+up.URL)
	testkit.Eventually(t, "the first has its name", func() bool { return g.seenAs("m000") == "m000" })
	if got := g.seenAs("m299"); got != "other" {
		t.Errorf("the 300th model is %q", got)
	}
}

// Nobody is asked where that is off.
func TestNobodyIsAskedForModels(t *testing.T) {
	up := startLister(t, testkit.Answer(listOf("tiny")))
	g := startGatewayFile(t, "pools:\n  llm: {discover: false, health: {interval: 1s}}\n", "LLM_SERVICE_URL="+up.URL)
	testkit.Eventually(t, "it is ready", func() bool { return g.Do("GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n").Status() == 200 })
	if got := g.seenAs("tiny"); got != "other" || up.looks() > 0 {
		t.Errorf("the model is %q, after %d looks", got, up.looks())
	}
}

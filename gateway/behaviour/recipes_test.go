package behaviour

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"

	"aigateway/gateway/testkit"
)

// A recipeEngine stands for one that a recipe names: it lists its models, is well, and remembers what it was asked.
type recipeEngine struct {
	*httptest.Server
	mu    sync.Mutex
	asked []string // models and credentials of chats: "model credential"
}

func startRecipeEngine(t *testing.T, models ...string) *recipeEngine {
	e := new(recipeEngine)
	model := regexp.MustCompile(`"model":"([^"]*)"`)
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v1/models":
			fmt.Fprintf(w, `{"object":"list","data":[{"id":"%s","object":"model"}]}`, strings.Join(models, `"},{"id":"`))
		case "/v1/chat/completions":
			body, _ := io.ReadAll(r.Body)
			e.mu.Lock()
			e.asked = append(e.asked, model.FindStringSubmatch(string(body))[1]+" "+r.Header.Get("Authorization"))
			e.mu.Unlock()
			fmt.Fprint(w, `{"object":"chat.completion","choices":[]}`)
		case "/", "/health":
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(e.Close)
	return e
}

// last is what the engine was asked last; "": nothing since it was last called.
func (e *recipeEngine) last() (asked string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n := len(e.asked); n > 0 {
		asked = e.asked[n-1]
	}
	e.asked = nil
	return asked
}

// cook is a gateway by a recipe, with engines in the places of those that it names, by their addresses.
func cook(t *testing.T, recipe string, engines map[string]*recipeEngine) *testGateway {
	t.Helper()
	text := string(read(t, "../../compose/recipes/"+recipe))
	for addr, e := range engines {
		before := text
		if text = strings.ReplaceAll(text, addr, e.URL); text == before {
			t.Fatalf("%s does not name %s", recipe, addr)
		}
	}
	if left := regexp.MustCompile(`(?m)^[^#\n]*https?://(?:10\.|localhost|api\.).*`).FindString(text); left != "" {
		t.Fatalf("%s: nobody stands for %s", recipe, left)
	}
	return startGatewayFile(t, text, "PROVIDER_KEY=sk-provider")
}

// Each recipe does what it says, in front of stand-ins for the engines that it is for.
func TestRecipesServe(t *testing.T) {
	t.Parallel()
	chat := func(g *testGateway, model string) testkit.Message {
		body := `{"messages":[],"model":"` + model + `"}`
		return g.Do(fmt.Sprintf("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer sk-client\r\nContent-Type: application/json\r\n"+
			"Content-Length: %d\r\n\r\n%s", len(body), body))
	}
	want := func(g *testGateway, model string, e *recipeEngine, asked string) {
		t.Helper()
		r := chat(g, model)
		if got := e.last(); r.Status() != 200 || got != asked {
			t.Errorf("%s: %d, the engine was asked for %q, want %q\n%s", model, r.Status(), got, asked, r.Body)
		}
	}
	listed := func(g *testGateway, models string) {
		t.Helper()
		testkit.Eventually(t, "the engines' models are known", func() bool { // a request may come before the first probe, and is served
			r := g.Do("GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n")
			return strings.Join(regexp.MustCompile(`"id":"[^"]*"`).FindAllString(r.Body, -1), " ") == models
		})
	}
	const client = " Bearer sk-client"

	one := startRecipeEngine(t, "tiny")
	want(cook(t, "llama.cpp.yaml", map[string]*recipeEngine{"http://localhost:8080": one}), "tiny", one, "tiny"+client)
	want(cook(t, "ollama.yaml", map[string]*recipeEngine{"http://localhost:11434": one}), "tiny", one, "tiny"+client)

	left, right := startRecipeEngine(t, "m"), startRecipeEngine(t, "m")
	g := cook(t, "sglang.yaml", map[string]*recipeEngine{"http://10.0.0.1:30000": left, "http://10.0.0.2:30000": right})
	if r := chat(g, "m"); r.Status() != 200 || left.last()+right.last() != "m"+client {
		t.Errorf("%d %s", r.Status(), r.Body)
	}

	g = cook(t, "tgi.yaml", map[string]*recipeEngine{"http://10.0.0.1:80": one})
	want(g, "mistral-7b", one, "tgi"+client)
	listed(g, `"id":"mistral-7b"`)

	llama, twin, qwen := startRecipeEngine(t, "meta-llama/Llama-3.1-8B-Instruct"), startRecipeEngine(t, "meta-llama/Llama-3.1-8B-Instruct"), startRecipeEngine(t, "Qwen/Qwen2.5-7B-Instruct")
	g = cook(t, "vllm.yaml", map[string]*recipeEngine{"http://10.0.0.1:8000": llama, "http://10.0.0.2:8000": twin, "http://10.0.0.3:8000": qwen})
	listed(g, `"id":"llama-8b" "id":"qwen-7b"`)
	want(g, "qwen-7b", qwen, "Qwen/Qwen2.5-7B-Instruct"+client)
	if r := chat(g, "gpt-4o-mini"); r.Status() != 200 || llama.last()+twin.last() != "meta-llama/Llama-3.1-8B-Instruct"+client {
		t.Errorf("%d %s", r.Status(), r.Body)
	}
	llama.Close()
	twin.Close()
	want(g, "llama-8b", qwen, "Qwen/Qwen2.5-7B-Instruct"+client)

	own, provider := startRecipeEngine(t, "qwen2.5-7b-instruct"), startRecipeEngine(t, "gpt-4o-mini")
	g = cook(t, "provider.yaml", map[string]*recipeEngine{"http://10.0.0.1:8000": own, "https://api.openai.com": provider})
	want(g, "small", own, "qwen2.5-7b-instruct"+client)
	own.Close()
	want(g, "small", provider, "gpt-4o-mini Bearer sk-provider")
}

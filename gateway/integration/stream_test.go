//go:build integration

package integration

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// volatile is what differs between two answers to the same question.
var volatile = regexp.MustCompile(`"id":"chatcmpl-[^"]*"|"created":\d+`)

func TestStream(t *testing.T) {
	t.Parallel()
	const pace = 20 * time.Millisecond // TOKEN_LATENCY_MS of the shared backends
	const words = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
	onEach(t, func(t *testing.T, g *gateway, b *backend) {
		for _, body := range []string{chatBody(b.model, words), chatBody(b.model, words, withUsage)} {
			direct := openStream(t, request{url: b.url + "/v1/chat/completions", body: body})
			want := direct.mustRest(t)
			through := openStream(t, request{url: g.url + "/v1/chat/completions", body: body})
			got := through.mustRest(t)
			if a, b := volatile.ReplaceAllString(join(got), ""), volatile.ReplaceAllString(join(want), ""); a != b {
				t.Errorf("got\n%s\nwant\n%s", a, b)
			}
			for _, name := range []string{"Content-Type", "Cache-Control"} {
				if got, want := through.Header.Get(name), direct.Header.Get(name); got != want {
					t.Errorf("%s: got %q, want %q", name, got, want)
				}
			}
			if through.Header.Get("Content-Length") != "" || len(through.TransferEncoding) != 1 {
				t.Errorf("framing: %v, %v", through.Header, through.TransferEncoding)
			}
			if text := content(t, got); text != "echo: "+words {
				t.Errorf("the chunks make %q", text)
			}
			if strings.Contains(body, "include_usage") != strings.Contains(join(got), `"total_tokens":33`) {
				t.Errorf("usage in\n%s", join(got))
			}
			// The backend pauses before each of 17 tokens. A gateway that holds events back shortens the whole, or hands several
			// over in a moment.
			if whole := got[len(got)-1].at.Sub(got[0].at); whole < 17*pace*8/10 {
				t.Errorf("the events came within %v, the backend needs %v", whole, 17*pace)
			}
			apart := func(events []event) (n int) {
				for i := 1; i < len(events); i++ {
					if events[i].at.Sub(events[i-1].at) > pace/4 {
						n++
					}
				}
				return n
			}
			for chance := 1; apart(got) < 12; chance++ { // who reads late, reads together what came apart
				if chance == 4 {
					t.Errorf("only %d of 17 tokens came one by one", apart(got))
					break
				}
				got = openStream(t, request{url: g.url + "/v1/chat/completions", body: body}).mustRest(t)
			}
		}
	})
}

// Streams beside each other do not mix.
func TestManyStreams(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, g *gateway, b *backend) {
		var all sync.WaitGroup
		for n := range 30 {
			all.Go(func() {
				words := strings.Repeat(fmt.Sprintf("mine-%d ", n), 5+n%7)
				a, err := do(request{url: g.url + "/v1/chat/completions", body: chatBody(b.model, words)})
				if err != nil || a.status != 200 {
					t.Errorf("stream %d: %v %v", n, a, err)
					return
				}
				text := string(a.body)
				if strings.Count(text, fmt.Sprintf(`"mine-%d "`, n)) != 5+n%7 || strings.Count(text, "mine-") != 5+n%7 ||
					!strings.HasSuffix(text, "data: [DONE]\n\n") {
					t.Errorf("stream %d: %s", n, text)
				}
			})
		}
		all.Wait()
	})
}

// A whole completion is the direct one, byte for byte.
func TestCompletion(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, g *gateway, b *backend) {
		body := strings.Replace(chatBody(b.model, "Grüße aus dem Test"), `"stream":true`, `"stream":false`, 1)
		want := ask(t, request{url: b.url + "/v1/chat/completions", body: body})
		got := ask(t, request{url: g.url + "/v1/chat/completions", body: body})
		if a, b := volatile.ReplaceAllString(got.String(), ""), volatile.ReplaceAllString(want.String(), ""); a != b || got.status != 200 {
			t.Errorf("got\n%s\nwant\n%s", a, b)
		}
	})
}

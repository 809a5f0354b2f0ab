//go:build integration

package integration

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// onEach runs a test for each kind of backend, with the shared one and a gateway in front of it.
func onEach(t *testing.T, test func(t *testing.T, g *gateway, b *backend)) {
	t.Helper()
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			b := k.shared(t)
			test(t, inFrontOf(t, []*backend{b}, "LLM_SERVICE_URL="+b.url), b)
		})
	}
}

// route is the backend's own path below the gateway.
func (b *backend) route(g *gateway) string { return g.url + "/infer/" + b.name }

func TestInfer(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, g *gateway, b *backend) {
		for i, prompt := range []string{"hello", "a b/c?d=e&f#g%h+i", "Grüße, 世界 🌍", `"quoted" \ <b>`, "line\nbreak\ttab", strings.Repeat("long ", 800)} {
			id := fmt.Sprintf("infer-%s-%d", b.name, i)
			a := ask(t, request{url: b.route(g), body: promptBody(prompt), header: map[string]string{"X-Request-ID": id}})
			if err := a.echo(prompt, b.model); err != nil {
				t.Errorf("POST: %v", err)
			}
			if a.header.Get("X-Request-ID") != id || a.header.Get("Content-Type") != "application/json" || a.header.Get("Via") == "" {
				t.Errorf("POST: header %v, want X-Request-ID %s, the backend's Content-Type, a Via", a.header, id)
			}
			if n := b.stats(t).Executed[id]; n != 1 {
				t.Errorf("POST: executed %d times by the id %s", n, id)
			}
			a = ask(t, request{url: b.route(g) + "?prompt=" + url.QueryEscape(prompt)})
			if err := a.echo(prompt, b.model); err != nil {
				t.Errorf("GET: %v", err)
			}
		}
	})
}

// A HEAD is answered like a GET, without the body, and the next answer on the connection is not disturbed.
func TestInferHead(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, g *gateway, b *backend) {
		c := newClient()
		defer c.CloseIdleConnections()
		for range 3 {
			head, err := request{method: "HEAD", url: b.route(g) + "?prompt=x"}.by(c)
			if err != nil || head.status != 200 || len(head.body) > 0 || head.header.Get("Content-Length") == "" {
				t.Fatalf("HEAD: %v %v %v", head, head.header, err)
			}
			got, err := request{url: b.route(g) + "?prompt=y"}.by(c)
			if err == nil {
				err = got.echo("y", b.model)
			}
			if err != nil {
				t.Fatalf("GET after HEAD: %v", err)
			}
		}
	})
}

// What a backend refuses is refused by the gateway in the backend's own words.
func TestBackendsNo(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, g *gateway, b *backend) {
		// f asks the backend itself, and the gateway for the same.
		f := func(status int, direct, through request) {
			t.Helper()
			want, got := ask(t, direct), ask(t, through)
			if want.status != status {
				t.Errorf("%s: the backend itself says %v, want %d", direct.url, want, status)
			}
			if got.status != want.status || !bytes.Equal(got.body, want.body) {
				t.Errorf("%s %.60q:\n got %v\nwant %v", through.url, through.body, got, want)
			}
			for _, name := range []string{"Content-Type", "Content-Length", "Allow"} {
				if got.header.Get(name) != want.header.Get(name) {
					t.Errorf("%s: %s is %q, want %q", through.url, name, got.header.Get(name), want.header.Get(name))
				}
			}
		}
		infer := func(status int, r request) {
			t.Helper()
			direct := r
			direct.url, r.url = b.url+"/infer"+r.url, b.route(g)+r.url
			f(status, direct, r)
		}
		infer(422, request{})
		infer(422, request{url: "?prompt="})
		infer(422, request{url: "?other=x"})
		infer(422, request{method: "HEAD"})
		infer(400, request{method: "POST"})
		infer(400, request{body: "not JSON"})
		infer(422, request{body: `[]`})
		infer(422, request{body: `{}`})
		infer(422, request{body: `{"prompt":""}`})
		infer(422, request{body: `{"prompt":7}`})
		infer(422, request{body: `{}`, chunked: true})

		same := func(status int, r request) {
			t.Helper()
			direct := r
			direct.url, r.url = b.url+r.url, g.url+r.url
			f(status, direct, r)
		}
		same(404, request{url: "/v1/nothing?a=b%2Fc"})
		same(405, request{url: "/v1/chat/completions"})
		same(405, request{method: "DELETE", url: "/v1/models"})
		same(400, request{url: "/v1/chat/completions", body: `{"model":"m","messages":[]}`})
		same(400, request{url: "/v1/chat/completions", body: `{`})
		// Which models there are, the gateway says itself.
		for _, c := range []struct {
			status int
			path   string
		}{{200, "/v1/models"}, {200, "/v1/models?after=x%20y"}, {200, "/v1/models/" + b.model}, {404, "/v1/models/nobody"}} {
			a := ask(t, request{url: g.url + c.path})
			if a.status != c.status || c.status == 200 && !bytes.Contains(a.body, []byte(b.model)) {
				t.Errorf("%s: %v", c.path, a)
			}
		}
	})
}

// Bodies that stream up and answers that stream down, around the sizes at which the gateway changes its ways.
func TestBigBodies(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, g *gateway, b *backend) {
		for _, size := range []int{4 << 10, 60 << 10, 64<<10 - 13, 64<<10 + 1, 200 << 10, 1000 << 10} {
			prompt := numbers(size)
			for _, chunked := range []bool{false, true} {
				a := ask(t, request{url: b.route(g), body: promptBody(prompt), chunked: chunked})
				if err := a.echo(prompt, b.model); err != nil {
					t.Errorf("%d bytes, chunked %v: %v", size, chunked, err)
				}
			}
		}
		prompt := numbers(12 << 10)
		a := ask(t, request{url: b.route(g) + "?prompt=" + prompt})
		if err := a.echo(prompt, b.model); err != nil {
			t.Errorf("a query of %d bytes: %v", len(prompt), err)
		}
	})
}

// A backend that answers before it has read a body is heard, and its word passes; so is the gateway's own.
func TestTooBigBodies(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, g *gateway, b *backend) {
		body := `{"prompt":"` + strings.Repeat("x", 4<<20) + `"}` // the backends take 1 MiB, the gateway 16
		want := ask(t, request{url: b.url + "/infer", body: body})
		if want.status != 413 {
			t.Fatalf("the backend itself says %v", want)
		}
		for _, chunked := range []bool{false, true} {
			got := ask(t, request{url: b.route(g), body: body, chunked: chunked})
			if got.status != 413 || !bytes.Equal(got.body, want.body) {
				t.Errorf("chunked %v: got %v, want %v", chunked, got, want)
			}
		}
		got := ask(t, request{url: b.route(g), body: strings.Repeat("x", 17<<20)})
		if f := got.failure(t); got.status != 413 || f.Error.Code != "body_too_large" {
			t.Errorf("over the gateway's own limit: %v", got)
		}
		a := ask(t, request{url: b.route(g), body: promptBody("still there")})
		if err := a.echo("still there", b.model); err != nil {
			t.Error(err)
		}
	})
}

// Many at once: everybody gets the answer to what was asked, each asked once.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	const clients, each = 40, 8
	onEach(t, func(t *testing.T, g *gateway, b *backend) {
		c := newClient()
		defer c.CloseIdleConnections()
		var all sync.WaitGroup
		for n := range clients {
			all.Go(func() {
				for i := range each {
					id := fmt.Sprintf("many-%s-%d-%d", b.name, n, i)
					prompt := fmt.Sprintf("%s says %s", id, strings.Repeat(id, n*i*8))
					r := request{url: b.route(g), body: promptBody(prompt), chunked: n%3 == 0}
					if n%2 == 0 && len(prompt) < 8<<10 {
						r = request{url: b.route(g) + "?prompt=" + url.QueryEscape(prompt)}
					}
					r.header = map[string]string{"X-Request-ID": id}
					a, err := r.by(c)
					if err == nil {
						err = a.echo(prompt, b.model)
					}
					if err == nil && a.header.Get("X-Request-ID") != id {
						err = fmt.Errorf("the id of somebody else: %q", a.header.Get("X-Request-ID"))
					}
					if err != nil {
						t.Errorf("%s: %v", id, err)
					}
				}
			})
		}
		all.Wait()
		s := b.stats(t)
		for n := range clients {
			for i := range each {
				id := fmt.Sprintf("many-%s-%d-%d", b.name, n, i)
				if s.Executed[id] != 1 {
					t.Errorf("%s was executed %d times", id, s.Executed[id])
				}
			}
		}
	})
}

// numbers is a text of that many bytes in which every place is different, so that nothing can be lost or moved unseen.
func numbers(size int) string {
	var b strings.Builder
	b.Grow(size + 8)
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, "%06d.", i)
	}
	return b.String()[:size]
}

// /infer is python's as long as there is one.
func TestInferPrefersPython(t *testing.T) {
	t.Parallel()
	g := inFrontOf(t, []*backend{python.shared(t), node.shared(t)})
	for range 5 {
		if err := ask(t, request{url: g.url + "/infer?prompt=a"}).echo("a", python.model); err != nil {
			t.Error(err)
		}
		if err := ask(t, request{url: g.url + "/infer", body: promptBody("b")}).echo("b", python.model); err != nil {
			t.Error(err)
		}
	}
	a := ask(t, request{method: http.MethodHead, url: g.url + "/infer?prompt=a"})
	if a.status != 200 || len(a.body) > 0 {
		t.Errorf("HEAD: %v", a)
	}
}

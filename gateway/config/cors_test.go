package config

import (
	"strings"
	"testing"
	"time"
)

func TestCORS(t *testing.T) {
	s, _, err := load(`
cors: {origins: ["https://App.example"], headers: [x-a], max_age: 0s}
routes:
  - {path: /a, pool: node}
  - {path: /b, pool: node, cors: {origins: ["*"]}}
`)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range s.Routes {
		switch c := r.CORS; {
		case c == nil:
			t.Errorf("%s has none", r.Path)
		case r.Path == "/b" && (c.Origins[0] != "*" || c.MaxAge != 10*time.Minute || c.Headers != nil):
			t.Errorf("/b: %+v", c)
		case r.Path != "/b" && (c != s.CORS || c.Origins[0] != "https://app.example" || c.MaxAge != 0 || c.Headers[0] != "x-a"):
			t.Errorf("%s: %+v", r.Path, c)
		}
	}
	if text := string(printed(s)); !strings.Contains(text, `cors: {origins: ["https://app.example"], headers: ["x-a"], max_age: 0s}`) ||
		!strings.Contains(text, `cors: {origins: ["*"], max_age: 10m}`) {
		t.Error(text)
	}
	sameAgain(t, s)

	f := func(cors, want string) {
		t.Helper()
		if _, _, err := load("cors: {" + cors + "}"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", cors, err, want)
		}
	}
	f("headers: [a]", `gw.yaml:1: cors: needs origins: a list of them, or ["*"] for all`)
	f(`origins: ["*"], credentials: true`, "credentials for all origins is what no browser allows: name them")
	f(`origins: ["*", "http://a"]`, `"*" is all there is: nothing else stands beside it`)
	f(`origins: [http://a/]`, `cors.origins[0]: "http://a/" is no origin, such as https://app.example or http://localhost:3000`)
	f(`origins: [a.example]`, `"a.example" is no origin`)
	f(`origins: ["https://a:443"]`, `"https://a:443": browsers leave the port of the scheme away`)
	f(`origins: [http://a, http://a]`, `http://a is named twice`)
	f(`origins: [http://a], headers: ["x y"]`, `"x y" is not the name of a field`)
	f(`origins: [http://a], max_age: soon`, `cors.max_age: "soon"`)
	f(`origins: [http://a], methods: [GET]`, `cors.methods: there is no such key here; there are credentials, headers, max_age, origins`)
}

package config

import (
	"os"
	"strings"
	"testing"
)

// FuzzLoad: no input makes Load panic, a refusal says why, and what is
// accepted can be printed and loaded again.
func FuzzLoad(f *testing.F) {
	full, err := os.ReadFile("testdata/full.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(full), "PORT=80\x00LOG_LEVEL=warn")
	f.Add("routes: [{path: '/a/*', pool: node, rewrite: '/*'}]", "PY_SERVICE_URL=http://[::1],http://a:1")
	f.Add("pools: {llm: {fallback: python}}", "LLM_SERVICE_URL=http://[fe80::1%25eth0]\x00TRUSTED_PROXIES=::ffff:1.2.3.4/100")
	f.Add("a: &a [*a]\n? [b]\n: !!c d", "MAX_BODY_BYTES=12x")
	f.Fuzz(func(t *testing.T, file, environ string) {
		s, _, err := load(file, strings.Split(environ, "\x00")...)
		if err == nil {
			sameAgain(t, s)
			return
		}
		list := faultsOf(t, err)
		if len(list) == 0 {
			t.Error("faults without a fault")
		}
		for _, fault := range list {
			where, what, _ := strings.Cut(fault, ": ")
			if where == "" || what == "" {
				t.Errorf("fault %q", fault)
			}
		}
	})
}

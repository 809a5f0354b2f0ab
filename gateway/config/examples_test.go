package config

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/template"

	"github.com/goccy/go-yaml"
)

// An example is a configuration file, or one of keys, that stands somewhere in the repository: as a file, in a page, or in the code.
type example struct {
	where, text string
	ofKeys      bool
}

// Every example of a configuration in the repository is what the schema describes and -check accepts, and every file of keys what its
// reader takes.
func TestExamplesOfTheRepository(t *testing.T) {
	s := compiled(t)
	var found []string
	for _, e := range examplesIn(t, "../..") {
		found = append(found, e.where)
		if e.ofKeys {
			if _, _, err := ReadKeys("keys.yaml", func(string) ([]byte, error) { return []byte(e.text), nil }); err != nil {
				t.Errorf("%s: %v\n%s", e.where, err, e.text)
			}
			continue
		}
		if err := s.Validate(asJSON(t, e.text)); err != nil {
			t.Errorf("%s: %v", e.where, err)
		}
		if err := checkExample(e.text); err != nil {
			t.Errorf("%s: %v\n%s", e.where, err, e.text)
		}
	}
	for _, place := range []string{
		"bench/field/gateway/gateway.yaml", "bench/field/gateway/keys.yaml", "bench/peers/gateway/gateway.yaml", "compose/keys.yaml",
		"compose/recipes/llama.cpp.yaml", "compose/recipes/ollama.yaml", "compose/recipes/provider.yaml", "compose/recipes/sglang.yaml",
		"compose/recipes/tgi.yaml", "compose/recipes/vllm.yaml", "gateway/caching/README.md, 1", "gateway/config/README.md, 2",
		"gateway/config/testdata/full.yaml", "gateway/demo.go", "gateway/inference/README.md, 2", "gateway/keys/README.md, 2", "gateway/ratelimit/README.md, 2",
	} {
		if !slices.Contains(found, place) {
			t.Errorf("no example was found in %s: there are %q", place, found)
		}
	}
}

// checkExample is -check, where the engines are called as the page says nothing of them, and what the text names is there.
func checkExample(text string) error {
	authority := httptest.NewTLSServer(http.NotFoundHandler())
	defer authority.Close()
	environ := []string{"LLM_SERVICE_URL=http://llm:8000"}
	for _, m := range regexp.MustCompile(`\{env: ([A-Z_]+)`).FindAllStringSubmatch(text, -1) {
		environ = append(environ, m[1]+"=any")
	}
	if strings.Contains(text, "llm_service_url") || regexp.MustCompile(`(?m)^  llm:`).MatchString(text) {
		environ = environ[1:]
	}
	_, _, err := Load(Input{Environ: environ, File: "gw.yaml", ReadFile: func(name string) ([]byte, error) {
		switch filepath.Ext(name) {
		case ".pem":
			return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.Certificate().Raw}), nil
		}
		if filepath.Base(name) == "keys.yaml" {
			return []byte("keys: []"), nil
		}
		return []byte(text), nil
	}})
	return err
}

// examplesIn finds the examples below a directory, apart from what was installed there and what is about to be wrong.
func examplesIn(t *testing.T, root string) (all []example) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		name := d.Name()
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "node_modules" || name == "templates"):
			return filepath.SkipDir
		case d.IsDir():
			return nil
		}
		where, _ := filepath.Rel(root, path)
		switch ext := filepath.Ext(name); {
		case ext == ".yaml" || ext == ".yml":
			all = append(all, ofFile(t, path, filepath.ToSlash(where))...)
		case ext == ".md":
			all = append(all, ofPage(t, path, filepath.ToSlash(where))...)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	demo := regexp.MustCompile("(?s)const demoFile = `\n(.*?)`").FindStringSubmatch(text(t, filepath.Join(root, "gateway/demo.go")))
	if demo == nil {
		t.Fatal("the file of -demo is not in demo.go any more")
	}
	return append(all, example{where: "gateway/demo.go", text: strings.ReplaceAll(strings.Replace(demo[1], "%q", "http://a:1", 1), "%q", "http://b:1")})
}

func text(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// ofFile is a file as it is, or as a bench makes one of it.
func ofFile(t *testing.T, path, where string) []example {
	t.Helper()
	made := text(t, path)
	if strings.Contains(made, "{{") {
		var b bytes.Buffer
		values := map[string]any{"Port": 8080, "Upstream": "127.0.0.1:8000", "KeyHash": sumA, "Key": "sk-any", "Dir": "/tmp", "Entries": 1000, "Redis": "127.0.0.1:6379"}
		of, err := template.New(where).Option("missingkey=zero").Parse(made)
		if err != nil || of.Execute(&b, values) != nil {
			return nil // of somebody else
		}
		made = b.String()
	}
	if ofKeys, ours := kindOf(made); ours {
		return []example{{where, made, ofKeys}}
	}
	return nil
}

// ofPage is the blocks of a page, by number. Hashes that are cut short there are made whole.
func ofPage(t *testing.T, path, where string) (all []example) {
	t.Helper()
	n := 0
	for _, m := range regexp.MustCompile("(?s)```ya?ml\n(.*?)```").FindAllStringSubmatch(text(t, path), -1) {
		block := regexp.MustCompile(`\b[0-9a-f]{4,32}…`).ReplaceAllStringFunc(m[1], func(cut string) string {
			cut = strings.TrimSuffix(cut, "…")
			return cut + sumA[len(cut):]
		})
		if ofKeys, ours := kindOf(block); ours {
			n++
			all = append(all, example{fmt.Sprintf("%s, %d", where, n), block, ofKeys})
		}
	}
	return all
}

// kindOf tells by its first keys whether a text is one of ours.
func kindOf(text string) (ofKeys, ours bool) {
	var keys map[string]any
	if yaml.Unmarshal([]byte(text), &keys) != nil {
		return false, false
	}
	has := func(names ...string) bool {
		return slices.ContainsFunc(names, func(name string) bool { _, there := keys[name]; return there })
	}
	// Kubernetes' objects and other programs' files have keys of their own; some of them are called as ours.
	if has("apiVersion", "kind", "services", "version", "rule_files", "settings") {
		return false, false
	}
	return has("keys", "jwt"), has("keys", "jwt", "pools", "routes", "models", "cors", "tokens", "llm_service_url", "py_service_url")
}

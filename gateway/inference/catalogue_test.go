package inference

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func TestParseCatalogue(t *testing.T) {
	f := func(answer string, want ...string) {
		t.Helper()
		names, ok := ParseCatalogue([]byte(answer))
		if !ok || !slices.Equal(names, want) {
			t.Errorf("%s: %q, %t", answer, names, ok)
		}
	}
	no := func(answer string) {
		t.Helper()
		if names, ok := ParseCatalogue([]byte(answer)); ok {
			t.Errorf("%.80s: %q", answer, names)
		}
	}
	f(`{"object":"list","data":[]}`)
	f(`{"models":[{"name":"x","id":"y"}],"object":"list","data":[{"id":"tiny","aliases":["tiny"],"meta":{"id":1}}]}`, "tiny")
	f(` {"data":[{"object":"model","id":"b\/c:latest"},{"id":"a"},{"id":"a"}]} `, "a", "b/c:latest")
	f(`{"data":[{"id":"b","aliases":["b","a\/c"],"tags":["x"]},{"aliases":[],"id":"d"},{"id":"e","aliases":"f"},{"id":"g","aliases":null}]}`, "a/c", "b", "d", "e", "g")
	f(`{"data":[{"id":"b","aliases":["","a\r\nX-Evil: 1",1,null,["c"],{"id":"d"},"`+strings.Repeat("a", 257)+`","z"]}]}`, "b", "z")
	no(``)
	no(`[]`)
	no(`{"data":null}`)
	no(`{"data":[{"name":"a"}]}`)
	no(`{"data":["a"]}`)
	no(`{"data":[{"id":1}]}`)
	no(`{"data":[{"id":""}]}`)
	no(`{"data":[{"id":"a\nb"}]}`)
	no(`{"data":[{"id":"a\r\nX-Evil: 1"}]}`)
	no(`{"data":[{"id":"é"}]}`)
	no(`{"data":[{"id":"a"}`)
	no(`{"data":[{"id":"a"},]}`)
	no(`{"data":[{"id":"` + strings.Repeat("a", 257) + `"}]}`)
	no(`{"data":[` + strings.Repeat(`{"id":"a"},`, 4096) + `{"id":"a"}]}`)
	no(`{"data":[{"id":"a","aliases":[` + strings.Repeat(`"a",`, 4096) + `"a"]}]}`)
	no(`{"data":[]}` + strings.Repeat(" ", MaxCatalogue))
}

func TestLists(t *testing.T) {
	names := []string{"a", "b:latest", "b:latest-2", "c:7b", "c:latest", "d"}
	for name, want := range map[string]bool{"a": true, "b": true, "b:latest": true, "c": true, "c:7b": true, "d": true, "b:": false, "": false, "A": false, "c:7": false, "a:latest": false} {
		if Lists(names, name) != want {
			t.Errorf("%q: %t", name, !want)
		}
	}
}

func TestAppendModels(t *testing.T) {
	got := AppendModels(nil, []Listed{{ID: "b/c", Owner: "llama", Created: 1795796101}, {ID: `a"`, Owner: "x"}})
	want := `{"object":"list","data":[{"id":"a\"","object":"model","created":0,"owned_by":"x"},{"id":"b/c","object":"model","created":1795796101,"owned_by":"llama"}]}`
	if string(got) != want || !json.Valid(got) {
		t.Errorf("%s", got)
	}
	if got := string(AppendModels(nil, nil)); got != `{"object":"list","data":[]}` {
		t.Error(got)
	}
	names, ok := ParseCatalogue(AppendModels(nil, []Listed{{ID: "z"}, {ID: "y"}}))
	if !ok || !slices.Equal(names, []string{"y", "z"}) {
		t.Errorf("what is listed is not read again: %q", names)
	}
}

func TestModelOfPath(t *testing.T) {
	var buf [MaxName + 1]byte
	for path, want := range map[string]string{"/v1/models/a": "a", "/v1/models/a/b": "a/b", "/v1/models/a%2Fb%2fc": "a/b/c", "/v1/models/a+b%20c": "a+b c",
		"/v1/models": "", "/v1/models/": "", "/v1/models/%00": "", "/v1/models/" + strings.Repeat("a", 257): "", "/v1/model/a": ""} {
		if got := ModelOfPath(buf[:], []byte(path)); string(got) != want {
			t.Errorf("%s: %q", path, got)
		}
	}
}

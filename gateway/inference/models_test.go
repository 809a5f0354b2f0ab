package inference

import (
	"strings"
	"testing"
)

func table(t *testing.T, models ...Model) *Table {
	t.Helper()
	tb, faults := NewTable(models)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return tb
}

func TestResolve(t *testing.T) {
	tb := table(t,
		Model{Name: "llama-8b", Pool: "llama", Upstream: "meta-llama/Llama-3.1-8B", Aliases: []string{"gpt-4o-mini", "gpt-4o"}, Fallback: []string{"q"}},
		Model{Name: "qwen-7b", Pool: "qwen", Aliases: []string{"q"}, Hidden: true})
	f := func(name string, want Verdict, model string) {
		t.Helper()
		r := tb.Resolve([]byte(name))
		if r.Verdict != want || (r.Model == nil) != (model == "") || r.Model != nil && r.Model.Name != model {
			t.Errorf("%s: %s, %+v", name, r.Verdict, r.Model)
		}
	}
	f("llama-8b", Found, "llama-8b")
	f("gpt-4o-mini", Found, "llama-8b")
	f("qwen-7b", Concealed, "qwen-7b")
	f("q", Concealed, "qwen-7b")
	f("LLAMA-8B", Unknown, "")
	f("", Unknown, "")
	if r := tb.Sole(); r.Verdict != Found || r.Model.Name != "llama-8b" {
		t.Errorf("the sole model that a client can know: %+v", r)
	}
	if fallback := tb.Resolve([]byte("gpt-4o")).Fallback(); len(fallback) != 1 || fallback[0].Name != "qwen-7b" {
		t.Errorf("fallback %v", fallback)
	}
	if r := table(t, Model{Name: "a"}, Model{Name: "b"}).Sole(); r.Verdict != Unstated || r.Model != nil {
		t.Errorf("of two: %+v", r)
	}
	var none *Table
	if none.Resolve([]byte("a")).Verdict != Unknown || none.Sole().Verdict != Unstated || none.Models() != nil {
		t.Error("a nil table knows something")
	}
	name := []byte("gpt-4o-mini")
	if n := testing.AllocsPerRun(100, func() { tb.Resolve(name) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestTableFaults(t *testing.T) {
	_, faults := NewTable([]Model{
		{Name: "a", Aliases: []string{"x", "b", "a", "y", "y"}, Fallback: []string{"b", "nobody", "b"}},
		{Name: "b", Aliases: []string{"x"}, Fallback: []string{"c"}},
		{Name: "c", Fallback: []string{"a"}},
		{Name: "c"},
		{Name: "d", Fallback: []string{"d"}},
		{Name: "e\n", Upstream: "é", Aliases: []string{""}},
		{Name: strings.Repeat("f", 257)},
		{Name: ""},
	})
	var all strings.Builder
	for _, fault := range faults {
		all.WriteString(fault.Error() + "\n")
	}
	want := []string{
		`models: two models have the name "c"`,
		`models: "a": the alias "b" is the name of another model`,
		`models: "a": its own name is among its aliases`,
		`models: "a": the alias "y" is listed twice`,
		`models: "a" and "b" both have the alias "x"`,
		`models: "a": there is no model "nobody" to fall back to`,
		`models: "a": the fallback "b" is listed twice`,
		`models: the fallbacks go in a circle: "a" → "b" → "c" → "a"`,
		`models: the fallbacks go in a circle: "d" → "d"`,
		`models: the name "e\n" has characters that cannot be printed`,
		`models: "e\n": upstream_model "é" has characters that cannot be printed`,
		`models: "e\n": the alias "" is empty`,
		`is longer than 256 bytes`,
		`models: the name "" is empty`,
	}
	for _, w := range want {
		if strings.Count(all.String(), w) != 1 {
			t.Errorf("not once: %s", w)
		}
	}
	if len(faults) != len(want) {
		t.Errorf("%d faults, want %d:\n%s", len(faults), len(want), &all)
	}
}

func TestRewrite(t *testing.T) {
	tb := table(t, Model{Name: "a", Aliases: []string{"alias"}, Upstream: `up/"1"`}, Model{Name: "b"})
	apply := func(body string, w Rewrite) string {
		if w.With == nil {
			return body
		}
		out := body[:w.From] + string(w.With) + body[w.To:]
		if int64(len(out)) != w.Length(int64(len(body))) {
			t.Errorf("%s: %d bytes, said to be %d", out, len(out), w.Length(int64(len(body))))
		}
		return out
	}
	f := func(body, want string) {
		t.Helper()
		var s Scanner
		scan(&s, []byte(body), 0)
		name, _ := s.Model()
		if got := apply(body, tb.Resolve(name).RewriteJSON(&s)); got != want {
			t.Errorf("%s becomes %s", body, got)
		}
	}
	f(`{ "x" : 1, "model" : "al\u0069as" , "y":2}`, `{ "x" : 1, "model" : "up/\"1\"" , "y":2}`)
	f(`{"model":"b"}`, `{"model":"b"}`)
	f(`{"model":"\u0062"}`, `{"model":"\u0062"}`)
	f(`{"x":"alias"}`, `{"x":"alias"}`)

	body := field("x", "y") + field("model", "alias") + "--XX--"
	var form Form
	scanForm(&form, formType, []byte(body), 3)
	if got, want := apply(body, tb.Resolve([]byte("alias")).RewriteForm(&form)), field("x", "y")+field("model", `up/"1"`)+"--XX--"; got != want {
		t.Errorf("a form becomes %q", got)
	}
	query := "x=1&model=alias&y=2"
	q, _ := ModelOfQuery(nil, []byte(query))
	if got := apply(query, tb.Resolve(q.Name).RewriteQuery(q)); got != "x=1&model=up%2F%221%22&y=2" {
		t.Errorf("a query becomes %s", got)
	}
}

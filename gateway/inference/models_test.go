package inference

import (
	"testing"

	"aigateway/gateway/config"
)

func table(models ...config.Model) *Table { return NewTable(models) }

func TestResolve(t *testing.T) {
	tb := table(
		config.Model{Name: "llama-8b", Pool: "llama", Upstream: "meta-llama/Llama-3.1-8B", Aliases: []string{"gpt-4o-mini", "gpt-4o"}, Fallback: []string{"q"}},
		config.Model{Name: "qwen-7b", Pool: "qwen", Aliases: []string{"q"}, Hidden: true})
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
	if r := table(config.Model{Name: "a"}, config.Model{Name: "b"}).Sole(); r.Verdict != Unstated || r.Model != nil {
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

func TestRewrite(t *testing.T) {
	tb := table(config.Model{Name: "a", Aliases: []string{"alias"}, Upstream: `up/"1"`}, config.Model{Name: "b"})
	apply := func(body string, from, to int64, name []byte, w Writing) string {
		return body[:from] + string(tb.Resolve(name).Written(w)) + body[to:]
	}
	f := func(body, want string) {
		t.Helper()
		var s Scanner
		scan(&s, []byte(body), 0)
		name, _ := s.Model()
		v, _ := s.Value(ModelMember)
		if got := apply(body, v.From, v.To, name, Quoted); got != want {
			t.Errorf("%s becomes %s", body, got)
		}
	}
	f(`{ "x" : 1, "model" : "al\u0069as" , "y":2}`, `{ "x" : 1, "model" : "up/\"1\"" , "y":2}`)
	f(`{"model":"b"}`, `{"model":"b"}`)

	body := field("x", "y") + field("model", "alias") + "--XX--"
	var form Form
	scanForm(&form, formType, []byte(body), 3)
	from, to := form.Span()
	if got, want := apply(body, from, to, []byte("alias"), Plain), field("x", "y")+field("model", `up/"1"`)+"--XX--"; got != want {
		t.Errorf("a form becomes %q", got)
	}
	query := "x=1&model=alias&y=2"
	q, _ := ModelOfQuery(nil, []byte(query))
	if got := apply(query, int64(q.From), int64(q.To), q.Name, Escaped); got != "x=1&model=up%2F%221%22&y=2" {
		t.Errorf("a query becomes %s", got)
	}
}

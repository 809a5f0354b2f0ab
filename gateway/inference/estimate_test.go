package inference

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
)

func TestMeasure(t *testing.T) {
	coded := base64.StdEncoding.EncodeToString(make([]byte, 3000))
	f := func(name, body string, text, media int) {
		t.Helper()
		if s := Measure([]byte(body)); int(s.Text) != text || int(s.Media) != media {
			t.Errorf("%s: %+v, want %d and %d", name, s, text, media)
		}
		for _, size := range []int{1, 7, 100, 1500} {
			var m Measurer
			for at := 0; at < len(body); at += size {
				m.Scan([]byte(body[at:min(at+size, len(body))]))
			}
			if s := m.Size(); int(s.Text) != text || int(s.Media) != media {
				t.Errorf("%s by %d: %+v, want %d and %d", name, size, s, text, media)
			}
		}
	}
	f("nothing", "", 0, 0)
	short := `{"messages":[{"content":"hello"}]}`
	f("short", short, len(short), 0)
	f("an image", `{"url":"data:image/png;base64,`+coded+`"}`, len(`{"url":""}`), 1)
	f("two of Anthropic's", `{"a":{"data":"`+coded+`"},"b":{"data":"`+coded+`"}}`, len(`{"a":{"data":""},"b":{"data":""}}`), 2)
	long := strings.Repeat("many words ", 1000)
	f("a long text", `{"content":"`+long+`"}`, len(long)+len(`{"content":""}`), 0)
	f("cut", `{"content":"`+coded, len(coded)+len(`{"content":"`), 0)
	f("with an escaped quote", `{"a\"":"`+coded+`"}`, len(`{"a\"":""}`), 1)
}

func TestEstimate(t *testing.T) {
	e := NewEstimator()
	model, a, b := []byte("m"), []byte("a"), []byte("b")
	is := func(what string, got, want int64) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %d, want %d", what, got, want)
		}
	}
	is("the first input", e.Input(model, Size{Text: 1000}), 270)
	is("with a picture", e.Input(model, Size{Text: 1000, Media: 2}), 3270)
	is("the first output", e.Output(a, model, -1), 512)
	is("what is stated", e.Output(a, model, 100), 100)
	is("more is stated", e.Output(a, model, 4096), 512)
	for range 200 {
		e.LearnInput(model, Size{Text: 1000}, 400)
		e.LearnOutput(a, model, 30)
	}
	is("a learned input", e.Input(model, Size{Text: 1000}), 400)
	is("another model's", e.Input([]byte("n"), Size{Text: 1000}), 270)
	is("a learned output", e.Output(a, model, -1), 30)
	is("another tenant's", e.Output(b, model, -1), 512)
	e.LearnOutput(a, model, 5000)
	is("one of a hundred", e.Output(a, model, -1), 30)
	e.LearnOutput(a, model, 700)
	is("two of a hundred", e.Output(a, model, -1), 700)
	for range 300 {
		e.LearnInput(model, Size{Text: 1000}, 1)
	}
	is("the least", e.Input(model, Size{Text: 10000}), 1001)
	for range 300 {
		e.LearnInput(model, Size{Text: 1000}, 1<<40)
	}
	is("the most", e.Input(model, Size{Text: 1000}), 1000)
	e.LearnOutput(b, model, 1<<50)
	is("nonsense is bounded", e.Output(b, model, 1<<40), 1<<32-1)
}

func TestEstimateOfMany(t *testing.T) {
	e := NewEstimator()
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 5000 {
				e.LearnOutput(fmt.Appendf(nil, "%d-%d", w, i), []byte("m"), 7)
				e.LearnInput(fmt.Appendf(nil, "%d-%d", w, i), Size{Text: 100}, 50)
			}
		})
	}
	wg.Wait()
	known := 0
	for i := range e.slot {
		if e.slot[i].Load() != nil {
			known++
		}
	}
	if known > estimates {
		t.Errorf("%d are known", known)
	}
}

func TestStated(t *testing.T) {
	for body, want := range map[string]int64{
		`{}`: -1, `{"max_tokens":5}`: 5, `{"max_tokens":5,"n":3}`: 15, `{"max_tokens":5,"max_completion_tokens":7}`: 7,
		`{"max_output_tokens":0}`: 0, `{"max_tokens":null}`: -1, `{"max_tokens":"5"}`: -1, `{"max_tokens":-5}`: -1, `{"max_tokens":1e300}`: 1e15,
	} {
		var s Scanner
		s.Reset()
		if s.Scan([]byte(body)); s.End() != Accepted {
			t.Fatal(body)
		}
		if got := s.Stated(); got != want {
			t.Errorf("%s: %d, want %d", body, got, want)
		}
	}
}

func TestEstimateAllocs(t *testing.T) {
	e := NewEstimator()
	body, _ := json.Marshal(map[string]string{"content": strings.Repeat("words ", 1000)})
	tenant, model := []byte("tenant"), []byte("model")
	e.LearnOutput(tenant, model, 5)
	e.LearnInput(model, Size{Text: 100}, 50)
	if n := testing.AllocsPerRun(1000, func() {
		s := Measure(body)
		e.LearnInput(model, s, e.Input(model, s))
		e.LearnOutput(tenant, model, e.Output(tenant, model, -1))
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

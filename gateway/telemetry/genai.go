package telemetry

import (
	"bytes"
	"sync"
	"time"
)

// The metrics of generations, named and bounded as the OpenTelemetry conventions for generative AI advise
// (https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/), with underscores for dots.
var (
	tokenBounds = []time.Duration{1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864}

	generationBounds = []time.Duration{
		10 * time.Millisecond, 20 * time.Millisecond, 40 * time.Millisecond, 80 * time.Millisecond, 160 * time.Millisecond,
		320 * time.Millisecond, 640 * time.Millisecond, 1280 * time.Millisecond, 2560 * time.Millisecond, 5120 * time.Millisecond,
		10240 * time.Millisecond, 20480 * time.Millisecond, 40960 * time.Millisecond, 81920 * time.Millisecond,
	}
	firstTokenBounds = []time.Duration{
		time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond, 40 * time.Millisecond, 60 * time.Millisecond,
		80 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, 750 * time.Millisecond,
		time.Second, 2500 * time.Millisecond, 5 * time.Second, 7500 * time.Millisecond, 10 * time.Second,
	}
	perTokenBounds = []time.Duration{
		10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 75 * time.Millisecond, 100 * time.Millisecond,
		150 * time.Millisecond, 200 * time.Millisecond, 300 * time.Millisecond, 400 * time.Millisecond, 500 * time.Millisecond,
		750 * time.Millisecond, time.Second, 2500 * time.Millisecond,
	}
)

// An Operation is what is asked of a model. The zero value is "nothing that is measured".
type Operation uint8

// The operations, by the names of the conventions.
const (
	NoOperation Operation = iota
	Chat
	TextCompletion
	Embeddings
	operations
)

func (o Operation) String() string {
	return [...]string{"", "chat", "text_completion", "embeddings"}[o]
}

// OperationOf tells what a request to an OpenAI-compatible service asks for, by the end of its path.
func OperationOf(path []byte) Operation {
	switch {
	case bytes.HasSuffix(path, []byte("/chat/completions")), bytes.HasSuffix(path, []byte("/responses")):
		return Chat
	case bytes.HasSuffix(path, []byte("/completions")):
		return TextCompletion
	case bytes.HasSuffix(path, []byte("/embeddings")):
		return Embeddings
	}
	return NoOperation
}

// GenAI is the series of generations. A nil GenAI counts nothing.
type GenAI struct {
	models  map[string]int // the others are 0
	series  [operations][]generationSeries
	windows sync.Pool
}

// generationSeries are those of one operation and one model.
type generationSeries struct {
	input, output, whole, failed, first, perToken *histogram
}

// addGenAI makes the series, all of them: a series shows on the page once it has something to tell, because there are
// three operations and six histograms for each model, and most stay empty for good.
func (m *Metrics) addGenAI(models []string) {
	g := &GenAI{models: make(map[string]int)}
	g.windows.New = func() any { return new(window) }
	usage := m.histograms("gen_ai_client_token_usage", "Tokens of a request, by the usage that its answer tells.")
	whole := m.histograms("gen_ai_server_request_duration", "Seconds from a request for a generation to the end of its answer.")
	first := m.histograms("gen_ai_server_time_to_first_token", "Seconds from a request to the first bytes of its answer's event stream.")
	per := m.histograms("gen_ai_server_time_per_output_token", "Seconds for each token of an event stream after the first.")
	for i, model := range append([]string{other}, models...) {
		if i > 0 {
			g.models[model] = i
		}
		for op := Chat; op < operations; op++ {
			labels := label("gen_ai_operation_name", op.String()) + "," + label("gen_ai_provider_name", "openai") + "," +
				label("gen_ai_response_model", model)
			s := generationSeries{
				input: newCounts(tokenBounds), output: newCounts(tokenBounds), whole: newHistogram(generationBounds),
				failed: newHistogram(generationBounds), first: newHistogram(firstTokenBounds), perToken: newHistogram(perTokenBounds),
			}
			usage.histogram(labels+","+label("gen_ai_token_type", "input"), s.input)
			usage.histogram(labels+","+label("gen_ai_token_type", "output"), s.output)
			whole.histogram(labels, s.whole)
			whole.histogram(labels+","+label("error_type", "_OTHER"), s.failed)
			first.histogram(labels, s.first)
			per.histogram(labels, s.perToken)
			g.series[op] = append(g.series[op], s)
		}
	}
	for _, f := range []*family{usage, whole, first, per} {
		f.sparse = true
	}
	m.genAI = g
}

// GenAI returns the series of generations.
func (m *Metrics) GenAI() *GenAI {
	if m == nil {
		return nil
	}
	return m.genAI
}

// A window is the end of a body that passes: the usage is there.
type window struct {
	n int
	b [2 * windowSize]byte
}

const windowSize = 2 << 10

// pass appends a piece, and forgets what is further back than the size of the window.
func (w *window) pass(piece []byte) {
	if len(piece) >= windowSize {
		w.n = copy(w.b[:], piece[len(piece)-windowSize:])
		return
	}
	if w.n+len(piece) > len(w.b) {
		w.n = copy(w.b[:], w.b[w.n-windowSize:w.n])
	}
	w.n += copy(w.b[w.n:], piece)
}

// A Generation is one request for one, and its answer as it passes. The zero value is none.
type Generation struct {
	operation Operation
	began     time.Duration
	first     time.Duration // when the first piece of an event stream came
	model     int
	window    *window
}

// Begin readies t for the answer to a request that began then. With NoOperation nothing will be counted.
func (g *GenAI) Begin(t *Generation, o Operation, began time.Duration) {
	if g != nil {
		t.operation, t.began = o, began
	}
}

// Active tells whether a generation is being measured.
func (t *Generation) Active() bool { return t.operation != NoOperation }

// Pass reads a piece of the answer's body. The piece is borrowed.
func (g *GenAI) Pass(t *Generation, piece []byte, now time.Duration) {
	if !t.Active() || len(piece) == 0 {
		return
	}
	if t.window == nil {
		t.window = g.windows.Get().(*window)
		t.window.n, t.first = 0, now
		// Most services name the model before the choices; the others behind them, where the window is.
		t.model = g.models[string(findModel(piece[:min(len(piece), windowSize)]))]
	}
	t.window.pass(piece)
}

// End counts the generation: now its answer has ended, with a status below 400 and whole, or failed.
func (g *GenAI) End(t *Generation, stream, failed bool, now time.Duration) {
	if !t.Active() {
		return
	}
	var u usage
	if w := t.window; w != nil {
		u = findUsage(w.b[:w.n])
		if t.model == 0 {
			t.model = g.models[string(findModel(w.b[:w.n]))]
		}
		g.windows.Put(w)
	}
	s := &g.series[t.operation][t.model]
	switch {
	case failed:
		s.failed.observe(now - t.began)
	default:
		s.whole.observe(now - t.began)
	}
	if u.known {
		s.input.observe(time.Duration(u.input))
		if t.operation != Embeddings {
			s.output.observe(time.Duration(u.output))
		}
	}
	if stream && !failed && t.first > 0 {
		s.first.observe(t.first - t.began)
		if u.output > 1 {
			s.perToken.observe((now - t.first) / time.Duration(u.output-1))
		}
	}
	*t = Generation{}
}

// usage is what an answer tells about its tokens.
type usage struct {
	known         bool
	input, output int64
}

// maxTokens is more than any answer can have; what is beyond it is no count.
const maxTokens = 1 << 40

var usageKey, modelKey = []byte(`"usage"`), []byte(`"model"`)

// findUsage reads the last usage object of a body, of which b is the end. A key with its quotes cannot be part of a text:
// there they would be escaped. It looks forward, because that is what processors have instructions for.
func findUsage(b []byte) (u usage) {
	var last []byte
	for {
		at := bytes.Index(b, usageKey)
		if at < 0 {
			break
		}
		b = b[at+len(usageKey):]
		if v := valueOf(b); len(v) > 0 && v[0] == '{' { // and not null, as in the chunks before
			last = v
		}
	}
	object := objectOf(last)
	if object == nil {
		return u
	}
	var in, out bool
	u.input, in = number(object, `"prompt_tokens"`, `"input_tokens"`)
	u.output, out = number(object, `"completion_tokens"`, `"output_tokens"`)
	u.known = in || out
	return u
}

// findModel is the first value of a key "model", empty if there is none.
func findModel(b []byte) []byte {
	at := bytes.Index(b, modelKey)
	if at < 0 {
		return nil
	}
	v := valueOf(b[at+len(modelKey):])
	if len(v) == 0 || v[0] != '"' {
		return nil
	}
	end := bytes.IndexByte(v[1:], '"')
	if end < 0 {
		return nil
	}
	return v[1 : 1+end] // with an escape in it, it is nobody's name
}

// valueOf is what stands behind a key: after blanks, a colon and blanks.
func valueOf(b []byte) []byte {
	b = bytes.TrimLeft(b, " \t\r\n")
	if len(b) == 0 || b[0] != ':' {
		return nil
	}
	return bytes.TrimLeft(b[1:], " \t\r\n")
}

// objectOf is the object at the beginning of b, nil if there is none or it does not end. Strings in it hold no braces:
// nobody writes usage like that.
func objectOf(b []byte) []byte {
	if len(b) == 0 || b[0] != '{' {
		return nil
	}
	depth := 0
	for i, c := range b {
		switch c {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return b[:i+1]
			}
		}
	}
	return nil
}

// number reads the whole number behind one of two keys.
func number(object []byte, key, or string) (n int64, ok bool) {
	at := bytes.Index(object, []byte(key))
	if at < 0 {
		key = or
		at = bytes.Index(object, []byte(key))
	}
	if at < 0 {
		return 0, false
	}
	v := valueOf(object[at+len(key):])
	for ; len(v) > 0 && '0' <= v[0] && v[0] <= '9'; v = v[1:] {
		if n = n*10 + int64(v[0]-'0'); n > maxTokens {
			return 0, false
		}
		ok = true
	}
	return n, ok
}

package telemetry

import (
	"bytes"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
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

// The operations, the first three by the names of the conventions, which have none for the others.
const (
	NoOperation Operation = iota
	Chat
	TextCompletion
	Embeddings
	Rerank
	Score
	Audio
	operations
)

func (o Operation) String() string {
	return [...]string{"", "chat", "text_completion", "embeddings", "rerank", "score", "audio"}[o]
}

// writes tells whether its answers have tokens that the model makes.
func (o Operation) writes() bool { return o == Chat || o == TextCompletion || o == Audio }

// OperationOf tells what a request to an OpenAI-compatible service asks for, or to one that speaks Anthropic's Messages, by the end of its path.
func OperationOf(path []byte) Operation {
	switch {
	case bytes.HasSuffix(path, []byte("/chat/completions")), bytes.HasSuffix(path, []byte("/responses")), bytes.HasSuffix(path, []byte("/messages")):
		return Chat
	case bytes.HasSuffix(path, []byte("/completions")):
		return TextCompletion
	case bytes.HasSuffix(path, []byte("/embeddings")):
		return Embeddings
	case bytes.HasSuffix(path, []byte("/rerank")):
		return Rerank
	case bytes.HasSuffix(path, []byte("/score")):
		return Score
	case bytes.Contains(path, []byte("/audio/")):
		return Audio
	}
	return NoOperation
}

// GenAI is the series of generations. A nil GenAI counts nothing.
type GenAI struct {
	metrics *Metrics
	models  atomic.Pointer[map[string]*modelSeries] // by name
	other   *modelSeries
	readers sync.Pool
	active  atomic.Int64 // generations under way

	usage, whole, first, perToken *family
}

// modelSeries are those of one model, by operation.
type modelSeries struct {
	configured bool
	by         [operations]generationSeries
}

// generationSeries are those of one operation and one model.
type generationSeries struct {
	input, output, whole, failed, first, perToken *histogram
}

// addGenAI makes the series, all of them: a series shows on the page once it has something to tell, because there are
// six operations and six histograms for each model, and most stay empty for good.
func (m *Metrics) addGenAI(models []string) {
	g := &GenAI{metrics: m}
	g.readers.New = func() any { return new(answerReader) }
	g.usage = m.histograms("gen_ai_client_token_usage", "Tokens of a request, by the usage that its answer tells.")
	g.whole = m.histograms("gen_ai_server_request_duration", "Seconds from a request for a generation to the end of its answer.")
	g.first = m.histograms("gen_ai_server_time_to_first_token", "Seconds from a request to the first content of its answer's event stream.")
	g.perToken = m.histograms("gen_ai_server_time_per_output_token", "Seconds for each token of an event stream after the first.")
	for _, f := range g.families() {
		f.sparse = true
	}
	g.other = g.addModel(other)
	known := make(map[string]*modelSeries)
	for _, model := range models {
		known[model] = g.addModel(model)
		known[model].configured = true
	}
	g.models.Store(&known)
	m.genAI = g
}

func (g *GenAI) families() []*family { return []*family{g.usage, g.whole, g.first, g.perToken} }

func (g *GenAI) addModel(model string) *modelSeries {
	s := new(modelSeries)
	for op := Chat; op < operations; op++ {
		labels := label("gen_ai_operation_name", op.String()) + "," + label("gen_ai_provider_name", "openai") + "," +
			label("gen_ai_response_model", model)
		o := generationSeries{
			input: newCounts(tokenBounds), output: newCounts(tokenBounds), whole: newHistogram(generationBounds),
			failed: newHistogram(generationBounds), first: newHistogram(firstTokenBounds), perToken: newHistogram(perTokenBounds),
		}
		g.usage.histogram(labels+","+label("gen_ai_token_type", "input"), o.input).group = s
		g.usage.histogram(labels+","+label("gen_ai_token_type", "output"), o.output).group = s
		g.whole.histogram(labels, o.whole).group = s
		g.whole.histogram(labels+","+label("error_type", "_OTHER"), o.failed).group = s
		g.first.histogram(labels, o.first).group = s
		g.perToken.histogram(labels, o.perToken).group = s
		s.by[op] = o
	}
	return s
}

// maxListed bounds the series that services can make by what they list.
const maxListed = 200

// List names the models that services list now, all of them. Each has series of its own, as those of the settings have, as
// long as it is listed and there is room; who has them already comes first.
func (g *GenAI) List(models []string) {
	if g == nil {
		return
	}
	g.metrics.mu.Lock()
	defer g.metrics.mu.Unlock()
	old, known := *g.models.Load(), make(map[string]*modelSeries)
	for _, model := range models {
		if s := old[model]; s != nil && !s.configured {
			known[model] = s
		}
	}
	listed := len(known)
	for model, s := range old {
		if s.configured {
			known[model] = s
		} else if known[model] == nil {
			for _, f := range g.families() {
				f.forget(s)
			}
		}
	}
	for _, model := range models {
		if known[model] == nil && listed < maxListed {
			known[model] = g.addModel(model)
			listed++
		}
	}
	g.models.Store(&known)
}

// seriesOf are those of a model, by the name that an answer says.
func (g *GenAI) seriesOf(model []byte) *modelSeries {
	known := *g.models.Load()
	if s := known[string(model)]; s != nil {
		return s
	}
	const latest = ":latest" // which Ollama lists, and nobody says
	if len(model) > 0 && len(model)+len(latest) <= maxModel {
		var room [maxModel]byte
		if s := known[string(append(append(room[:0], model...), latest...))]; s != nil {
			return s
		}
	}
	return g.other
}

// GenAI returns the series of generations.
func (m *Metrics) GenAI() *GenAI {
	if m == nil {
		return nil
	}
	return m.genAI
}

// A Generation is one request for one, and its answer as it passes. The zero value is none; it may be used again.
type Generation struct {
	operation Operation
	began     time.Duration
	model     string // by which it is counted; "": the one that the answer says
	reader    *answerReader
	last      lastSeries
}

// lastSeries are those that were found the last time: most requests are for the same model as the one before.
type lastSeries struct {
	known  *map[string]*modelSeries
	model  string
	series *modelSeries
}

// Reset makes t the zero value, but for what it remembers.
func (t *Generation) Reset() { *t = Generation{last: t.last} }

// Begin readies t for the answer to a request for a model that began then. With NoOperation nothing will be counted.
func (g *GenAI) Begin(t *Generation, o Operation, began time.Duration, model string) {
	if g != nil && o != NoOperation {
		t.operation, t.began, t.model = o, began, model
		g.active.Add(1)
	}
}

// Active tells whether a generation is being measured.
func (t *Generation) Active() bool { return t.operation != NoOperation }

// Pass reads a piece of the answer's body. The piece is borrowed.
func (g *GenAI) Pass(t *Generation, piece []byte) {
	if !t.Active() || len(piece) == 0 {
		return
	}
	if t.reader == nil {
		t.reader = g.readers.Get().(*answerReader)
		t.reader.reset()
	}
	t.reader.pass(piece)
}

// An Ending is how a generation ended.
type Ending uint8

// The endings.
const (
	Whole       Ending = iota // in one piece
	WholeStream               // as events
	Failed                    // with a status of 400 and above, or before its end
)

// Ended is how and when a generation ended, and what it cost.
type Ended struct {
	How   Ending
	At    time.Duration // as the times of Begin
	First time.Duration // when the first content of a stream came; 0: it had none

	Input, Output int64 // tokens, set by End if it has read them; told: the answer says so
	told          bool
}

// Tell says what the answer has told of its tokens, to somebody else who has read it.
func (e *Ended) Tell(input, output int64) { e.Input, e.Output, e.told = input, output, true }

// End counts the generation, which has ended.
func (g *GenAI) End(t *Generation, e *Ended) {
	if !t.Active() {
		return
	}
	g.active.Add(-1)
	of := g.other
	if t.model != "" {
		of = g.seriesBy(t)
	}
	if r := t.reader; r != nil {
		e.Input, e.Output, e.told = r.usage.tokens()
		if t.model == "" {
			of = g.seriesOf(r.model[:r.modelLen])
		}
		g.readers.Put(r)
	}
	of.by[t.operation].count(t, e)
	t.Reset()
}

// seriesBy are those of t's model.
func (g *GenAI) seriesBy(t *Generation) *modelSeries {
	l := &t.last
	if known := g.models.Load(); l.known != known || l.model != t.model {
		*l = lastSeries{known, t.model, g.seriesOf([]byte(t.model))}
	}
	return l.series
}

// count counts a generation that has ended.
func (s *generationSeries) count(t *Generation, e *Ended) {
	if e.How == Failed {
		s.failed.observe(e.At - t.began)
	} else {
		s.whole.observe(e.At - t.began)
	}
	if e.told {
		s.input.observe(time.Duration(e.Input))
		if t.operation.writes() {
			s.output.observe(time.Duration(e.Output))
		}
	}
	if e.How == WholeStream && e.First > 0 {
		s.first.observe(e.First - t.began)
		if e.Output > 1 {
			s.perToken.observe((e.At - e.First) / time.Duration(e.Output-1))
		}
	}
}

// snapshot adds the series up, over operations, and the times over models.
func (g *GenAI) snapshot() (s Generations) {
	if g == nil {
		return s
	}
	s.Active = g.active.Load()
	all := maps.Clone(*g.models.Load())
	all[other] = g.other
	var first, perToken []*histogram
	for _, name := range slices.Sorted(maps.Keys(all)) {
		c := ModelCounts{Model: name}
		for op := Chat; op < operations; op++ {
			of := &all[name].by[op]
			c.Failed += of.failed.total()
			c.Count += of.whole.total()
			c.Input += of.input.sum.Load()
			c.Output += of.output.sum.Load()
			first, perToken = append(first, of.first), append(perToken, of.perToken)
		}
		if c.Count += c.Failed; c.Count > 0 {
			s.Models = append(s.Models, c)
		}
		s.Input, s.Output = s.Input+c.Input, s.Output+c.Output
	}
	s.First, s.PerToken = distributionOf(first), distributionOf(perToken)
	return s
}

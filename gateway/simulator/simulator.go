// Package simulator is an inference upstream that runs inside the process: a plain net/http server on a loopback port, for
// `gateway -demo`, for tests and for benchmarks. It is built on the standard library alone, so that what the gateway and the
// simulator agree on is HTTP and not a habit they share.
//
// It knows nothing of the gateway: not its settings, its routes or its packages.
//
// # Routes
//
//	/healthz               GET        {"ok":true,"service":"python"}; 503 {"status":"loading"} during Options.SlowStart
//	/infer                 GET, POST  ?prompt=… or {"prompt":"…"} → {"result":"echo: …","latency_ms":37,"model":"sim-python"}
//	/health, /ping         GET        200 without a body, as vLLM has it; 503 during Options.SlowStart
//	/version               GET        {"version":"…"}
//	/v1/models             GET        Options.Models, or the one model; /v1/models/{model} likewise, also of names with a slash
//	/v1/chat/completions   POST       OpenAI's shapes, whole or with "stream": true as server-sent events
//	/v1/completions        POST       the same for a bare prompt
//	/v1/embeddings         POST       unit vectors that depend on the input only, as numbers or base64
//	/v1/responses          POST       OpenAI's Responses, whole or streamed; ends with response.completed or response.incomplete
//	/v1/messages           POST       Anthropic's Messages, whole or streamed, and its shape of errors
//	/v1/messages/count_tokens  POST   {"input_tokens":5}
//	/v1/rerank, /rerank    POST       the documents by how many words they share with the query
//	/v1/score, /score      POST       the same for pairs, in vLLM's shape
//	/v1/audio/transcriptions  POST    a multipart form, whole (json, text, srt, verbose_json, vtt) or streamed; translations too
//	/v1/audio/speech       POST       noise that depends on the text alone, in bytes or as events; wav and pcm can be played
//	/v1/realtime           GET        a websocket: session.update, conversation.item.create, response.create and what answers them
//	/metrics               GET        what an engine of Options.Family says of itself; 404 without
//	/tokenize, /detokenize POST       vLLM's shapes; what is detokenized must have been tokenized here
//
// HEAD is answered wherever GET is. Every text contains what was asked ("echo: …"), so that a test can tell one request's
// answer from another's. With Options.Models a request for another model is 404 model_not_found; without, the /v1 routes take any
// name and answer with the simulator's own, "sim-" and Options.Name. /tokenize and /detokenize need not state one. The /v1 routes
// make one choice (n = 1) and, unlike OpenAI's /v1/completions, set no max_tokens of their own, which would cut the echo.
//
// # Tools
//
// A request of chat completions, Responses or Messages that names functions is answered by a call of the one that tool_choice
// names, else of the first, unless tool_choice is "none" or what was said last is a function's result. The arguments are one
// member, the first that the function requires, with what was asked as its value.
//
// # What happens to a generation
//
// A POST to any route above, or a GET of /infer, that is not refused is one generation. The n-th generation of a simulator
// draws its latency, its failure and its cut from Options.Seed and n alone: a sequence of requests meets the same fate in every
// run, and parallel requests share out the same set of fates. A whole answer comes after the latency; a stream begins after the
// latency and then pauses Options.TokenPace between two tokens. A client that leaves ends its generation at once.
//
// # Switches
//
// A request may overrule its draw with header fields. A value out of bounds, or a field sent twice, is answered 400.
//
//	X-Sim-Latency: 5ms    wait this long before the answer, 0s to 10m
//	X-Sim-Pace: 0s        pause this long between two stream tokens, 0s to 1m
//	X-Sim-Tokens: 100     answer with exactly so many tokens, 1 to 100000: the echo cut short, or padded with " token"; not a call
//	X-Sim-Error: 503      fail with this status, 400 to 599, after the latency; 429 and 503 carry Retry-After: 1
//	X-Sim-Cut: 3          close the connection after 3 stream events, or 3 bytes of a whole body, 0 to 1048576;
//	                      more than there is cuts a stream before its last chunk, a whole body before its last byte
package simulator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Options say how one simulated upstream behaves. The zero value is a healthy, deterministic model called "llm".
type Options struct {
	// Name is the service in /healthz and, after "sim-", the model in answers. Default "llm".
	Name string

	// Models are the names that /v1/models lists and requests may state; others are answered 404 model_not_found. Without
	// any, the one model is "sim-" and the name, and answers for every name. Several engines behind one gateway are several
	// simulators with models of their own.
	Models []string

	// Addr is where to listen. Default "127.0.0.1:0": loopback, any free port.
	Addr string

	// Seed decides latencies, failures, cuts and answer ids.
	Seed uint64

	// Latency bounds the wait before an answer, both ends included. Two zeros mean 30 ms to 50 ms; two negative values mean
	// no wait. At most 10 minutes.
	Latency [2]time.Duration

	// TokenPace is the pause between two tokens of a stream. Zero means 20 ms; a negative value means no pause.
	TokenPace time.Duration

	// Family makes it an engine of that family: "vllm", "sglang", "llamacpp" or "trtllm". It has the page of metrics of one, and an [Engine] takes
	// the place of Latency and TokenPace for all that has a JSON body: four bytes of it are a token, and a stream gets its tokens as
	// the engine makes them. A whole answer comes with the first. X-Sim-Latency goes before.
	Family string

	// Engine says how large and how fast it is then.
	Engine EngineOptions

	// ErrorRate is the share of generations, 0 to 1, answered with ErrorStatus.
	ErrorRate float64

	// ErrorStatus is 400 to 599; zero means 500. 429 and 503 carry Retry-After: 1.
	ErrorStatus int

	// SlowStart is how long the model "loads": until then generations wait and /healthz answers 503.
	SlowStart time.Duration

	// CutRate is the share of answers, 0 to 1, whole or streamed, that break off in the middle: the connection closes
	// without the end of the message.
	CutRate float64
}

// Stats count what a simulator did since its start. When nobody is being served, Generations minus Cancelled, Cut and Errors
// were answered whole, or broke off because Close came first.
type Stats struct {
	Requests    uint64 // requests of any kind, probes and refusals included
	Generations uint64 // requests that reached the model, whatever became of them
	Cancelled   uint64 // generations whose client left before the end
	Cut         uint64 // generations broken off by CutRate or X-Sim-Cut
	Errors      uint64 // generations failed by ErrorRate or X-Sim-Error
}

// Simulator is one running upstream. All methods may be called from any goroutine.
type Simulator struct {
	options Options
	model   string // the first of those served, which answers where no model is stated
	words   vocabulary
	engine  *clockwork // nil: none
	routes  map[string]route

	url    string
	server *http.Server
	end    context.CancelCauseFunc // ends the generations that are running
	loaded chan struct{}           // closed when SlowStart is over
	load   *time.Timer             // closes loaded; nil if there was nothing to wait for
	served chan error              // what http.Server.Serve returned
	conns  sync.WaitGroup          // open connections, each a goroutine
	close  func() error

	requests, generations, cancelled, cut, errors atomic.Uint64
}

// errClosed is why a generation ends when the simulator does. It is not counted as a client that left.
var errClosed = errors.New("simulator closed")

// Start listens and serves until Close.
func Start(o Options) (*Simulator, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", o.Addr)
	if err != nil {
		return nil, fmt.Errorf("cannot start simulator %q: %w", o.Name, err)
	}
	return serve(listener, o), nil
}

// serve runs a simulator with complete options on a listener, which Close closes.
func serve(listener net.Listener, o Options) *Simulator {
	ctx, end := context.WithCancelCause(context.Background())
	s := &Simulator{
		options: o,
		model:   o.served()[0],
		url:     "http://" + listener.Addr().String(),
		end:     end,
		loaded:  make(chan struct{}),
		served:  make(chan error, 1),
	}
	if o.Family != "" {
		s.engine = newClockwork(o.Engine)
	}
	s.routes = s.table()
	s.close = sync.OnceValue(s.stop)
	s.server = &http.Server{
		Handler:           http.HandlerFunc(s.handle),
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnState:         s.track,
	}
	if o.SlowStart > 0 {
		s.load = time.AfterFunc(o.SlowStart, func() { close(s.loaded) })
	} else {
		close(s.loaded)
	}
	go func() { s.served <- s.server.Serve(listener) }()
	return s
}

// complete fills in defaults and reports every fault of the options together.
func (o Options) complete() (Options, error) {
	if o.Name == "" {
		o.Name = "llm"
	}
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	if o.Latency == [2]time.Duration{} {
		o.Latency = [2]time.Duration{30 * time.Millisecond, 50 * time.Millisecond}
	}
	if o.TokenPace == 0 {
		o.TokenPace = 20 * time.Millisecond
	}
	if o.ErrorStatus == 0 {
		o.ErrorStatus = http.StatusInternalServerError
	}
	o.Latency[0] = max(o.Latency[0], 0)
	o.Latency[1] = max(o.Latency[1], 0)
	o.TokenPace = max(o.TokenPace, 0)

	faults := o.modelFaults()
	if o.Latency[0] > o.Latency[1] {
		faults = append(faults, fmt.Errorf("latency from %v to %v runs backwards", o.Latency[0], o.Latency[1]))
	}
	if o.Latency[1] > maxLatency {
		faults = append(faults, fmt.Errorf("latency %v is longer than %v", o.Latency[1], maxLatency))
	}
	if _, ok := families[o.Family]; !ok && o.Family != "" {
		faults = append(faults, fmt.Errorf("family %q is none of vllm, sglang, llamacpp, trtllm", o.Family))
	}
	if !isShare(o.ErrorRate) {
		faults = append(faults, fmt.Errorf("error rate %v is not between 0 and 1", o.ErrorRate))
	}
	if o.ErrorStatus < 400 || o.ErrorStatus > 599 {
		faults = append(faults, fmt.Errorf("error status %d is not between 400 and 599", o.ErrorStatus))
	}
	if !isShare(o.CutRate) {
		faults = append(faults, fmt.Errorf("cut rate %v is not between 0 and 1", o.CutRate))
	}
	if len(faults) > 0 {
		return o, fmt.Errorf("cannot start simulator %q: %w", o.Name, errors.Join(faults...))
	}
	return o, nil
}

// isShare is false for NaN too.
func isShare(f float64) bool { return f >= 0 && f <= 1 }

// URL is the base of every route, without a slash at the end: "http://127.0.0.1:41234".
func (s *Simulator) URL() string { return s.url }

// Stats is a snapshot; the counters are read one after the other.
func (s *Simulator) Stats() Stats {
	return Stats{
		Requests:    s.requests.Load(),
		Generations: s.generations.Load(),
		Cancelled:   s.cancelled.Load(),
		Cut:         s.cut.Load(),
		Errors:      s.errors.Load(),
	}
}

// Close breaks off what is running and returns when every goroutine of the simulator has ended. It may be called again.
func (s *Simulator) Close() error { return s.close() }

func (s *Simulator) stop() error {
	if s.load != nil {
		s.load.Stop()
	}
	s.end(errClosed) // before the connections close, so that nobody counts as a client that left
	err := s.server.Close()
	if served := <-s.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	s.conns.Wait()
	return err
}

// track counts open connections: http.Server.Close does not wait for their goroutines. Each
// connection is new once, and closed or taken over once.
func (s *Simulator) track(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.conns.Add(1)
	case http.StateClosed, http.StateHijacked: // a websocket is counted again where it is served
		s.conns.Done()
	}
}

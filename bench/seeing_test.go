package bench

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"aigateway/gateway/config"
	"aigateway/gateway/server"
	"aigateway/gateway/telemetry"
)

// A look is the gateway with more or less of what tells of requests.
type look struct {
	blind   bool
	environ []string
	file    string // of settings; UPSTREAM stands for its address
	spans   bool   // a collector in the same process takes them, so their delivery costs what it costs
}

// looks are compared with the first: nothing at all.
var (
	lookNames = []string{"see-nothing", "see-metrics", "see-log", "see-timing", "see-all", "see-all-spans-1%", "see-all-spans"}

	looks = map[string]look{
		"see-nothing":      {blind: true},
		"see-metrics":      {},
		"see-all":          {environ: seeAll},
		"see-log":          {environ: seeAll[:1]},
		"see-timing":       {environ: seeAll[1:2]},
		"see-all-spans-1%": {environ: append([]string{"OTEL_TRACES_SAMPLER_ARG=0.01"}, seeAll...), spans: true},
		"see-all-spans":    {environ: seeAll, spans: true},
	}
	seeAll = []string{"ACCESS_LOG=true", "SERVER_TIMING=true", "GENAI_MODELS=m"}
)

func (l look) serve(ln net.Listener, upstream string, dial func(string) (net.Conn, error)) error {
	in := config.Input{}
	if l.file != "" {
		in.File = "bench.yaml"
		in.ReadFile = func(string) ([]byte, error) { return []byte(strings.ReplaceAll(l.file, "UPSTREAM", upstream)), nil }
	}
	environ := append([]string{"LLM_SERVICE_URL=http://" + upstream,
		"GLOBAL_RPS=1000000000", "GLOBAL_BURST=1000000000", "CLIENT_RPS=1000000000", "CLIENT_BURST=1000000000"}, l.environ...)
	if l.spans {
		collector, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		go func() {
			_ = http.Serve(collector, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
		}()
		environ = append(environ, "OTEL_EXPORTER_OTLP_ENDPOINT=http://"+collector.Addr().String())
	}
	in.Environ = environ
	s, _, err := config.Load(in)
	if err != nil {
		return err
	}
	lines := telemetry.NewLines(io.Discard)
	defer lines.Close()
	g, err := server.New(s, server.Options{Log: slog.New(slog.DiscardHandler), Dial: dial, Blind: l.blind, Lines: lines})
	if err != nil {
		return err
	}
	defer g.Close()
	return g.Serve(ln)
}

// BenchmarkSeeing is what it costs to see: the CPU time of a request, user and system, of the same binary with more and
// more of it on. All run in turns of a few thousand requests, so that a noisy machine is as noisy for each.
func BenchmarkSeeing(b *testing.B) {
	up := start(b, "upstream", "")
	for _, w := range works {
		if w.name != "post-1KB" && w.name != "stream-20" {
			continue
		}
		b.Run("work="+w.name, func(b *testing.B) {
			// A path that is measured as a generation; the upstream reads the end of it.
			ask := request(w.events, w.size)
			ask = bytes.Replace(ask, []byte("POST /v1/"), []byte("POST /v1/chat/completions?/"), 1)
			inTurns(b, lookNames, up, newQuestion(ask, response(w.events, w.size)), w.events)
		})
	}
}

// inTurns measures the CPU time that each look takes for a request, and how often that of the first one it is: the median of the turns, because others
// may use the machine at the same time.
func inTurns(b *testing.B, names []string, up *child, q question, events int) {
	const turn = 1000
	cpu, count := make([]int64, len(names)), 0
	times := make([][]float64, len(names))
	children := make([]*child, len(names))
	dials := make([]func() (net.Conn, error), len(names))
	for i, name := range names {
		p := start(b, name, up.addr)
		defer p.stop()
		children[i] = p
		dials[i] = func() (net.Conn, error) { return net.Dial("tcp", p.addr) }
		drive(b, dials[i], warm(4000, events), q)
	}
	b.ResetTimer()
	took := make([]int64, len(names))
	for count < b.N {
		n := min(turn, b.N-count)
		for i := range children {
			at := (i + count/turn) % len(children) // nobody is always first
			before := children[at].cpu(b)
			if failed := drive(b, dials[at], n, q); failed > 0 {
				b.Errorf("%s: %d of %d requests failed", names[at], failed, n)
			}
			took[at] = children[at].cpu(b) - before
			cpu[at] += took[at]
		}
		for i := range children {
			times[i] = append(times[i], float64(took[i])/float64(max(1, took[0])))
		}
		count += n
	}
	b.StopTimer()
	b.ReportMetric(0, "ns/op") // of all of them together, which says nothing
	for i, name := range names {
		b.ReportMetric(float64(cpu[i])/1e3/float64(b.N), name+"-cpu-µs/op")
		if slices.Sort(times[i]); i > 0 {
			b.ReportMetric(times[i][len(times[i])/2], name+"-times")
		}
	}
}

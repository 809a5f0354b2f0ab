package telemetry

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"github.com/VictoriaMetrics/metrics"
)

// The types are told from the names; where the library tells them too, it must agree. An upgrade that brings a name which
// fools us fails here.
func TestTypesAreTheLibrarys(t *testing.T) {
	metrics.ExposeMetadata(true)
	defer metrics.ExposeMetadata(false)
	var theirs bytes.Buffer
	metrics.WriteProcessMetrics(&theirs)
	metrics.ExposeMetadata(false)
	metrics.WriteFDMetrics(&theirs)
	var ours bytes.Buffer
	writeProcess(&ours)
	for line := range strings.Lines(theirs.String()) {
		if strings.HasPrefix(line, "# TYPE process_io_") {
			line = strings.Replace(line, " gauge", " counter", 1) // where the library is wrong
		}
		if strings.HasPrefix(line, "# TYPE ") && !strings.Contains(ours.String(), line) {
			t.Errorf("no %q", line)
		}
	}
}

// Prometheus' own linter has nothing against the page but three names of the library's.
func TestPromtool(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed (Debian: prometheus)")
	}
	m := New(testOptions())
	m.Route("/v1/*").Done([]byte("GET"), 200, 1, 1)
	m.Upstream("llm", "http://c:80").Done(200, 1)
	check := exec.Command(promtool, "check", "metrics")
	check.Stdin = strings.NewReader(page(m))
	out, err := check.CombinedOutput()
	if check.ProcessState == nil {
		t.Fatal(err)
	}
	if code := check.ProcessState.ExitCode(); code != 0 && code != 3 { // 3: it parses, and the linter has remarks
		t.Errorf("exit code %d: %s", code, out)
	}
	for line := range strings.Lines(string(out)) {
		switch name, _, _ := strings.Cut(line, " "); name {
		case "go_cgo_calls_count", "go_cpu_count", "go_gc_forced_count":
		default:
			t.Error(line)
		}
	}
}

func TestTyped(t *testing.T) {
	f := func(plain, want string) {
		t.Helper()
		var b bytes.Buffer
		writeTyped(&b, plain)
		var got []string
		for line := range strings.Lines(b.String()) {
			if !strings.HasPrefix(line, "# HELP ") {
				got = append(got, line)
			}
		}
		if s := strings.Join(got, ""); s != want {
			t.Errorf("got\n%swant\n%s", s, want)
		}
	}
	f("", "")
	f("\n", "")
	f("a 1\na_total 2\nb_count 3\n", "# TYPE a gauge\na 1\n# TYPE a_total counter\na_total 2\n# TYPE b_count gauge\nb_count 3\n")
	f("a{x=\"1\"} 1\na{x=\"2\"} 2\n", "# TYPE a gauge\na{x=\"1\"} 1\na{x=\"2\"} 2\n")
	f("h_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 1\n", "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 1\n")
	f("s{quantile=\"0\"} 1\ns_sum 1\ns_count 1\ns2 1\n", "# TYPE s summary\ns{quantile=\"0\"} 1\ns_sum 1\ns_count 1\n# TYPE s2 gauge\ns2 1\n")
}

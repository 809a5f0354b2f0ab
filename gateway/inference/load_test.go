package inference

import (
	"os"
	"strings"
	"testing"
)

// What real engines have said: vLLM 0.32 and llama.cpp, without the comments.
func TestRecordedPagesAreRead(t *testing.T) {
	f := func(file string, change [][2]string, want Load) {
		t.Helper()
		page, err := os.ReadFile("testdata/" + file)
		if err != nil {
			t.Fatal(err)
		}
		text := string(page)
		for _, c := range change {
			if !strings.Contains(text, c[0]) {
				t.Fatalf("%s has no %q", file, c[0])
			}
			text = strings.ReplaceAll(text, c[0], c[1])
		}
		for _, engine := range []string{"auto", want.Engine} {
			if got, ok := ReadLoad(engine, []byte(text)); !ok || got != want {
				t.Errorf("%s as %s: got %+v, %v, want %+v", file, engine, got, ok, want)
			}
		}
		for _, other := range []string{"sglang", "trtllm"} {
			if _, ok := ReadLoad(other, []byte(text)); ok {
				t.Errorf("%s is read as %s", file, other)
			}
		}
	}
	f("vllm.metrics.txt", nil, Load{Engine: "vllm", Asked: 19})
	f("vllm.metrics.txt", [][2]string{
		{`vllm:num_requests_running{engine="0",model_name="tiny"} 0.0`, `vllm:num_requests_running{engine="0",model_name="tiny"} 12.0`},
		{`vllm:num_requests_waiting{engine="0",model_name="tiny"} 0.0`, `vllm:num_requests_waiting{engine="0",model_name="tiny"} 3.0`},
		{`vllm:kv_cache_usage_perc{engine="0",model_name="tiny"} 0.0`, `vllm:kv_cache_usage_perc{engine="0",model_name="tiny"} 0.875`},
		{`vllm:prefix_cache_hits_total{engine="0",model_name="tiny"} 0.0`, `vllm:prefix_cache_hits_total{engine="0",model_name="tiny"} 16.0`},
	}, Load{Engine: "vllm", Running: 12, Waiting: 3, KV: 0.875, Hits: 16, Asked: 19})
	f("llama.metrics.txt", nil, Load{Engine: "llamacpp", KV: -1, Asked: 19})
	f("llama.metrics.txt", [][2]string{
		{"llamacpp:requests_processing 0", "llamacpp:requests_processing 4"},
		{"llamacpp:requests_deferred 0", "llamacpp:requests_deferred 2"},
		{"llamacpp:prompt_tokens_cached_total 0", "llamacpp:prompt_tokens_cached_total 81"},
	}, Load{Engine: "llamacpp", Running: 4, Waiting: 2, KV: -1, Hits: 81, Asked: 100})
}

func TestPagesOfMetrics(t *testing.T) {
	f := func(engine, page string, want Load) {
		t.Helper()
		if got, ok := ReadLoad(engine, []byte(page)); !ok || got != want {
			t.Errorf("%s: got %+v, %v, want %+v", page, got, ok, want)
		}
	}
	bad := func(engine, page string) {
		t.Helper()
		if got, ok := ReadLoad(engine, []byte(page)); ok {
			t.Errorf("%s: got %+v", page, got)
		}
	}
	const sglang = `# TYPE sglang:num_running_reqs gauge
sglang:num_running_reqs{engine_type="unified",model_name="m",pp_rank="0",tp_rank="0"} 7.0
sglang:num_queue_reqs{engine_type="unified",model_name="m",pp_rank="0",tp_rank="0"} 2.0
sglang:token_usage{engine_type="unified",model_name="m",pp_rank="0",tp_rank="0"} 0.28
`
	f("auto", sglang, Load{Engine: "sglang", Running: 7, Waiting: 2, KV: 0.28, Hits: -1, Asked: -1})
	f("auto", sglang+strings.ReplaceAll(sglang, `tp_rank="0"`, `tp_rank="1"`), Load{Engine: "sglang", Running: 7, Waiting: 2, KV: 0.28, Hits: -1, Asked: -1})
	f("trtllm", "trtllm_num_requests_running 3\ntrtllm_num_requests_waiting 1 1795796056000\r\ntrtllm_kv_cache_utilization{x=\"}\\\"\"} 5e-1\n",
		Load{Engine: "trtllm", Running: 3, Waiting: 1, KV: 0.5, Hits: -1, Asked: -1})
	// Ranks that share the requests out.
	f("auto", "vllm:num_requests_running{engine=\"0\"} 1\nvllm:num_requests_running{engine=\"1\"} 2\nvllm:num_requests_waiting{engine=\"0\"} 0\n"+
		"vllm:num_requests_waiting{engine=\"1\"} 4\nvllm:kv_cache_usage_perc{engine=\"0\"} 1\nvllm:kv_cache_usage_perc{engine=\"1\"} 0.5",
		Load{Engine: "vllm", Running: 3, Waiting: 4, KV: 0.75, Hits: -1, Asked: -1})

	f("auto", "vllm:num_requests_running 0\nvllm:num_requests_waiting 0\nvllm:prefix_cache_queries_total 5e-324\nvllm:prefix_cache_hits_total 1e18\n",
		Load{Engine: "vllm", KV: -1, Hits: 5e-324, Asked: 5e-324})

	good := func(running, waiting, kv string) string {
		return "vllm:num_requests_running " + running + "\nvllm:num_requests_waiting " + waiting + "\nvllm:kv_cache_usage_perc " + kv + "\n"
	}
	f("auto", good("1", "2", "0.5"), Load{Engine: "vllm", Running: 1, Waiting: 2, KV: 0.5, Hits: -1, Asked: -1})
	for _, v := range []string{"-1", "NaN", "+Inf", "1e300", "", "x", "2000000", "-Inf"} {
		bad("auto", good(v, "1", "0.5"))
		bad("auto", good("1", v, "0.5"))
		bad("auto", good("1", "1", v))
	}
	bad("auto", good("1", "1", "1.5"))
	bad("sglang", good("1", "1", "0.5"))
	bad("auto", "")
	bad("auto", "{}\n[]\nvllm:num_requests_running 1\n")
	bad("auto", `[{"iter":1,"numActiveRequests":2}]`)
	bad("auto", "vllm:num_requests_running{engine=\"0 1\nvllm:num_requests_waiting{ 1")
}

// Whatever is on the page, reading it neither fails nor says anything absurd.
func FuzzReadLoad(f *testing.F) {
	f.Add([]byte("vllm:num_requests_running{a=\"\\\"}\"} 1\nvllm:num_requests_waiting 1 2\n"))
	f.Add([]byte("llamacpp:requests_processing 1\nllamacpp:requests_deferred 0\nllamacpp:prompt_tokens_total 1e18\nllamacpp:prompt_tokens_cached_total 3"))
	f.Fuzz(func(t *testing.T, page []byte) {
		l, ok := ReadLoad("auto", page)
		if ok && (l.Running < 0 || l.Running > maxRequests || l.Waiting < 0 || l.Waiting > maxRequests || l.KV > 1 || l.Hits > l.Asked || l.Engine == "") {
			t.Errorf("%+v", l)
		}
	})
}

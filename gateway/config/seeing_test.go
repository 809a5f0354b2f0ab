package config

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestSeeing(t *testing.T) {
	s, _, err := load("", "ACCESS_LOG=on", "ACCESS_LOG_SAMPLE=0.25", "SERVER_TIMING=yes", "GENAI_MODELS=qwen3:8b, gpt-oss/20b",
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318/base/", "OTEL_EXPORTER_OTLP_HEADERS=api-key=a%2Cb%3D, X-Team=x=y",
		"OTEL_SERVICE_NAME=edge", "OTEL_TRACES_SAMPLER_ARG=0.01")
	if err != nil {
		t.Fatal(err)
	}
	if s.AccessLog != (AccessLog{Enabled: true, Sample: 0.25}) || !s.ServerTiming || !slices.Equal(s.MetricModels, []string{"gpt-oss/20b", "qwen3:8b"}) {
		t.Errorf("got %+v, %v, %q", s.AccessLog, s.ServerTiming, s.MetricModels)
	}
	want := []Field{{"api-key", "a,b="}, {"X-Team", "x=y"}}
	if tr := s.Tracing; tr.Endpoint.String() != "http://collector:4318/base" || tr.Service != "edge" || tr.Ratio != 0.01 || !reflect.DeepEqual(tr.Headers, want) {
		t.Errorf("got %+v", tr)
	}
	var b strings.Builder
	s.Print(&b)
	if strings.Contains(b.String(), "a%2Cb") || strings.Contains(b.String(), "a,b=") {
		t.Errorf("-print-config tells a secret:\n%s", b.String())
	}
}

func TestFaultsOfSeeing(t *testing.T) {
	f := func(entry string, want ...string) {
		t.Helper()
		_, _, err := load("", entry)
		if got := faultsOf(t, err); !slices.Equal(got, want) {
			t.Errorf("%s:\n got %q\nwant %q", entry, got, want)
		}
	}
	f("ACCESS_LOG=maybe", `ACCESS_LOG: "maybe" is none of true, false, 1, 0, yes, no, on, off`)
	f("ACCESS_LOG_SAMPLE=2", `ACCESS_LOG_SAMPLE: "2" is not a number between 0 and 1`)
	f("ACCESS_LOG_SAMPLE=NaN", `ACCESS_LOG_SAMPLE: "NaN" is not a number between 0 and 1`)
	f("OTEL_TRACES_SAMPLER_ARG=-0.1", `OTEL_TRACES_SAMPLER_ARG: "-0.1" is not a number between 0 and 1`)
	f("GENAI_MODELS=a,,b,a", `GENAI_MODELS: "" is not the name of a model`, `GENAI_MODELS: "a" is named twice`)
	f("OTEL_EXPORTER_OTLP_ENDPOINT=collector:4318", `OTEL_EXPORTER_OTLP_ENDPOINT: "collector:4318" is not a URL such as http://collector:4318`)
	f("OTEL_EXPORTER_OTLP_ENDPOINT=http://a?b", `OTEL_EXPORTER_OTLP_ENDPOINT: "http://a?b" is not a URL such as http://collector:4318`)
	f("OTEL_EXPORTER_OTLP_ENDPOINT=http://me:secret@a",
		`OTEL_EXPORTER_OTLP_ENDPOINT: has an @: a collector's password goes into OTEL_EXPORTER_OTLP_HEADERS`)
	f("OTEL_EXPORTER_OTLP_HEADERS=a=b,secret,c=%zz,d=%0a", `OTEL_EXPORTER_OTLP_HEADERS: entry 2 is not of the form name=value, percent-encoded`,
		`OTEL_EXPORTER_OTLP_HEADERS: entry 3 is not of the form name=value, percent-encoded`,
		`OTEL_EXPORTER_OTLP_HEADERS: entry 4 is not of the form name=value, percent-encoded`)
	many := []string{"m0"}
	for len(many) <= maxModels {
		many = append(many, "m"+strings.Repeat("x", len(many)))
	}
	f("GENAI_MODELS="+strings.Join(many, ","), "GENAI_MODELS: names 101 models; metrics have room for 100")
}

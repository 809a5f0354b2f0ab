package ops

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"aigateway/gateway/config"
)

// However many look, the counters are read once a second.
func TestFiguresAreShared(t *testing.T) {
	var f figures
	reads := 0
	read := func() []byte { reads++; return []byte{byte(reads)} }
	for i := range 40 {
		f.at(time.Duration(i)*100*time.Millisecond, read)
	}
	if reads != 4 {
		t.Errorf("%d reads in 4 s", reads)
	}
}

// The pages and the paths that the configuration keeps free are the same.
func TestPagesAreKnownToTheConfiguration(t *testing.T) {
	o := New(Options{Inflight: noRequests, Draining: never})
	var paths []string
	for _, p := range append(o.Pages(), o.AdminPages()...) {
		paths = append(paths, p.Path)
	}
	slices.Sort(paths)
	known := config.Operations()
	slices.Sort(known)
	if !slices.Equal(paths, known) {
		t.Errorf("the pages are %q, the configuration knows %q", paths, known)
	}
}

func TestAllow(t *testing.T) {
	f := func(want string, methods ...string) {
		t.Helper()
		if got := Allow(methods); got != want {
			t.Errorf("%q: %q, want %q", methods, got, want)
		}
	}
	f("GET, HEAD", "GET")
	f("DELETE, GET, HEAD", "GET", "DELETE")
	f("GET, HEAD", "HEAD", "GET")
	f("POST", "POST")
}

// A fault of the admin listener is JSON of the gateway's shape.
func TestAppendFault(t *testing.T) {
	var got struct {
		Error     struct{ Message, Type, Code string }
		RequestID string `json:"request_id"`
	}
	body := appendFault(nil, &Fault{"a_code", `a "message"`}, 503, "id")
	if err := json.Unmarshal(body, &got); err != nil || got.Error.Message != `a "message"` || got.Error.Type != "server_error" ||
		got.Error.Code != "a_code" || got.RequestID != "id" || !strings.HasSuffix(string(body), "}\n") {
		t.Errorf("%s: %+v %v", body, got, err)
	}
}

// What was put aside is bounded, and the newest is kept.
func TestPast(t *testing.T) {
	var p past
	if got := string(p.appendTo(nil)); got != "[]" {
		t.Errorf("nothing is %s", got)
	}
	for i := range 200 {
		p.keep(strconv.AppendInt(nil, int64(i), 10))
	}
	var kept []int
	if err := json.Unmarshal(p.appendTo(nil), &kept); err != nil || len(kept) != 181 || kept[0] != 19 || kept[180] != 199 {
		t.Errorf("%v, %d samples from %v", err, len(kept), kept)
	}
	for range 200 {
		p.keep([]byte(`"` + strings.Repeat("x", 8<<10) + `"`))
	}
	if n := len(p.appendTo(nil)); n > pastBytes+200 || n < pastBytes/2 {
		t.Errorf("long samples are %d bytes", n)
	}
}

func noRequests() int64 { return 0 }

func never() bool { return false }

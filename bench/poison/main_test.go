package main

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	f := func(args string, ok bool) {
		t.Helper()
		if _, err := parse(strings.Fields(args), io.Discard); (err == nil) != ok {
			t.Errorf("%q: %v", args, err)
		}
	}
	f("", true)
	f("-quick -gateway old=/a -gateway new=/b -nginx=", true)
	f("-gateway /a", false)
	f("-time 0s", false)
	f("-parallel 0", false)
	f("more", false)
}

// What each mode does to a request, and that everybody else is served meanwhile.
func TestUpstreamFailsByScript(t *testing.T) {
	f := func(mode string, status int) {
		t.Helper()
		u, err := startUpstream(mode, time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		defer u.stop()
		b := &bed{proxy: &proxy{url: u.url()}, client: &http.Client{Timeout: 100 * time.Millisecond}}
		defer b.client.CloseIdleConnections()
		r, err := b.client.Post(u.url()+"/v1/poison", "", nil)
		if status == 0 && err == nil || status != 0 && (err != nil || r.StatusCode != status) {
			t.Errorf("%s: %v, %v", mode, r, err)
		}
		if err == nil {
			_ = r.Body.Close()
		}
		b.client.Timeout = readEvery
		if !b.read("/v1/stream", lastEvent) || !b.read("/health", "{}\n") {
			t.Errorf("%s: somebody else is not served", mode)
		}
	}
	f("closes", 0)
	f("503", 503)
	f("time-out", 0)
}

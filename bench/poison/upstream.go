package main

import (
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// An upstream is an inference service by script: its health page is well, it streams, and some requests make it fail.
type upstream struct {
	Addr   string
	server *http.Server
	stream time.Duration
	mode   string
	hung   atomic.Bool
	free   chan struct{} // closed when those who hang may go
	once   sync.Once
}

// eventEvery is the time between two events of a stream, far below upstreamTime.
const eventEvery = 100 * time.Millisecond

func startUpstream(mode string, stream time.Duration) (*upstream, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	u := &upstream{Addr: ln.Addr().String(), stream: stream, mode: mode, free: make(chan struct{})}
	mux := http.NewServeMux()
	well := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "{}") }
	mux.HandleFunc("/health", well)
	mux.HandleFunc("/healthz", well)
	mux.HandleFunc("/v1/short", well)
	mux.HandleFunc("/v1/stream", u.events)
	mux.HandleFunc("/v1/poison", u.fail)
	u.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u.hung.Load() {
			<-u.free
			return
		}
		mux.ServeHTTP(w, r)
	})}
	go func() { _ = u.server.Serve(ln) }()
	return u, nil
}

func (u *upstream) url() string { return "http://" + u.Addr }

// events streams for the upstream's time.
func (u *upstream) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	tick := time.NewTicker(eventEvery)
	defer tick.Stop()
	for end := time.Now().Add(u.stream); time.Now().Before(end); {
		fmt.Fprint(w, "data: {}\n\n")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
	fmt.Fprint(w, lastEvent)
}

const lastEvent = "data: [DONE]\n\n"

// fail does what the mode says.
func (u *upstream) fail(w http.ResponseWriter, r *http.Request) {
	switch u.mode {
	case "503":
		http.Error(w, "busy", http.StatusServiceUnavailable)
	case "closes":
		panic(http.ErrAbortHandler)
	default:
		select {
		case <-r.Context().Done():
		case <-u.free:
		}
	}
}

// stop ends the upstream, and the connections to it.
func (u *upstream) stop() {
	u.once.Do(func() { close(u.free) })
	_ = u.server.Close()
}

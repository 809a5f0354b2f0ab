package bench

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"aigateway/gateway/config"
	"aigateway/gateway/server"

	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttputil"
)

// The whole gateway beside its rivals, doing the same work for the same clients in front of the same
// upstream. Over loopback each proxy is a process of its own, so that its CPU time is its own; in memory
// everything is one process, and what is compared is the code without the kernel.

const role = "AIGATEWAY_BENCH_ROLE"

// coreOfProxies names the core that all but the upstream run on; empty: any.
const coreOfProxies = "AIGATEWAY_BENCH_CORE"

func TestMain(m *testing.M) {
	if as := os.Getenv(role); as != "" {
		if err := play(as, os.Getenv("AIGATEWAY_BENCH_UPSTREAM")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// impls are ours and the rivals: a fasthttp proxy without any of what makes ours safe, and the standard
// library's reverse proxy with its defaults.
var impls = []string{"gateway", "fasthttp", "httputil"}

// work is what is compared. size is the response's body in bytes; the request's is the same for a POST.
var works = []struct {
	name   string
	events int // of a stream; 0: no stream
	size   int
}{
	{"post-0.2KB", 0, 200},
	{"post-1KB", 0, 1 << 10},
	{"post-16KB", 0, 16 << 10},
	{"post-64KB", 0, 64 << 10},
	{"stream-20", 20, eventSize},
	{"stream-1000", 1000, eventSize},
}

// eventSize is the number of bytes of an event's data.
const eventSize = 60

// warm is how many requests are sent before any counts: fewer if they are long.
func warm(most, events int) int { return most * 20 / max(20, events) }

const clients = 32

// patience bounds the wait for one answer: a wrong one must not hold up the rest.
const patience = 20 * time.Second

func BenchmarkLoopback(b *testing.B) {
	up := start(b, "upstream", "")
	for _, w := range works {
		for _, impl := range impls {
			b.Run("work="+w.name+"/impl="+impl, func(b *testing.B) {
				as := impl
				if w.events > 0 && impl == "fasthttp" {
					as = "fasthttp-stream"
				}
				p := start(b, as, up.addr)
				defer p.stop()
				dial := func() (net.Conn, error) { return net.Dial("tcp", p.addr) }
				q := newQuestion(request(w.events, w.size), response(w.events, w.size))
				drive(b, dial, warm(4000, w.events), q)
				cpu := p.cpu(b)
				b.ResetTimer()
				failed := drive(b, dial, b.N, q)
				b.StopTimer()
				report(b, impl, failed)
				b.ReportMetric(float64(p.cpu(b)-cpu)/1e3/float64(b.N), "cpu-µs/op")
			})
		}
	}
}

func BenchmarkInMemory(b *testing.B) {
	for _, w := range works {
		for _, impl := range impls {
			b.Run("work="+w.name+"/impl="+impl, func(b *testing.B) {
				as := impl
				if w.events > 0 && impl == "fasthttp" {
					as = "fasthttp-stream"
				}
				upstream, front := fasthttputil.NewInmemoryListener(), fasthttputil.NewInmemoryListener()
				defer upstream.Close()
				defer front.Close()
				go serveUpstream(upstream)
				go func() {
					if err := serveAs(as, front, "127.0.0.1:9", func(string) (net.Conn, error) { return upstream.Dial() }); err != nil {
						fmt.Fprintln(os.Stderr, err)
					}
				}()
				q := newQuestion(request(w.events, w.size), response(w.events, w.size))
				drive(b, front.Dial, warm(1000, w.events), q)
				b.ReportAllocs()
				b.ResetTimer()
				report(b, impl, drive(b, front.Dial, b.N, q))
			})
		}
	}
}

// drive sends n requests over a number of keep-alive connections, each as soon as the one before is answered,
// and returns how many had no whole answer. Ours must answer all; httputil.ReverseProxy loses some POSTs when
// an upstream answers before it has seen the end of the request's body.
func drive(b *testing.B, dial func() (net.Conn, error), n int, q question) (failed int64) {
	b.Helper()
	var next, lost atomic.Int64
	var wg sync.WaitGroup
	for range min(clients, n) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			buf := make([]byte, 256<<10)
			q := q.own()
			var conn net.Conn
			for next.Add(1) <= int64(n) {
				if conn == nil {
					var err error
					if conn, err = dial(); err != nil {
						b.Error(err)
						return
					}
				}
				if !q.ask(conn, buf) {
					lost.Add(1)
					conn.Close()
					conn = nil
				}
			}
			if conn != nil {
				conn.Close()
			}
		}()
	}
	wg.Wait()
	return lost.Load()
}

// question is a request, and what its answer has to begin and to end with; the end is unlike anything before it.
type question struct {
	request, begin, end []byte

	sized  []byte        // the end of an answer that is not in chunks, if that is another one; nil: it is the same
	asked  *atomic.Int64 // how often; nil: every request is the same
	number int           // where in the request that stands, in eight digits
}

func newQuestion(req []byte, res string) question {
	return question{request: req, begin: []byte(res[:12]), end: []byte(res[len(res)-7:])}
}

// numbered is a question that is another one each time it is asked: by the number that stands in its request.
func (q question) numbered(number string) question {
	q.asked, q.number = new(atomic.Int64), bytes.Index(q.request, []byte(number))
	return q
}

// whole tells whether all of the answer is there.
func (q *question) whole(answer []byte) bool {
	if q.sized != nil && !bytes.Contains(answer[:min(len(answer), 1024)], []byte("chunked")) {
		return bytes.HasSuffix(answer, q.sized)
	}
	return bytes.HasSuffix(answer, q.end)
}

// own is q for one who asks beside others.
func (q question) own() question {
	if q.asked != nil {
		q.request = bytes.Clone(q.request)
	}
	return q
}

// number8 gives the request its number, in eight digits, if it has one.
func (q *question) number8(request []byte) {
	if q.asked == nil {
		return
	}
	for i, n := 7, q.asked.Add(1); i >= 0; i, n = i-1, n/10 {
		request[q.number+i] = byte('0' + n%10)
	}
}

// ask sends the request and tells whether its answer came whole.
func (q *question) ask(conn net.Conn, buf []byte) bool {
	_ = conn.SetDeadline(time.Now().Add(patience))
	q.number8(q.request)
	if _, err := conn.Write(q.request); err != nil {
		return false
	}
	for got := 0; !q.whole(buf[:got]); {
		m, err := conn.Read(buf[got:])
		if err != nil {
			return false
		}
		if got += m; got >= len(q.begin) && !bytes.HasPrefix(buf, q.begin) {
			return false
		}
	}
	return true
}

// report puts the share of failed requests beside the figures; ours must be none.
func report(b *testing.B, impl string, failed int64) {
	b.Helper()
	if failed == 0 {
		return
	}
	if impl == "gateway" {
		b.Errorf("%d of %d requests failed", failed, b.N)
	}
	b.ReportMetric(float64(failed)/float64(b.N), "failed/op")
}

// request is what the client sends: the fields of a usual SDK.
func request(events, size int) []byte {
	fields := "Host: gateway.example\r\nAccept: application/json\r\nAccept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n" +
		"User-Agent: bench/1.0\r\nContent-Type: application/json\r\nAuthorization: Bearer sk-0123456789abcdef\r\n"
	if events > 0 {
		return []byte(fmt.Sprintf("POST /v1/events/%d HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n%s", events, fields, 200, strings.Repeat("q", 200)))
	}
	return []byte(fmt.Sprintf("POST /v1/body/%d HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n%s", size, fields, size, strings.Repeat("q", size)))
}

// response is what the upstream sends.
func response(events, size int) string {
	const fields = "date: Mon, 23 Nov 2026 00:00:00 GMT\r\nserver: uvicorn\r\n"
	if events == 0 {
		return fmt.Sprintf("HTTP/1.1 200 OK\r\n%scontent-length: %d\r\ncontent-type: application/json\r\n\r\n%s", fields, size, strings.Repeat("r", size-7)+"the end")
	}
	b := "HTTP/1.1 200 OK\r\n" + fields + "content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
	for range events {
		b += fmt.Sprintf("%x\r\ndata: %s\n\n\r\n", size+8, strings.Repeat("e", size))
	}
	return b + "0\r\n\r\n"
}

// serveUpstream answers every request with the response that its path asks for, an event a write.
func serveUpstream(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			r := bufio.NewReaderSize(conn, 128<<10)
			answers := make(map[string][][]byte)
			for {
				path, err := readRequest(r)
				if err != nil {
					return
				}
				if _, known := answers[path]; !known {
					answers[path] = pieces(path)
				}
				for i, p := range answers[path] {
					if i > 0 {
						time.Sleep(paceOf(path))
					}
					if _, err := conn.Write(p); err != nil {
						return
					}
				}
			}
		}()
	}
}

func pieces(path string) (p [][]byte) {
	n, _ := strconv.Atoi(path[strings.LastIndexByte(path, '/')+1:])
	switch {
	case strings.Contains(path, "/events/"):
		for _, s := range strings.SplitAfter(response(n, eventSize), "\n\n\r\n") {
			p = append(p, []byte(s))
		}
	case strings.Contains(path, "/talk/"):
		for _, s := range strings.SplitAfter(talk(n), "\n\n\r\n") {
			p = append(p, []byte(s))
		}
	case strings.Contains(path, "/chat/2048"):
		p = [][]byte{[]byte(completion(n))}
	case strings.HasPrefix(path, "/fresh/"):
		p = [][]byte{[]byte(undated(response(0, n)))}
	case strings.Contains(path, "/cached/"):
		_, rest, _ := strings.Cut(response(0, n), "GMT\r\n") // fresh from now on
		p = [][]byte{[]byte("HTTP/1.1 200 OK\r\ndate: " + time.Now().UTC().Format(http.TimeFormat) + "\r\ncache-control: max-age=3600\r\n" + rest)}
	case strings.Contains(path, "/body/"):
		p = [][]byte{[]byte(response(0, n))}
	case strings.HasSuffix(path, "/hold"): // and never a word
	case strings.HasSuffix(path, "/drip"):
		first, _, _ := strings.Cut(response(1, eventSize), "0\r\n\r\n")
		p = [][]byte{[]byte(first)}
	default:
		p = [][]byte{[]byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")}
	}
	return p
}

// readRequest reads a request with a Content-Length and returns its path.
func readRequest(r *bufio.Reader) (path string, err error) {
	length := 0
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return "", err
		}
		if len(line) == 2 {
			_, err = r.Discard(length)
			return path, err
		}
		if first {
			a, b := bytes.IndexByte(line, ' '), bytes.LastIndexByte(line, ' ')
			path = string(line[a+1 : b])
		}
		if name, value, ok := bytes.Cut(line, []byte(": ")); ok && len(name) == 14 && strings.EqualFold(string(name), "content-length") {
			length, _ = strconv.Atoi(string(bytes.TrimSpace(value)))
		}
	}
}

// play is a child process: it says where it listens, and then its CPU time in nanoseconds for every line it
// gets, until there are no more. With AIGATEWAY_BENCH_PROFILE=FILE each proxy leaves a CPU profile in
// FILE.<proxy>.
func play(as, upstream string) error {
	runtime.GOMAXPROCS(2)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(ln.Addr())
	if as == "late" {
		beLate(upstream)
		return nil
	}
	if name := os.Getenv("AIGATEWAY_BENCH_PROFILE"); name != "" && as != "upstream" {
		f, err := os.Create(name + "." + as)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	go func() {
		if as == "upstream" {
			serveUpstream(ln)
			return
		}
		if err := serveAs(as, ln, upstream, nil); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}()
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		fmt.Println(cpuTime())
	}
	return nil
}

// cpuTime is the CPU time that this process has used so far, user and system, in nanoseconds.
func cpuTime() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// serveAs serves ln as one of the proxies. dial reaches the upstream; nil is TCP.
func serveAs(as string, ln net.Listener, upstream string, dial func(string) (net.Conn, error)) error {
	switch as {
	case "gateway":
		return serveGateway(ln, dial, unlimited("LLM_SERVICE_URL=http://"+upstream))
	case "fasthttp", "fasthttp-stream":
		return serveFasthttp(ln, upstream, dial, as == "fasthttp-stream")
	case "hit-gateway", "hit-handler":
		return serveHits(as, ln, upstream)
	case "httputil":
		return serveHTTPUtil(ln, upstream, dial)
	}
	for _, known := range []map[string]look{looks, asks, keeps, streams} {
		if l, ok := known[as]; ok {
			return l.serve(ln, upstream, dial)
		}
	}
	return fmt.Errorf("there is no proxy %q", as)
}

// unlimited is an environment in which the limiter works, but lets everything in.
func unlimited(environ ...string) []string {
	return append(environ, "GLOBAL_RPS=1000000000", "GLOBAL_BURST=1000000000", "CLIENT_RPS=1000000000", "CLIENT_BURST=1000000000")
}

func serveGateway(ln net.Listener, dial func(string) (net.Conn, error), environ []string) error {
	s, _, err := config.Load(config.Input{Environ: environ})
	if err != nil {
		return err
	}
	g, err := server.New(s, server.Options{Log: slog.New(slog.DiscardHandler), Dial: dial})
	if err != nil {
		return err
	}
	defer g.Close()
	return g.Serve(ln)
}

// serveFasthttp is the proxy that fasthttp's documentation leads to.
func serveFasthttp(ln net.Listener, upstream string, dial func(string) (net.Conn, error), stream bool) error {
	hc := &fasthttp.HostClient{Addr: upstream, MaxConns: 4096, StreamResponseBody: stream}
	if dial != nil {
		hc.Dial = dial
	}
	s := &fasthttp.Server{
		ReadBufferSize: 16 << 10,
		Handler: func(ctx *fasthttp.RequestCtx) {
			ctx.Request.Header.SetHost(upstream)
			if err := hc.Do(&ctx.Request, &ctx.Response); err != nil {
				ctx.Error("bad gateway", fasthttp.StatusBadGateway)
			}
		},
	}
	return s.Serve(ln)
}

func serveHTTPUtil(ln net.Listener, upstream string, dial func(string) (net.Conn, error)) error {
	p := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: upstream})
	p.ErrorLog = log.New(io.Discard, "", 0) // a client that leaves at the end of a run is not news
	if dial != nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.DialContext = func(_ context.Context, _, addr string) (net.Conn, error) { return dial(addr) }
		p.Transport = t
	}
	return http.Serve(ln, p)
}

// A child is a process that plays a role.
type child struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	addr string
}

func start(b *testing.B, as, upstream string) *child {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	if core := os.Getenv(coreOfProxies); core != "" && as != "upstream" {
		cmd = exec.Command("taskset", "-c", core, os.Args[0])
	}
	cmd.Env = append(os.Environ(), role+"="+as, "AIGATEWAY_BENCH_UPSTREAM="+upstream)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	c := &child{cmd: cmd, in: in, out: bufio.NewReader(out)}
	b.Cleanup(c.stop)
	if c.addr, err = c.line(); err != nil {
		b.Fatal(err)
	}
	return c
}

func (c *child) line() (string, error) {
	s, err := c.out.ReadString('\n')
	return strings.TrimSpace(s), err
}

// cpu is the CPU time the process has used so far, user and system, in nanoseconds.
func (c *child) cpu(b *testing.B) int64 {
	b.Helper()
	if _, err := io.WriteString(c.in, "\n"); err != nil {
		b.Fatal(err)
	}
	s, err := c.line()
	if err != nil {
		b.Fatal(err)
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

func (c *child) stop() {
	c.in.Close()
	_ = c.cmd.Wait()
}

package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// streams are gateways as keeps has them, of which one replays at the pace at which a stream came.
var streams = map[string]look{
	"replays": {file: keepsFile(", cache: {post: true, ttl: 1h, replay: paced}")},
}

// talk is a chat's answer as a stream of that many events, with an end.
func talk(events int) string {
	var b strings.Builder
	b.WriteString("HTTP/1.1 200 OK\r\nserver: uvicorn\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n")
	event := func(data string) { fmt.Fprintf(&b, "%x\r\ndata: %s\n\n\r\n", len(data)+8, data) }
	for i := range events - 2 {
		event(fmt.Sprintf(`{"id":"c","object":"chat.completion.chunk","created":1750000000,"model":"m","choices":[{"index":0,"delta":{"content":"word %d "},"finish_reason":null}]}`, i))
	}
	event(`{"id":"c","object":"chat.completion.chunk","created":1750000000,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`)
	event("[DONE]")
	return b.String() + "0\r\n\r\n"
}

// paceOf is how long the upstream waits between the pieces of an answer: /talk/100ms/50 has fifty events, each that long behind the one before.
func paceOf(path string) time.Duration {
	_, rest, ok := strings.Cut(path, "/talk/")
	if !ok {
		return 0
	}
	pace, _, _ := strings.Cut(rest, "/")
	d, _ := time.ParseDuration(pace)
	return d
}

// talkTo asks for a stream of that many events at that pace.
func talkTo(pace time.Duration, events int) question {
	body := `{"model":"m","temperature":0,"stream":true,"messages":[{"role":"user","content":"` + numbered + `"}]}`
	ask := fmt.Sprintf("POST /v1/chat/completions?/talk/%v/%d HTTP/1.1\r\nHost: gateway.example\r\nAccept: text/event-stream\r\n"+
		"User-Agent: bench/1.0\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", pace, events, len(body), body)
	q := newQuestion([]byte(ask), talk(events))
	q.end, q.sized = []byte("\r\n0\r\n\r\n"), []byte("data: [DONE]\n\n")
	return q
}

// BenchmarkStreams is what an event of a stream costs, in CPU time, the median of turns: relayed from an upstream at a pace, replayed by the cache at
// the same pace, and relayed into the cache, of which nobody has asked before.
func BenchmarkStreams(b *testing.B) {
	const crowd, events, pace = 300, 50, 20 * time.Millisecond
	up := start(b, "upstream", "")
	q := talkTo(pace, events)
	all := []inquiry{{"relayed", "passes", q}, {"replayed", "replays", q}, {"missed", "keeps", q.numbered(numbered)}}
	turns := make([][]float64, len(all))
	children := make([]*child, len(all))
	for i, a := range all {
		children[i] = start(b, a.of, up.addr)
		crowdOf(b, children[i], 1, q)
	}
	b.ResetTimer()
	for turn := range b.N {
		for i := range all {
			at := (i + turn) % len(all)
			before := children[at].cpu(b)
			crowdOf(b, children[at], crowd, all[at].question)
			turns[at] = append(turns[at], float64(children[at].cpu(b)-before)/1e3/crowd/events)
		}
	}
	b.StopTimer()
	b.ReportMetric(0, "ns/op")
	for i, a := range all {
		slices.Sort(turns[i])
		b.ReportMetric(turns[i][len(turns[i])/2], a.name+"-cpu-µs/event")
	}
}

// crowdOf has that many ask at once, each over its own connection.
func crowdOf(b *testing.B, p *child, size int, q question) {
	var all sync.WaitGroup
	for range size {
		all.Go(func() {
			conn, err := net.Dial("tcp", p.addr)
			if err != nil {
				b.Error(err)
				return
			}
			defer conn.Close()
			mine := q.own()
			if !mine.ask(conn, make([]byte, 64<<10)) {
				b.Error("a stream has no end")
			}
		})
	}
	all.Wait()
}

// BenchmarkLateFollowers is how long those wait for their first byte who ask for a stream that is under way, in milliseconds from asking, while a
// thousand others, who have come at any time, read it. Who is measured asks from a process of its own, where nobody else is in its way. The upstream
// has one request, and all get the same bytes.
func BenchmarkLateFollowers(b *testing.B) {
	up := start(b, "upstream", "")
	p := start(b, "keeps", up.addr)
	late := start(b, "late", p.addr)
	var waits []float64
	for n := range b.N {
		var all sync.WaitGroup
		for i := range lateCrowd {
			all.Go(func() {
				conn, err := net.Dial("tcp", p.addr)
				if err != nil {
					b.Error(err)
					return
				}
				defer conn.Close()
				if i > 0 {
					time.Sleep(latePace + rand.N(lateEvents/2*latePace))
				}
				if _, body := askFirst(conn, lateQuestion(n)); body != lateBody() {
					b.Errorf("another stream: %d bytes", len(body))
				}
			})
		}
		_, _ = fmt.Fprintln(late.in, n)
		line, _ := late.line()
		for _, field := range strings.Fields(line) {
			wait, err := strconv.ParseFloat(field, 64)
			if err != nil {
				b.Fatal(line)
			}
			waits = append(waits, wait)
		}
		all.Wait()
	}
	if len(waits) == 0 {
		b.Fatal("nobody was late")
	}
	slices.Sort(waits)
	at := func(share float64) float64 { return waits[int(share*float64(len(waits)-1))] }
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(at(0.5), "p50-ms")
	b.ReportMetric(at(0.99), "p99-ms")
	b.ReportMetric(at(1), "max-ms")
	within, _ := slices.BinarySearch(waits, 5)
	b.ReportMetric(100*float64(within)/float64(len(waits)), "%-within-5-ms")
}

const (
	lateCrowd  = 1000
	lateEvents = 40
	latePace   = 100 * time.Millisecond
)

// lateQuestion is what all ask for in the same round.
func lateQuestion(round int) question {
	q := talkTo(latePace, lateEvents)
	q.request = bytes.Replace(q.request, []byte(numbered), fmt.Appendf(nil, "%08d", round), 1)
	return q
}

func lateBody() string {
	_, want, _ := strings.Cut(talk(lateEvents), "\r\n\r\n")
	return dechunked(want)
}

// beLate asks for each round that it is told of: again and again while the stream goes on, and says how many milliseconds each took.
func beLate(gateway string) {
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		round, _ := strconv.Atoi(lines.Text())
		var waits []string
		time.Sleep(2 * latePace) // it is under way
		for end := time.Now().Add((lateEvents - 8) * latePace); time.Now().Before(end); time.Sleep(5*time.Millisecond + rand.N(15*time.Millisecond)) {
			conn, err := net.Dial("tcp", gateway)
			if err != nil {
				continue
			}
			q := lateQuestion(round)
			_ = conn.SetDeadline(time.Now().Add(patience))
			began := time.Now()
			_, _ = conn.Write(q.request)
			if _, err := conn.Read(make([]byte, 64<<10)); err == nil {
				waits = append(waits, fmt.Sprintf("%.3f", float64(time.Since(began))/1e6))
			}
			conn.Close()
		}
		fmt.Println(strings.Join(waits, " "))
	}
}

// askFirst asks, and returns after how long the first byte was there, and the body.
func askFirst(conn net.Conn, q question) (wait time.Duration, body string) {
	_ = conn.SetDeadline(time.Now().Add(patience))
	began := time.Now()
	if _, err := conn.Write(q.request); err != nil {
		return patience, ""
	}
	buf, n := make([]byte, 64<<10), 0
	for !q.whole(buf[:n]) {
		m, err := conn.Read(buf[n:])
		if err != nil {
			return patience, err.Error()
		}
		if n == 0 {
			wait = time.Since(began)
		}
		n += m
	}
	head, rest, _ := bytes.Cut(buf[:n], []byte("\r\n\r\n"))
	if bytes.Contains(head, []byte("chunked")) {
		return wait, dechunked(string(rest))
	}
	return wait, string(rest)
}

// dechunked is a body without its chunks.
func dechunked(body string) string {
	var b strings.Builder
	for {
		size, rest, _ := strings.Cut(body, "\r\n")
		var n int
		if _, err := fmt.Sscanf(size, "%x", &n); err != nil || n == 0 || n > len(rest) {
			return b.String()
		}
		b.WriteString(rest[:n])
		body = rest[n+2:]
	}
}

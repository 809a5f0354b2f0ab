package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// grace is how long an ended attempt may take to be known as ended at its provider, which has to read the end of its connection first.
const grace = 250 * time.Millisecond

// A ledger knows which generations are alive, at all providers together.
type ledger struct {
	mu    sync.Mutex
	alive map[string]int // by request id
	twice int            // generations that began while another one of the same request was alive
}

func newLedger() *ledger { return &ledger{alive: make(map[string]int)} }

func (l *ledger) begin(id string) {
	for end := time.Now().Add(grace); l.of(id) > 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.alive[id]++; l.alive[id] > 1 {
		l.twice++
	}
}

func (l *ledger) end(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.alive[id]--; l.alive[id] == 0 {
		delete(l.alive, id)
	}
}

func (l *ledger) of(id string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.alive[id]
}

// settle waits until nothing is alive, and tells how many are still after a while, and how many were alive beside another one.
func (l *ledger) settle(within time.Duration) (left, twice int) {
	for end := time.Now().Add(within); ; time.Sleep(time.Millisecond) {
		l.mu.Lock()
		left, twice = len(l.alive), l.twice
		l.mu.Unlock()
		if left == 0 || time.Now().After(end) {
			return left, twice
		}
	}
}

// A provider answers requests for generations by a script, on connections that it reads by itself, so that it can break them and knows
// at once when the other side does.
type provider struct {
	ledger *ledger
	script atomic.Pointer[script]
	hits   atomic.Int64 // generations asked for
	ln     net.Listener
	wg     sync.WaitGroup
	mu     sync.Mutex
	conns  map[net.Conn]bool
}

// A script is what becomes of a generation. It tells whether the connection may be kept.
type script func(g *generation) (keep bool)

func startProvider(l *ledger, s script) (*provider, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &provider{ledger: l, ln: ln, conns: make(map[net.Conn]bool)}
	p.script.Store(&s)
	p.wg.Add(1)
	go p.accept()
	return p, nil
}

func (p *provider) url() string { return "http://" + p.ln.Addr().String() }

// stop closes everything.
func (p *provider) stop() {
	_ = p.ln.Close()
	p.mu.Lock()
	for c := range p.conns {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
}

func (p *provider) accept() {
	defer p.wg.Done()
	for {
		c, err := p.ln.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		p.conns[c] = true
		p.mu.Unlock()
		p.wg.Add(1)
		go func() {
			defer p.wg.Done()
			p.serve(c)
			_ = c.Close()
			p.mu.Lock()
			delete(p.conns, c)
			p.mu.Unlock()
		}()
	}
}

func (p *provider) serve(c net.Conn) {
	r := bufio.NewReader(c)
	for {
		q, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, q.Body); err != nil {
			return
		}
		if q.Method == http.MethodGet {
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
			continue
		}
		g := &generation{conn: c, request: q, gone: make(chan struct{})}
		looked := make(chan struct{})
		go func() { // until the next request, or the end
			defer close(looked)
			if _, err := r.Peek(1); err != nil {
				close(g.gone)
			}
		}()
		p.hits.Add(1)
		id := q.Header.Get("X-Request-Id")
		p.ledger.begin(id)
		keep := (*p.script.Load())(g)
		p.ledger.end(id)
		if !keep {
			_ = c.Close()
		}
		<-looked
		if !keep {
			return
		}
	}
}

// A generation is one request for one, and the connection it came on.
type generation struct {
	conn    net.Conn
	request *http.Request
	gone    chan struct{} // closed when the other side has ended the connection
}

// words is how many a whole answer has.
const words = 60

func word(i int) string { return fmt.Sprintf("w%d ", i) }

// wait tells whether the other side is still there after that time.
func (g *generation) wait(d time.Duration) bool {
	select {
	case <-g.gone:
		return false
	case <-time.After(d):
		return true
	}
}

// answer sends a whole answer.
func (g *generation) answer(status int, fields, body string) bool {
	_, err := fmt.Fprintf(g.conn, "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s", status, http.StatusText(status), fields, len(body), body)
	return err == nil
}

// fail answers with an error of that kind.
func (g *generation) fail(status int, fields, code string) bool {
	return g.answer(status, fields, `{"error":{"message":"scripted","type":"error","param":null,"code":"`+code+`"}}`)
}

// head begins a stream.
func (g *generation) head() bool {
	return g.raw("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
}

func (g *generation) raw(text string) bool {
	_, err := io.WriteString(g.conn, text)
	return err == nil
}

// event sends an event in a chunk of its own.
func (g *generation) event(data string) bool {
	e := "data: " + data + "\n\n"
	return g.raw(fmt.Sprintf("%x\r\n%s\r\n", len(e), e))
}

// delta sends what a choice has more of.
func (g *generation) delta(delta, finish string) bool {
	if finish != "null" {
		finish = `"` + finish + `"`
	}
	return g.event(`{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":` + delta + `,"finish_reason":` + finish + `}]}`)
}

// say sends so many words, from that one on, with a gap before each.
func (g *generation) say(from, to int, gap time.Duration) bool {
	for i := from; i < to; i++ {
		if gap > 0 && !g.wait(gap) || !g.delta(`{"content":"`+word(i)+`"}`, "null") {
			return false
		}
	}
	return true
}

// begin sends the head and the role.
func (g *generation) begin() bool {
	return g.head() && g.delta(`{"role":"assistant","content":""}`, "null")
}

// end sends what ends a stream.
func (g *generation) end(finish string, done bool) bool {
	ok := g.delta("{}", finish)
	if done {
		ok = ok && g.event("[DONE]")
	}
	return ok && g.raw("0\r\n\r\n")
}

// whole is the script of a provider that is well.
func whole(gap time.Duration) script {
	return func(g *generation) bool { return g.begin() && g.say(0, words, gap) && g.end("stop", true) }
}

// reset breaks the connection.
func (g *generation) reset() bool {
	_ = g.conn.(*net.TCPConn).SetLinger(0)
	return false
}

// allWords is the text of a whole answer.
var allWords = func() string {
	var b strings.Builder
	for i := range words {
		b.WriteString(word(i))
	}
	return b.String()
}()

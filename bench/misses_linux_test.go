package bench

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"aigateway/bench/internal/poll"

	"golang.org/x/sys/unix"
)

// BenchmarkMisses is what a miss costs that is kept in a memory that is full, in CPU time of the gateway's process, beside the same request where nothing
// is kept; and the latter a second time, in a process of its own, beside itself. All in turns; figures are medians, and those of what is
// more are of the differences within a turn.
func BenchmarkMisses(b *testing.B) {
	const turn, warm = 2000, 20000
	for _, prompt := range prompts {
		b.Run(fmt.Sprintf("prompt=%d", prompt), func(b *testing.B) {
			b.Setenv(coreOfProxies, "0")
			answer := completion(2 << 10)
			s := newSpinner(b, answer)
			q := chatOf(prompt, "").numbered(numbered)
			sides := []string{"passes", "again", "keeps"}
			var gateways []*child
			for _, side := range sides {
				p := start(b, side, s.addr)
				defer p.stop()
				gateways = append(gateways, p)
				s.drive(b, p.addr, warm, &q)
			}
			cpu, more := make([][]float64, len(sides)), make([][]float64, len(sides))
			b.ResetTimer()
			for count := 0; count < b.N; count += turn {
				now := make([]float64, len(sides))
				for i := range sides {
					at := (i + count/turn) % len(sides) // nobody is always first
					before := gateways[at].cpu(b)
					if failed := s.drive(b, gateways[at].addr, turn, &q); failed > 0 {
						b.Errorf("%s: %d of %d requests failed", sides[at], failed, turn)
					}
					now[at] = float64(gateways[at].cpu(b)-before) / 1e3 / turn
				}
				for i := range sides {
					cpu[i], more[i] = append(cpu[i], now[i]), append(more[i], now[i]-now[0])
				}
			}
			b.StopTimer()
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median(cpu[0]), "passes-cpu-µs/op")
			b.ReportMetric(median(cpu[2]), "missed-cpu-µs/op")
			b.ReportMetric(median(more[1]), "again-more-cpu-µs")
			b.ReportMetric(median(more[2]), "more-cpu-µs")
			b.ReportMetric(4+float64(len(q.request)+len(answer))/1024, "allowed-cpu-µs")
		})
	}
}

func median(of []float64) float64 {
	slices.Sort(of)
	return of[len(of)/2]
}

// A spinner is the clients and the upstream of gateways, in one thread that never sleeps, on the second core; the gateways have the first. Over loopback, who
// sends to a thread that sleeps wakes it in his own time: the slower a gateway is, the more often it would pay for that.
type spinner struct {
	poller  *poll.Poller
	listens int
	addr    string // of the upstream
	answer  []byte
	ends    []spinEnd // by place of the poller; the first one is no connection, it listens
	crowds  map[string][]int32
	begun   int // requests of the turn
	left    int // answers that are still to come
	failed  int
	of      *question
}

// A spinEnd is one of the two ends of a connection that are the spinner's.
type spinEnd struct {
	fd     int
	client bool
	buf    []byte // what has come of a message
	todo   []byte // of the message that goes out
	ask    []byte // a client's request
	wants  int    // bytes of the request that comes in; 0: not known yet
}

// newSpinner makes one whose upstream gives everybody that answer.
func newSpinner(b *testing.B, answer string) *spinner {
	b.Helper()
	if runtime.NumCPU() < 2 {
		b.Skip("a core for the gateway and one for the rest are needed")
	}
	s := &spinner{answer: []byte(answer), ends: make([]spinEnd, 1), crowds: map[string][]int32{}}
	var err error
	s.poller, err = poll.New()
	orFatal(b, err)
	b.Cleanup(s.poller.Close)
	var before, one unix.CPUSet
	orFatal(b, unix.SchedGetaffinity(0, &before))
	one.Set(1)
	orFatal(b, unix.SchedSetaffinity(0, &one))
	b.Cleanup(func() { _ = unix.SchedSetaffinity(0, &before) })
	s.listens, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	orFatal(b, err)
	b.Cleanup(func() { s.close() })
	orFatal(b, unix.Bind(s.listens, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	orFatal(b, unix.Listen(s.listens, 1024))
	at, err := unix.Getsockname(s.listens)
	orFatal(b, err)
	s.addr = fmt.Sprintf("127.0.0.1:%d", at.(*unix.SockaddrInet4).Port)
	orFatal(b, s.poller.Add(s.listens, poll.Slot{}, poll.Readable))
	return s
}

func orFatal(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func (s *spinner) close() {
	_ = unix.Close(s.listens)
	for _, e := range s.ends[1:] {
		_ = unix.Close(e.fd)
	}
}

// add takes a connection.
func (s *spinner) add(b *testing.B, e spinEnd) int32 {
	orFatal(b, unix.SetNonblock(e.fd, true))
	orFatal(b, unix.SetsockoptInt(e.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1))
	e.buf = make([]byte, 0, 128<<10)
	place := int32(len(s.ends))
	s.ends = append(s.ends, e)
	orFatal(b, s.poller.Add(e.fd, poll.Slot{Place: place}, poll.Readable))
	return place
}

// crowd is the clients of the gateway at addr, which stay.
func (s *spinner) crowd(b *testing.B, addr string) []int32 {
	if c := s.crowds[addr]; c != nil {
		return c
	}
	_, port, _ := bytes.Cut([]byte(addr), []byte(":"))
	n, err := strconv.Atoi(string(port))
	orFatal(b, err)
	for range clients {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		orFatal(b, err)
		orFatal(b, unix.Connect(fd, &unix.SockaddrInet4{Port: n, Addr: [4]byte{127, 0, 0, 1}}))
		s.crowds[addr] = append(s.crowds[addr], s.add(b, spinEnd{fd: fd, client: true}))
	}
	return s.crowds[addr]
}

// drive has n requests sent to the gateway at addr, in a closed loop, and returns how many had no whole answer.
func (s *spinner) drive(b *testing.B, addr string, n int, q *question) (failed int) {
	b.Helper()
	s.of, s.begun, s.left, s.failed = q, 0, n, 0
	for _, c := range s.crowd(b, addr) {
		s.next(&s.ends[c], n)
	}
	for end := time.Now().Add(patience); s.left > 0; {
		events, err := s.poller.Wait(0)
		orFatal(b, err)
		for _, e := range events {
			s.on(b, e.Place, n)
		}
		for i := range s.ends {
			s.ends[i].push()
		}
		if len(events) == 0 && time.Now().After(end) {
			b.Fatal("an answer does not come")
		}
	}
	return s.failed
}

// next sends the client's next request, if there is one.
func (s *spinner) next(e *spinEnd, n int) {
	if s.begun == n {
		return
	}
	s.begun++
	e.ask = append(e.ask[:0], s.of.request...)
	s.of.number8(e.ask)
	e.send(e.ask)
}

// on reads what has come.
func (s *spinner) on(b *testing.B, place int32, n int) {
	if place == 0 {
		if fd, _, err := unix.Accept4(s.listens, unix.SOCK_CLOEXEC); err == nil {
			s.add(b, spinEnd{fd: fd})
		}
		return
	}
	e := &s.ends[place]
	m, err := unix.Read(e.fd, e.buf[len(e.buf):cap(e.buf)])
	switch {
	case err == unix.EAGAIN:
		return
	case err != nil || m <= 0:
		if e.client {
			b.Fatal("the gateway has closed a connection of the benchmark's")
		}
		_ = unix.Shutdown(e.fd, unix.SHUT_RDWR)
		return
	}
	e.buf = e.buf[:len(e.buf)+m]
	switch {
	case e.client && s.of.whole(e.buf):
		if !bytes.HasPrefix(e.buf, s.of.begin) {
			s.failed++
		}
		e.buf = e.buf[:0]
		s.left--
		s.next(e, n)
	case !e.client && e.requested():
		e.buf, e.wants = e.buf[:0], 0
		e.send(s.answer)
	}
}

// requested tells whether the request is whole.
func (e *spinEnd) requested() bool {
	if e.wants == 0 {
		head := bytes.Index(e.buf, []byte("\r\n\r\n"))
		if head < 0 {
			return false
		}
		e.wants = head + 4
		if _, length, ok := bytes.Cut(e.buf[:head+2], []byte("\r\nContent-Length: ")); ok {
			length, _, _ = bytes.Cut(length, []byte("\r\n"))
			n, _ := strconv.Atoi(string(length))
			e.wants += n
		}
	}
	return len(e.buf) >= e.wants
}

func (e *spinEnd) send(message []byte) {
	e.todo = message
	e.push()
}

// push sends what the socket takes.
func (e *spinEnd) push() {
	for len(e.todo) > 0 {
		n, err := unix.Write(e.fd, e.todo)
		if n <= 0 || err != nil {
			return
		}
		e.todo = e.todo[n:]
	}
}

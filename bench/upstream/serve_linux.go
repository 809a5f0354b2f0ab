package upstream

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"runtime"
	"time"

	"aigateway/bench/internal/poll"

	"golang.org/x/sys/unix"
)

// server is the one thread. Streams wait in a wheel of milliseconds.
type server struct {
	listener int
	poller   *poll.Poller
	conns    []*conn
	vacant   []int32 // places in conns
	answers  map[string]*answer
	counts   Counts
	buf      []byte
	start    time.Time
	second   int64
	tick     int64 // milliseconds since start that the wheel has seen
	wheel    [MaxPace / time.Millisecond][]poll.Slot
	streams  int
}

type conn struct {
	fd     int
	at     poll.Slot
	in     []byte  // an incomplete head
	skip   int     // bytes of a body still to come
	next   *answer // once the body is here
	chat   bool    // what is asked for stands in the body
	body   []byte  // of such a request, so far
	out    []byte  // what the socket did not take
	stream *answer
	sent   int  // events of it
	full   bool // the poller waits for room
}

// place of the listening socket.
const listening = -1

// Serve answers what comes in over a listening socket, until it cannot any more.
func Serve(listener *os.File) error {
	defer runtime.KeepAlive(listener) // whoever holds only its number does not keep it open
	s := &server{listener: int(listener.Fd()), answers: make(map[string]*answer), buf: make([]byte, 256<<10), start: time.Now()}
	if err := unix.SetNonblock(s.listener, true); err != nil {
		return err
	}
	var err error
	if s.poller, err = poll.New(); err != nil {
		return err
	}
	defer s.poller.Close()
	if err := s.poller.Add(s.listener, poll.Slot{Place: listening}, poll.Readable); err != nil {
		return err
	}
	for {
		if err := s.step(); err != nil {
			return err
		}
	}
}

func (s *server) step() error {
	pause := 500 * time.Millisecond // for the Date
	if s.streams > 0 {
		pause = time.Millisecond - time.Since(s.start)%time.Millisecond
	}
	events, err := s.poller.Wait(pause)
	if err != nil {
		return err
	}
	now := time.Now()
	s.date(now)
	for _, e := range events {
		if e.Place == listening {
			if err := s.accept(); err != nil {
				return err
			}
			continue
		}
		c := s.conns[e.Place]
		if c.fd < 0 || c.at != e.Slot {
			continue
		}
		if e.Writable {
			s.write(c, nil)
		}
		if e.Readable && c.fd >= 0 {
			s.read(c)
		}
	}
	for ms := now.Sub(s.start).Milliseconds(); s.tick < ms; {
		s.tick++
		due := &s.wheel[s.tick%int64(len(s.wheel))]
		for _, at := range *due {
			if c := s.conns[at.Place]; c.at == at && c.stream != nil {
				s.advance(c)
			}
		}
		*due = (*due)[:0]
	}
	return nil
}

// date brings the Date of the answers up to date, once a second.
func (s *server) date(now time.Time) {
	if now.Unix() == s.second {
		return
	}
	s.second = now.Unix()
	text := now.UTC().AppendFormat(nil, http.TimeFormat)
	for _, a := range s.answers {
		copy(a.text[a.date:], text)
	}
}

func (s *server) accept() error {
	for {
		fd, _, err := unix.Accept4(s.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch {
		case err == unix.EAGAIN:
			return nil
		case err == unix.ECONNABORTED || err == unix.EINTR:
			continue
		case err != nil:
			return err
		}
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		// It only closes what the proxy has closed, and with a reset. That frees the proxy's port at once: one that opens
		// a connection for every request would otherwise have used up all ports for a minute, and for everybody.
		_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		s.counts.Conns++
		if len(s.vacant) == 0 {
			s.vacant = append(s.vacant, int32(len(s.conns)))
			s.conns = append(s.conns, &conn{at: poll.Slot{Place: int32(len(s.conns))}})
		}
		c := s.conns[s.vacant[len(s.vacant)-1]]
		s.vacant = s.vacant[:len(s.vacant)-1]
		*c = conn{fd: fd, at: poll.Slot{Place: c.at.Place, Turn: c.at.Turn + 1}, in: c.in[:0], out: c.out[:0], body: c.body[:0]}
		if err := s.poller.Add(fd, c.at, poll.Readable); err != nil {
			return err
		}
	}
}

func (s *server) close(c *conn) {
	if c.fd < 0 {
		return
	}
	_ = unix.Close(c.fd)
	if c.stream != nil {
		s.streams--
	}
	c.fd, c.stream = -1, nil
	s.vacant = append(s.vacant, c.at.Place)
}

func (s *server) read(c *conn) {
	n, err := unix.Read(c.fd, s.buf)
	switch {
	case err == unix.EAGAIN:
		return
	case err != nil || n == 0:
		s.close(c)
		return
	}
	p := s.buf[:n]
	if len(c.in) > 0 {
		c.in = append(c.in, p...)
		p = c.in
	}
	for c.fd >= 0 {
		m := min(c.skip, len(p))
		if c.chat {
			c.body = append(c.body, p[:m]...)
		}
		c.skip -= m
		p = p[m:]
		if c.chat && c.skip == 0 {
			c.next, c.chat = s.lookUp([]byte(chatTarget(c.body))), false
			c.body = c.body[:0]
		}
		if a := c.next; a != nil && c.skip == 0 {
			c.next = nil
			s.answer(c, a)
			continue
		}
		target, head, all, ok := request(p)
		if c.skip > 0 || !ok {
			break
		}
		if c.skip = all - head; bytes.HasSuffix(target, []byte("/chat/completions")) {
			c.chat = true
		} else {
			c.next = s.lookUp(target)
		}
		p = p[head:]
	}
	c.in = append(c.in[:0], p...)
}

func (s *server) lookUp(target []byte) *answer {
	a := s.answers[string(target)]
	if a == nil {
		a = answerTo(string(target), &s.counts)
		if string(target) == "/count" {
			text, err := json.Marshal(s.counts)
			if err != nil {
				panic("BUG: " + err.Error())
			}
			return whole(&s.counts.Other, "Cache-Control: no-store\r\n", string(text))
		}
		if len(s.answers) < 10_000 {
			s.answers[string(target)] = a
		}
	}
	return a
}

func (s *server) answer(c *conn, a *answer) {
	*a.count++
	s.write(c, a.text)
	if a.events == 0 && a.pace == 0 || c.fd < 0 {
		return
	}
	c.stream, c.sent = a, 0
	s.streams++
	if a.pace == 0 {
		for c.stream != nil {
			s.advance(c)
		}
		return
	}
	if a.eager {
		c.sent++
		if s.write(c, a.event); c.fd < 0 {
			return
		}
		if s.streams == 1 { // nobody to be out of step with
			s.plan(c, a.pace)
			return
		}
	}
	// The first events are spread over a pace, so that the streams do not march in step.
	s.plan(c, 1+int(a.pace*(int(s.counts.Streams)*79%128)/128))
}

func (s *server) plan(c *conn, ms int) {
	due := &s.wheel[(s.tick+int64(ms))%int64(len(s.wheel))]
	*due = append(*due, c.at)
}

// advance sends the next event, or the end after the last one.
func (s *server) advance(c *conn) {
	if c.sent++; c.sent <= c.stream.events {
		pace := c.stream.pace
		s.write(c, c.stream.event)
		if c.fd >= 0 && pace > 0 {
			s.plan(c, pace)
		}
		return
	}
	end := c.stream.last
	c.stream = nil
	s.streams--
	s.write(c, end)
}

// write sends p behind what is still to be sent.
func (s *server) write(c *conn, p []byte) {
	if len(c.out) > 0 {
		c.out = append(c.out, p...)
		p = c.out
	}
	if len(p) == 0 {
		return
	}
	n, err := unix.Write(c.fd, p)
	if err != nil && !errors.Is(err, unix.EAGAIN) {
		s.close(c)
		return
	}
	c.out = append(c.out[:0], p[max(n, 0):]...)
	if full := len(c.out) > 0; full != c.full {
		c.full = full
		what := uint32(poll.Readable)
		if full {
			what |= poll.Writable
		}
		_ = s.poller.Change(c.fd, c.at, what)
	}
}

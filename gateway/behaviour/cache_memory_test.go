package behaviour

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"aigateway/gateway/testkit"
)

// What a fetch took is used by the next one. Nobody sees a byte of it: whoever leads, follows, comes late, reads slowly or leaves in the
// middle, whatever ends well and whatever is cut, alone or together, whole or in chunks, short, or longer than is kept.
func TestFlightMemoryIsNobodyElses(t *testing.T) {
	t.Parallel()
	const targets, crowd, requests = 5, 12, 50
	sizes := []int{100, 3 << 10, 30 << 10, 90 << 10, 200 << 10}
	bodyOf := func(target, round string) string {
		size := sizes[int(target[0]-'0')%len(sizes)]
		unit := "<" + target + "." + round + ">"
		return strings.Repeat(unit, size/len(unit)+1)
	}
	up := testkit.StartUpstream(t, func(_ int, c *testkit.Peer) {
		for {
			r := c.ReadRequest()
			if r.Err != nil {
				return
			}
			_, rest, _ := strings.Cut(r.First, "?")
			rest, _, _ = strings.Cut(rest, " ")
			target, round, _ := strings.Cut(rest, ".")
			body := bodyOf(target, round)
			switch rand.IntN(8) {
			case 0: // cut
				c.Send("HTTP/1.1 200 OK\r\n%s\r\nContent-Length: %d\r\n\r\n%s", fresh, len(body), body[:len(body)/2])
				return
			case 1, 2, 3:
				c.Send("HTTP/1.1 200 OK\r\n%s\r\nTransfer-Encoding: chunked\r\n\r\n", fresh)
				for rest := body; rest != ""; {
					n := min(len(rest), 1+rand.IntN(20<<10))
					c.Send("%x\r\n%s\r\n", n, rest[:n])
					rest = rest[n:]
				}
				c.Send("0\r\n\r\n")
			default:
				c.Send("%s", with(body, fresh))
			}
		}
	})
	g := startGateway(t, "CACHE_ENABLED=true", "PY_SERVICE_URL="+up.URL, "CACHE_MAX_BODY_BYTES=131072")
	var all sync.WaitGroup
	for range crowd {
		all.Go(func() {
			for n := range requests {
				target, round := itoa(rand.IntN(targets)), itoa(n/3) // most are about as far
				request := getOf(fmt.Sprintf("/infer/python?%s.%s", target, round))
				if rand.IntN(6) == 0 {
					request = getOf(fmt.Sprintf("/infer/python?%s.%s", target, round), "Cache-Control: no-cache")
				}
				c := g.Dial()
				c.Send("%s", request)
				want := bodyOf(target, round)
				if rand.IntN(6) == 0 { // leaves when it has seen the head, or before
					if rand.IntN(2) == 0 {
						c.ReadHead()
					}
					c.Abort()
					continue
				}
				m := c.ReadResponse()
				switch {
				case m.Err == nil && m.Status() == 200 && m.Body != want:
					t.Errorf("%s.%s: %d bytes that are others', want %d: %.40q", target, round, len(m.Body), len(want), m.Body)
				case m.Err != nil && !strings.HasPrefix(want, m.Body):
					t.Errorf("%s.%s: the beginning of a cut answer is %.40q", target, round, m.Body)
				}
				c.Conn.Close()
			}
		})
	}
	all.Wait()
}

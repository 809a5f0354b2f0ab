package behaviour

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"aigateway/gateway/testkit"
)

// A hit in memory allocates nothing, whatever part of the stored answer is asked for.
func TestAllocHit(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	get := func(lines ...string) string {
		return "GET /infer/python?prompt=x HTTP/1.1\r\nHost: a.example\r\nAccept: */*\r\nUser-Agent: test\r\n" + joined(lines) + "\r\n"
	}
	stored := func(n int, lines ...string) string {
		return with(strings.Repeat("y", n-7)+"result!", append(lines, `ETag: "v1"`, "Content-Type: text/plain")...)
	}
	small := stored(2<<10, fresh)
	f := func(name, response, request, end, outcome string) {
		t.Run(name, func(t *testing.T) {
			up := startCannedUpstream(t, response)
			g := startGateway(t, "CACHE_ENABLED=true", "PY_SERVICE_URL="+up, "RATE_LIMIT_ENABLED=true",
				"GLOBAL_RPS=1000000000", "GLOBAL_BURST=1000000000", "CLIENT_RPS=1000000000", "CLIENT_BURST=1000000000")
			if m := g.Do(get(afterHead(request)...)); m.Field("X-Cache") != "MISS" || m.Field("RateLimit") == "" {
				t.Fatalf("%s %s", m.First, m.Head)
			}
			exchange := exchanging(t, g, []byte(request), end, outcome)
			for range 200 {
				exchange()
			}
			allocatesNothing(t, exchange)
		})
	}
	f("2 KB", small, get(), "result!", "X-Cache: HIT")
	f("60 KB", stored(60<<10, fresh), get(), "result!", "X-Cache: HIT")
	f("304", small, get(`If-None-Match: "v1"`), "\r\n\r\n", "304 Not Modified")
	f("HEAD", small, strings.Replace(get(), "GET", "HEAD", 1), "\r\n\r\n", "X-Cache: HIT")
	f("206", small, get("Range: bytes=1000-"), "result!", "206 Partial Content")
	f("206 of 60 KB", stored(60<<10, fresh), get("Range: bytes=1000-"), "result!", "206 Partial Content")
	f("416", small, get("Range: bytes=9000-"), "\r\n\r\n", "416 Requested")
	f("Vary", stored(2<<10, fresh, "Vary: Accept-Encoding, Accept-Language"), get("Accept-Encoding: gzip, br", "Accept-Language: de"), "result!", "X-Cache: HIT")
	f("stale by the client's leave", stored(2<<10, fresh, "Age: 100"), get("Cache-Control: max-stale"), "result!", "X-Cache: STALE")
	f("the route's own time", stored(2<<10), get(), "result!", "X-Cache: HIT")
	f("the route's own time, and fields", stored(2<<10), get("Accept-Language: de, en;q=0.5", "Accept-Charset: utf-8"), "result!", "X-Cache: HIT")
	f("the route's own time, and Vary", stored(2<<10, "Vary: Accept-Language, User-Agent"), get("Accept-Language: de"), "result!", "X-Cache: HIT")
	post := fmt.Sprintf("POST /infer/python HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1000\r\n\r\n%s", strings.Repeat("x", 1000))
	f("POST, with something stored", small, post, "result!", "X-Cache: BYPASS")
}

// A hit of a model's answer allocates nothing either, whole or a stream, with its body read and its key made.
func TestAllocGenerationHit(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	question := func(more string) string {
		return askModel(chatPath, `{"model": "m", "temperature": 0, "messages": [{"role": "user", "content": "`+strings.Repeat("what? ", 500)+`"}]`+more+`}`,
			"Accept: */*", "User-Agent: test", "Authorization: Bearer x")
	}
	f := func(name, request, answer, end string) {
		t.Run(name, func(t *testing.T) {
			g := startKeeping(t, startCannedUpstream(t, answer), "")
			if m := g.Do(request); m.Field("X-Cache") != "MISS" {
				t.Fatalf("%s %s", m.First, m.Head)
			}
			exchange := exchanging(t, g, []byte(request), end, "X-Cache: HIT")
			for range 200 {
				exchange()
			}
			allocatesNothing(t, exchange)
		})
	}
	f("whole", question(""), chatAnswer(strings.Repeat("that ", 400)), "}}")
	f("stream", question(`,"stream":true`), chunkedOf(chatEvents(40), eventStream), "data: [DONE]\n\n")
}

// A miss allocates nothing but the places of what is new in the maps of the memory tier: the flight, the record and what else it takes to
// make one are another request's afterwards. A stream does with a goroutine of its own, which is cheap but not free.
func TestAllocMiss(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	post := func(more string) string {
		return askModel(chatPath, `{"model": "m", "temperature": 0, "seed": 1000000, "messages": [{"role": "user", "content": "`+strings.Repeat("what? ", 500)+`"}]`+more+`}`, "Authorization: Bearer x")
	}
	get := "GET /infer/python?prompt=1000000 HTTP/1.1\r\nHost: a.example\r\nUser-Agent: test\r\n\r\n"
	f := func(name, request, answer, end string, most float64) {
		t.Run(name, func(t *testing.T) {
			g := startKeeping(t, startCannedUpstream(t, answer), "", "CACHE_TTL_SECONDS=60", "CACHE_MEMORY_BYTES=8388608")
			req := []byte(request)
			number := req[strings.Index(request, "1000000"):][:7]
			ask := exchanging(t, g, req, end, "X-Cache: MISS")
			exchange := func() { // each is one that nobody has asked before
				for i := 6; ; i-- {
					if number[i]++; number[i] <= '9' {
						break
					}
					number[i] = '0'
				}
				ask()
			}
			for range 5000 { // the memory is full, and drops as much as it takes
				exchange()
			}
			allocatesAtMost(t, most, exchange)
		})
	}
	f("get", get, with(strings.Repeat("y", 2<<10)+"result!", "Content-Type: text/plain"), "result!", 0.5)
	f("get of 60 KB", get, with(strings.Repeat("y", 60<<10)+"result!", "Content-Type: text/plain"), "result!", 2)
	f("post", post(""), chatAnswer(strings.Repeat("that ", 400)), "}}", 0.5)
	f("stream", post(`,"stream":true`), chunkedOf(chatEvents(40), eventStream), "", 2)
}

// exchanging sends a request over and over, and reads the answer, which ends so and has that in its head, without allocating. One without an
// end is a stream, in chunks or whole.
func exchanging(t *testing.T, g *testGateway, request []byte, end, outcome string) func() {
	c := g.Dial()
	got, last, want := make([]byte, 256<<10), []byte(end), []byte(outcome)
	done, lastChunk := []byte("data: [DONE]\n\n"), []byte("\r\n0\r\n\r\n")
	whole := func(got []byte) bool {
		if end != "" {
			return bytes.HasSuffix(got, last)
		}
		return bytes.HasSuffix(got, lastChunk) || bytes.HasSuffix(got, done) && bytes.Contains(got[:min(len(got), 1024)], []byte("Content-Length"))
	}
	return func() {
		if _, err := c.Conn.Write(request); err != nil {
			t.Fatal(err)
		}
		n := 0
		for n == 0 || !whole(got[:n]) {
			m, err := c.Conn.Read(got[n:])
			if err != nil {
				t.Fatalf("after %q: %v", got[:n], err)
			}
			n += m
		}
		if !bytes.Contains(got[:min(n, 4096)], want) {
			t.Fatalf("no %q in %.600q", want, got[:n])
		}
	}
}

// afterHead are the lines of a GET that stand behind the ones all of these requests have, without those that select.
func afterHead(request string) (lines []string) {
	for _, line := range strings.Split(request, "\r\n") {
		if strings.HasPrefix(line, "Accept-") {
			lines = append(lines, line)
		}
	}
	return lines
}

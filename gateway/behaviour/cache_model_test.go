package behaviour

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"aigateway/gateway/testkit"
)

// Random requests beside a model of what a cache may answer: few rules, each plain.
//
// The origin has things of several kinds, each with a version. An answer says what it is, its version and for whom it
// was made, and is as long as its version wants.

// A world is what the origin knows.
type world struct {
	versions [12]atomic.Int64
	asked    atomic.Int64
}

var kinds = []string{"public", "vary", "none", "private", "shared", "stale"}

// reply is the origin's answer.
func (w *world) reply(r testkit.Message, _ int) string {
	w.asked.Add(1)
	method, rest, _ := strings.Cut(r.First, " /")
	target, _, _ := strings.Cut(rest, " ")
	kind, number, _ := strings.Cut(target, "/")
	k, _ := strconv.Atoi(number)
	version := w.versions[k].Load()
	if method == "POST" {
		version = w.versions[k].Add(1)
	}
	who, language := r.Field("Authorization"), "-"
	if kind == "none" || kind == "private" { // what is said to be fresh for all is, whatever cookie came with the request
		who += r.Field("Cookie")
	}
	lines := []string{fmt.Sprintf(`ETag: "%d"`, version)}
	switch kind {
	case "public":
		lines = append(lines, fresh)
	case "vary":
		language = r.Field("Accept-Language")
		lines = append(lines, fresh, "Vary: Accept-Language")
	case "none":
		lines = append(lines, "Cache-Control: no-store")
	case "private":
		lines = append(lines, "Cache-Control: private, max-age=60", "Set-Cookie: a="+who)
	case "shared":
		who = ""
		lines = append(lines, "Cache-Control: s-maxage=60")
	case "stale":
		if who == "" && r.Field("If-None-Match") == fmt.Sprintf(`"%d"`, version) {
			return "HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=60\r\nAge: 100\r\n" + joined(lines) + "\r\n"
		}
		lines = append(lines, "Cache-Control: max-age=60", "Age: 100")
	}
	body := worldBody(target, version, who, language)
	if method == "HEAD" {
		return fmt.Sprintf("HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n", joined(lines), len(body))
	}
	if version%3 == 2 {
		half := len(body) / 2
		return chunkedOf([]string{body[:half], body[half:]}, lines...)
	}
	return with(body, lines...)
}

func worldBody(target string, version int64, who, language string) string {
	return fmt.Sprintf("%s|%d|%s|%s|", target, version, who, language) + strings.Repeat("x", int(version%4)*20000) + "."
}

// A seen is what a client reads in an answer.
type seen struct {
	target, who, language string
	version               int64
}

// parseWorld reads a body; ok is false if it is not whole.
func parseWorld(body string) (s seen, ok bool) {
	parts := strings.SplitN(body, "|", 5)
	if len(parts) != 5 {
		return s, false
	}
	s.target, s.who, s.language = parts[0], parts[2], parts[3]
	s.version, _ = strconv.ParseInt(parts[1], 10, 64)
	return s, body == worldBody(s.target, s.version, s.who, s.language)
}

// A visitor is a client that asks at random and checks what it gets.
type visitor struct {
	t    *testing.T
	g    *testGateway
	c    *testkit.Peer
	r    *rand.Rand
	name string

	gets, hits int
}

// visit makes one request; model, which may be nil, is told what came.
func (v *visitor) visit(w *world, model func(kind, target, language, who string, s seen, m testkit.Message)) {
	kind, k := kinds[v.r.IntN(len(kinds))], v.r.IntN(len(w.versions))
	target := fmt.Sprintf("%s/%d", kind, k)
	if v.r.IntN(12) == 0 {
		v.c.Send("POST /%s HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", target)
		m := v.c.ReadResponse()
		s, ok := parseWorld(m.Body)
		if !ok || m.Err != nil {
			v.t.Fatalf("POST: %s %v", m.First, m.Err)
		}
		if model != nil {
			model("POST", target, "", "", s, m)
		}
		return
	}
	language := []string{"de", "fr", "en"}[v.r.IntN(3)]
	who, lines := "", []string{"Accept-Language: " + language}
	switch v.r.IntN(6) {
	case 0:
		who = v.name
		lines = append(lines, "Authorization: "+who)
	case 1:
		who = "c" + v.name
		lines = append(lines, "Cookie: "+who)
	}
	if v.r.IntN(10) == 0 {
		lines = append(lines, "Cache-Control: no-cache")
	}
	v.gets++
	v.c.Send("%s", getOf("/"+target, lines...))
	m := v.c.ReadResponse()
	s, ok := parseWorld(m.Body)
	if !ok || m.Err != nil || m.Status() != 200 || s.target != target {
		v.t.Fatalf("%s: %s %v, %.60q", target, m.First, m.Err, m.Body)
	}
	if s.who != "" && s.who != who {
		v.t.Errorf("%s: %q got what is for %q\n%s", target, who, s.who, m.Head)
	}
	if kind == "vary" && s.language != language {
		v.t.Errorf("%s: %q got %q\n%s", target, language, s.language, m.Head)
	}
	if m.Field("X-Cache") == "HIT" || m.Field("X-Cache") == "STALE" {
		v.hits++
		if kind == "none" || kind == "private" {
			v.t.Errorf("%s came from the cache\n%s", target, m.Head)
		}
	}
	if model != nil {
		model(kind, target, language, who, s, m)
	}
}

// One client: what comes is exactly what the model says.
func TestCacheModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			w := &world{}
			g := startCached(t, startOrigin(t, w.reply), "ADMIN_TOKEN=secret")
			v := &visitor{t: t, g: g, c: g.Dial(), r: rand.New(rand.NewPCG(seed, 1)), name: "a"}
			stored := map[string]int64{} // by target, and language where that counts
			model := func(kind, target, language, who string, s seen, m testkit.Message) {
				if kind == "POST" {
					for key := range stored {
						if key == target || strings.HasPrefix(key, target+" ") {
							delete(stored, key)
						}
					}
					return
				}
				key := target
				if kind == "vary" {
					key += " " + language
				}
				number, _ := strconv.Atoi(target[strings.IndexByte(target, '/')+1:])
				newest := w.versions[number].Load()
				old, found := stored[key]
				want := newest
				if found && m.Field("X-Cache") == "HIT" {
					want = old
				}
				if s.version != want {
					t.Errorf("%s: version %d, want %d, the newest is %d\n%s", key, s.version, want, newest, m.Head)
				}
				hit := m.Field("X-Cache") == "HIT"
				asks := strings.Contains(kind, "stale") || kind == "none" || kind == "private"
				authorized := who != "" && who[0] != 'c' && kind != "shared"
				if hit && (!found || asks || authorized) {
					t.Errorf("%s: a hit that must not be\n%s", key, m.Head)
				}
				if !authorized && kind != "none" && kind != "private" {
					stored[key] = s.version
				}
			}
			steps := 600
			if testkit.Race || testing.Short() {
				steps = 200
			}
			for range steps {
				switch v.r.IntN(40) {
				case 0:
					w.versions[v.r.IntN(len(w.versions))].Add(1)
				case 1:
					if m := g.Do("DELETE /cachez HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer secret\r\n\r\n"); m.Status() != 200 {
						t.Fatal(m.First)
					}
					clear(stored)
				}
				v.visit(w, model)
			}
			if v.hits == 0 {
				t.Error("nothing came from the cache")
			}
			wantFigures(t, g, w, v)
		})
	}
}

// Many clients: nobody sees what is another's, or older than what was there when somebody had changed it.
func TestCacheModelConcurrent(t *testing.T) {
	t.Parallel()
	w := &world{}
	g := startCached(t, startOrigin(t, w.reply))
	visitors := make([]*visitor, 8)
	var wg sync.WaitGroup
	steps := 250
	if testkit.Race || testing.Short() {
		steps = 80
	}
	var changed sync.Map // target: version that an unsafe request, which has been answered, brought about
	for i := range visitors {
		v := &visitor{t: t, g: g, c: g.Dial(), r: rand.New(rand.NewPCG(uint64(i), 2)), name: fmt.Sprint("v", i)}
		visitors[i] = v
		wg.Go(func() {
			for range steps {
				before := map[string]int64{}
				changed.Range(func(k, n any) bool { before[k.(string)] = n.(int64); return true })
				v.visit(w, func(kind, target, language, who string, s seen, m testkit.Message) {
					if kind == "POST" {
						for {
							was, _ := changed.LoadOrStore(target, s.version)
							if was.(int64) >= s.version || changed.CompareAndSwap(target, was, s.version) {
								return
							}
						}
					}
					if s.version < before[target] {
						t.Errorf("%s: version %d, but %d was there before it was asked for\n%s", target, s.version, before[target], m.Head)
					}
				})
			}
		})
	}
	wg.Wait()
	wantFigures(t, g, w, visitors...)
}

// wantFigures checks that /cachez and /metrics tell what the clients and the origin have seen.
func wantFigures(t *testing.T, g *testGateway, w *world, visitors ...*visitor) {
	t.Helper()
	gets, hits := 0, 0
	for _, v := range visitors {
		gets, hits = gets+v.gets, hits+v.hits
	}
	var figures struct {
		Hits, Misses uint64
		HitRatio     float64           `json:"hit_ratio"`
		MissesBy     map[string]uint64 `json:"misses_by_reason"`
	}
	if err := json.Unmarshal([]byte(g.get("/cachez").Body), &figures); err != nil {
		t.Fatal(err)
	}
	var by uint64
	for _, n := range figures.MissesBy {
		by += n
	}
	if figures.Hits != uint64(hits) || figures.Misses != uint64(gets-hits) || by != figures.Misses {
		t.Errorf("%+v; the clients saw %d hits in %d requests", figures, hits, gets)
	}
	if ratio := float64(hits) / float64(gets); figures.HitRatio < ratio-1e-9 || figures.HitRatio > ratio+1e-9 {
		t.Errorf("the hit ratio is %v, not %v", figures.HitRatio, ratio)
	}
	page := g.get("/metrics").Body
	if n := sum(page, "cache_hits_total{"); n != hits {
		t.Errorf("cache_hits_total is %d, not %d", n, hits)
	}
	if n := sum(page, "cache_misses_total{"); n != gets-hits {
		t.Errorf("cache_misses_total is %d, not %d", n, gets-hits)
	}
	testkit.Eventually(t, "upstream_requests_total is what the origin has seen", func() bool { // counted behind the answer
		return sum(g.get("/metrics").Body, "upstream_requests_total{") == int(w.asked.Load())
	})
}

// sum adds the values of all series that begin so.
func sum(page, prefix string) (n int) {
	for _, line := range strings.Split(page, "\n") {
		if strings.HasPrefix(line, prefix) {
			value, _ := strconv.Atoi(line[strings.LastIndexByte(line, ' ')+1:])
			n += value
		}
	}
	return n
}

package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// visitors are the two tenants of -demo, and others who keep one of its engines busy, past the gateway: so that each page of the
// dashboard has something to show. They ask a few times a second.
type visitors struct {
	client  *http.Client
	gateway string
	engine  string
	end     context.CancelFunc
	running sync.WaitGroup
}

// A visit is what one of them asks again and again.
type visit struct {
	every      time.Duration
	key        string
	path, body string // body: of the n-th time, with %d for n; "": it is a GET
	tokens     int    // of the answer; 0: as many as it likes
	round      int    // after so many times n begins at 0 again
}

// Questions have a beginning in common, as those of an application have: engines keep it.
var instructions = strings.Repeat("You are the assistant of a shop that sells lamps, and answer briefly and politely. ", 30)

func chatVisit(question string) string {
	return `{"model":"` + chatModel + `","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"system","content":"` + instructions +
		`"},{"role":"user","content":"` + question + `"}]}`
}

var visits = []visit{
	{every: 900 * time.Millisecond, key: demoKeyOfA, path: "/v1/chat/completions", body: chatVisit("Which lamp for room %d?"), tokens: 60, round: 1000},
	{every: 1300 * time.Millisecond, key: demoKeyOfA, path: "/v1/chat/completions", body: chatVisit("And which bulb for lamp %d?"), tokens: 120, round: 1000},
	{every: 2700 * time.Millisecond, key: demoKeyOfA, path: "/v1/chat/completions", body: `{"model":"sim-small","temperature":0,"messages":[{"role":"user","content":"frequent question %d"}]}`, tokens: 40, round: 5},
	{every: 1900 * time.Millisecond, key: demoKeyOfB, path: "/v1/chat/completions", body: `{"model":"sim-llm","stream":true,"stream_options":{"include_usage":true},"max_tokens":80,"messages":[{"role":"user","content":"describe lamp %d"}]}`, tokens: 50, round: 1000},
	{every: 3100 * time.Millisecond, key: demoKeyOfB, path: "/v1/chat/completions", body: chatVisit("Why is lamp %d so dear?"), tokens: 40, round: 1000},
	{every: 5 * time.Second, key: demoKeyOfB, path: "/v1/embeddings", body: `{"model":"sim-embed","input":["lamp %d","bulb"]}`, round: 20},
	{every: 700 * time.Millisecond, path: "/infer?prompt=%d", round: 6},
	{every: 2300 * time.Millisecond, path: "/infer/node", body: `{"prompt":"%d"}`, round: 1000},
}

// busy is how many ask the engine itself at the same time, each a second after its answer: twice as many as it works on at once.
const busy = 12

// startVisitors has them come.
func startVisitors(gateway, engine string) *visitors {
	ctx, end := context.WithCancel(context.Background())
	v := &visitors{client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}, gateway: gateway, engine: engine, end: end}
	for _, of := range visits {
		v.running.Go(func() { v.come(ctx, &of) })
	}
	v.running.Go(func() { v.occupy(ctx) })
	return v
}

// close has them go, and waits until they have.
func (v *visitors) close() {
	v.end()
	v.running.Wait()
	v.client.CloseIdleConnections()
}

// come asks again and again, without waiting for the answers.
func (v *visitors) come(ctx context.Context, of *visit) {
	tick := time.NewTicker(of.every)
	defer tick.Stop()
	for n := 0; ; n = (n + 1) % of.round {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			v.running.Go(func() { v.ask(ctx, v.gateway, of, n) })
		}
	}
}

// occupy keeps the engine busy for half of each minute.
func (v *visitors) occupy(ctx context.Context) {
	job := visit{path: "/v1/chat/completions", body: `{"model":"` + chatModel + `","stream":true,"messages":[{"role":"user","content":"somebody else's %d"}]}`, tokens: 400}
	var asking sync.WaitGroup
	for i := range busy {
		asking.Go(func() {
			for n := i; ctx.Err() == nil; n += busy {
				if time.Now().Second()%60 < 30 {
					v.ask(ctx, v.engine, &job, n)
				}
				sleep(ctx, time.Second)
			}
		})
	}
	asking.Wait()
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// ask asks once and reads the answer, whatever it is.
func (v *visitors) ask(ctx context.Context, base string, of *visit, n int) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	path, body, method := of.path, io.Reader(nil), http.MethodGet
	if of.body != "" {
		method, body = http.MethodPost, strings.NewReader(strings.ReplaceAll(of.body, "%d", fmt.Sprint(n)))
	} else {
		path = strings.ReplaceAll(path, "%d", fmt.Sprint(n))
	}
	r, err := http.NewRequestWithContext(ctx, method, base+path, body)
	if err != nil {
		panic("BUG: a visit is no request: " + err.Error())
	}
	r.Header.Set("Content-Type", "application/json")
	if of.key != "" {
		r.Header.Set("Authorization", "Bearer "+of.key)
	}
	if of.tokens > 0 {
		r.Header.Set("X-Sim-Tokens", fmt.Sprint(of.tokens))
	}
	response, err := v.client.Do(r)
	if err != nil {
		return // the gateway is ending
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
}

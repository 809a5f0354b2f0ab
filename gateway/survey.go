package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"aigateway/gateway/config"
)

// What the settings lead to, asked once: for -check -probe, and for the start of -demo.

const (
	surveyTime = 5 * time.Second // for one question
	surveyBody = 256 << 10       // bytes of an answer that are read
)

// A finding is what a place that the settings name has said.
type finding struct {
	what   string // "pool llm, http://10.0.0.1:8000"
	said   string // what is there
	models []string
	err    error // why nothing is
}

// survey asks every upstream, and Redis if it is used, all at once. The findings are in the order of the settings.
func survey(ctx context.Context, s *config.Settings) []finding {
	var asks []func() finding
	for _, pool := range s.Pools {
		for _, u := range pool.Upstreams {
			if pool.Explicit {
				asks = append(asks, func() finding { return surveyUpstream(ctx, pool, u) })
			}
		}
	}
	if s.RateLimit.Enabled && s.RateLimit.Backend == config.InRedis || s.Cache.Enabled && s.Cache.Backend == config.InRedis {
		for _, addr := range s.Redis.Addrs {
			asks = append(asks, func() finding { return surveyRedis(ctx, s.Redis, addr) })
		}
	}
	findings := make([]finding, len(asks))
	var all sync.WaitGroup
	for i, ask := range asks {
		all.Go(func() { findings[i] = ask() })
	}
	all.Wait()
	return findings
}

// surveyUpstream asks for the models, and if there are none for the health page.
func surveyUpstream(ctx context.Context, pool config.Pool, u config.Upstream) finding {
	f := finding{what: "pool " + pool.Name + ", " + u.URL.String()}
	client := surveyClient(pool.TLS)
	defer client.CloseIdleConnections()
	header := func(r *http.Request) {
		switch c := pool.Credential; {
		case c.Value == "":
		case strings.EqualFold(c.Header, "Authorization"):
			r.Header.Set("Authorization", "Bearer "+c.Value)
		default:
			r.Header.Set(c.Header, c.Value)
		}
	}
	status, body, server, err := get(ctx, client, u.URL.String()+"/v1/models", header)
	if err != nil {
		f.err = err
		return f
	}
	if status == http.StatusOK {
		f.said, f.models = engineOf(body, server)
	}
	if len(f.models) > 0 {
		return f
	}
	status, _, _, err = get(ctx, client, u.URL.String()+pool.Health.Path, header)
	if status == http.StatusNotFound && pool.Health.Else != "" {
		status, _, _, err = get(ctx, client, u.URL.String()+pool.Health.Else, header)
	}
	switch {
	case err != nil:
		f.err = err
	case status >= 500: // as for a probe: anything else is a sign of life
		f.err = fmt.Errorf("%s answers %d", pool.Health.Path, status)
	case status >= 300:
		f.said = fmt.Sprintf("a service that answers, %s with %d", pool.Health.Path, status)
	default:
		f.said = "a service that is well"
	}
	return f
}

// surveyClient trusts whom the pool trusts, and follows no redirect.
func surveyClient(t config.UpstreamTLS) *http.Client {
	trust := &tls.Config{ServerName: t.ServerName}
	if t.Authorities != "" {
		trust.RootCAs = x509.NewCertPool()
		trust.RootCAs.AppendCertsFromPEM([]byte(t.Authorities))
	}
	return &http.Client{
		Timeout: surveyTime, Transport: &http.Transport{TLSClientConfig: trust},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func get(ctx context.Context, client *http.Client, url string, prepare func(*http.Request)) (status int, body []byte, server string, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, "", err
	}
	prepare(r)
	resp, err := client.Do(r)
	if err != nil {
		return 0, nil, "", plainly(err)
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, surveyBody))
	return resp.StatusCode, body, resp.Header.Get("Server"), err
}

// plainly says what is wrong without the URL a second time.
func plainly(err error) error {
	var op *net.OpError
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns):
		return fmt.Errorf("there is no host %q", dns.Name)
	case errors.Is(err, context.DeadlineExceeded):
		return errors.New("no answer in time")
	case errors.As(err, &op):
		return fmt.Errorf("cannot be reached: %w", op.Err)
	}
	return err
}

// engines are whom the models of a list belong to, by what engines write there.
var engines = map[string]string{"vllm": "vLLM", "sglang": "SGLang", "llamacpp": "llama.cpp", "library": "Ollama"}

// engineOf tells which engine has answered for its models, and which these are.
func engineOf(body []byte, server string) (engine string, models []string) {
	var list struct {
		Data []struct {
			ID      string `json:"id"`
			OwnedBy string `json:"owned_by"`
		} `json:"data"`
	}
	if json.Unmarshal(body, &list) != nil {
		return "", nil
	}
	engine = "an OpenAI-compatible service"
	for _, m := range list.Data {
		if printable(m.ID) {
			models = append(models, m.ID)
		}
		if known := engines[m.OwnedBy]; known != "" {
			engine = known
		}
	}
	if strings.HasPrefix(server, "llama.cpp") {
		engine = "llama.cpp"
	}
	slices.Sort(models)
	return engine, models
}

// printable tells whether a name from elsewhere may be shown on a terminal, in a command in quotes.
func printable(name string) bool {
	odd := func(r rune) bool { return r < ' ' || r > '~' || strings.ContainsRune(`'"\`, r) }
	return name != "" && len(name) <= config.MaxModelName && !strings.ContainsFunc(name, odd)
}

// surveyRedis asks for a sign of life, in Redis' inline form. What else it can do shows when it is used.
func surveyRedis(ctx context.Context, r config.Redis, addr string) finding {
	f := finding{what: "Redis, " + addr}
	ctx, cancel := context.WithTimeout(ctx, surveyTime)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err == nil && r.TLSConfig != nil {
		c := r.TLSConfig.Clone()
		if c.ServerName == "" {
			c.ServerName, _, _ = net.SplitHostPort(addr)
		}
		secure := tls.Client(conn, c)
		conn, err = secure, secure.HandshakeContext(ctx)
	}
	if err != nil {
		f.err = plainly(err)
		return f
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	answer := make([]byte, 64)
	if _, err = conn.Write([]byte("PING\r\n")); err == nil {
		var n int
		n, err = conn.Read(answer)
		answer = answer[:n]
	}
	switch first, _, _ := strings.Cut(string(answer), "\r\n"); {
	case err != nil:
		f.err = plainly(err)
	case first == "+PONG":
		f.said = "Redis"
	case strings.HasPrefix(first, "-NOAUTH"):
		f.said = "Redis, which wants a password"
		if r.Password == "" {
			f.err = errors.New("wants a password, and REDIS_PASSWORD is unset")
		}
	default:
		f.err = errors.New("does not answer as Redis does")
	}
	return f
}

// tell writes what was found, a line each, and tells whether everything is there.
func tell(w io.Writer, findings []finding) (well bool) {
	well = true
	for _, f := range findings {
		switch {
		case f.err != nil:
			well = false
			fmt.Fprintf(w, "%s: %v\n", f.what, f.err)
		case len(f.models) > 0:
			fmt.Fprintf(w, "%s: %s with %s\n", f.what, f.said, shortList(f.models))
		default:
			fmt.Fprintf(w, "%s: %s\n", f.what, f.said)
		}
	}
	return well
}

// shortList is a list of models for a line.
func shortList(models []string) string {
	const most = 8
	if len(models) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(models[:most], ", "), len(models)-most)
	}
	return strings.Join(models, ", ")
}

package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"aigateway/gateway/config"
	"aigateway/gateway/keys"
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
	pool   string // whose upstream it is; "": it is none
	models []string
	err    error // why nothing is
}

// survey asks every upstream, Redis if it is used, and whose tokens are taken, all at once. The findings are in the order of the settings.
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
	if s.Keys != nil && s.Keys.JWT != nil {
		asks = append(asks, func() finding { return surveyIssuer(ctx, s.Keys.JWT) })
	}
	findings := make([]finding, len(asks))
	var all sync.WaitGroup
	for i, ask := range asks {
		all.Go(func() { findings[i] = ask() })
	}
	all.Wait()
	return append(findings, surveyModels(s, findings)...)
}

// surveyUpstream asks for the models, and if there are none for the health page.
func surveyUpstream(ctx context.Context, pool config.Pool, u config.Upstream) finding {
	f := finding{what: "pool " + pool.Name + ", " + u.URL.String(), pool: pool.Name}
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
	switch {
	case status == http.StatusOK:
		f.said, f.models = engineOf(body, server)
	case status != http.StatusUnauthorized && status != http.StatusForbidden:
	case pool.Credential.Value != "":
		f.err = fmt.Errorf("does not take the pool's credential: /v1/models answers %d", status)
		return f
	default:
		f.said = "a service that wants a credential; the pool states none, so clients must show theirs"
		return f
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

func get(ctx context.Context, client *http.Client, target string, prepare func(*http.Request)) (status int, body []byte, server string, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
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
	var untrusted *tls.CertificateVerificationError
	var plain tls.RecordHeaderError
	switch {
	case errors.As(err, &dns):
		return fmt.Errorf("there is no host %q", dns.Name)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return errors.New("no answer in time")
	case errors.As(err, &untrusted):
		return fmt.Errorf("its certificate is not trusted: %w", untrusted.Err)
	case errors.As(err, &plain), strings.Contains(err.Error(), "gave HTTP response to HTTPS client"):
		return errors.New("does not speak TLS; its URL begins with http://, or redis://, then")
	case strings.Contains(err.Error(), `malformed HTTP response "\x15\x03`):
		return errors.New("speaks TLS; its URL begins with https:// then")
	case errors.As(err, &op):
		return fmt.Errorf("cannot be reached: %w", op.Err)
	}
	if u := (*url.Error)(nil); errors.As(err, &u) {
		return u.Err
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

// surveyIssuer asks whose tokens are taken for its keys.
func surveyIssuer(ctx context.Context, c *config.JWT) finding {
	f := finding{what: "issuer " + c.Issuer + ", " + c.JWKSURL.Redacted()}
	ctx, cancel := context.WithTimeout(ctx, surveyTime)
	defer cancel()
	issuer, err := keys.AskIssuer(ctx, c)
	if err != nil {
		f.err = plainly(err)
		return f
	}
	var names []string
	for _, k := range issuer.Signers {
		name := k.Algorithm
		if printable(k.ID) {
			name += " " + k.ID
		} else if k.ID == "" {
			name += " without a kid"
		}
		names = append(names, name)
	}
	f.said = fmt.Sprintf("%s (%s)", count(len(names), "key"), shortList(names))
	if issuer.Others > 0 {
		f.said += fmt.Sprintf(", and %s that signs nothing here: RS256 of 2048 bits, ES256 and EdDSA do", count(issuer.Others, "other"))
	}
	return f
}

// surveyModels tells of models that nobody lists, though their pool's upstreams are asked for what they have and all have answered.
func surveyModels(s *config.Settings, findings []finding) (missing []finding) {
	for _, m := range s.Models {
		var listed []string
		answered := true
		for i, f := range findings {
			if f.pool != m.Pool {
				continue
			}
			answered = answered && len(f.models) > 0
			listed = append(listed, findings[i].models...)
		}
		name := cmp.Or(m.Upstream, m.Name)
		if !answered || len(listed) == 0 || slices.Contains(listed, name) || slices.Contains(listed, name+":latest") || !discovers(s, m.Pool) {
			continue
		}
		slices.Sort(listed)
		missing = append(missing, finding{what: "model " + m.Name, err: fmt.Errorf("nobody in pool %s lists %q; they have %s", m.Pool, name, shortList(slices.Compact(listed)))})
	}
	return missing
}

func discovers(s *config.Settings, pool string) bool {
	return slices.ContainsFunc(s.Pools, func(p config.Pool) bool { return p.Name == pool && p.Discover == "on" })
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
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

package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"aigateway/bench/internal/local"
)

// A bed is a gateway between a client and two providers.
type bed struct {
	timing
	ledger *ledger
	first  *provider // of the model "small"
	second *provider // of the model "large", which stands in for it
	url    string
	client *http.Client
	stop   func()
}

const settings = `
models:
  - {name: small, pool: first, context_max: 4096, fallback: [large]}
  - {name: large, pool: second, context_max: 65536}
pools:
  first: {upstreams: [{url: %q}], discover: false, health: {interval: 1s}, timeouts: {connect: 1s, first_token: %v, inter_token: %v}}
  second: {upstreams: [{url: %q}], discover: false, health: {interval: 1s}, timeouts: {connect: 1s, inter_token: %v}}
routes:
  - {path: "/v1/*", pool: first, retry: %s}
`

// start starts the gateway binary, and waits until it knows both providers.
func start(binary, dir, policy string, t timing, first, second script) (*bed, error) {
	b := &bed{timing: t, ledger: newLedger(), client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}, stop: func() {}}
	var err error
	if b.first, err = startProvider(b.ledger, first); err != nil {
		return nil, err
	}
	if b.second, err = startProvider(b.ledger, second); err != nil {
		b.first.stop()
		return nil, err
	}
	if err := b.run(binary, dir, policy); err != nil {
		b.end()
		return nil, err
	}
	return b, nil
}

// end ends everything.
func (b *bed) end() {
	b.client.CloseIdleConnections()
	b.stop()
	b.first.stop()
	b.second.stop()
}

func (b *bed) run(binary, dir, policy string) error {
	port, err := local.FreePort()
	if err != nil {
		return err
	}
	file := filepath.Join(dir, strconv.Itoa(port)+".yaml")
	text := fmt.Sprintf(settings, b.first.url(), b.firstToken, b.interToken, b.second.url(), b.interToken, policy)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	cmd := exec.Command(binary, "-config", file)
	cmd.Env = append(os.Environ(), "PORT="+strconv.Itoa(port), "RATE_LIMIT_ENABLED=false", "CACHE_ENABLED=false", "LOG_LEVEL=error")
	if err := cmd.Start(); err != nil {
		return err
	}
	b.stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	b.url = fmt.Sprintf("http://127.0.0.1:%d", port)
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		a, err := b.client.Get(b.url + "/readyz")
		if err != nil {
			continue
		}
		_, _ = io.Copy(io.Discard, a.Body)
		_ = a.Body.Close()
		if a.StatusCode == 200 {
			return nil
		}
	}
	return fmt.Errorf("the gateway is not ready")
}

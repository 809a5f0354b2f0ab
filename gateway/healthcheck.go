package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"aigateway/gateway/config"
)

// checkTime bounds a health check, all of it.
const checkTime = 2 * time.Second

// healthcheck asks the gateway that runs beside it, with the same settings, whether it is alive. It is what a
// container without a shell and curl can run. 0 is healthy and 1 is not: container engines reserve 2.
func healthcheck(in config.Input, stderr io.Writer) int {
	settings, _, err := config.Load(in)
	var faults *config.Faults
	switch {
	case errors.As(err, &faults):
		err = errors.New("the settings have faults: " + faults.List[0])
	case err == nil:
		err = askAlive(net.JoinHostPort("127.0.0.1", strconv.Itoa(settings.Port)))
	}
	if err != nil {
		fmt.Fprintln(stderr, "unhealthy:", err)
		return exitFailed
	}
	return 0
}

// askAlive asks in plain text, and by TLS where that is not understood. The certificate names a host, not this
// address, and nothing secret is said: it is not looked at.
func askAlive(addr string) error {
	client := http.Client{
		Timeout:       checkTime / 2,
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}, // #nosec G402
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	err := aliveAt(&client, "http://"+addr)
	if err == nil || isUnreachable(err) {
		return err
	}
	if aliveAt(&client, "https://"+addr) == nil {
		return nil
	}
	return err
}

func isUnreachable(err error) bool {
	var dial *net.OpError
	return errors.As(err, &dial) && dial.Op == "dial"
}

func aliveAt(client *http.Client, base string) error {
	resp, err := client.Get(base + "/livez")
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s/livez answers %s", base, resp.Status)
	}
	return nil
}

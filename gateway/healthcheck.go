package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"aigateway/gateway/config"
)

// checkTime bounds one question; container engines give a check three seconds here.
const checkTime = time.Second

// healthcheck asks the gateway that runs beside it, with the same settings, whether it is alive. It is what a
// container without a shell and curl can run. 0 is healthy and 1 is not: container engines reserve 2.
func healthcheck(in config.Input, stderr io.Writer) int {
	pages, err := livePages(in)
	for _, page := range pages {
		if err = askAlive(page); err == nil {
			return 0
		}
	}
	fmt.Fprintln(stderr, "unhealthy:", err)
	return exitFailed
}

// livePages is where the gateway may say that it is alive. One whose file or certificate has become faulty goes on
// with what it had, and shall not be restarted for it: then the port is the environment's, and the scheme either.
func livePages(in config.Input) ([]string, error) {
	page := func(scheme string, s *config.Settings) string {
		return scheme + "://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)) + "/livez"
	}
	settings, _, err := config.Load(in)
	switch {
	case err == nil && len(settings.TLS.Certificates) > 0:
		return []string{page("https", settings)}, nil
	case err == nil:
		return []string{page("http", settings)}, nil
	}
	port := slices.DeleteFunc(slices.Clone(in.Environ), func(e string) bool { return !strings.HasPrefix(e, "PORT=") })
	settings, _, err = config.Load(config.Input{Environ: port})
	if err != nil {
		return nil, err
	}
	return []string{page("https", settings), page("http", settings)}, nil
}

// askAlive does not look at the certificate: it names a host, not this address, and nothing secret is said.
func askAlive(page string) error {
	client := http.Client{
		Timeout:       checkTime,
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Get(page)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", page, resp.Status)
	}
	return nil
}

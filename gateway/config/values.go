package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The parsers of values. Each takes the text as the operator wrote it,
// trimmed and not empty, and quotes it in its error.

// integer parses a whole number from least to most.
func integer[T int | int64](least, most T, what string) func(string) (T, error) {
	return func(text string) (T, error) {
		v, err := strconv.ParseInt(text, 10, 64)
		if err != nil || v < int64(least) || v > int64(most) {
			return 0, mismatch{fmt.Sprintf("%q is not a %s between %d and %d%s", text, what, least, most, hintOfNumber(text, what, int64(least), int64(most))), takesBetween(float64(least), float64(most), "integer")}
		}
		return T(v), nil
	}
}

// orZero accepts a zero too, which is off.
func orZero(parse func(string) (time.Duration, error)) func(string) (time.Duration, error) {
	return func(text string) (time.Duration, error) {
		if v, err := time.ParseDuration(text); err == nil && v == 0 {
			return 0, nil
		}
		return parse(text)
	}
}

// duration parses a time in Go's form, from least to a day. A bare number is
// refused: nobody can say whether it was meant in seconds or milliseconds.
func duration(least time.Duration) func(string) (time.Duration, error) {
	return func(text string) (time.Duration, error) {
		v, err := time.ParseDuration(text)
		if err != nil || v < least || v > maxDuration {
			return 0, mismatch{fmt.Sprintf("%q is not a duration between %v and %gh, such as 500ms, 5s or 1m30s%s",
				text, least, maxDuration.Hours(), hintOfDuration(text)), takesDuration}
		}
		return v, nil
	}
}

// seconds reads a whole number of seconds.
func seconds(least, most int) func(string) (time.Duration, error) {
	parse := integer(least, most, "number of seconds")
	return func(text string) (time.Duration, error) {
		n, err := parse(text)
		return time.Duration(n) * time.Second, err
	}
}

// listenAddr reads where to listen: host and port; no host is every address.
func listenAddr(text string) (string, error) {
	host, port, err := net.SplitHostPort(text)
	if err == nil {
		_, err = integer(1, 65535, "port number")(port)
	}
	if err == nil && host != "" && !wordOf(host) && net.ParseIP(host) == nil {
		err = errors.New("no host")
	}
	if err != nil {
		return "", fmt.Errorf("%q is not an address to listen on, as 127.0.0.1:9090 or :9090", text)
	}
	return text, nil
}

// token reads what a client shows in an Authorization field, and never quotes it.
func token(text string) (string, error) {
	for _, c := range []byte(text) {
		if c <= ' ' || c >= 0x7f {
			return "", errors.New("is not made of printable characters without spaces")
		}
	}
	return text, nil
}

// onOff parses a boolean that may be left open: the zero value is neither.
func onOff(text string) (string, error) {
	on, err := boolean(text)
	if on {
		return "on", err
	}
	return "off", err
}

// boolean parses what operators write for yes and no.
func boolean(text string) (bool, error) {
	switch strings.ToLower(text) {
	case "true", "1", "yes", "on":
		return true, nil
	case "false", "0", "no", "off":
		return false, nil
	}
	words := []string{"true", "false", "1", "0", "yes", "no", "on", "off"}
	return false, mismatch{fmt.Sprintf("%q is none of %s", text, strings.Join(words, ", ")), takesWords(words...)}
}

// rate parses tokens per second, within what the limiter's arithmetic can keep exact.
func rate(text string) (float64, error) {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || v != 0 && !(v >= 1e-6 && v <= 1e9) {
		return 0, mismatch{fmt.Sprintf("%q is not a rate: 0, or a number between 0.000001 and 1000000000, of requests a second", text), takesBetween(0, 1e9, "number")}
	}
	return v, nil
}

// burst parses the size of a bucket.
func burst(text string) (int64, error) {
	return integer[int64](1, 1_000_000_000, "number of tokens")(text)
}

func backend(text string) (Backend, error) { return oneOf(text, InMemory, InRedis) }

// oneOf parses a word of a few.
func oneOf[W ~string](text string, words ...W) (W, error) {
	var known []string
	for _, w := range words {
		if string(w) == text {
			return w, nil
		}
		known = append(known, string(w))
	}
	return "", mismatch{fmt.Sprintf("%q is none of %s%s", text, strings.Join(known, ", "), hintOfWord(text, known)), takesWords(known...)}
}

// anything takes a text as it is.
func anything(text string) (string, error) { return text, nil }

// pemFiles parses the names of files, comma-separated.
func pemFiles(text string) ([]string, error) {
	list := strings.Split(text, ",")
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	switch {
	case slices.Contains(list, ""):
		return nil, fmt.Errorf("%q names no file at one of its places", text)
	case len(list) > maxCertificates:
		return nil, fmt.Errorf("names %d files; %d are the most", len(list), maxCertificates)
	}
	return list, nil
}

// redisAddrs parses host:port, comma-separated, each with redis:// or rediss:// before it or nothing.
func redisAddrs(text string) (Redis, error) {
	var r Redis
	if strings.Contains(text, "@") {
		return r, errors.New("has an @: the password goes into REDIS_PASSWORD")
	}
	var faults []error
	for i, item := range strings.Split(text, ",") {
		addr, secure := strings.CutPrefix(strings.TrimSpace(item), "rediss://")
		addr = strings.TrimPrefix(addr, "redis://")
		host, port, err := net.SplitHostPort(addr)
		n, perr := strconv.ParseUint(port, 10, 16)
		switch {
		case err != nil || perr != nil || n == 0 || host == "" || strings.ContainsAny(host, "/ "):
			faults = append(faults, fmt.Errorf("%q is not a host and port such as redis:6379", item))
		case slices.Contains(r.Addrs, addr):
			faults = append(faults, fmt.Errorf("%q is named twice", item))
		case i > 0 && secure && !r.TLS:
			faults = append(faults, fmt.Errorf("%q wants TLS and the first address does not", item))
		default:
			r.TLS = r.TLS || secure
			r.Addrs = append(r.Addrs, addr)
		}
	}
	return r, errors.Join(faults...)
}

// keyPrefix parses what keys in Redis begin with. Braces would send all of them to one node of a cluster, and the others mean
// something where keys are looked for by a pattern.
func keyPrefix(text string) (string, error) {
	odd := func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("-_.:", c)
	}
	if len(text) > 64 || strings.ContainsFunc(text, odd) {
		return "", fmt.Errorf("%q is not a prefix: letters, digits and any of -_.: make one, 64 at most", text)
	}
	return text, nil
}

func level(text string) (slog.Level, error) {
	switch strings.ToLower(text) {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, mismatch{fmt.Sprintf("%q is none of debug, info, warn, error%s", text, hintOfWord(text, []string{"debug", "info", "warn", "error"})), takesWords("debug", "info", "warn", "error")}
}

func balance(text string) (Balance, error) {
	return oneOf(text, P2C, RoundRobin, LeastRequests, ByHash, ByPrefix)
}

func engine(text string) (Engine, error) {
	e, err := oneOf(text, AutoEngine, VLLM, SGLang, LlamaCpp, TRTLLM, NoEngine)
	if m, ok := errors.AsType[mismatch](err); ok && !strings.Contains(m.says, ";") {
		m.says += "; for any other leave it out: its metrics are not read"
		return e, m
	}
	return e, err
}

func retry(text string) (Retry, error) { return oneOf(text, RetryNever, RetrySafe, RetryReattempt) }

// refusal parses a status that may say that nothing was executed: too many requests, unavailable, and Anthropic's "overloaded".
func refusal(text string) (int, error) {
	switch text {
	case "429", "503", "529":
		return strconv.Atoi(text)
	}
	return 0, fmt.Errorf("%q is not 429, 503 or 529", text)
}

func hashBy(text string) (HashBy, error) {
	return oneOf(text, HashClient, HashHeader, HashQuery, HashPath)
}

// hashName parses the name of a field or of a parameter, as it stands in a request.
func hashName(text string) (string, error) {
	if !wordOf(text) || len(text) > 256 {
		return "", fmt.Errorf(`%q is not a name of letters, digits, ".", "_" and "-"`, text)
	}
	return text, nil
}

// serverName parses the name that a certificate is for.
func serverName(text string) (string, error) {
	if name := canonicalHost(text); name != "" {
		return name, nil
	}
	return "", fmt.Errorf("%q is neither a name nor an address", text)
}

// method parses one request method. Those of RFC 9110 that make no sense
// behind a gateway (CONNECT, TRACE) are not among them; QUERY is a draft's.
func method(text string) (string, error) {
	known := []string{
		http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut,
		http.MethodPatch, http.MethodDelete, http.MethodOptions, "QUERY",
	}
	m := strings.ToUpper(text)
	switch m {
	case http.MethodConnect, http.MethodTrace, "TRACK":
		return "", fmt.Errorf("%s is not passed on", m)
	}
	if slices.Contains(known, m) {
		return m, nil
	}
	for _, c := range text {
		if !isTokenChar(c) {
			return "", fmt.Errorf("%q is no method: it holds %q", text, c)
		}
	}
	return text, nil
}

// isTokenChar tells whether a character may stand in a token: RFC 9110 §5.6.2.
func isTokenChar(c rune) bool {
	return strings.ContainsRune("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", c)
}

// prefixes parses who is trusted: names, addresses and CIDRs, or none.
func prefixes(text string) ([]netip.Prefix, error) {
	if text == "none" {
		return nil, nil
	}
	var list []netip.Prefix
	var faults []error
	for item := range strings.SplitSeq(text, ",") {
		some, err := prefix(strings.TrimSpace(item))
		if err != nil {
			faults = append(faults, err)
		}
		for _, p := range some {
			if !slices.Contains(list, p) {
				list = append(list, p)
			}
		}
	}
	return list, errors.Join(faults...)
}

func prefix(item string) ([]netip.Prefix, error) {
	switch item {
	case "loopback":
		return []netip.Prefix{
			netip.MustParsePrefix("127.0.0.0/8"),
			netip.MustParsePrefix("::1/128"),
		}, nil
	case "private":
		return []netip.Prefix{
			netip.MustParsePrefix("10.0.0.0/8"),     // RFC 1918
			netip.MustParsePrefix("172.16.0.0/12"),  // RFC 1918
			netip.MustParsePrefix("192.168.0.0/16"), // RFC 1918
			netip.MustParsePrefix("169.254.0.0/16"), // RFC 3927, link-local
			netip.MustParsePrefix("fc00::/7"),       // RFC 4193, unique local
			netip.MustParsePrefix("fe80::/10"),      // RFC 4291, link-local
		}, nil
	case "none":
		return nil, errors.New(`"none" stands alone or not at all`)
	}
	p, err := netip.ParsePrefix(item)
	if addr, e := netip.ParseAddr(item); e == nil && addr.Zone() == "" {
		p, err = netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	if err != nil {
		return nil, fmt.Errorf("%q is not loopback, private, none, an address or a CIDR such as 10.0.0.0/8", item)
	}
	if p.Addr().Is4In6() { // addresses are compared unmapped
		if p.Bits() < 96 {
			return nil, fmt.Errorf("%q is wider than all of IPv4; write the IPv4 and the IPv6 part", item)
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return []netip.Prefix{p.Masked()}, nil
}

// upstreams parses one URL or several, comma-separated, of equal weight.
// With an error comes the list of those that are good.
func upstreams(text string) ([]Upstream, error) {
	if strings.Contains(text, "@") { // before the commas: a password may hold one
		return nil, errUserInfo()
	}
	var list []Upstream
	var faults []error
	for item := range strings.SplitSeq(text, ",") {
		u, err := upstreamURL(strings.TrimSpace(item))
		switch {
		case err != nil:
			faults = append(faults, err)
		case named(list, u):
			faults = append(faults, errTwice(u))
		default:
			list = append(list, Upstream{URL: u, Weight: 1})
		}
	}
	return list, errors.Join(faults...)
}

// named tells whether one of the upstreams has this URL.
func named(list []Upstream, u *url.URL) bool {
	return slices.ContainsFunc(list, func(have Upstream) bool { return *have.URL == *u })
}

func errTwice(u *url.URL) error { return fmt.Errorf("%q is named twice", u) }

// errUserInfo quotes nothing: what stands there may be a password.
func errUserInfo() error {
	return errors.New("has an @: an upstream URL may not carry a user name or password")
}

// upstreamURL parses scheme, host and port, and refuses the rest, which would
// otherwise be dropped in silence.
func upstreamURL(text string) (*url.URL, error) {
	refuse := func(why string) (*url.URL, error) { return nil, fmt.Errorf("%q %s", text, why) }
	if strings.Contains(text, "@") {
		return nil, errUserInfo()
	}
	if strings.ContainsAny(text, "?#") {
		return refuse("has a query or fragment, which an upstream URL may not have")
	}
	u, err := url.Parse(text)
	if err != nil {
		return refuse("is not a URL such as http://service:8000")
	}
	host, portText := u.Hostname(), u.Port()
	if portText == "" && !strings.HasSuffix(u.Host, ":") {
		portText = "80"
		if u.Scheme == "https" {
			portText = "443"
		}
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	canonical := canonicalHost(host)
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		if _, err := upstreamURL("http://" + text); err == nil && !strings.Contains(text, "//") {
			return refuse("begins with neither http:// nor https://; write http://" + text)
		}
		return refuse("begins with neither http:// nor https://")
	case host == "":
		return refuse("names no host")
	case canonical == "":
		return refuse("has a host that is neither a name nor an address")
	case err != nil || port == 0:
		return refuse("has a port that is not between 1 and 65535")
	case strings.TrimSuffix(u.Path, "/") == "/v1":
		return refuse("has a path, which requests bring along; write " + u.Scheme + "://" + u.Host)
	case u.Path != "" && u.Path != "/":
		return refuse("has a path; a route's rewrite is the place to change paths")
	}
	hostport := net.JoinHostPort(canonical, strconv.FormatUint(port, 10))
	return &url.URL{Scheme: u.Scheme, Host: hostport}, nil
}

// wakeURL reads a URL that is called: an upstream's, with a path and a query.
func wakeURL(text string) (*url.URL, error) {
	base, _, _ := strings.Cut(text, "?")
	scheme, rest, _ := strings.Cut(base, "://")
	host, path, _ := strings.Cut(rest, "/")
	u, err := upstreamURL(scheme + "://" + host)
	if err != nil {
		return nil, err
	}
	full, err := url.Parse(text)
	if err != nil || strings.Contains(text, "#") || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, fmt.Errorf("%q is not a URL such as http://scaler:8080/wake", text)
	}
	full.Scheme, full.Host, full.User = u.Scheme, u.Host, nil
	if path == "" && full.Path == "" {
		full.Path = "/"
	}
	return full, nil
}

// canonicalHost is an address or name in its one form, "" for what is
// neither. Names with underscores are those of containers.
func canonicalHost(host string) string {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.String()
	}
	if len(host) > 253 || strings.Trim(host, "-.") == "" || !wordOf(host) {
		return ""
	}
	return strings.ToLower(host)
}

// wordOf tells whether text is of ASCII letters, digits and "._-" only.
func wordOf(text string) bool {
	for _, c := range []byte(text) {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		digit := '0' <= c && c <= '9'
		if !letter && !digit && strings.IndexByte("._-", c) < 0 {
			return false
		}
	}
	return text != ""
}

// plainPath parses a path that goes onto the wire as it is written.
func plainPath(text string) (string, error) {
	if !strings.HasPrefix(text, "/") || strings.HasPrefix(text, "//") {
		_, path, whole := strings.Cut(text, "://")
		if _, path, _ = strings.Cut(path, "/"); !whole {
			path = strings.TrimLeft(text, "/")
		}
		return "", fmt.Errorf(`%q does not begin with a single "/"; write %q`, text, "/"+path)
	}
	for _, c := range text {
		if c <= ' ' || c >= 0x7f || c == '?' || c == '#' {
			return "", fmt.Errorf("%q holds %q, which a path holds only percent-encoded", text, c)
		}
	}
	return text, nil
}

// pattern parses the path of a route or a rewrite: exact, or a prefix. Braces, which RFC 3986 keeps out of paths, are
// variables to the router.
func pattern(text string) (string, error) {
	path, err := plainPath(text)
	if err != nil {
		return "", err
	}
	if i := strings.IndexAny(path, "{}"); i >= 0 {
		return "", fmt.Errorf("%q holds %q, which a path holds only percent-encoded", text, path[i])
	}
	if strings.Contains(strings.TrimSuffix(path, "/*"), "*") {
		if short, ok := strings.CutSuffix(path, "*"); ok && !strings.Contains(short, "*") {
			return "", fmt.Errorf(`%q has a "*" elsewhere than in a "/*" at the end; write %q`, text, short+"/*")
		}
		return "", fmt.Errorf(`%q has a "*" elsewhere than in a "/*" at the end`, text)
	}
	return path, nil
}

// isPrefix tells a route path like "/v1/*" from an exact one.
func isPrefix(path string) bool { return strings.HasSuffix(path, "/*") }

package config

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// CORS is which pages of other origins may use a route: the Fetch standard's HTTP-CORS protocol.
type CORS struct {
	Origins     []string // as browsers send them; or "*", all
	Headers     []string // request fields beside the safe ones; or "*": whatever a page asks for
	MaxAge      time.Duration
	Credentials bool // pages may send cookies and client certificates
}

// readCORS reads what pages of other origins may do.
func readCORS(n node) *CORS {
	if n.empty() {
		return nil
	}
	c, before := &CORS{MaxAge: 10 * time.Minute}, len(n.draft.faults)
	n.fields(map[string]func(node){
		"origins":     func(n node) { c.Origins = readWords(n, corsOrigin) },
		"headers":     func(n node) { c.Headers = readWords(n, corsHeader) },
		"max_age":     to(&c.MaxAge, orZero(duration(time.Second))),
		"credentials": to(&c.Credentials, boolean),
	})
	switch {
	case len(n.draft.faults) > before:
	case len(c.Origins) == 0:
		n.fault(`needs origins: a list of them, or ["*"] for all`)
	case c.Credentials && slices.Contains(c.Origins, "*"):
		n.fault(`credentials for all origins is what no browser allows: name them`)
	case len(c.Origins) > 1 && slices.Contains(c.Origins, "*"), len(c.Headers) > 1 && slices.Contains(c.Headers, "*"):
		n.fault(`"*" is all there is: nothing else stands beside it`)
	}
	return c
}

// readWords reads a list, each word once.
func readWords(n node, parse func(string) (string, error)) (list []string) {
	n.items(func(n node) {
		var word string
		to(&word, parse)(n)
		if word != "" && slices.Contains(list, word) {
			n.fault(word + " is named twice")
		}
		list = append(list, word)
	})
	return list
}

// corsOrigin parses an origin as browsers write it: a scheme, a host and a port that is not the scheme's own.
func corsOrigin(text string) (string, error) {
	u, err := url.Parse(text)
	switch {
	case text == "*":
		return text, nil
	case err != nil || u.Scheme == "" || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return "", fmt.Errorf("%q is no origin, such as https://app.example or http://localhost:3000", text)
	case u.Port() == "443" && u.Scheme == "https", u.Port() == "80" && u.Scheme == "http":
		return "", fmt.Errorf("%q: browsers leave the port of the scheme away", text)
	}
	return strings.ToLower(text), nil
}

// corsHeader parses the name of a request field.
func corsHeader(text string) (string, error) {
	if text != "*" && strings.ContainsFunc(text, func(c rune) bool { return !isTokenChar(c) }) {
		return "", fmt.Errorf("%q is not the name of a field", text)
	}
	return text, nil
}

// fields is what is allowed in the file's form.
func (c *CORS) fields() string {
	if c == nil {
		return ""
	}
	text := "origins: " + quotedList(c.Origins)
	if len(c.Headers) > 0 {
		text += ", headers: " + quotedList(c.Headers)
	}
	text += ", max_age: " + short(c.MaxAge)
	if c.Credentials {
		text += ", credentials: true"
	}
	return text
}

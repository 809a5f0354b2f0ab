package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"

	"aigateway/gateway/config"
)

// surveyRedis shows the password, if there is one, and asks for a sign of life and for the version. Sentinels are asked for the master.
func surveyRedis(ctx context.Context, r config.Redis, addr string) finding {
	f := finding{what: "Redis, " + addr}
	ctx, cancel := context.WithTimeout(ctx, surveyTime)
	defer cancel()
	conn, err := dialRedis(ctx, r, addr)
	if err != nil {
		f.err = plainly(err)
		return f
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	c := redisConn{conn, bufio.NewReader(conn)}
	user, password, name := r.Username, r.Password, "REDIS_PASSWORD"
	if r.Master != "" {
		f.what, user, password, name = "sentinel, "+addr, r.SentinelUsername, r.SentinelPassword, "REDIS_SENTINEL_PASSWORD"
	}
	if password != "" {
		login := []string{"AUTH", user, password}
		if user == "" {
			login = []string{"AUTH", password}
		}
		if _, err := c.ask(login...); err != nil {
			f.err = plainRedis(err, name)
			return f
		}
	}
	if pong, err := c.ask("PING"); err != nil || pong != "PONG" {
		f.err = plainRedis(err, name)
		return f
	}
	if r.Master != "" {
		f.said, f.err = c.master(r.Master)
		return f
	}
	f.said, f.err = c.version()
	return f
}

func dialRedis(ctx context.Context, r config.Redis, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil || r.TLSConfig == nil {
		return conn, err
	}
	c := r.TLSConfig.Clone()
	if c.ServerName == "" {
		c.ServerName, _, _ = net.SplitHostPort(addr)
	}
	secure := tls.Client(conn, c)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		if errors.Is(err, context.DeadlineExceeded) { // a Redis without TLS waits for the end of a line
			err = errors.New("does not begin with TLS in time; its address is without rediss:// if it speaks none")
		}
		return nil, err
	}
	return secure, nil
}

// A redisConn is a connection to Redis, by RESP2.
type redisConn struct {
	net.Conn
	r *bufio.Reader
}

// A redisRefusal is what Redis has said against a command.
type redisRefusal string

func (e redisRefusal) Error() string { return string(e) }

var errNotRedis = errors.New("does not answer as Redis does")

// plainRedis says what is wrong with an answer, nil for one that is none of Redis', and which variable would mend it.
func plainRedis(err error, password string) error {
	refusal := redisRefusal("")
	if !errors.As(err, &refusal) {
		if err == nil {
			return errNotRedis
		}
		return plainly(err)
	}
	switch word, _, _ := strings.Cut(string(refusal), " "); {
	case word == "NOAUTH":
		return fmt.Errorf("wants a password, and %s is unset", password)
	case word == "WRONGPASS" || word == "ERR" && strings.Contains(string(refusal), "password"):
		return fmt.Errorf("does not take %s, or its user name", password)
	case word == "NOPERM":
		return errors.New("does not let that user do what a gateway does; the page on operation has the ACL")
	}
	return fmt.Errorf("refuses: %q", string(refusal))
}

// ask sends a command and returns the answer, of a list the first two entries with a colon between them.
func (c redisConn) ask(words ...string) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
	}
	if _, err := io.WriteString(c, b.String()); err != nil {
		return "", err
	}
	return c.answer()
}

func (c redisConn) answer() (string, error) {
	kind, rest, err := c.line()
	switch n, _ := strconv.Atoi(rest); {
	case err != nil || kind != '*':
		return c.word(kind, rest, err)
	case n < 0:
		return "", nil
	case n != 2:
		return "", errNotRedis
	}
	var words [2]string
	for i := range words {
		kind, rest, err := c.line()
		if words[i], err = c.word(kind, rest, err); err != nil {
			return "", err
		}
	}
	return net.JoinHostPort(words[0], words[1]), nil
}

// line reads how an answer begins.
func (c redisConn) line() (kind byte, rest string, err error) {
	line, err := c.r.ReadSlice('\n')
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return 0, "", err
	case err != nil:
		return 0, "", errNotRedis
	}
	return line[0], strings.TrimSpace(string(line[1:])), nil
}

// word is an answer that is no list.
func (c redisConn) word(kind byte, rest string, err error) (string, error) {
	n, _ := strconv.Atoi(rest)
	switch {
	case err != nil:
		return "", err
	case kind == '+':
		return rest, nil
	case kind == '-':
		return "", redisRefusal(rest)
	case kind == '$' && n < 0:
		return "", nil
	case kind == '$' && n <= surveyBody:
		text := make([]byte, n+2)
		_, err := io.ReadFull(c.r, text)
		return string(text[:n]), err
	}
	return "", errNotRedis
}

// master asks a sentinel for the master of that name.
func (c redisConn) master(name string) (said string, err error) {
	addr, err := c.ask("SENTINEL", "get-master-addr-by-name", name)
	switch {
	case err != nil:
		return "", plainRedis(err, "REDIS_SENTINEL_PASSWORD")
	case addr == "":
		return "", fmt.Errorf("knows no master %q; REDIS_MASTER names it as the sentinels do", name)
	}
	return "a sentinel, for which the master is " + addr, nil
}

// oldest is the first version of Redis that tells what others change.
const oldest = 6

// version asks what it is. A user that may not ask that is no fault.
func (c redisConn) version() (said string, err error) {
	text, err := c.ask("INFO", "server")
	if refusal := redisRefusal(""); errors.As(err, &refusal) {
		return "Redis", nil
	}
	if err != nil {
		return "", plainRedis(err, "REDIS_PASSWORD")
	}
	_, v, _ := strings.Cut(text, "redis_version:")
	v, _, _ = strings.Cut(v, "\r\n")
	if !printable(v) {
		return "Redis", nil
	}
	if major, err := strconv.Atoi(strings.SplitN(v, ".", 2)[0]); err == nil && major < oldest {
		return fmt.Sprintf("Redis %s, which does not tell what other gateways change: memory is used for two seconds at most; %d does", v, oldest), nil
	}
	return "Redis " + v, nil
}

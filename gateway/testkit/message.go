package testkit

import (
	"fmt"
	"strings"
)

// A message is a head and a body as they were on the wire.
type Message struct {
	First  string // the first line
	Head   string // field lines, CRLF after each
	Body   string
	Closed bool  // the connection ended after it
	Err    error // why there is no whole message
}

// Status is the number in the first line of a response, 0 if there is none.
func (m Message) Status() (n int) {
	fmt.Sscanf(m.First, "HTTP/1.1 %d", &n)
	return n
}

// Field is the value of the first field of that name, in any case, or "".
func (m Message) Field(name string) string {
	for _, v := range m.Fields(name) {
		return v
	}
	return ""
}

// Fields are the values of all fields of that name.
func (m Message) Fields(name string) (values []string) {
	for _, line := range strings.Split(m.Head, "\r\n") {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.EqualFold(k, name) {
			values = append(values, strings.TrimSpace(v))
		}
	}
	return values
}

// Name is the name that a request carries.
func (m Message) Name() string {
	_, rest, _ := strings.Cut(m.First, "?")
	name, _, _ := strings.Cut(rest, " ")
	return name
}

// Firsts are the first lines of messages.
func Firsts(ms []Message) (list []string) {
	for _, m := range ms {
		list = append(list, m.First)
	}
	return list
}

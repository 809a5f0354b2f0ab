package config

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

const (
	ticketKeySize = 32 // bytes, as crypto/tls wants them
	maxTicketKeys = 16 // each ticket is tried with all of them
)

// ReadTicketKeys reads the file of ticket keys again: the first encrypts new tickets, all open those that clients bring (RFC 5077 §5.5).
// It returns nil if there is none. Its errors are one for each fault, joined, and say nothing of a key.
func (t TLS) ReadTicketKeys(read func(name string) ([]byte, error)) ([][ticketKeySize]byte, error) {
	if t.TicketKeysFile == "" {
		return nil, nil
	}
	text, err := readFile("TLS_TICKET_KEYS_FILE", t.TicketKeysFile, read)
	if err != nil {
		return nil, err
	}
	return parseTicketKeys(t.TicketKeysFile, string(text))
}

// parseTicketKeys reads a line of base64 for each key; blank lines, and those that begin with #, are passed by.
func parseTicketKeys(name, text string) (keys [][ticketKeySize]byte, err error) {
	var faults []error
	lines := map[[ticketKeySize]byte]int{}
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		key, err := ticketKey(line)
		switch first := lines[key]; {
		case err != nil:
		case first > 0:
			err = fmt.Errorf("is the key of line %d again", first)
		case len(keys) == maxTicketKeys:
			faults = append(faults, fmt.Errorf("%s:%d: is one key more than the %d that a file may have", name, n, maxTicketKeys))
			return nil, errors.Join(faults...)
		default:
			keys, lines[key] = append(keys, key), n
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("%s:%d: %w", name, n, err))
		}
	}
	if len(keys) == 0 && len(faults) == 0 {
		faults = append(faults, fmt.Errorf("TLS_TICKET_KEYS_FILE: %q holds no key; `openssl rand -base64 %d` makes one", name, ticketKeySize))
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return keys, nil
}

// ticketKey reads one key. Its error says nothing of it.
func ticketKey(line string) (key [ticketKeySize]byte, err error) {
	b, err := base64.StdEncoding.Strict().DecodeString(line)
	switch {
	case err != nil:
		return key, fmt.Errorf("is no key: %d bytes in base64, as of `openssl rand -base64 %d`", ticketKeySize, ticketKeySize)
	case len(b) != ticketKeySize:
		return key, fmt.Errorf("is a key of %d bytes; it takes %d: `openssl rand -base64 %d`", len(b), ticketKeySize, ticketKeySize)
	}
	return [ticketKeySize]byte(b), nil
}

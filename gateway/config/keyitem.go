package config

import (
	"encoding/hex"
	"strings"
)

// Most tenants are written in one of two ways, each name once, each value a word, a list of words, or limits of words:
//
//   - {id: team-a, sha256: ["9f86d0…"], models: ["llama-*"], limits: {rps: 20, burst: 40}}
//   - id: team-a
//     sha256: 9f86d0…
//
// These are read here, by the rules of YAML 1.2.2 that matter for them. Whatever is written otherwise, or has a fault, is left to the library.

// readKeyItem reads a tenant's item. ok is false if it is left to the library.
func readKeyItem(item string) (k Key, ok bool) {
	k.Weight = 1
	indent := strings.IndexByte(item, '-')
	s := words{rest: strings.TrimRight(item[indent+1:], " \r\n")}
	s.spaces()
	read := func(name string) bool { return k.read(name, &s) }
	if strings.HasPrefix(s.rest, "{") {
		ok = s.mapping(read) && s.rest == ""
	} else {
		ok = s.lines(len(item[:indent+1])+s.passed, read)
	}
	return k, ok && k.ID != "" && len(k.Sums) > 0 && len(k.Sums) <= maxSums
}

// read reads the value of a member; false if it is left to the library.
func (k *Key) read(name string, s *words) bool {
	switch name {
	case "id":
		return wordTo(s, &k.ID, keyID)
	case "sha256":
		return s.list(func(text string) bool {
			raw, err := hex.DecodeString(text)
			if err != nil || len(raw) != 32 {
				return false
			}
			k.Sums = append(k.Sums, [32]byte(raw))
			return true
		})
	case "models":
		k.Models = []string{}
		return s.startsList() && s.list(func(text string) bool {
			glob, err := modelGlob(text)
			k.Models = append(k.Models, glob)
			return err == nil
		})
	case "limits":
		return s.mapping(func(name string) bool { return k.Limits.read(name, s) }) && k.Limits.complete() == ""
	case "priority":
		return wordTo(s, &k.Priority, priority)
	case "weight":
		return wordTo(s, &k.Weight, keyWeight)
	case "expires":
		return wordTo(s, &k.Expires, day)
	case "disabled":
		return wordTo(s, &k.Disabled, boolean)
	}
	return false
}

func (l *KeyLimits) read(name string, s *words) bool {
	switch name {
	case "rps":
		return wordTo(s, &l.RPS, rate)
	case "burst":
		return wordTo(s, &l.Burst, burst)
	case "rpm":
		return wordTo(s, &l.RPM, burst)
	case "tpm":
		return wordTo(s, &l.TPM, burst)
	case "tpm_burst":
		return wordTo(s, &l.TPMBurst, burst)
	case "tpd":
		return wordTo(s, &l.TPD, dailyTokens)
	case "concurrency":
		return wordTo(s, &l.Concurrency, concurrency)
	}
	return false
}

func wordTo[T any](s *words, field *T, parse func(string) (T, error)) bool {
	text, ok := s.word()
	if !ok {
		return false
	}
	v, err := parse(text)
	*field = v
	return err == nil
}

// words are a text that is read from its beginning.
type words struct {
	rest   string
	passed int // spaces, by the last spaces()
}

func (s *words) spaces() {
	n := 0
	for n < len(s.rest) && s.rest[n] == ' ' {
		n++
	}
	s.rest, s.passed = s.rest[n:], n
}

func (s *words) take(c byte) bool {
	if s.rest == "" || s.rest[0] != c {
		return false
	}
	s.rest = s.rest[1:]
	return true
}

// word reads a word that is the same in every schema of YAML: in quotes and without escapes, or plain and with letters, digits and a
// few signs alone. Spaces behind it are passed.
func (s *words) word() (text string, ok bool) {
	if s.rest == "" {
		return "", false
	}
	switch quote := s.rest[0]; quote {
	case '"', '\'':
		n := 1
		for n < len(s.rest) && s.rest[n] != quote {
			if c := s.rest[n]; c < ' ' || c > '~' || c == '\\' {
				return "", false
			}
			n++
		}
		if n == len(s.rest) {
			return "", false
		}
		text, s.rest = s.rest[1:n], s.rest[n+1:]
		if s.rest != "" && s.rest[0] == quote {
			return "", false
		}
	default:
		n := 0
		for n < len(s.rest) && isPlain[s.rest[n]] {
			n++
		}
		text, s.rest = s.rest[:n], s.rest[n:]
		if text == "" || !isAlphanumeric(text[0]) || strings.EqualFold(text, "null") {
			return "", false
		}
	}
	s.spaces()
	return text, text != "" && strings.TrimSpace(text) == text
}

// isPlain are the bytes that a plain word may have.
var isPlain = func() (set [256]bool) {
	for c := range 256 {
		set[c] = isAlphanumeric(byte(c)) || strings.IndexByte("_-.*/", byte(c)) >= 0
	}
	return set
}()

func isAlphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z'
}

// name reads the name of a member, and what is between it and its value.
func (s *words) name(seen *uint64) (name string, ok bool) {
	n := 0
	for n < len(s.rest) && (isAlphanumeric(s.rest[n]) || s.rest[n] == '_') {
		n++
	}
	if name = s.rest[:n]; name == "" || !strings.HasPrefix(s.rest[n:], ": ") {
		return "", false
	}
	s.rest = s.rest[n+1:]
	s.spaces()
	bit := uint64(1) << (memberNumber(name) % 64)
	if *seen&bit != 0 {
		return "", false
	}
	*seen |= bit
	return name, true
}

// memberNumber tells the members apart that there are.
func memberNumber(name string) int {
	for i, known := range [...]string{
		"id", "sha256", "models", "limits", "priority", "weight", "expires", "disabled", "rps", "burst", "rpm", "tpm", "tpm_burst", "tpd", "concurrency",
	} {
		if name == known {
			return i
		}
	}
	return 63
}

// mapping reads {name: value, …}. Spaces behind it are passed.
func (s *words) mapping(read func(name string) bool) bool {
	if !s.take('{') {
		return false
	}
	s.spaces()
	seen := uint64(0)
	return s.items('}', func() bool {
		name, ok := s.name(&seen)
		return ok && read(name)
	})
}

// items reads what commas part, and the end behind it. Spaces behind that are passed.
func (s *words) items(end byte, read func() bool) bool {
	for {
		if !read() {
			return false
		}
		if s.take(end) {
			s.spaces()
			return true
		}
		if !s.take(',') {
			return false
		}
		s.spaces()
	}
}

// lines reads a member of each line, all of which begin in the same column.
func (s *words) lines(column int, read func(name string) bool) bool {
	for seen := uint64(0); ; {
		name, ok := s.name(&seen)
		if !ok || !read(name) {
			return false
		}
		if s.rest == "" {
			return true
		}
		s.take('\r')
		if !s.take('\n') {
			return false
		}
		if s.spaces(); s.passed != column {
			return false
		}
	}
}

func (s *words) startsList() bool { return strings.HasPrefix(s.rest, "[") }

// list reads one word, or [word, …]. Spaces behind it are passed.
func (s *words) list(read func(text string) bool) bool {
	if !s.startsList() {
		text, ok := s.word()
		return ok && read(text)
	}
	s.take('[')
	s.spaces()
	if s.take(']') {
		s.spaces()
		return true
	}
	return s.items(']', func() bool {
		text, ok := s.word()
		return ok && read(text)
	})
}

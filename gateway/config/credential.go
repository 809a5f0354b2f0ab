package config

import (
	"fmt"
	"strings"
)

// Credential is what a pool's upstreams are shown in place of what a client shows the gateway.
type Credential struct {
	Env, File string // where it comes from: one of them; "", "": there is none
	Header    string // the field that carries it; Authorization has "Bearer " before it
	Value     string // secret
}

// readCredential reads where a pool's credential comes from.
func readCredential(n node, c *Credential) {
	before := len(n.draft.faults)
	n.fields(map[string]func(node){
		"env":    to(&c.Env, anything),
		"file":   to(&c.File, anything),
		"header": to(&c.Header, corsHeader),
	})
	switch {
	case len(n.draft.faults) > before:
	case (c.Env == "") == (c.File == ""):
		n.fault("needs env, the name of a variable, or file, a path: one of them")
	case c.Header == "*":
		n.fault("header is the name of a field")
	}
	where := n.where()
	n.draft.credentials = append(n.draft.credentials, func(env map[string]string) {
		text, err := n.draft.credential(c, env)
		if err == nil {
			err = c.fill(text)
		}
		if err != nil {
			n.draft.fault(where, err.Error())
		}
	})
}

// credential reads the secret. Its error says nothing of it.
func (d *draft) credential(c *Credential, env map[string]string) (string, error) {
	switch {
	case c.Env != "" && c.File == "":
		if env[c.Env] == "" {
			return "", fmt.Errorf("env: the variable %s is not set", c.Env)
		}
		return env[c.Env], nil
	case c.File != "" && c.Env == "":
		text, err := d.read(c.File)
		if err != nil {
			return "", fmt.Errorf("file: cannot be read: %w", err)
		}
		return string(text), nil
	}
	return "", nil // told already
}

// fill takes the secret as it stood in its place.
func (c *Credential) fill(text string) error {
	text = strings.TrimSpace(text)
	if c.Env == "" && c.File == "" {
		return nil
	}
	if text == "" {
		return fmt.Errorf("is empty")
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
		return fmt.Errorf("holds a character that no credential has")
	}
	c.Value = text
	if c.Header == "" {
		c.Header = "Authorization"
	}
	return nil
}

// fields is where the credential comes from, in the file's form.
func (c Credential) fields() string {
	var parts []string
	add := func(key, text string) {
		if text != "" {
			parts = append(parts, key+": "+fmt.Sprintf("%q", text))
		}
	}
	add("env", c.Env)
	add("file", c.File)
	add("header", c.Header)
	return strings.Join(parts, ", ")
}

package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Schema is a JSON Schema (draft 2020-12) of the configuration file, for editors. It is not written down anywhere: the readers of
// the file are asked which keys they know and which values they take.
func Schema() []byte {
	d := &draft{settings: &Settings{given: given{values: map[string]value{}, pools: map[string]Pool{}}}, services: map[string][]Upstream{}}
	root := &schema{}
	readSettings(node{draft: d, schema: root})
	root.Draft, root.Title = "https://json-schema.org/draft/2020-12/schema", "aigateway's configuration file"
	text, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		panic(fmt.Sprintf("BUG: the schema cannot be written: %v", err))
	}
	return append(text, '\n')
}

// A schema is what may stand in a place of the file, by the words of JSON Schema.
type schema struct {
	Draft       string `json:"$schema,omitempty"`
	Title       string `json:"title,omitempty"`
	Description string `json:"description,omitempty"`
	Default     string `json:"default,omitempty"` // as an operator would write it
	WriteOnly   bool   `json:"writeOnly,omitempty"`

	Type    any      `json:"type,omitempty"` // a word or several
	Enum    []any    `json:"enum,omitempty"`
	Pattern string   `json:"pattern,omitempty"`
	Minimum *float64 `json:"minimum,omitempty"`
	Maximum *float64 `json:"maximum,omitempty"`

	Properties map[string]*schema `json:"properties,omitempty"`
	Patterns   map[string]*schema `json:"patternProperties,omitempty"`
	Others     any                `json:"additionalProperties,omitempty"` // false, or a schema
	Items      *schema            `json:"items,omitempty"`
	AnyOf      []*schema          `json:"anyOf,omitempty"`
}

// object notes that a mapping with these keys stands there, each as its reader says; a key without a value is not stated.
func (s *schema) object(n node, known map[string]func(node)) {
	s.Type, s.Others = []string{"object", "null"}, false
	s.Properties = make(map[string]*schema, len(known))
	for _, key := range slices.Sorted(maps.Keys(known)) {
		child := n
		child.schema = &schema{}
		known[key](child)
		s.Properties[key] = child.schema
	}
}

// mapping notes that a mapping with keys of any name stands there.
func (s *schema) mapping(n node, read func(key string, n node)) {
	child := n
	child.schema = &schema{}
	read("name", child)
	s.Type, s.Others = []string{"object", "null"}, child.schema
}

// list notes that a list stands there.
func (s *schema) list(n node, read func(node)) {
	child := n
	child.schema = &schema{}
	read(child)
	s.Type, s.Items = []string{"array", "null"}, child.schema
}

// scalar notes that one plain value stands there, of which no more is known.
func (s *schema) scalar() {
	if s.Type == nil && s.Enum == nil {
		s.Type = []string{"string", "number", "boolean", "null"}
	}
}

// taken notes which values a parser takes, by what it says to one that it does not.
func (s *schema) taken(err error) {
	if m, ok := errors.AsType[mismatch](err); ok && m.takes != nil {
		m.takes(s)
		return
	}
	s.scalar()
}

// setting notes a setting: one plain value, or a list of them for those with commas.
func (s *schema) setting(d *draft, of setting) {
	s.taken(of.read(d, noValue))
	if _, loose := s.Type.([]string); loose && s.Enum == nil {
		*s = schema{AnyOf: []*schema{{Type: s.Type}, {Type: "array", Items: &schema{Type: s.Type}}}}
	}
	s.Description, s.Default, s.WriteOnly = strings.ReplaceAll(of.meaning, "`", ""), of.standard, of.secret
}

// noValue is what no parser of values with a known form takes.
const noValue = "\x00"

// A mismatch is a value that a parser does not take, and which ones it does.
type mismatch struct {
	says  string
	takes func(*schema)
}

// Error says it in the operator's words.
func (m mismatch) Error() string { return m.says }

func takesBetween(least, most float64, kind string) func(*schema) {
	return func(s *schema) { s.Type, s.Minimum, s.Maximum = kind, &least, &most }
}

// takesWords takes some words. Those of YAML's own for yes and no, and numbers, come as what they are.
func takesWords(words ...string) func(*schema) {
	return func(s *schema) {
		for _, w := range words {
			s.Enum = append(s.Enum, w)
			switch w {
			case "true", "false":
				s.Enum = append(s.Enum, w == "true")
			case "0", "1":
				s.Enum = append(s.Enum, int(w[0]-'0'))
			}
		}
	}
}

// takesDuration takes a time in Go's form.
func takesDuration(s *schema) {
	s.Type, s.Pattern = []string{"string", "integer"}, `^0$|^([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h))*$`
	least, most := 0.0, 0.0 // without a unit, nothing but none at all
	s.Minimum, s.Maximum = &least, &most
}

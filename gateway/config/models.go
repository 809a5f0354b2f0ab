package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// MaxModelName is the length in bytes of the longest name of a model.
const MaxModelName = 256

// MaxFallbacks is how many models one may fall back to: each, and the model itself, has two pools at most, and a request notes whom
// it has asked in 32 bits.
const MaxFallbacks = 15

// A Model is a name that clients may ask for, and where it leads.
type Model struct {
	Name       string
	Aliases    []string
	Pool       string
	Upstream   string   // what its upstreams call it; "": as it is called here
	Fallback   []string // models to ask instead, in this order; names or aliases
	ContextMax int64    // tokens of its context; 0: not known
	Hidden     bool     // not listed, and not there for who may not know it
	Timeouts   ModelTimeouts
	Limits     KeyLimits // of all requests for it; without RPS
}

// ModelTimeouts are those of one model; what it does not state is its pool's.
type ModelTimeouts struct {
	FirstToken time.Duration // until the first content of an answer; 0: the pool's
	InterToken time.Duration // silence inside a stream; 0: the pool's
}

// Asked is what the model is called upstream.
func (m *Model) Asked() string {
	if m.Upstream != "" {
		return m.Upstream
	}
	return m.Name
}

// fileModel is a model of the file, and where it stands.
type fileModel struct {
	Model
	where string
}

func readModels(n node) {
	n.items(func(n node) {
		m, before := fileModel{where: n.where()}, len(n.draft.faults)
		readModel(n, &m.Model)
		switch {
		case len(n.draft.faults) > before:
		case m.Name == "":
			n.fault("needs a name")
		case m.Pool == "":
			n.fault("needs a pool, whose upstreams have it")
		}
		n.draft.models = append(n.draft.models, m)
	})
}

func readModel(n node, m *Model) {
	visible := true
	n.fields(map[string]func(node){
		"name":           to(&m.Name, modelName),
		"pool":           func(n node) { m.Pool = readReference(n) },
		"upstream_model": to(&m.Upstream, modelName),
		"aliases":        func(n node) { m.Aliases = readWords(n, modelName) },
		"fallback":       func(n node) { m.Fallback = readWords(n, modelName) },
		"context_max":    to(&m.ContextMax, integer(int64(1), 1<<40, "number of tokens")),
		"visible":        to(&visible, boolean),
		"limits":         func(n node) { readModelLimits(n, &m.Limits) },
		"timeouts": func(n node) {
			n.fields(map[string]func(node){
				"first_token": to(&m.Timeouts.FirstToken, duration(minDuration)),
				"inter_token": to(&m.Timeouts.InterToken, duration(minDuration)),
			})
		},
	})
	m.Hidden = !visible
}

// modelName parses what can be the name of a model: it stands in bodies, headers, lines and labels.
func modelName(text string) (string, error) {
	switch {
	case len(text) > MaxModelName:
		return "", fmt.Errorf("the name of a model has at most %d bytes", MaxModelName)
	case strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }):
		return "", fmt.Errorf("%+q has characters that cannot be printed as ASCII", text)
	case strings.TrimSpace(text) != text:
		return "", fmt.Errorf("%q begins or ends with a space", text)
	}
	return text, nil
}

// checkModels finds what is wrong between models.
func (d *draft) checkModels() {
	byName := make(map[string]*fileModel)
	for i := range d.models {
		m := &d.models[i]
		switch other := byName[m.Name]; {
		case m.Name == "":
		case other != nil:
			d.fault(m.where+".name", fmt.Sprintf("there is a model %q already, at %s", m.Name, other.where))
		default:
			byName[m.Name] = m
		}
	}
	for i := range d.models {
		d.checkAliases(&d.models[i], byName)
	}
	for i := range d.models {
		if n := len(d.models[i].Fallback); n > MaxFallbacks {
			d.fault(d.models[i].where+".fallback", fmt.Sprintf("names %d models, and %d are the most that can be asked", n, MaxFallbacks))
		}
		for _, name := range d.models[i].Fallback {
			if byName[name] == nil {
				d.fault(d.models[i].where+".fallback", fmt.Sprintf("there is no model %q to fall back to", name))
			}
		}
	}
	d.checkModelCircles(byName)
	for _, m := range d.models {
		d.settings.Models = append(d.settings.Models, m.Model)
	}
}

// checkAliases comes after all names, so that what an alias says wrongly does not depend on the order of the models.
func (d *draft) checkAliases(m *fileModel, byName map[string]*fileModel) {
	for _, alias := range m.Aliases {
		switch other := byName[alias]; {
		case other == nil:
			byName[alias] = m
		case other == m && alias == m.Name:
			d.fault(m.where+".aliases", fmt.Sprintf("%q is the model's own name", alias))
		case other == m: // named twice, which is told
		case alias == other.Name:
			d.fault(m.where+".aliases", fmt.Sprintf("%q is the name of another model, at %s", alias, other.where))
		default:
			d.fault(m.where+".aliases", fmt.Sprintf("%q is an alias of the model %q already", alias, other.Name))
		}
	}
}

// checkModelCircles finds fallbacks that lead back, each circle once.
func (d *draft) checkModelCircles(byName map[string]*fileModel) {
	done := make(map[*fileModel]bool)
	var follow func(m *fileModel, way []*fileModel)
	follow = func(m *fileModel, way []*fileModel) {
		if i := slices.Index(way, m); i >= 0 {
			var names []string
			for _, m := range append(way[i:], m) {
				names = append(names, m.Name)
			}
			d.fault(way[i].where+".fallback", "leads in a circle: "+strings.Join(names, " → "))
			return
		}
		if done[m] {
			return
		}
		done[m] = true
		for _, name := range m.Fallback {
			if to := byName[name]; to != nil {
				follow(to, append(way[:len(way):len(way)], m))
			}
		}
	}
	for i := range d.models {
		follow(&d.models[i], nil)
	}
}

// line is the model in the file's form.
func (m *Model) line() string {
	fields := []string{"name: " + strconv.Quote(m.Name), "pool: " + strconv.Quote(m.Pool)}
	add := func(key, text string) {
		if text != "" && text != "0" && text != "0s" {
			fields = append(fields, key+": "+text)
		}
	}
	if m.Upstream != "" {
		add("upstream_model", strconv.Quote(m.Upstream))
	}
	add("aliases", quotedList(m.Aliases))
	add("fallback", quotedList(m.Fallback))
	add("context_max", strconv.FormatInt(m.ContextMax, 10))
	if m.Hidden {
		add("visible", "false")
	}
	var timeouts []string
	if t := m.Timeouts.FirstToken; t > 0 {
		timeouts = append(timeouts, "first_token: "+short(t))
	}
	if t := m.Timeouts.InterToken; t > 0 {
		timeouts = append(timeouts, "inter_token: "+short(t))
	}
	if len(timeouts) > 0 {
		add("timeouts", "{"+strings.Join(timeouts, ", ")+"}")
	}
	if limits := m.Limits.fields(); limits != "" {
		add("limits", "{"+limits+"}")
	}
	return "  - {" + strings.Join(fields, ", ") + "}"
}

// quotedList is a list in the file's form; "" for none.
func quotedList(list []string) string {
	if len(list) == 0 {
		return ""
	}
	var words []string
	for _, w := range list {
		words = append(words, strconv.Quote(w))
	}
	return "[" + strings.Join(words, ", ") + "]"
}

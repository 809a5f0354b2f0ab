package simulator

import (
	"fmt"
	"net/http"
	"slices"
)

// resolve is the model that answers for a name. Without Options.Models every name is the one model's.
func (s *Simulator) resolve(name string) (string, error) {
	if name == "" || len(s.options.Models) == 0 {
		return s.model, nil
	}
	if slices.Contains(s.options.Models, name) {
		return name, nil
	}
	return "", unknownModel(name)
}

func unknownModel(name string) *fault {
	return &fault{status: http.StatusNotFound, param: "model", code: "model_not_found",
		message: "The model " + quote(name) + " does not exist."}
}

// served are the models that are listed.
func (o Options) served() []string {
	if len(o.Models) > 0 {
		return o.Models
	}
	return []string{"sim-" + o.Name}
}

func (o Options) modelFaults() (faults []error) {
	const longest = 256
	for i, name := range o.Models {
		switch {
		case name == "" || len(name) > longest:
			faults = append(faults, fmt.Errorf("model %s: a name has 1 to %d bytes", quote(name), longest))
		case slices.Contains(o.Models[:i], name):
			faults = append(faults, fmt.Errorf("model %s is named twice", quote(name)))
		}
	}
	return faults
}

// models answers GET /v1/models.
func (s *Simulator) models(w http.ResponseWriter, _ *http.Request) error {
	list := make([]model, 0, len(s.options.served()))
	for _, name := range s.options.served() {
		list = append(list, describe(name))
	}
	reply(w, http.StatusOK, struct {
		Object string  `json:"object"`
		Data   []model `json:"data"`
	}{"list", list})
	return nil
}

// oneModel is the route of /v1/models/{id}. An id may hold a slash, which a client may have written as %2F.
func (s *Simulator) oneModel(name string) (route, bool) {
	if !slices.Contains(s.options.served(), name) {
		return route{}, false
	}
	return route{get: func(w http.ResponseWriter, _ *http.Request) error {
		reply(w, http.StatusOK, describe(name))
		return nil
	}}, true
}

type model struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
}

// describe gives a model a fixed birthday, 2026-01-01, so that lists compare equal between runs.
func describe(name string) model {
	return model{ID: name, Object: "model", Created: 1_767_225_600, OwnedBy: "simulator"}
}

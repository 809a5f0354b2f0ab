package simulator

import (
	"net/http"
	"net/url"
)

// inferQuery answers GET /infer?prompt=…, the form that caches. A body has no meaning there, but see readBody.
func (s *Simulator) inferQuery(w http.ResponseWriter, r *http.Request) error {
	if _, err := readBody(w, r); err != nil {
		return err
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return &fault{status: http.StatusBadRequest, code: "invalid_query", message: "The query is malformed."}
	}
	return s.infer(w, r, query.Get("prompt"))
}

// inferBody answers POST /infer with {"prompt":"…"}.
func (s *Simulator) inferBody(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	prompt, err := decodeInfer(body)
	if err != nil {
		return err
	}
	return s.infer(w, r, prompt)
}

// decodeInfer finds the prompt in a body. No body at all lacks a prompt; it is not malformed.
func decodeInfer(body []byte) (string, error) {
	if len(body) == 0 {
		return "", nil
	}
	m, err := readMembers(body)
	if err != nil {
		return "", err
	}
	prompt, _, err := member[string](m, "prompt", "a string")
	if err != nil {
		return "", missingPrompt()
	}
	return prompt, nil
}

func missingPrompt() *fault {
	return &fault{status: http.StatusUnprocessableEntity, code: "missing_prompt",
		message: "A prompt is needed: a string that is not empty."}
}

func (s *Simulator) infer(w http.ResponseWriter, r *http.Request, prompt string) error {
	demanded, err := readSwitches(r.Header)
	if err != nil {
		return err
	}
	if prompt == "" {
		return missingPrompt()
	}
	g, err := s.generate(r.Context(), demanded, nil)
	if err != nil {
		return err
	}
	return g.replyWhole(w, struct {
		Result    string `json:"result"`
		LatencyMS int64  `json:"latency_ms"`
		Model     string `json:"model"`
	}{"echo: " + prompt, g.latency.Milliseconds(), s.model})
}

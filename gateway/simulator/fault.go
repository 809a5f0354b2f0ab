package simulator

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
)

// fault is an answer that says no. Its type follows from the status, as in OpenAI's API, or on /v1/messages in Anthropic's.
type fault struct {
	status  int
	message string
	param   string // the member of the request at fault; empty: none, null on the wire
	code    string
}

func (f *fault) Error() string { return strconv.Itoa(f.status) + " " + f.message }

func (f *fault) kind() string {
	switch {
	case f.status >= 500:
		return "server_error"
	case f.status == http.StatusTooManyRequests:
		return "rate_limit_error"
	default:
		return "invalid_request_error"
	}
}

// write answers with the fault: OpenAI's four members on /v1, without "param" elsewhere.
func (f *fault) write(w http.ResponseWriter, r *http.Request) {
	switch f.status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "1")
	}
	if isMessages(r.URL.Path) {
		reply(w, f.status, object{"type": "error", "error": object{"type": anthropicKind(f.status), "message": f.message}})
		return
	}
	type body struct {
		Message string          `json:"message"`
		Type    string          `json:"type"`
		Param   json.RawMessage `json:"param,omitempty"`
		Code    string          `json:"code"`
	}
	e := body{Message: f.message, Type: f.kind(), Code: f.code}
	if strings.HasPrefix(r.URL.Path, "/v1/") {
		e.Param = json.RawMessage("null")
		if f.param != "" {
			e.Param = encode(f.param)
		}
	}
	reply(w, f.status, struct {
		Error body `json:"error"`
	}{e})
}

// quote shows a client its own words, at most 40 bytes of them.
func quote(s string) string {
	const most = 40
	if len(s) > most {
		return strconv.Quote(s[:most]) + "…"
	}
	return strconv.Quote(s)
}

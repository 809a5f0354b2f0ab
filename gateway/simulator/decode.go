package simulator

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
)

// maxBody bounds a request body, in bytes.
const maxBody = 1 << 20

// members are the members of a JSON object. They are kept raw because encoding/json alone would match names in any case and
// could not tell a member of the wrong type from the rest.
type members map[string]json.RawMessage

// readBody reads a request body to its end, without which net/http would not notice a client that leaves.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err == nil {
		return body, nil
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, &fault{status: http.StatusRequestEntityTooLarge, code: "body_too_large",
			message: "The body is larger than 1 MiB."}
	}
	return nil, &fault{status: http.StatusBadRequest, code: "unreadable_body", message: "The body broke off."}
}

// readMembers decodes a JSON object. Another JSON value has no members, which is then the complaint.
func readMembers(body []byte) (members, error) {
	if !json.Valid(body) {
		return nil, &fault{status: http.StatusBadRequest, code: "invalid_json", message: "The body is not valid JSON."}
	}
	var m members
	if json.Unmarshal(body, &m) != nil {
		return nil, nil
	}
	return m, nil
}

// member decodes one member. Absent and null are the same: not ok.
func member[T any](m members, name, kind string) (value T, ok bool, err error) {
	raw := m[name]
	if len(raw) == 0 || string(raw) == "null" {
		return value, false, nil
	}
	if json.Unmarshal(raw, &value) != nil {
		return value, false, wrongType(name, kind)
	}
	return value, true, nil
}

func missing(name string) *fault {
	return &fault{status: http.StatusBadRequest, param: name, code: "missing_required_parameter",
		message: "Missing required parameter: '" + name + "'."}
}

func wrongType(name, kind string) *fault {
	return &fault{status: http.StatusBadRequest, param: name, code: "invalid_type",
		message: "Invalid type for '" + name + "': expected " + kind + "."}
}

func wrongValue(name, expected string) *fault {
	return &fault{status: http.StatusBadRequest, param: name, code: "invalid_value",
		message: "Invalid value for '" + name + "': expected " + expected + "."}
}

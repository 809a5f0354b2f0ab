package simulator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
)

// route is what one path answers. A nil answer is a method not allowed.
type route struct {
	get, post answer
}

// answer writes a response, or returns why there is none: a *fault to be written in its place, or, for a generation only, an
// error after which the connection closes without the end of the message.
type answer func(w http.ResponseWriter, r *http.Request) error

func (s *Simulator) table() map[string]route {
	routes := map[string]route{
		"/healthz":                  {get: s.health},
		"/infer":                    {get: s.inferQuery, post: s.inferBody},
		"/v1/models":                {get: s.models},
		"/v1/chat/completions":      {post: s.chat},
		"/v1/completions":           {post: s.complete},
		"/health":                   {get: s.ready},
		"/ping":                     {get: s.ready},
		"/version":                  {get: s.version},
		"/tokenize":                 {post: s.tokenize},
		"/detokenize":               {post: s.detokenize},
		"/v1/rerank":                {post: s.rerank},
		"/rerank":                   {post: s.rerank},
		"/v1/score":                 {post: s.score},
		"/score":                    {post: s.score},
		"/v1/responses":             {post: s.respond},
		"/v1/messages":              {post: s.converse},
		"/v1/messages/count_tokens": {post: s.countTokens},
		"/v1/audio/transcriptions":  {post: s.transcribe},
		"/v1/audio/translations":    {post: s.transcribe},
		"/v1/audio/speech":          {post: s.readAloud},
		"/v1/realtime":              {get: s.realtime},
		"/v1/embeddings":            {post: s.embeddings},
	}
	if s.engine != nil {
		routes["/metrics"] = route{get: s.metrics}
	}
	return routes
}

// handle is every request's way: find the answer, give it, and account for one that did not reach its end.
func (s *Simulator) handle(w http.ResponseWriter, r *http.Request) {
	s.requests.Add(1)
	err := s.route(w, r)
	if err == nil {
		return
	}
	if f, ok := errors.AsType[*fault](err); ok {
		f.write(w, r)
		return
	}
	switch {
	case errors.Is(err, errCut):
		s.cut.Add(1)
	case !errors.Is(context.Cause(r.Context()), errClosed):
		s.cancelled.Add(1)
	}
	// The only way to end a net/http message without its end, and silent in the server's log.
	panic(http.ErrAbortHandler)
}

func (s *Simulator) route(w http.ResponseWriter, r *http.Request) error {
	found, ok := s.routes[r.URL.Path]
	if name, one := strings.CutPrefix(r.URL.Path, "/v1/models/"); one {
		found, ok = s.oneModel(name)
	}
	if !ok {
		return notFound(r.URL.Path)
	}
	switch {
	case r.Method == http.MethodGet && found.get != nil, r.Method == http.MethodHead && found.get != nil:
		return found.get(w, r)
	case r.Method == http.MethodPost && found.post != nil:
		return found.post(w, r)
	}
	w.Header().Set("Allow", found.allow())
	return &fault{status: http.StatusMethodNotAllowed, code: "method_not_allowed",
		message: "Not allowed on this path: " + quote(r.Method) + "."}
}

func notFound(path string) *fault {
	if name, ok := strings.CutPrefix(path, "/v1/models/"); ok {
		return unknownModel(name)
	}
	return &fault{status: http.StatusNotFound, code: "not_found", message: "No such path: " + quote(path) + "."}
}

// allow is the Allow field (RFC 9110 §10.2.1) of a 405.
func (r route) allow() string {
	var methods []string
	if r.get != nil {
		methods = append(methods, http.MethodGet, http.MethodHead)
	}
	if r.post != nil {
		methods = append(methods, http.MethodPost)
	}
	return strings.Join(methods, ", ")
}

// health tells probes whether the model is loaded. It is no generation: no latency, no failures.
func (s *Simulator) health(w http.ResponseWriter, _ *http.Request) error {
	select {
	case <-s.loaded:
		reply(w, http.StatusOK, struct {
			OK      bool   `json:"ok"`
			Service string `json:"service"`
		}{true, s.options.Name})
	default:
		reply(w, http.StatusServiceUnavailable, struct {
			Status string `json:"status"`
		}{"loading"})
	}
	return nil
}

// reply writes a value as one whole JSON body. There is no generation to be counted as cancelled, so a client that has left
// goes unnoticed.
func reply(w http.ResponseWriter, status int, value any) {
	body := encode(value)
	writeHead(w, status, len(body))
	_, _ = w.Write(body)
}

// replyWhole is reply for a generation, which may have to break off.
func (g generation) replyWhole(w http.ResponseWriter, value any) error {
	return g.replyBody(w, "application/json", encode(value))
}

// replyText is replyWhole for the answers that are no JSON.
func (g generation) replyText(w http.ResponseWriter, text string) error {
	return g.replyBody(w, "text/plain; charset=utf-8", []byte(text))
}

func (g generation) replyBody(w http.ResponseWriter, kind string, body []byte) error {
	at, cut := g.cutAt(len(body) - 1) // the last byte stays out, or the message would be complete
	w.Header().Set("Content-Type", kind)
	writeHead(w, http.StatusOK, len(body))
	if !cut {
		_, err := w.Write(body)
		return err
	}
	if _, err := w.Write(body[:at]); err != nil {
		return err
	}
	if err := http.NewResponseController(w).Flush(); err != nil {
		return err
	}
	return errCut
}

// writeHead states the length, so that HEAD is answered like GET and a cut shows.
func writeHead(w http.ResponseWriter, status, length int) {
	if length > 0 && w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json")
	}
	w.Header().Set("Content-Length", strconv.Itoa(length))
	w.WriteHeader(status)
}

// encode is JSON as the Python services write it: <, > and & stay as they are.
func encode(value any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		panic("BUG: cannot encode an answer: " + err.Error())
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

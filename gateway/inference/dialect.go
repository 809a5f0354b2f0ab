package inference

import "bytes"

// A Dialect is what is spoken at a path: the shape of requests, answers, errors and events. The zero value is none that is known.
type Dialect uint8

// The dialects.
const (
	Other Dialect = iota
	Chat
	Completions
	Embeddings
	Rerank
	Score
	Responses
	Messages
	Audio
	Realtime
	Tokenize
	CountTokens // of Messages
	Models
	dialects
)

// A trait is what is so for all requests of a dialect.
type trait uint8

const (
	generates trait = 1 << iota // the answer has tokens that the model makes
	streams                     // the answer may be a stream of events
	forms                       // the body may be a form with files
	anthropic                   // errors have Anthropic's shape
	reads                       // the model reads tokens: an answer tells their number
)

var traits = [dialects]trait{
	Chat: generates | streams | reads, Completions: generates | streams | reads, Responses: generates | streams | reads,
	Messages: generates | streams | reads | anthropic, CountTokens: anthropic,
	Embeddings: reads, Rerank: reads, Score: reads, Audio: streams | forms | reads, Realtime: generates | reads,
}

var dialectNames = [dialects]string{"other", "chat", "completions", "embeddings", "rerank", "score", "responses", "messages", "audio",
	"realtime", "tokenize", "count_tokens", "models"}

// String is the dialect's name.
func (d Dialect) String() string { return dialectNames[d] }

// Generates tells whether its answers have tokens that a model makes.
func (d Dialect) Generates() bool { return traits[d]&generates != 0 }

// Streams tells whether its answers may be streams of events.
func (d Dialect) Streams() bool { return traits[d]&streams != 0 }

// Forms tells whether its requests may be forms with files.
func (d Dialect) Forms() bool { return traits[d]&forms != 0 }

// Counts tells whether its answers state usage.
func (d Dialect) Counts() bool { return traits[d]&reads != 0 }

// NamesModel tells whether its requests say which model they are for.
func (d Dialect) NamesModel() bool { return d != Other && d != Models }

// DialectOf is what is spoken at a path, which is borrowed and has no query. A route may put something before the /v1.
func DialectOf(path []byte) Dialect {
	if !bytes.HasPrefix(path, version) { // as nearly all have it
		if at := bytes.Index(path, version); at > 0 {
			path = path[at:]
		}
	}
	switch string(path) {
	case "/v1/chat/completions":
		return Chat
	case "/v1/completions":
		return Completions
	case "/v1/embeddings":
		return Embeddings
	case "/v1/rerank", "/rerank":
		return Rerank
	case "/v1/score", "/score":
		return Score
	case "/v1/responses":
		return Responses
	case "/v1/messages":
		return Messages
	case "/v1/messages/count_tokens":
		return CountTokens
	case "/v1/realtime":
		return Realtime
	case "/tokenize", "/detokenize", "/v1/tokenize", "/v1/detokenize":
		return Tokenize
	case "/v1/models":
		return Models
	}
	switch {
	case bytes.HasPrefix(path, []byte("/v1/audio/")):
		return Audio
	case bytes.HasPrefix(path, []byte("/v1/models/")):
		return Models
	}
	return Other
}

var version = []byte("/v1/")

// An Error is what a client is told in its dialect. Its texts are the gateway's own.
type Error struct {
	Status  int
	Code    string // for programs
	Message string // for people
	Param   string // the field it is about; empty: none
}

// AppendError appends the body of an answer that refuses.
func (d Dialect) AppendError(dst []byte, e Error) []byte {
	if traits[d]&anthropic != 0 {
		dst = append(append(dst, `{"type":"error","error":{"type":"`...), anthropicType(e.Status)...)
		dst = appendString(append(dst, `","message":`...), e.Message)
		if e.Status == 429 { // a limit's refusal has its code in every dialect
			dst = appendString(append(dst, `,"code":`...), e.Code)
		}
		return append(dst, "}}"...)
	}
	dst = appendString(append(dst, `{"error":{"message":`...), e.Message)
	dst = append(append(append(dst, `,"type":"`...), openAIType(e.Status)...), `","param":`...)
	if e.Param == "" {
		dst = append(dst, "null"...)
	} else {
		dst = appendString(dst, e.Param)
	}
	return append(appendString(append(dst, `,"code":`...), e.Code), "}}"...)
}

// AppendPlainError appends the body of an answer that refuses, where no dialect is spoken.
func AppendPlainError(dst []byte, e Error, requestID []byte) []byte {
	dst = appendString(append(dst, `{"error":{"message":`...), e.Message)
	dst = append(append(append(dst, `,"type":"`...), openAIType(e.Status)...), `","code":`...)
	dst = append(appendString(dst, e.Code), `},"request_id":"`...)
	return append(append(dst, requestID...), `"}`...)
}

// openAIType is OpenAI's word for the family of a status.
func openAIType(status int) string {
	switch {
	case status == 429:
		return "rate_limit_error"
	case status < 500:
		return "invalid_request_error"
	}
	return "server_error"
}

// anthropicType is the type that Anthropic's SDKs and documentation know for a status.
func anthropicType(status int) string {
	switch status {
	case 401:
		return "authentication_error"
	case 403:
		return "permission_error"
	case 404:
		return "not_found_error"
	case 413:
		return "request_too_large"
	case 429:
		return "rate_limit_error"
	case 503, 529:
		return "overloaded_error"
	case 504:
		return "timeout_error"
	}
	if status < 500 {
		return "invalid_request_error"
	}
	return "api_error"
}

// AppendCut appends the event that ends a stream which broke after its content, in the gateway's words.
func (d Dialect) AppendCut(dst []byte, code, message string) []byte {
	if traits[d]&anthropic != 0 {
		dst = append(dst, "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":"...)
		return append(appendString(dst, message), "}}\n\n"...)
	}
	dst = appendString(append(dst, `data: {"error":{"message":`...), message)
	return append(appendString(append(dst, `,"type":"upstream_error","code":`...), code), "}}\n\n"...)
}

// Of streams that end before their end, see AppendCut.
var (
	Silent = Error{Code: "timeout_inter_token", Message: "the upstream fell silent in the middle of this answer, which is not complete"}
	Broken = Error{Code: "upstream_cut", Message: "the upstream broke off in the middle of this answer, which is not complete"}
)

// Of a model's refusals.
var (
	NoSuchModel   = Error{Status: 404, Code: "model_not_found", Message: "the model does not exist, or you have no access to it", Param: "model"}
	NotAllowed    = Error{Status: 403, Code: "model_not_allowed", Message: "the key may not ask this model", Param: "model"}
	ModelUnstated = Error{Status: 400, Code: "model_missing", Message: "the request has to state a model", Param: "model"}
)

// ErrorOf is what a client is told of a body that was refused, about a member or none.
func ErrorOf(r Refusal, about Member) Error {
	e := Error{Status: 400, Code: "invalid_body", Message: r.Message(), Param: about.String()}
	if r == Duplicate {
		e.Code = "duplicate_field"
	}
	return e
}

// appendString appends a text as a JSON string.
func appendString(dst []byte, text string) []byte {
	dst = append(dst, '"')
	for _, r := range text { // what is no UTF-8 becomes U+FFFD
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r < ' ' || r == 0x7F || r == '\u2028' || r == '\u2029':
			dst = append(dst, '\\', 'u')
			for shift := 12; shift >= 0; shift -= 4 {
				dst = append(dst, "0123456789abcdef"[r>>shift&15])
			}
		default:
			dst = append(dst, string(r)...)
		}
	}
	return append(dst, '"')
}

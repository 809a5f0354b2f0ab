package server

import (
	"aigateway/gateway/inference"
	"aigateway/gateway/proxy"
	"aigateway/gateway/wire"
)

// A fault is an answer that is not what was asked for. Its texts are the gateway's own: no byte of a client
// or an upstream is in them.
type fault struct {
	status  int
	code    string // for programs
	message string // for people
}

// The faults of the gateway itself.
var (
	noRoute      = fault{404, "not_found", "there is nothing at this path"}
	noLLM        = fault{404, "not_found", "no OpenAI-compatible service is configured; set LLM_SERVICE_URL"}
	badMethod    = fault{405, "method_not_allowed", "this path does not answer that method; see the Allow field"}
	outsideRoute = fault{400, "bad_target", "the path leaves its route, by dot segments or an empty first segment"}
	otherRoute   = fault{400, "ambiguous_path", "the path, decoded and without dot segments, leads to another route than as it was sent"}
	otherDialect = fault{400, "ambiguous_path", "the path, decoded, without dot segments or in lower case, asks for something else than as it was sent"}
	tooLong      = fault{413, "body_too_large", "the request body exceeds the limit"}
	headTooLong  = fault{431, "header_too_large", "the request header exceeds the limit"}
	headTimeout  = fault{408, "timeout_request", "the request header did not arrive in time"}
	tooMany      = fault{429, "rate_limit_exceeded", "too many requests; see the Retry-After field"}
	noKey        = fault{401, "invalid_api_key", "a key is needed, as Authorization: Bearer, x-api-key or api-key"}
	wrongKey     = fault{401, "invalid_api_key", "the key is not one that may ask here"}
	twoKeys      = fault{400, "two_keys", "the request shows two different keys"}
	noOperator   = fault{401, "unauthorized", "this page is for operators: it needs ADMIN_TOKEN as Authorization: Bearer or as a Basic password, or the listener of ADMIN_ADDR"}
	malformed    = fault{400, "bad_request", "the request is not well-formed HTTP/1.1"}
	notCached    = fault{504, "not_cached", "only-if-cached was asked for, and there is no stored answer that may be used"}
	looped       = fault{508, "loop_detected", "the request has come back to the gateway: the URL of an upstream leads here"}
	internal     = fault{500, "internal_error", "the gateway failed to handle this request"}
)

// codedBody is a body that cannot be read as it lies.
var codedBody = inference.Error{Status: 415, Code: "unsupported_content_encoding", Message: "the body is coded; the gateway reads it as it lies"}

// tooManyBody is the body of a refusal outside /v1.
var tooManyBody = []byte(`{"error":"too_many_requests"}` + "\n")

// ofViolation is the one table from the request policy's refusals to statuses; what is not in it is 400.
func ofViolation(v wire.Violation) fault {
	f := fault{400, "bad_request", "the request is refused: " + v.String()}
	switch v {
	case wire.UnknownMethod:
		f.status, f.code = 501, "method_not_implemented"
	case wire.BadVersion:
		f.status, f.code = 505, "version_not_supported"
	case wire.BadExpect:
		f.status, f.code = 417, "expectation_failed"
	}
	return f
}

// ofProxy is the one table from the proxy's faults to statuses.
var ofProxy = map[proxy.Fault]fault{
	proxy.ClientGone:      {499, proxy.ClientGone.String(), "the client left"},
	proxy.BodyTooLarge:    tooLong,
	proxy.BodyMalformed:   {400, proxy.BodyMalformed.String(), "the chunks of the request body are malformed"},
	proxy.BodyTimeout:     {408, proxy.BodyTimeout.String(), "the request body did not arrive in time"},
	proxy.BodySlow:        {408, proxy.BodySlow.String(), "the request body came too slowly"},
	proxy.BodyRefused:     {400, proxy.BodyRefused.String(), "the request body is refused"},
	proxy.OverBudget:      {429, "rate_limit_exceeded", "a budget of tokens or requests is spent"}, // of another request's fetch
	proxy.BodiesFull:      {503, proxy.BodiesFull.String(), "the gateway holds as many request bodies as it may"},
	proxy.NoUpstream:      {503, proxy.NoUpstream.String(), "no upstream can take the request"},
	proxy.Busy:            {503, proxy.Busy.String(), "every upstream is full, and so is the queue for them"},
	proxy.Unreachable:     {503, proxy.Unreachable.String(), "no upstream can be reached"},
	proxy.TimeoutConnect:  {504, proxy.TimeoutConnect.String(), "no connection to the upstream in time"},
	proxy.TimeoutResponse: {504, proxy.TimeoutResponse.String(), "the upstream did not begin to answer in time"},
	proxy.TimeoutIdle:     {504, proxy.TimeoutIdle.String(), "the upstream fell silent in the middle"},
	proxy.BrokenResponse:  {502, proxy.BrokenResponse.String(), "the upstream's response is broken"},
	proxy.TLSFailed:       {502, proxy.TLSFailed.String(), "no trusted TLS connection to the upstream"},
	proxy.Unavailable:     {503, proxy.Unavailable.String(), "the upstream cannot answer now, nor can another"},
	proxy.Exhausted:       {503, proxy.Exhausted.String(), "the gateway cannot make another connection"},
	proxy.Looped:          {508, proxy.Looped.String(), looped.message},
	proxy.HeadTooLarge:    {502, proxy.HeadTooLarge.String(), "the upstream's response header exceeds the limit"},
	proxy.UpstreamFailed:  {503, proxy.UpstreamFailed.String(), "the upstream answers with errors"},
}

// ofProxyFault is what a client is told of a fault of the proxy.
func ofProxyFault(f proxy.Fault) *fault {
	found := ofProxy[f]
	return &found
}

package routing

import (
	"slices"
	"strconv"
	"strings"

	"aigateway/gateway/config"
	"aigateway/gateway/wire"
)

// CORS is which pages of other origins may use a route, made ready for replies: https://fetch.spec.whatwg.org/#http-cors-protocol.
// A nil CORS leaves that to the upstream.
type CORS struct {
	origins     []string // nil: all
	methods     string   // that the route takes
	any         bool     // and it takes others as well
	headers     string   // "": those that are asked for
	maxAge      string
	credentials bool
}

// CORSPrefix begins the names of the fields by which a response speaks of CORS, in lower case: the gateway's replace an upstream's.
const CORSPrefix = "access-control-"

// exposed are the fields of replies that scripts may read beside the safe ones: what was limited, and what happened.
const exposed = "RateLimit, RateLimit-Policy, RateLimit-Remaining, RateLimit-Scope, Retry-After, X-Request-ID, X-Cache, Cache-Status, Age, " +
	"X-RateLimit-Limit-Requests, X-RateLimit-Remaining-Requests, X-RateLimit-Reset-Requests, " +
	"X-RateLimit-Limit-Tokens, X-RateLimit-Remaining-Tokens, X-RateLimit-Reset-Tokens"

// usualMethods are what a page may use of a route that takes every method: those that pages use, so that a browser need not ask again for each.
// A "*" would not do, since with credentials it is a method of that name: https://fetch.spec.whatwg.org/#cors-preflight-fetch-0.
var usualMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

// NewCORS is what a configured route says of it; nil: nothing.
func NewCORS(c config.Route) *CORS {
	if c.CORS == nil {
		return nil
	}
	methods := c.Methods
	if len(methods) == 0 {
		methods = usualMethods
	}
	made := &CORS{
		methods: strings.Join(methods, ", "), any: len(c.Methods) == 0, maxAge: strconv.Itoa(int(c.CORS.MaxAge.Seconds())), credentials: c.CORS.Credentials,
	}
	if !slices.Contains(c.CORS.Origins, "*") {
		made.origins = c.CORS.Origins
	}
	if !slices.Contains(c.CORS.Headers, "*") {
		made.headers = strings.Join(c.CORS.Headers, ", ")
	}
	return made
}

// Page is the origin of the page that asks, if it may, and whether a page asks at all. It is borrowed from the head.
func (c *CORS) Page(h *wire.RequestHead) (origin []byte, asks bool) {
	if c == nil {
		return nil, false
	}
	origin, asks = h.Field("origin")
	if asks && c.origins != nil && !slices.Contains(c.origins, string(origin)) {
		return nil, true
	}
	return origin, asks
}

// Preflight tells whether the request asks whether another one may come, which has that method. A page must ask.
func Preflight(h *wire.RequestHead) (method []byte, is bool) {
	method, is = h.Field("access-control-request-method")
	return method, is && string(h.Method) == "OPTIONS"
}

// AppendPreflight appends the lines that say to a page, which may be none, what it may send.
func (c *CORS) AppendPreflight(dst, page []byte, h *wire.RequestHead) []byte {
	dst = append(dst, "Vary: Access-Control-Request-Method, Access-Control-Request-Headers\r\n"...)
	if page == nil {
		return dst
	}
	const headersLine = "Access-Control-Allow-Headers: "
	dst = append(append(dst, "Access-Control-Allow-Methods: "...), c.methods...)
	if method, _ := Preflight(h); c.any && wire.IsMethod(method) && !slices.Contains(usualMethods, string(method)) {
		dst = append(append(dst, ", "...), method...)
	}
	dst = append(dst, "\r\n"...)
	if c.headers != "" {
		dst = wire.AppendField(dst, headersLine, c.headers)
	} else if headers, ok := h.Field("access-control-request-headers"); ok {
		dst = wire.AppendField(dst, headersLine, headers)
	}
	return wire.AppendField(dst, "Access-Control-Max-Age: ", c.maxAge)
}

// AppendReply appends the lines that say to a page, which may be none, what it may do with a reply. That it depends on the page is said to
// every cache.
func (c *CORS) AppendReply(dst, page []byte) []byte {
	if c == nil {
		return dst
	}
	if c.origins != nil {
		dst = append(dst, "Vary: Origin\r\n"...)
	}
	switch {
	case page == nil:
		return dst
	case c.origins == nil:
		dst = append(dst, "Access-Control-Allow-Origin: *\r\n"...)
	default:
		dst = wire.AppendField(dst, "Access-Control-Allow-Origin: ", page)
	}
	if c.credentials {
		dst = append(dst, "Access-Control-Allow-Credentials: true\r\n"...)
	}
	return append(dst, "Access-Control-Expose-Headers: "+exposed+"\r\n"...)
}

package server

import (
	"slices"
	"strconv"
	"strings"

	"aigateway/gateway/config"
	"aigateway/gateway/wire"
)

// cors is which pages of other origins may use a route, made ready for replies: https://fetch.spec.whatwg.org/#http-cors-protocol.
// A nil cors leaves that to the upstream.
type cors struct {
	origins     []string // nil: all
	methods     string   // "": the one that is asked for
	headers     string   // "": those that are asked for
	maxAge      string
	credentials bool
}

// corsFields are the lines by which a response speaks of CORS: the gateway's replace an upstream's.
var corsFields = []string{"access-control-"}

// exposed are the fields of replies that scripts may read beside the safe ones: what was limited, and what happened.
const exposed = "RateLimit, RateLimit-Policy, RateLimit-Remaining, RateLimit-Scope, Retry-After, X-Request-ID, X-Cache, Cache-Status, Age, " +
	"X-RateLimit-Limit-Requests, X-RateLimit-Remaining-Requests, X-RateLimit-Reset-Requests, " +
	"X-RateLimit-Limit-Tokens, X-RateLimit-Remaining-Tokens, X-RateLimit-Reset-Tokens"

func newCORS(c config.Route) *cors {
	if c.CORS == nil {
		return nil
	}
	made := &cors{
		methods: strings.Join(c.Methods, ", "), maxAge: strconv.Itoa(int(c.CORS.MaxAge.Seconds())), credentials: c.CORS.Credentials,
	}
	if !slices.Contains(c.CORS.Origins, "*") {
		made.origins = c.CORS.Origins
	}
	if !slices.Contains(c.CORS.Headers, "*") {
		made.headers = strings.Join(c.CORS.Headers, ", ")
	}
	return made
}

// crossOrigin notes which page asks, and replies to its preflight, which needs neither a limit nor a key.
func (g *Gateway) crossOrigin(x *exchange) (done bool) {
	c := x.route.cors
	if c == nil {
		return false
	}
	origin, ok := x.head.Field("origin")
	if !ok {
		return false
	}
	if c.origins == nil || slices.Contains(c.origins, string(origin)) {
		x.page = origin
	}
	method, ok := x.head.Field("access-control-request-method")
	if !ok || string(x.head.Method) != "OPTIONS" {
		return false
	}
	x.say("Vary", "Access-Control-Request-Method, Access-Control-Request-Headers")
	if x.page != nil {
		c.allow(x, method)
	}
	g.reply(x, statusNoContent, "", nil)
	return true
}

// allow says what the page may send.
func (c *cors) allow(x *exchange, method []byte) {
	if methods := c.methods; methods != "" {
		x.say("Access-Control-Allow-Methods", methods)
	} else {
		x.say("Access-Control-Allow-Methods", string(method))
	}
	if c.headers != "" {
		x.say("Access-Control-Allow-Headers", c.headers)
	} else if headers, ok := x.head.Field("access-control-request-headers"); ok {
		x.say("Access-Control-Allow-Headers", string(headers))
	}
	x.say("Access-Control-Max-Age", c.maxAge)
}

// appendCORS appends what the page that asks may do with a reply. That it depends on the page is said to every cache.
func (x *exchange) appendCORS(dst []byte) []byte {
	if x.route == nil || x.route.cors == nil {
		return dst
	}
	c := x.route.cors
	if c.origins != nil {
		dst = append(dst, "Vary: Origin\r\n"...)
	}
	switch {
	case x.page == nil:
		return dst
	case c.origins == nil:
		dst = append(dst, "Access-Control-Allow-Origin: *\r\n"...)
	default:
		dst = wire.AppendField(dst, "Access-Control-Allow-Origin: ", x.page)
	}
	if c.credentials {
		dst = append(dst, "Access-Control-Allow-Credentials: true\r\n"...)
	}
	return append(dst, "Access-Control-Expose-Headers: "+exposed+"\r\n"...)
}

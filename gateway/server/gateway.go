package server

import (
	"crypto/tls"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"aigateway/gateway/cache"
	"aigateway/gateway/caching"
	"aigateway/gateway/charging"
	"aigateway/gateway/config"
	"aigateway/gateway/keys"
	"aigateway/gateway/models"
	"aigateway/gateway/ops"
	"aigateway/gateway/proxy"
	"aigateway/gateway/ratelimit"
	"aigateway/gateway/routing"
	"aigateway/gateway/telemetry"
	"aigateway/gateway/wire"

	"github.com/valyala/fasthttp"
)

// A Gateway serves clients on a listener.
type Gateway struct {
	settings  *config.Settings // of the start: what needs a restart is as it is there
	plan      atomic.Pointer[plan]
	reloading sync.Mutex // one at a time

	tls          *tls.Config // how clients are served over TLS; nil: they are not
	certificates wire.Certificates
	ticketKeys   atomic.Pointer[[][32]byte] // nil: crypto/tls makes its own, another one each day

	bodyWindow time.Duration // over which BODY_MIN_RATE is measured; 0: wire's

	started   time.Time
	token     []byte           // what it knows its own requests by
	crowded   throttledWarning // connections closed to make room
	crowds    throttledWarning // connections refused
	log       *slog.Logger
	proxy     *proxy.Proxy
	ops       *ops.Ops
	server    *fasthttp.Server
	exchanges sync.Pool
	date      dateCache
	panics    atomic.Int64
	metrics   *telemetry.Metrics
	genAI     *telemetry.GenAI
	ledger    *telemetry.Ledger
	access    *telemetry.AccessLog
	tracer    *telemetry.Tracer
	upstreams atomic.Pointer[[]*telemetry.Upstream] // by proxy.Upstream.Index

	store    *cache.Store // nil: there is no cache
	caching  *caching.Caching
	charging *charging.Charging

	noRoute *telemetry.Route // what found no route

	revoking sync.WaitGroup // requests whose keys were taken back are being ended

	draining atomic.Bool // the gateway is on its way out: answers end their connections

	// Requests under way, by epoch: those that began before the shutdown, and those after.
	epoch atomic.Uint32
	open  [2]atomic.Int64

	mu       sync.Mutex
	listener *wire.Listener
	ended    bool
}

// Options are what a gateway needs besides its settings.
type Options struct {
	Log     *slog.Logger
	Version string                              // of the build, for metrics
	Blind   bool                                // counts nothing: to measure what counting costs
	Lines   *telemetry.Lines                    // where the access log goes, if the settings want one; not the gateway's to close
	Dial    func(addr string) (net.Conn, error) // how to reach upstreams; nil: by TCP

	BodyWindow time.Duration // over which BODY_MIN_RATE is measured; 0: wire's
}

// A plan is all that a reload may change. A request gets the plan of its beginning and keeps it to its end.
type plan struct {
	settings *config.Settings
	routes   routing.Table[*route]
	limits   ratelimit.Routes
	models   *models.Plan   // of the settings; nil: there are none
	charging *charging.Plan // nil: nothing is counted
	keys     *keys.Set      // nil: nobody needs a key
}

// A route is where a path leads. Provisioned once; read by every request.
type route struct {
	routing.Route
	allow    string         // the Allow field of a 405
	targets  []proxy.Target // the route's pool, and the one that stands in for it; none: see missing
	room     int            // bytes by which a request may be longer upstream than as it came
	retry    proxy.Policy
	byClient bool            // a pool wants to know who asks
	limit    ratelimit.Limit // of one client and of all; nil: none
	policy   []byte          // the RateLimit-Policy field
	cost     int             // tokens a request costs
	cors     *routing.CORS   // nil: the upstream says it
	maxBody  int64           // bytes; a longer request body is refused. 0: the settings' limit
	openAI   bool
	missing  *fault          // why the route leads nowhere; nil if it leads somewhere
	reply    func(*exchange) // an operations page or demo route, answered here; nil if a pool answers
	work     func() []byte   // makes the body of a demo route that may be cached
	models   *models.Route   // nil: it does not matter which model a request names
	caching  *caching.Rule   // nil: its responses are not kept
	closed   guard           // who may pass, where there are keys,
	guard    guard           // and who may
	ops      bool            // never limited, cached or counted as traffic
	metrics  *telemetry.Route
}

// Package config reads what an operator may set: the defaults, the file of
// -config and the environment, checked together and reported together.
//
// Its door is [Load], which returns [Settings] that never change again, or
// every fault at once. [Settings.Print] shows what is in force and where it
// came from; [Table] is the README's table of the same declarations.
//
// The package knows nothing of the rooms that obey the settings: it reads the
// files that are named (settings, certificates), opens no connection, resolves no name and holds no running state.
package config

import (
	"crypto/tls"
	"log/slog"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Settings is everything an operator decided, or left to the defaults. It is
// never changed once loaded; a reload makes another one.
type Settings struct {
	Port            int            // TCP port to listen on, 1..65535
	MaxBodyBytes    int64          // a longer request body is a 413
	BodyBuffer      int64          // of a request body, held before an upstream is asked
	BodyBufferTotal int64          // of all request bodies together
	BodyMinRate     int64          // bytes a second that a request body must bring; 0: any
	MaxHeaderBytes  int            // a longer request head is a 431; 1024..1048576
	ConnectTimeout  time.Duration  // until the connection to an upstream stands
	ResponseTimeout time.Duration  // until the first byte of a response
	IdleTimeout     time.Duration  // silence inside a body or stream
	KeepAlive       time.Duration  // silence of a client between two requests
	ClientConns     int            // that one client may have open; 0: any number
	ShutdownGrace   time.Duration  // for open requests after SIGTERM
	DrainDelay      time.Duration  // how long at least new connections are served after SIGTERM
	HandoverSocket  string         // path of the Unix socket by which a successor gets the listening socket; "": none
	TrustedProxies  []netip.Prefix // peers that may speak for a client; names expanded
	TLS             TLS
	RateLimit       RateLimit
	GlobalTPM       int64  // tokens a minute of all requests together; 0: any number
	Tokens          Tokens // what they count
	Cache           Cache
	Redis           Redis
	Admin           Admin
	KeysFile        string // path of the file of who may ask, "": everybody
	Keys            *Keys  // what is in it; nil: there is none
	LogLevel        slog.Level
	AccessLog       AccessLog
	ServerTiming    bool     // answers say where their time went
	MetricModels    []string // that metrics name beside Models; sorted
	Tracing         Tracing
	Pools           []Pool  // sorted by name
	Models          []Model // in the order of the file; none: a request's model decides nothing but among upstreams that are asked for theirs
	CORS            *CORS   // of all routes that have none of their own; nil: none
	Routes          []Route // the first that matches is the right one: longest path first, exact before prefix

	given given // where it all came from, for Print
}

// Pool is the upstreams of one service.
type Pool struct {
	Name      string
	Upstreams []Upstream // at least one
	Balance   Balance
	Hash      Hash   // of "hash"
	Fallback  string // the pool that stands in for this one, or ""; never leads back here
	Health    Health
	Timeouts  Timeouts
	Queue     Queue
	TLS       UpstreamTLS

	WaitingRoom WaitingRoom

	MaxInflight int // requests that each upstream may have at once

	Hedge time.Duration // a GET that has no answer by then goes to a second upstream as well; 0: never

	Credential Credential

	Usage Usage // of streams of tenants with budgets

	Refusals []int // statuses of responses that say that nothing was executed, sorted

	Discover string // "on": its upstreams are asked which models they have; "off"

	Engine Engine // whose metrics its upstreams have

	Explicit bool // the operator named it; only these are probed, shown, counted and required for readiness
}

// Queues tells whether requests are to wait in the pool, by the settings: more than a broken upstream would make.
func (p *Pool) Queues() bool { return p.MaxInflight < maxInflight || p.WaitingRoom.Size > 0 }

// Backend is where something is kept.
type Backend string

// The backends.
const (
	InMemory Backend = "memory" // of this replica
	InRedis  Backend = "redis"  // of all replicas
)

// Balance is how an upstream of a pool is chosen.
type Balance string

// The ways to balance.
const (
	P2C           Balance = "p2c" // the less busy of two
	RoundRobin    Balance = "round_robin"
	LeastRequests Balance = "least_requests"
	ByHash        Balance = "hash"
	ByPrefix      Balance = "prefix" // who has lately read the beginning of the prompt
)

// Engine is what kind of inference engine a pool's upstreams are.
type Engine string

// The engines.
const (
	AutoEngine Engine = "auto" // whichever its page of metrics is of
	VLLM       Engine = "vllm"
	SGLang     Engine = "sglang"
	LlamaCpp   Engine = "llamacpp"
	TRTLLM     Engine = "trtllm"
	NoEngine   Engine = "none" // its metrics are not read
)

// Retry is how far a route's requests are sent again.
type Retry string

// How requests are sent again.
const (
	RetryNever     Retry = "never"
	RetrySafe      Retry = "safe"      // whatever cannot be executed twice
	RetryReattempt Retry = "reattempt" // also what may have been executed, once that attempt has ended
)

// HashBy is what a request is hashed by.
type HashBy string

// What requests are hashed by.
const (
	HashClient HashBy = "client"
	HashHeader HashBy = "header"
	HashQuery  HashBy = "query"
	HashPath   HashBy = "path"
)

// Upstream is one server of a pool. Its URL has a scheme and a Host with a
// port, always ("service:80"), so that the Host can be dialled; nothing else.
type Upstream struct {
	URL    *url.URL
	Weight int // 1..1000: its share among the upstreams of the pool
}

// Health says how a pool's upstreams are probed.
type Health struct {
	Path     string // asked for with GET
	Else     string // asked for if that is 404; "": nothing. Of the pool llm, whose engines have one or the other
	Interval time.Duration
}

// Hash says what requests are hashed by: those with the same value go to the same upstream.
type Hash struct {
	By   HashBy
	Name string // of the field, in lower case, or of the parameter; "" for the others
}

// Queue is where requests wait that find every upstream of a pool full.
type Queue struct {
	Size int           // requests; 0: nobody waits
	Wait time.Duration // the longest
}

// WaitingRoom is where requests wait while no upstream of a pool is well.
type WaitingRoom struct {
	Size int           // requests; 0: there is none, and they are refused
	Wait time.Duration // the longest
	Wake *url.URL      // called once a minute meanwhile; nil: nothing is. As an upstream's, with a path and a query
}

// UpstreamTLS says how https upstreams of a pool prove who they are.
type UpstreamTLS struct {
	CAFile      string // of certificates in PEM, instead of the system's; "": those
	ServerName  string // that the certificate is for, if it is not the URL's host
	Authorities string // what CAFile holds; "": the system's
}

// Timeouts are those of one pool; what it does not state is the global one.
type Timeouts struct {
	Connect, Response, Idle time.Duration

	Generation time.Duration // Response for routes of OpenAI's API

	FirstToken time.Duration // to the first content of a generation's stream, if somebody else can be asked; 0: any
	InterToken time.Duration // Idle inside a stream of events; 0: that
}

// Route says which pool answers which paths.
type Route struct {
	Path     string   // "/infer/python" is exact, "/v1/*" a prefix
	Methods  []string // sorted, upper case; empty: any. GET implies HEAD
	Pool     string   // "" for a Local route; a Builtin route may name a pool that is not there
	Fallback string   // the pool to use when Pool cannot serve; goes before the pool's own
	Rewrite  string   // "/infer" for an exact path, "/static/*" for a prefix; "": the target as it came
	Local    string   // "slow" or "limited": the gateway answers itself
	OpenAI   bool     // clients are told of faults in OpenAI's shape
	Retry    Retry    // whether its requests are sent again; "": as far as it is safe without looking at responses

	MaxBodyBytes int64 // a longer request body is a 413

	Limit   Limit
	Cache   RouteCache
	CORS    *CORS // nil: pages of other origins are the upstream's business
	Builtin bool  // not from the file
}

// RouteCache is what a route says about the cache.
type RouteCache struct {
	Off bool          // nothing of this route is stored or answered from the cache
	TTL time.Duration // freshness of an answer that states none; 0: by its Last-Modified, at most Cache.TTL

	KeyFields    []string      // request fields that are part of the key, in lower case
	IgnoreFields []string      // request fields that cannot matter, in lower case
	NegativeTTL  time.Duration // the same for 404, 405, 410, 414 and 501; 0: they are not kept by TTL
	StaleIfError time.Duration // for so long, an answer that says nothing of it stands in when the upstream fails; 0: not at all

	Shared bool // what was made for one tenant is for all, where there are keys

	Post *PostCache // what is kept of models' answers to POST; nil: nothing
}

// PostCache is what a route says about models' answers to POST. Their freshness is the route's TTL, or else Cache.TTL.
type PostCache struct {
	When   When
	Scope  Scope
	Tools  bool // answers that call tools are kept as well
	Replay Replay
}

// When says which requests are answered from the cache.
type When string

// The whens.
const (
	Deterministic When = "deterministic" // those that always get the same answer, as far as they say
	Always        When = "always"
	ByHeader      When = "header" // those with X-Cache-POST: on
)

// Scope says who gets what was made for somebody else.
type Scope string

// The scopes.
const (
	TenantScope Scope = "tenant" // nobody
	SharedScope Scope = "shared" // everybody
)

// Replay says how a stream comes from the cache.
type Replay string

// The replays.
const (
	Fast  Replay = "fast"
	Paced Replay = "paced" // about as it came
)

// Cache is what may be kept of answers, and where.
type Cache struct {
	Enabled      bool
	Backend      Backend
	TTL          time.Duration // freshness of an answer that states none, whole seconds
	MaxEntries   int
	MemoryBytes  int64
	MaxBodyBytes int64
}

// Admin is how an operator reaches what clients must not.
type Admin struct {
	Addr  string // host:port of a listener for the operations pages, or "": they are on the main one
	Token string // lets DELETE /cachez in; "": only on the admin listener
}

// AccessLog says which requests have a line in the log.
type AccessLog struct {
	Enabled bool
	Sample  float64 // the share of them, 0..1; those that failed always have one
}

// Tracing is where spans go.
type Tracing struct {
	Endpoint *url.URL // of a collector that speaks OTLP over HTTP, without /v1/traces; nil: none
	Headers  []Field  // for the collector; their values are secret
	Service  string   // the gateway's name
	Ratio    float64  // the share of requests without a trace of their own that begin one, 0..1
}

// Field is a name and a value.
type Field struct{ Name, Value string }

// RateLimit is what clients may ask for, together and one by one.
type RateLimit struct {
	Enabled        bool
	GlobalRPS      float64 // tokens per second, 0 or 1e-6..1e9
	GlobalBurst    int64   // tokens, 1..1e9
	ClientRPS      float64
	ClientBurst    int64
	CleanupMinutes int
	MaxClients     int
	Backend        Backend
}

// Limit is a route's own limit of one client.
type Limit struct {
	Rate
	Cost int // tokens a request costs; 0: one
}

// Rate is a bucket of one client; the zero Rate stands for that of RateLimit.
type Rate struct {
	ClientRPS   float64
	ClientBurst int64
}

// Redis is how to reach it. The rooms that do are handed this as it is.
type Redis struct {
	Addrs  []string // host:port; several are a cluster, or with Master its sentinels
	Master string   // what the sentinels call the master; "": there are none
	DB     int      // 0 in a cluster
	Prefix string   // of all keys, with "v1" and what they are for behind it

	Username, Password                 string
	SentinelUsername, SentinelPassword string // at the sentinels

	TLS                       bool
	CAFile, CertFile, KeyFile string
	TLSConfig                 *tls.Config // what is in the files; nil without TLS
}

// Input is what Load reads from.
type Input struct {
	Environ  []string                          // as from os.Environ
	File     string                            // path of the YAML file, or ""
	ReadFile func(name string) ([]byte, error) // nil: os.ReadFile
	Keys     *KeyReader                        // what reads KEYS_FILE and remembers it; nil: nothing is remembered
	Demo     map[string]string                 // defaults that -demo replaces, by variable name
	DemoFile string                            // what -demo has read where no file is named
	DemoKeys string                            // and where no KEYS_FILE is: who shows none of these may ask as if there were none
}

// Faults is everything that is wrong with an Input, in the operator's words.
type Faults struct {
	List []string // never empty; each begins with where: a variable, or file:line: key
}

// Error is one fault a line.
func (f *Faults) Error() string { return strings.Join(f.List, "\n") }

// A setting is one variable an operator may set, declared once: the loader,
// -print-config and the README table all read this.
type setting struct {
	name     string // of the environment variable; in lower case, the key in the file
	standard string // the default as an operator would write it; "": unset
	meaning  string // one line for the README
	pool     string // the built-in pool whose upstreams it names, or ""
	secret   bool   // -print-config masks it; its reader never quotes it
	restart  bool   // a reload cannot change it
	loose    bool   // its default is not the same for all routes: who states it states it for all of them

	// read puts the value that text stands for into the draft. Its error
	// completes the sentence "NAME: …"; joined errors are separate faults.
	read func(d *draft, text string) error
}

const (
	maxBodyBytes = 1 << 40 // 1 TiB: a bound against slips of the keyboard, not against use
	maxEntries   = 100_000_000
	minHeldBody  = 64 << 10 // a body of that length is one write to the upstream
	maxDuration  = 24 * time.Hour
	maxClients   = 100_000_000            // 2.4 GB
	maxInflight  = 16384                  // requests at one upstream; the ports of one address are four times that
	maxQueue     = 1 << 16                // requests; more are no smoothing
	maxRoom      = 1 << 16                // requests in a waiting room
	minDuration  = time.Millisecond       // less is not a time any network can keep
	minInterval  = 100 * time.Millisecond // between two probes of an upstream; with less, probing is load
)

// declarations is every setting, in the order in which they are shown.
func declarations() []setting {
	return []setting{
		{name: "PORT", standard: "8080", restart: true,
			meaning: "TCP port to listen on",
			read:    into(func(s *Settings) *int { return &s.Port }, integer(1, 65535, "port number"))},
		{name: "PY_SERVICE_URL", standard: "http://service-python:8001", pool: "python",
			meaning: "upstreams of the pool `python`: one URL or several, comma-separated",
			read:    intoPool("python")},
		{name: "NODE_SERVICE_URL", standard: "http://service-node:8002", pool: "node",
			meaning: "the same for the pool `node`",
			read:    intoPool("node")},
		{name: "LLM_SERVICE_URL", pool: "llm",
			meaning: "the same for the pool `llm`, which answers `/v1/*`, `/tokenize`, `/detokenize`, `/version`, `/rerank` and `/score`",
			read:    intoPool("llm")},
		{name: "TRUSTED_PROXIES", standard: "loopback,private",
			meaning: "who may speak for a client in `X-Forwarded-For`: `loopback`, `private`, addresses and CIDRs, comma-separated, or `none`",
			read:    into(func(s *Settings) *[]netip.Prefix { return &s.TrustedProxies }, prefixes)},
		{name: "RATE_LIMIT_ENABLED", standard: "true",
			meaning: "whether clients and all together are limited; limits of tenants and models hold all the same",
			read:    into(func(s *Settings) *bool { return &s.RateLimit.Enabled }, boolean)},
		{name: "GLOBAL_RPS", standard: "200",
			meaning: "tokens per second of all clients together; 0: what the bucket holds, once",
			read:    into(func(s *Settings) *float64 { return &s.RateLimit.GlobalRPS }, rate)},
		{name: "GLOBAL_BURST", standard: "100",
			meaning: "tokens that the bucket of all clients holds",
			read:    into(func(s *Settings) *int64 { return &s.RateLimit.GlobalBurst }, burst)},
		{name: "GLOBAL_TPM", standard: "0",
			meaning: "tokens of models a minute, of all requests together; as many may come at once; 0: any number",
			read:    into(func(s *Settings) *int64 { return &s.GlobalTPM }, integer[int64](0, maxTokens, "number of tokens"))},
		{name: "CLIENT_RPS", standard: "20",
			meaning: "the same for one client; may exceed the global one",
			read:    into(func(s *Settings) *float64 { return &s.RateLimit.ClientRPS }, rate)},
		{name: "CLIENT_BURST", standard: "40",
			meaning: "the same for one client",
			read:    into(func(s *Settings) *int64 { return &s.RateLimit.ClientBurst }, burst)},
		{name: "RL_CLEANUP_MINUTES", standard: "10",
			meaning: "an idle client is forgotten after this",
			read:    into(func(s *Settings) *int { return &s.RateLimit.CleanupMinutes }, integer(1, 24*60, "number of minutes"))},
		{name: "RL_MAX_CLIENTS", standard: "1000000",
			meaning: "clients the table has room for, 24 bytes each; its memory is fixed",
			read:    into(func(s *Settings) *int { return &s.RateLimit.MaxClients }, integer(1, maxClients, "number of clients"))},
		{name: "RL_BACKEND", standard: "memory",
			meaning: "`memory`: each replica limits by itself; `redis`: all replicas together",
			read:    into(func(s *Settings) *Backend { return &s.RateLimit.Backend }, backend)},
		{name: "CACHE_ENABLED", standard: "true", restart: true,
			meaning: "whether answers are kept and used again",
			read:    into(func(s *Settings) *bool { return &s.Cache.Enabled }, boolean)},
		{name: "CACHE_BACKEND", standard: "memory", restart: true,
			meaning: "`memory`: each replica by itself; `redis`: memory in front of a Redis that all replicas share",
			read:    into(func(s *Settings) *Backend { return &s.Cache.Backend }, backend)},
		{name: "CACHE_TTL_SECONDS", standard: "300",
			meaning: "seconds that an answer which states no freshness is fresh",
			read:    into(func(s *Settings) *time.Duration { return &s.Cache.TTL }, seconds(0, 365*24*3600))},
		{name: "CACHE_MAX_ENTRIES", standard: "10000", restart: true,
			meaning: "answers in memory; a soft cap",
			read:    into(func(s *Settings) *int { return &s.Cache.MaxEntries }, integer(1, maxEntries, "number of entries"))},
		{name: "CACHE_MEMORY_BYTES", standard: "268435456", restart: true,
			meaning: "what the cache takes of memory, at most; not less than 1 MiB",
			read:    into(func(s *Settings) *int64 { return &s.Cache.MemoryBytes }, integer[int64](1<<20, 1<<40, "number of bytes"))},
		{name: "CACHE_MAX_BODY_BYTES", standard: "1048576", restart: true,
			meaning: "an answer with a longer body passes and is not kept",
			read:    into(func(s *Settings) *int64 { return &s.Cache.MaxBodyBytes }, integer[int64](1, 64<<20, "number of bytes"))},
		{name: "REDIS_ADDR", standard: "redis:6379", restart: true,
			meaning: "host and port; several, comma-separated, are a cluster, or with `REDIS_MASTER` its sentinels; `rediss://` before the first for TLS",
			read: func(d *draft, text string) error {
				r, err := redisAddrs(text)
				d.settings.Redis.Addrs, d.settings.Redis.TLS = r.Addrs, r.TLS
				return err
			}},
		{name: "REDIS_MASTER", restart: true,
			meaning: "what the sentinels at `REDIS_ADDR` call the master; unset: there are none",
			read:    into(func(s *Settings) *string { return &s.Redis.Master }, anything)},
		{name: "REDIS_DB", standard: "0", restart: true,
			meaning: "number of the database; a cluster has only 0",
			read:    into(func(s *Settings) *int { return &s.Redis.DB }, integer(0, 1<<20, "database number"))},
		{name: "REDIS_PREFIX", standard: "gw", restart: true,
			meaning: "what all keys begin with, `gw` for `gw:v1:…`; deployments that share a Redis and must not share answers and limits need one each",
			read:    into(func(s *Settings) *string { return &s.Redis.Prefix }, keyPrefix)},
		{name: "REDIS_USERNAME", restart: true,
			meaning: "user of Redis' ACL; unset: `default`",
			read:    into(func(s *Settings) *string { return &s.Redis.Username }, anything)},
		{name: "REDIS_PASSWORD", restart: true, secret: true,
			meaning: "password, if one is needed",
			read:    into(func(s *Settings) *string { return &s.Redis.Password }, anything)},
		{name: "REDIS_SENTINEL_USERNAME", restart: true,
			meaning: "user of the sentinels' ACL",
			read:    into(func(s *Settings) *string { return &s.Redis.SentinelUsername }, anything)},
		{name: "REDIS_SENTINEL_PASSWORD", restart: true, secret: true,
			meaning: "password of the sentinels, if they need one",
			read:    into(func(s *Settings) *string { return &s.Redis.SentinelPassword }, anything)},
		{name: "REDIS_CA_FILE", restart: true,
			meaning: "PEM file of who may issue Redis' certificate; unset: those that the system trusts",
			read:    into(func(s *Settings) *string { return &s.Redis.CAFile }, anything)},
		{name: "REDIS_CERT_FILE", restart: true,
			meaning: "PEM file of the certificate to show to Redis; read again for each connection",
			read:    into(func(s *Settings) *string { return &s.Redis.CertFile }, anything)},
		{name: "REDIS_KEY_FILE", restart: true,
			meaning: "PEM file of its private key",
			read:    into(func(s *Settings) *string { return &s.Redis.KeyFile }, anything)},
		{name: "MAX_BODY_BYTES", standard: "16777216", loose: true,
			meaning: "a longer request body is answered 413; unless set, 64 MiB on `/v1/*` and the engines' other paths",
			read:    into(func(s *Settings) *int64 { return &s.MaxBodyBytes }, integer[int64](1, maxBodyBytes, "number of bytes"))},
		{name: "BODY_BUFFER", standard: "1048576",
			meaning: "bytes of a request body that are held until an upstream is asked; a longer one is passed on as it comes from there on",
			read:    into(func(s *Settings) *int64 { return &s.BodyBuffer }, integer[int64](minHeldBody, 1<<30, "number of bytes"))},
		{name: "BODY_BUFFER_TOTAL", standard: "268435456",
			meaning: "bytes of all bodies that are held together; beyond it 503",
			read:    into(func(s *Settings) *int64 { return &s.BodyBufferTotal }, integer[int64](minHeldBody, 1<<40, "number of bytes"))},
		{name: "BODY_MIN_RATE", standard: "1024",
			meaning: "bytes a second that a request body must bring over any 20 seconds; a slower one is answered 408; 0: any rate",
			read:    into(func(s *Settings) *int64 { return &s.BodyMinRate }, integer[int64](0, 1<<30, "number of bytes"))},
		{name: "MAX_HEADER_BYTES", standard: "16384", restart: true,
			meaning: "a longer request head is answered 431; a longer response head is a 502",
			read:    into(func(s *Settings) *int { return &s.MaxHeaderBytes }, integer(1024, 1<<20, "number of bytes"))},
		{name: "CONNECT_TIMEOUT", standard: "1s",
			meaning: "time for the connection to an upstream to stand",
			read:    into(func(s *Settings) *time.Duration { return &s.ConnectTimeout }, duration(minDuration))},
		{name: "RESPONSE_TIMEOUT", standard: "60s", loose: true,
			meaning: "time for the head of a response to come, once the request is sent; unless set, 10m on `/v1/*` and the engines' other paths: engines answer whole generations at once",
			read:    into(func(s *Settings) *time.Duration { return &s.ResponseTimeout }, duration(minDuration))},
		{name: "IDLE_TIMEOUT", standard: "60s",
			meaning: "longest silence inside a body or stream",
			read:    into(func(s *Settings) *time.Duration { return &s.IdleTimeout }, duration(minDuration))},
		{name: "KEEPALIVE_TIMEOUT", standard: "75s",
			meaning: "how long a client's connection may be silent between two requests; longer than that of load balancers in front",
			read:    into(func(s *Settings) *time.Duration { return &s.KeepAlive }, duration(minDuration))},
		{name: "MAX_CONNS_PER_CLIENT", standard: "0",
			meaning: "connections that one client may have open, by its address (IPv6: its /64), those in `TRUSTED_PROXIES` excepted; 0: any number",
			read:    into(func(s *Settings) *int { return &s.ClientConns }, integer(0, 1<<20, "number of connections"))},
		{name: "SHUTDOWN_GRACE", standard: "30s",
			meaning: "time for open requests after SIGTERM",
			read:    into(func(s *Settings) *time.Duration { return &s.ShutdownGrace }, duration(minDuration))},
		{name: "DRAIN_DELAY", standard: "0s",
			meaning: "how long at least new connections are served after SIGTERM, while `/readyz` says 503; part of the grace",
			read:    into(func(s *Settings) *time.Duration { return &s.DrainDelay }, duration(0))},
		{name: "HANDOVER_SOCKET", restart: true,
			meaning: "path of a Unix socket by which a gateway that starts gets the listening socket of the one that runs",
			read:    into(func(s *Settings) *string { return &s.HandoverSocket }, anything)},
		{name: "TLS_CERT_FILE",
			meaning: "PEM file of the certificate, then its issuers': HTTPS; [several](../wire/README.md#tls), comma-separated; reread when it changes",
			read:    into(func(s *Settings) *[]string { return &s.TLS.CertFiles }, pemFiles)},
		{name: "TLS_KEY_FILE",
			meaning: "PEM file of its private key; several in the same order; reread too",
			read:    into(func(s *Settings) *[]string { return &s.TLS.KeyFiles }, pemFiles)},
		{name: "TLS_TICKET_KEYS_FILE",
			meaning: "file of [keys](../wire/README.md#tls) that replicas share: clients resume sessions at each; reread too",
			read:    into(func(s *Settings) *string { return &s.TLS.TicketKeysFile }, anything)},
		{name: "ADMIN_ADDR", restart: true,
			meaning: "address of a listener of its own for `/metrics`, `/dashboard`, `/cachez`, `/usagez` and the debug pages, as `127.0.0.1:9090`",
			read:    into(func(s *Settings) *string { return &s.Admin.Addr }, listenAddr)},
		{name: "ADMIN_TOKEN", secret: true,
			meaning: "who shows it as `Authorization: Bearer`, or as the password of Basic, may purge the cache, and with `KEYS_FILE` see the operations pages",
			read:    into(func(s *Settings) *string { return &s.Admin.Token }, token)},
		{name: "KEYS_FILE",
			meaning: "YAML file of [keys and token issuers](../keys/README.md): only who has a key may ask; read again when it changes",
			read:    into(func(s *Settings) *string { return &s.KeysFile }, anything)},
		{name: "LOG_LEVEL", standard: "info",
			meaning: "`debug`, `info`, `warn` or `error`",
			read:    into(func(s *Settings) *slog.Level { return &s.LogLevel }, level)},
		{name: "ACCESS_LOG", standard: "false", restart: true,
			meaning: "a line of JSON on stderr for each request",
			read:    into(func(s *Settings) *bool { return &s.AccessLog.Enabled }, boolean)},
		{name: "ACCESS_LOG_SAMPLE", standard: "1", restart: true,
			meaning: "the share of requests that have one, 0 to 1; those that fail always do",
			read:    into(func(s *Settings) *float64 { return &s.AccessLog.Sample }, share)},
		{name: "SERVER_TIMING", standard: "false",
			meaning: "answers say in `Server-Timing` what the gateway, the upstream and the cache took",
			read:    into(func(s *Settings) *bool { return &s.ServerTiming }, boolean)},
		{name: "GENAI_MODELS", restart: true,
			meaning: "models that metrics name beside those that upstreams list, comma-separated; all others are `other`",
			read:    into(func(s *Settings) *[]string { return &s.MetricModels }, models)},
		{name: "OTEL_EXPORTER_OTLP_ENDPOINT", restart: true,
			meaning: "collector that takes spans by OTLP over HTTP, as `http://collector:4318`; unset: no spans",
			read:    into(func(s *Settings) **url.URL { return &s.Tracing.Endpoint }, collectorURL)},
		{name: "OTEL_EXPORTER_OTLP_HEADERS", restart: true, secret: true,
			meaning: "fields for the collector, as `name=value,name=value`, percent-encoded",
			read:    into(func(s *Settings) *[]Field { return &s.Tracing.Headers }, fields)},
		{name: "OTEL_SERVICE_NAME", standard: "aigateway", restart: true,
			meaning: "what the gateway is called in traces",
			read:    into(func(s *Settings) *string { return &s.Tracing.Service }, anything)},
		{name: "OTEL_TRACES_SAMPLER_ARG", standard: "1", restart: true,
			meaning: "the share of requests that begin a trace, 0 to 1; those that come with one follow its flag",
			read:    into(func(s *Settings) *float64 { return &s.Tracing.Ratio }, share)},
	}
}

// variable returns the setting that names the upstreams of a pool.
func variable(pool string) (setting, bool) {
	all := declarations()
	i := slices.IndexFunc(all, func(s setting) bool { return s.pool == pool })
	if pool == "" || i < 0 {
		return setting{}, false
	}
	return all[i], true
}

// into makes a setting's reader from the field it fills and a parser.
func into[T any](field func(*Settings) *T, parse func(string) (T, error)) func(*draft, string) error {
	return func(d *draft, text string) error {
		v, err := parse(text)
		if err == nil {
			*field(d.settings) = v
		}
		return err
	}
}

// intoPool makes the reader of a variable that names a built-in pool's upstreams.
func intoPool(name string) func(*draft, string) error {
	return func(d *draft, text string) error {
		list, err := upstreams(text)
		d.services[name] = list
		return err
	}
}

// builtinRoutes is what the gateway routes without a file. The route of
// /v1/* is there without its pool too: the server has an answer for that.
func builtinRoutes(s *Settings) []Route {
	kept := RouteCache{TTL: s.Cache.TTL}
	get, both := []string{"GET"}, []string{"GET", "POST"}
	return []Route{
		{Path: "/infer/python", Methods: both, Pool: "python", Rewrite: "/infer", Cache: kept, Builtin: true},
		{Path: "/infer/node", Methods: both, Pool: "node", Rewrite: "/infer", Cache: kept, Builtin: true},
		{Path: "/infer", Methods: both, Pool: "python", Fallback: "node", Cache: kept, Builtin: true},
		{Path: "/v1/*", Pool: "llm", Builtin: true},
		{Path: "/tokenize", Pool: "llm", OpenAI: true, Builtin: true},
		{Path: "/detokenize", Pool: "llm", OpenAI: true, Builtin: true},
		{Path: "/version", Pool: "llm", OpenAI: true, Builtin: true},
		{Path: "/rerank", Pool: "llm", OpenAI: true, Builtin: true},
		{Path: "/score", Pool: "llm", OpenAI: true, Builtin: true},
		{Path: "/slow", Methods: get, Local: "slow", Cache: kept, Builtin: true},
		{Path: "/limited", Methods: get, Local: "limited", Cache: RouteCache{Off: true}, Builtin: true},
	}
}

package cache

// A Reason says why the cache did not answer or did not store; None: it did, or may.
type Reason uint8

// Why a request goes past the cache, why an answer is not stored, and why a stored one is not used.
const (
	None Reason = iota

	// requests
	ForMethod           // neither GET nor HEAD
	ForBody             // a GET or HEAD with a body, of which the key knows nothing
	ForRequestNoStore   // Cache-Control: no-store in the request, §5.2.1.5
	ForOriginCondition  // If-Match or If-Unmodified-Since: for the origin only, §4.3.2
	ForUnkeyedField     // a field by which some upstreams choose the answer and that is not in the key, §7.1
	ForAuthorization    // credentials, and the answer does not say that it may be shared, §3.5
	ForCredentials      // a cookie or an API key, and the answer states no freshness of its own
	ForRequestDirective // no-cache, max-age or min-fresh ask for a fresher answer than there is, §5.2.1

	// requests to models
	ForDialect    // whose answers are of no known shape
	ForNoCanon    // the body says something twice, or what readers may understand differently
	ForSampled    // neither a temperature of 0 nor a seed
	ForChoices    // n is not 1
	ForNotAsked   // X-Cache-POST: on is needed, and not there
	ForStateful   // the answer is kept upstream, or depends on what is
	ForMisspelled // a field that decides is written in another case

	// answers of models
	ForNotWhole   // no end that the dialect knows
	ForFailing    // it tells of a failure
	ForUnfinished // the generation did not come to an end of its own
	ForToolCall   // it wants a tool called
	ForShape      // not of the dialect's shape
	ForFallback   // of another model than the one that was asked

	// answers
	ForInterim       // status below 200, §3
	ForPartial       // 206, or Content-Range: only whole answers are stored, §3.3
	ForNotModified   // 304: it freshens an answer and is none, §3
	ForNotUnderstood // must-understand, and a status whose rules this cache does not know, §5.2.2.3
	ForNoStore       // §5.2.2.5
	ForPrivate       // §5.2.2.7
	ForSetCookie     // and not explicitly public, §7.3
	ForVaryAny       // Vary: *, or a field that is another one in each request, or too many, §4.1
	ForCoding        // Vary: Accept-Encoding, and a content coding that is not told apart
	ForTooLarge      // the announced body exceeds the limit
	ForHeadOnly      // an answer to HEAD has no body to store, §4.3.5
	ForStatus        // no explicit freshness, and not a heuristically cacheable status, §4.2.2
	ForNoFreshness   // no explicit freshness, and nothing to guess one from, §4.2.2
	ForEventStream   // an event stream that states no freshness, or one that goes on for one client
	ForUseless       // neither fresh now nor to be revalidated nor to be served stale

	// stored answers
	ForStale   // §4.2.4
	ForNoCache // stored with no-cache, §5.2.2.4

	reasons // how many there are
)

var reasonNames = [reasons]string{
	None: "none",

	ForMethod: "method", ForBody: "body", ForRequestNoStore: "request_no_store", ForOriginCondition: "origin_condition",
	ForUnkeyedField: "unkeyed_field", ForAuthorization: "authorization", ForCredentials: "credentials",
	ForRequestDirective: "request_directive",

	ForDialect: "dialect", ForNoCanon: "no_canonical_form", ForSampled: "sampled", ForChoices: "choices", ForNotAsked: "not_asked_for",
	ForStateful: "stateful", ForMisspelled: "misspelled",

	ForNotWhole: "not_whole", ForFailing: "failing", ForUnfinished: "unfinished", ForToolCall: "tool_call", ForShape: "shape", ForFallback: "fallback",

	ForInterim: "interim", ForPartial: "partial", ForNotModified: "not_modified", ForNotUnderstood: "not_understood",
	ForNoStore: "no_store", ForPrivate: "private", ForSetCookie: "set_cookie", ForVaryAny: "vary_any", ForCoding: "coding",
	ForTooLarge: "too_large", ForHeadOnly: "head_only", ForStatus: "status", ForNoFreshness: "no_freshness", ForEventStream: "event_stream", ForUseless: "useless",

	ForStale: "stale", ForNoCache: "no_cache",
}

// String returns the reason as metrics and the detail of Cache-Status show it.
func (r Reason) String() string {
	if r < reasons {
		return reasonNames[r]
	}
	return "unknown"
}

// Reasons lists every reason but None, for those who count by reason.
func Reasons() []Reason {
	all := make([]Reason, 0, reasons-1)
	for r := None + 1; r < reasons; r++ {
		all = append(all, r)
	}
	return all
}

// Package wire is HTTP/1.1 as bytes on connections: what fasthttp leaves open for a gateway.
//
// Its job is to refuse what is ambiguous ([RequestHead], [ResponseHead]), to frame bodies strictly
// ([Chunked]), to keep two connections honest ([ClientConn], [UpstreamConn]) and to notice a client that
// leaves ([Watch]).
//
// Doors: [Listen] gives a listener for fasthttp.Server whose connections hand fasthttp exactly one request
// head at a time and keep the body for [ClientConn.ReadBody]; [NewUpstream] and [NewUpstreamTLS] make those
// to upstreams.
//
// It knows nothing of routes, pools, limits or statuses; a [Violation] is turned into a status by the server.
package wire

// Name is what the gateway calls itself in the fields that it writes.
const Name = "aigateway"

// Limits that no operator needs to tune; each bounds what one peer can make the process hold or do.
const (
	// maxChunkLine bounds the blanks and extensions of one chunk's size line. They carry nothing and are dropped.
	maxChunkLine = 4 << 10
	// chunkCredit is what a line may have of them beside two bytes for each byte of its chunk: some servers pad every
	// size to the same width. maxChunkOverhead bounds what all lines of a body have beyond that, so that a body of a
	// few bytes does not cost megabytes, and a long one in small chunks does not come to an end.
	chunkCredit      = 32
	maxChunkOverhead = 16 << 10
	// maxNominated bounds the names in Connection: each is compared with each field.
	maxNominated = 64
	// maxTrailerBytes bounds the trailer section of one body. Trailers are read and dropped: RFC 9110 §6.5.1
	// lets an intermediary discard them, and none of the fields inference services use needs to be late.
	maxTrailerBytes = 16 << 10
)

// A Violation is the reason why a message is refused. The zero value is "none".
type Violation uint8

// The request policy and the response policy share their reasons; each names the rule that was broken.
const (
	None Violation = iota
	BareLF
	ObsFold
	BadName
	UnderscoreName
	BadValue
	BadMethod
	UnknownMethod
	BadTarget
	BadVersion
	BadHost
	DuplicateHost
	DuplicateField
	BadContentLength
	BadTransferEncoding
	LengthAndEncoding
	BadExpect
	BadStatus
	BadFraming
	BadLine
	TooManyNominated
)

var violations = [...]string{
	None:                "",
	BareLF:              "a line ends with a bare line feed",
	ObsFold:             "a field value is folded over lines",
	BadName:             "a field name is not a token followed by a colon",
	UnderscoreName:      "a field name with an underscore is taken by some for one that frames the message or says who asks",
	BadValue:            "a field value contains a control character",
	BadMethod:           "the method is not a token, or one that is known in upper case",
	UnknownMethod:       "the method is none that is passed on",
	BadTarget:           "the request target is neither a path that starts with a single slash nor an http URL with one",
	BadVersion:          "the protocol version is neither HTTP/1.1 nor HTTP/1.0",
	BadHost:             "the Host field is missing or not a host and port",
	DuplicateHost:       "there is more than one Host field",
	DuplicateField:      "a field that may appear once appears twice",
	BadContentLength:    "the Content-Length is not one decimal number",
	BadTransferEncoding: "the Transfer-Encoding is not chunked",
	LengthAndEncoding:   "Content-Length and Transfer-Encoding appear together",
	BadExpect:           "the expectation is not 100-continue",
	BadStatus:           "the status line is not one of HTTP/1",
	BadFraming:          "the head does not end where its framing says",
	BadLine:             "the request line is not a method, a path and a version",
	TooManyNominated:    "the Connection field names too many fields",
}

// String says which rule was broken, without any byte of the message in it.
func (v Violation) String() string { return violations[v] }

// Error makes a Violation an error value, so that a connection can hand it through fasthttp.
func (v Violation) Error() string { return violations[v] }

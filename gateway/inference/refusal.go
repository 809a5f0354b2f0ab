package inference

// A Refusal is why a body is not taken. The zero value is "it is".
type Refusal uint8

// The refusals.
const (
	Accepted Refusal = iota
	NotObject
	ByteOrderMark
	Malformed
	Cut
	Trailing
	TooDeep
	Duplicate
	OtherCase
	ValueTooLong
	ModelNotString
	ModelTooLong
	ModelUnprintable
	BadBoundary
	BadPart
	PartTooLong
	NotUTF8
	TooManyMembers
	OddName
	OddQuery
	refusals
)

var refusalNames = [refusals]string{"accepted", "not_object", "byte_order_mark", "malformed", "cut", "trailing", "too_deep", "duplicate",
	"other_case", "value_too_long", "model_not_string", "model_too_long", "model_unprintable", "bad_boundary", "bad_part", "part_too_long",
	"not_utf8", "too_many_members", "odd_name", "odd_query"}

// String is the refusal's name, for counters and programs.
func (r Refusal) String() string { return refusalNames[r] }

var refusalTexts = [refusals]string{
	"",
	"the body is not a JSON object",
	"the body begins with a byte order mark",
	"the body is not valid JSON",
	"the body ends before it is complete",
	"something follows the end of the body's content",
	"the body is nested too deep",
	"a field that decides about the request is stated twice",
	"the name of a field that decides about the request is written in another case",
	"a number in the body is too long",
	"the model is not a string",
	"the name of the model has more than 256 bytes",
	"the name of the model has characters that cannot be printed",
	"the Content-Type names no usable boundary",
	"the parts of the body are not well-formed",
	"the head of a part is too long",
	"the body is not UTF-8",
	"the body has too many fields",
	"the name of a field is written with escapes or letters outside of ASCII",
	"the query names the model beside a semicolon, which only some readers take for a separator",
}

// Message says it to people, without a byte of the body.
func (r Refusal) Message() string { return refusalTexts[r] }

package telemetry

import "encoding/hex"

// Random is what a request's id and its place in a trace are made of where the client brings none: one number for both, so that logs and
// traces meet, and never all zero in a part.
type Random [24]byte

// AppendID appends the id of a request: what the client brings, if it is well-formed.
func AppendID(dst, brought []byte, r *Random) []byte {
	if validID(brought) {
		return append(dst, brought...)
	}
	return hex.AppendEncode(dst, r[:16])
}

// AppendTraceParent appends the place of a request in a trace: what the client brings is continued if it is well-formed.
func AppendTraceParent(dst, brought []byte, r *Random) (_ []byte, continued bool) {
	if validTraceParent(brought) {
		return append(dst, brought...), true
	}
	// https://www.w3.org/TR/trace-context/: version, trace-id, parent-id, flags. Nothing here records spans; the
	// flag says sampled, because common samplers take "not sampled" for an order to record nothing behind us.
	dst = append(dst, "00-"...)
	dst = hex.AppendEncode(dst, r[:16])
	dst = append(dst, '-')
	dst = hex.AppendEncode(dst, r[16:])
	return append(dst, "-01"...), false
}

const maxRequestID = 128

// validID accepts what can stand in a header, a log line and a JSON string as it is.
func validID(id []byte) bool {
	if len(id) == 0 || len(id) > maxRequestID {
		return false
	}
	for _, c := range id {
		switch {
		case '0' <= c && c <= '9', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		case c == '-' || c == '_' || c == '.' || c == ':' || c == '/' || c == '+' || c == '=' || c == '@':
		default:
			return false
		}
	}
	return true
}

// validTraceParent checks the form of the W3C recommendation: two digits of version, 32 of trace id, 16 of
// parent id, two of flags, in lower case; ids are not zero, the version is not ff, and only a later version
// than 00 may go on after a hyphen.
func validTraceParent(t []byte) bool {
	if len(t) < 55 || t[2] != '-' || t[35] != '-' || t[52] != '-' {
		return false
	}
	if string(t[:2]) == "ff" || string(t[:2]) == "00" && len(t) != 55 || len(t) > 55 && t[55] != '-' {
		return false
	}
	return lowerHex(t[:2]) && lowerHex(t[3:35]) && lowerHex(t[36:52]) && lowerHex(t[53:55]) &&
		!onlyZeros(t[3:35]) && !onlyZeros(t[36:52])
}

func lowerHex(b []byte) bool {
	for _, c := range b {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func onlyZeros(b []byte) bool {
	for _, c := range b {
		if c != '0' {
			return false
		}
	}
	return true
}

package inference

import "bytes"

// A RealtimeEvent is what an event of a Realtime session says about what is used.
type RealtimeEvent uint8

// What it says.
const (
	NothingUsed   RealtimeEvent = iota
	ContentUsed                 // a piece of an answer
	UsageTold                   // an answer is whole, and how much it has used
	UsageUntold                 // an answer is whole
	AnswerFailed                // an answer that has used nothing
	AnswerStopped               // one that was stopped, and does not say what it has used
)

const realtimeDone = "response.done"

// ReadRealtime reads an event that a server of OpenAI's Realtime sends, and sets u if it tells usage.
func (u *Usage) ReadRealtime(data []byte) RealtimeEvent {
	event := object(data)
	kind := text(member(event, "type"))
	switch {
	case bytes.HasSuffix(kind, []byte(".delta")) && bytes.HasPrefix(kind, []byte("response.")):
		if says(member(event, "delta")) {
			return ContentUsed
		}
		return NothingUsed
	case string(kind) != realtimeDone:
		return NothingUsed
	}
	response := member(event, "response")
	*u = Usage{}
	if v := member(response, "usage"); len(v) > 0 && v[0] == '{' && u.take(Realtime, v) {
		u.Cached = min(u.Cached, u.Input)
		return UsageTold
	}
	switch status := member(response, "status"); {
	case isString(status, "failed"):
		return AnswerFailed
	case isString(status, "cancelled"):
		return AnswerStopped
	}
	return UsageUntold
}

// MayEndRealtime tells whether an event of which only the beginning is there may be one that ends an answer.
func MayEndRealtime(begin []byte) bool {
	kind := member(bytes.TrimLeft(begin, " \t\r\n"), "type")
	return kind == nil || isString(kind, realtimeDone)
}

package inference

import "bytes"

// A UsageFilter takes the event out of a stream that is there only because the gateway asked for usage: one without choices. An event
// goes on when it is whole; one that is longer than maxFiltered goes on as it comes. The zero value is ready for a stream.
type UsageFilter struct {
	held    []byte
	passing bool // in the middle of an event that is too long
}

const maxFiltered = 64 << 10

// Reset readies it for another stream.
func (f *UsageFilter) Reset() {
	f.held, f.passing = f.held[:0], false
	if cap(f.held) > maxFiltered/4 {
		f.held = nil
	}
}

// Pass appends to dst what goes on, now that the next piece has come.
func (f *UsageFilter) Pass(dst, piece []byte) []byte {
	if len(f.held) > 0 || f.passing {
		from := len(f.held)
		f.held = append(f.held, piece...)
		n := 0
		dst, n = f.events(dst, f.held, from)
		f.held = f.held[:copy(f.held, f.held[n:])]
	} else {
		n := 0
		dst, n = f.events(dst, piece, 0)
		f.held = append(f.held, piece[n:]...)
	}
	if f.passing || len(f.held) > maxFiltered {
		// The end of this event may have begun: its line feeds have to be looked at together.
		keep := 0
		for keep < len(f.held) && keep < 3 && isBreak(f.held[len(f.held)-1-keep]) {
			keep++
		}
		dst = append(dst, f.held[:len(f.held)-keep]...)
		f.held = f.held[:copy(f.held, f.held[len(f.held)-keep:])]
		f.passing = true
	}
	return dst
}

// End appends what is left at the stream's end.
func (f *UsageFilter) End(dst []byte) []byte {
	if f.passing || !isUsageOnly(f.held) {
		dst = append(dst, f.held...)
	}
	f.Reset()
	return dst
}

// events appends the events that b has whole, and tells how many bytes they are. Before from no event ends.
func (f *UsageFilter) events(dst, b []byte, from int) ([]byte, int) {
	began := 0
	for at := max(from-3, 0); ; {
		end := eventEnd(b, at)
		if end < 0 {
			return dst, began
		}
		if event := b[began:end]; f.passing || !isUsageOnly(event) {
			dst = append(dst, event...)
		}
		f.passing, began, at = false, end, end
	}
}

func isBreak(c byte) bool { return c == '\n' || c == '\r' }

// eventEnd is the index behind the empty line that ends the first event at or after b[i]; -1 if there is none.
func eventEnd(b []byte, i int) int {
	for {
		at := bytes.IndexByte(b[i:], '\n')
		if at < 0 {
			return -1
		}
		i += at + 1
		switch {
		case i < len(b) && b[i] == '\n':
			return i + 1
		case i+1 < len(b) && b[i] == '\r' && b[i+1] == '\n':
			return i + 2
		}
	}
}

// isUsageOnly tells whether an event is a chunk of chat or completions without choices and with usage.
func isUsageOnly(event []byte) bool {
	if !bytes.Contains(event, usageName) {
		return false
	}
	data := object(dataOf(event))
	if data == nil {
		return false
	}
	choices, usage := member(data, "choices"), member(data, "usage")
	return len(choices) > 1 && choices[0] == '[' && !says(choices) && len(usage) > 0 && usage[0] == '{'
}

var usageName = []byte(`"usage"`)

// dataOf is the data of an event that has it in one line; nil of another.
func dataOf(event []byte) []byte {
	var data []byte
	for len(event) > 0 {
		line := event
		if at := bytes.IndexByte(event, '\n'); at >= 0 {
			line, event = event[:at], event[at+1:]
		} else {
			event = nil
		}
		text, ok := bytes.CutPrefix(line, []byte("data:"))
		switch {
		case !ok:
		case data != nil:
			return nil
		default:
			data = text
		}
	}
	return data
}

// An Injection is what to write into a request so that its stream tells its usage. The zero value is nothing.
type Injection struct {
	From, To int64
	With     []byte
}

const (
	usageOption = "include_usage"
	injected    = `{"include_usage":true}`
)

// A Body is what is held of a request's body. A part is nil if it is not held, or too long to be looked at.
type Body interface {
	HeldPart(from, to int64) []byte
}

// isYes tells whether a text, in quotes, is one of the words that pydantic takes for true.
func isYes(text []byte) bool {
	if len(text) < len(`""`) {
		return false
	}
	for _, word := range [...]string{"true", "1", "yes", "on", "y", "t"} {
		if bytes.EqualFold(text[1:len(text)-1], []byte(word)) {
			return true
		}
	}
	return false
}

// Inject says what has to stand in the body so that the stream tells its usage, appended to dst. Nothing has to if it is no stream, or tells
// it anyway; nor can anything where options are stated of which not all is held.
func (s *Scanner) Inject(dst []byte, body Body) Injection {
	stream, ok := s.Value(StreamMember)
	if !ok || !stream.yes() || !s.Complete() || stream.Kind == String && !isYes(body.HeldPart(stream.From, stream.To)) { // or they may still come
		return Injection{}
	}
	options, stated := s.Value(StreamOptionsMember)
	switch {
	case !stated:
		dst = append(append(dst, `,"stream_options":`...), injected...)
		return Injection{stream.To, stream.To, dst}
	case options.Kind == Null:
		return Injection{options.From, options.To, append(dst, injected...)}
	case options.Kind != Object:
		return Injection{}
	}
	text := body.HeldPart(options.From, options.To)
	if text == nil {
		return Injection{}
	}
	told, named := false, 0
	dst = append(dst, '{')
	for w := walkOf(text); ; {
		name, v, ok := w.next()
		if !ok {
			break
		}
		exact := string(name) == usageOption
		if exact || bytes.EqualFold(name, []byte(usageOption)) || bytes.IndexByte(name, '\\') >= 0 {
			named++
			told = exact && string(v) == "true"
		}
		if !exact {
			dst = append(append(append(append(append(dst, '"'), name...), `":`...), v...), ',')
		}
	}
	if told && named == 1 {
		return Injection{}
	}
	// Behind all others: of those that some readers take for it, they take the last one.
	return Injection{options.From, options.To, append(dst, injected[1:]...)}
}

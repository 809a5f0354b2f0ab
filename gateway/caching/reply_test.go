package caching

import (
	"strings"
	"testing"

	"aigateway/gateway/cache"
)

// However long the lines are that are new with a reply, they stand where they belong: origins that pages come from, ids and
// limits are others' words.
func TestReplyWithLongLines(t *testing.T) {
	const lines = "A: b\r\n"
	record := cache.AppendEntry(nil, &cache.Entry{
		Meta: cache.Meta{Status: 200}, Key: []byte("k"), Head: appendStoredHead(nil, []byte(lines), 4), Body: []byte("body"),
	})
	for _, n := range []int{0, 100, recordRoom - 10, recordRoom, recordRoom + 10, 10 * recordRoom} {
		r := &Request{full: append(make([]byte, recordRoom), record...)}
		var ok bool
		if r.stored, ok = cache.Decode(r.full[recordRoom:]); !ok {
			t.Fatal("the record cannot be read")
		}
		status, own := "HTTP/1.1 200 OK\r\n", "X: "+strings.Repeat("x", n)+"\r\n"
		at := r.stored.Start + len(r.stored.Head) + 1
		if got, want := string(r.before([]byte(status+own), at, 2)), status+own+"od"; got != want {
			t.Errorf("%d: a part of %d bytes, want %d", n, len(got), len(want))
		}
		r.full = append(r.full[:recordRoom], record...)
		r.stored, _ = cache.Decode(r.full[recordRoom:])
		got := string(r.around([]byte(status), []byte(own), 4))
		if want := status + lines + own + "Content-Length: 4\r\n\r\nbody"; got != want {
			t.Errorf("%d: %d bytes, want %d", n, len(got), len(want))
		}
	}
}

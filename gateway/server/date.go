package server

import (
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// A dateCache holds the Date field of the second: writing it costs more than the rest of a short reply's head.
type dateCache struct{ last atomic.Pointer[date] }

type date struct {
	second int64
	text   []byte
}

// at is the Date field of a moment. Borrowed, and never changed.
func (c *dateCache) at(now time.Time) []byte {
	d := c.last.Load()
	if second := now.Unix(); d == nil || d.second != second {
		d = &date{second, fasthttp.AppendHTTPDate(nil, now)}
		c.last.Store(d)
	}
	return d.text
}

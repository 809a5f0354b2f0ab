package telemetry

import (
	"strconv"
	"sync/atomic"

	"github.com/VictoriaMetrics/metrics"
)

// The status codes there are: RFC 9110 §15.
const (
	lowestCode  = 100
	highestCode = 599
)

// codes is a counter for each status code. Few codes ever occur, so a series is made when its code first does; 100 to 599
// and "other" bound them.
type codes struct {
	family *family
	labels string
	life   *life
	by     [highestCode - lowestCode + 2]atomic.Pointer[metrics.Counter] // the last is "other"
}

func (c *codes) inc(code int) {
	i := len(c.by) - 1
	if code >= lowestCode && code <= highestCode {
		i = code - lowestCode
	}
	counter := c.by[i].Load()
	if counter == nil {
		counter = c.add(i)
	}
	counter.Inc()
}

// add makes a series. Whoever comes at the same moment gets the same one from the set.
func (c *codes) add(i int) *metrics.Counter {
	code := other
	if i < len(c.by)-1 {
		code = strconv.Itoa(lowestCode + i)
	}
	c.life.mu.Lock()
	defer c.life.mu.Unlock()
	counter := new(metrics.Counter) // seen by nobody: what is still under way
	if !c.life.over {
		counter = c.family.counter(c.series(code))
	}
	c.by[i].Store(counter)
	return counter
}

func (c *codes) series(code string) string { return c.labels + "," + label("code", code) }

// forget drops the series. The life is over.
func (c *codes) forget() {
	for i := range c.by {
		if c.by[i].Load() == nil {
			continue
		}
		code := other
		if i < len(c.by)-1 {
			code = strconv.Itoa(lowestCode + i)
		}
		c.family.drop(c.series(code))
	}
}

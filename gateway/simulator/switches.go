package simulator

import (
	"net/http"
	"strconv"
	"time"
)

// switches are what a request demands of its own generation. A negative field was not demanded.
type switches struct {
	latency time.Duration // X-Sim-Latency
	pace    time.Duration // X-Sim-Pace
	tokens  int           // X-Sim-Tokens
	status  int           // X-Sim-Error
	cut     int           // X-Sim-Cut: stream events or body bytes before the cut
}

// The bounds keep one request from holding a simulator for hours or making it build a huge answer.
const (
	maxLatency = 10 * time.Minute
	maxPace    = time.Minute
	maxTokens  = 100_000
	maxCut     = 1 << 20
)

// readSwitches reads the X-Sim fields, whose values are anybody's.
func readSwitches(h http.Header) (switches, error) {
	var s switches
	var err error
	if s.latency, err = durationSwitch(h, "X-Sim-Latency", maxLatency); err != nil {
		return s, err
	}
	if s.pace, err = durationSwitch(h, "X-Sim-Pace", maxPace); err != nil {
		return s, err
	}
	if s.tokens, err = numberSwitch(h, "X-Sim-Tokens", [2]int{1, maxTokens}); err != nil {
		return s, err
	}
	if s.status, err = numberSwitch(h, "X-Sim-Error", [2]int{400, 599}); err != nil {
		return s, err
	}
	s.cut, err = numberSwitch(h, "X-Sim-Cut", [2]int{0, maxCut})
	return s, err
}

func durationSwitch(h http.Header, name string, most time.Duration) (time.Duration, error) {
	value, ok, err := single(h, name)
	if !ok || err != nil {
		return -1, err
	}
	d, err := time.ParseDuration(value)
	if err != nil || d < 0 || d > most {
		return -1, badSwitch(name + " wants a duration from 0s to " + most.String() + ", not " + quote(value) + ".")
	}
	return d, nil
}

func numberSwitch(h http.Header, name string, bounds [2]int) (int, error) {
	value, ok, err := single(h, name)
	if !ok || err != nil {
		return -1, err
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < bounds[0] || n > bounds[1] {
		return -1, badSwitch(name + " wants a whole number from " + strconv.Itoa(bounds[0]) + " to " +
			strconv.Itoa(bounds[1]) + ", not " + quote(value) + ".")
	}
	return n, nil
}

// single is the value of a field sent at most once.
func single(h http.Header, name string) (value string, ok bool, err error) {
	values := h[name]
	switch len(values) {
	case 0:
		return "", false, nil
	case 1:
		return values[0], true, nil
	default:
		return "", false, badSwitch(name + " may be sent once only.")
	}
}

func badSwitch(message string) *fault {
	return &fault{status: http.StatusBadRequest, code: "invalid_switch", message: message}
}

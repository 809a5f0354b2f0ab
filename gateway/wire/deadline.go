package wire

import "time"

// longAgo is a deadline that has passed: setting it wakes whoever waits on the connection.
var longAgo = time.Unix(1, 0)

// A rollingDeadline keeps a connection's deadline at least a given time away. It is set with an eighth of
// slack, so that a busy connection sets it once in a while and not at every read.
type rollingDeadline struct{ at time.Time }

// extend makes sure that the deadline is between by and by + by/8 after now.
func (d *rollingDeadline) extend(now time.Time, by time.Duration, set func(time.Time) error) error {
	if left := d.at.Sub(now); left >= by && left <= by+by/8 {
		return nil
	}
	d.at = now.Add(by + by/8)
	return set(d.at)
}

package cache

import (
	"sync/atomic"
	"time"
)

// dateLayout is IMF-fixdate, the one form to be sent: RFC 9110 §5.6.7.
const dateLayout = "Mon, 02 Jan 2006 15:04:05 GMT"

// appendDate appends the time, in Unix seconds, as an HTTP-date.
func appendDate(dst []byte, seconds int64) []byte {
	return time.Unix(seconds, 0).UTC().AppendFormat(dst, dateLayout)
}

// lastDate is the date that was written last by appendNow.
var lastDate atomic.Pointer[struct {
	seconds int64
	text    [len(dateLayout)]byte
}]

// appendNow is appendDate of a moment that is about now: most have the date of the one before.
func appendNow(dst []byte, seconds int64) []byte {
	d := lastDate.Load()
	if d == nil || d.seconds != seconds {
		from := len(dst)
		if dst = appendDate(dst, seconds); len(dst)-from == len(dateLayout) {
			d = &struct {
				seconds int64
				text    [len(dateLayout)]byte
			}{seconds: seconds}
			copy(d.text[:], dst[from:])
			lastDate.Store(d)
		}
		return dst
	}
	return append(dst, d.text[:]...)
}

// parseDate reads an HTTP-date in any of its three forms, case-insensitively (RFC 9111 §4.2), and returns Unix
// seconds. now, in Unix milliseconds, decides the century of a year of two digits. A zone other than GMT is
// not valid.
func parseDate(b []byte, now int64) (seconds int64, ok bool) {
	switch d := (dateReader{b: b}); {
	case len(b) == 24 && b[3] == ' ': // Sun Nov  6 08:49:37 1994
		d.name(shortDays)
		d.literal(" ")
		month := d.name(months)
		d.literal(" ")
		day := d.day()
		d.literal(" ")
		clock := d.clock()
		d.literal(" ")
		return d.unix(d.number(4), month, day, clock)
	case len(b) == 29 && b[3] == ',': // Sun, 06 Nov 1994 08:49:37 GMT
		d.name(shortDays)
		d.literal(", ")
		day := d.number(2)
		d.literal(" ")
		month := d.name(months)
		d.literal(" ")
		year := d.number(4)
		d.literal(" ")
		clock := d.clock()
		d.literal(" gmt")
		return d.unix(year, month, day, clock)
	default: // Sunday, 06-Nov-94 08:49:37 GMT
		d.name(longDays)
		d.literal(", ")
		day := d.number(2)
		d.literal("-")
		month := d.name(months)
		d.literal("-")
		year := century(d.number(2), now)
		d.literal(" ")
		clock := d.clock()
		d.literal(" gmt")
		return d.unix(year, month, day, clock)
	}
}

var (
	shortDays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}
	longDays  = []string{"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"}
	months    = []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}
)

// century completes a year of two digits: RFC 9110 §5.6.7, a time that seems to lie more than 50 years ahead
// is the most recent one in the past that ends in these digits.
func century(year int, now int64) int {
	current := time.UnixMilli(now).UTC().Year()
	year += current - current%100
	if year > current+50 {
		year -= 100
	}
	return year
}

// dateReader reads a date from left to right; bad remembers that something was not as it must be.
type dateReader struct {
	b   []byte
	bad bool
}

// name reads one of the names, given in lower case, and returns its number, from 1.
func (d *dateReader) name(names []string) int {
	for i, n := range names {
		if len(d.b) >= len(n) && is(d.b[:len(n)], n) {
			d.b = d.b[len(n):]
			return i + 1
		}
	}
	d.bad = true
	return 0
}

func (d *dateReader) literal(lower string) {
	if len(d.b) < len(lower) || !is(d.b[:len(lower)], lower) {
		d.bad = true
		return
	}
	d.b = d.b[len(lower):]
}

func (d *dateReader) number(digits int) (n int) {
	if len(d.b) < digits {
		d.bad = true
		return 0
	}
	for _, c := range d.b[:digits] {
		if c < '0' || c > '9' {
			d.bad = true
			return 0
		}
		n = n*10 + int(c-'0')
	}
	d.b = d.b[digits:]
	return n
}

// day reads the day of asctime's form, where a space stands for a leading zero.
func (d *dateReader) day() int {
	if len(d.b) > 0 && d.b[0] == ' ' {
		d.b = d.b[1:]
		return d.number(1)
	}
	return d.number(2)
}

// clock reads 08:49:37 and returns seconds since midnight. A leap second counts as the one before it: an
// Expires is never taken for later than it is, RFC 9111 §4.2.
func (d *dateReader) clock() int {
	hour := d.number(2)
	d.literal(":")
	minute := d.number(2)
	d.literal(":")
	second := d.number(2)
	if hour > 23 || minute > 59 || second > 60 {
		d.bad = true
	}
	return hour*3600 + minute*60 + min(second, 59)
}

func (d *dateReader) unix(year, month, day, clock int) (int64, bool) {
	if d.bad || len(d.b) != 0 || day < 1 {
		return 0, false
	}
	t := time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC)
	if t.Day() != day { // the 30th of February
		return 0, false
	}
	return t.Unix() + int64(clock), true
}

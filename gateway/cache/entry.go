package cache

import (
	"encoding/binary"
	"hash/crc32"
	"slices"
)

// An Entry is a record, taken apart. What it points to is borrowed from the record.
type Entry struct {
	Meta
	Until   int64  // Unix milliseconds: not kept in any tier for longer
	Key     []byte // the text that AppendKey wrote; to be compared before anything else is believed
	Variant []byte // the text that AppendVariant wrote; empty without Vary
	Head    []byte // the lines of the stored head, each with its CRLF, up to the empty line, inclusive
	Body    []byte // directly behind Head in the record; of a record that Varies, the list of variants
	Start   int    // where Head begins in the record; set by Decode
}

// A record is flat: a fixed head, then the texts, one behind the other. Numbers are little-endian.
//
//	 0  magic, version       28  status, flags (2 bytes each)
//	 4  checksum of the rest 32  request time    64  stale-while-revalidate
//	 8  length of key        40  response time   72  stale-if-error
//	12  length of variant    48  initial age     80  last modified
//	16  length of etag       56  lifetime        88  until
//	20  length of head
//	24  length of body       96  date
//	                        104  key, variant, etag, head, body
//
// Head and body come last, so that a status line and the lines that change with every answer can be written over
// what is before them, and all of it sent at once.
const (
	// The last byte is the version. In the first one, an answer with a time of ours did not say for whom it was.
	recordMagic = "gwc\x02"
	fixedSize   = 104
	untilAt     = 88
)

// MaxKeyText is the longest text that a record may have as its key, in bytes: a purge reads no more of a record to
// see whose it is.
const MaxKeyText = 64 << 10

// AppendEntry appends e as a record. Its Start is not looked at.
func AppendEntry(dst []byte, e *Entry) []byte {
	base := len(dst)
	dst = append(appendBeforeBody(slices.Grow(dst, e.Front()+len(e.Body)), e), e.Body...)
	seal(dst[base:])
	return dst
}

// Front is how many bytes of e's record stand before its body.
func (e *Entry) Front() int {
	return fixedSize + len(e.Key) + len(e.Variant) + len(e.ETag) + len(e.Head)
}

// EntryAround makes a record of e around its body, which lies at b[body:] and stays there: the rest is written before it. ok is false if
// there is no room. The record ends where b does. Its checksum is not written yet: only a record that goes to Redis needs one, and gets it there.
func EntryAround(b []byte, body int, e *Entry) (start int, ok bool) {
	if start = body - e.Front(); start < 0 {
		return 0, false
	}
	appendBeforeBody(b[start:start:body], e)
	return start, true
}

// appendBeforeBody appends what stands before the body in e's record, without a checksum.
func appendBeforeBody(dst []byte, e *Entry) []byte {
	le := binary.LittleEndian
	dst = append(append(dst, recordMagic...), 0, 0, 0, 0)
	for _, text := range [...][]byte{e.Key, e.Variant, e.ETag, e.Head, e.Body} {
		dst = le.AppendUint32(dst, uint32(len(text)))
	}
	dst = le.AppendUint16(dst, uint16(e.Status))
	dst = le.AppendUint16(dst, uint16(e.Flags))
	for _, n := range [...]int64{
		e.RequestTime, e.ResponseTime, e.InitialAge, e.Lifetime,
		e.StaleWhileRevalidate, e.StaleIfError, e.LastModified, e.Until, e.Date,
	} {
		dst = le.AppendUint64(dst, uint64(n))
	}
	dst = append(dst, e.Key...)
	dst = append(dst, e.Variant...)
	dst = append(dst, e.ETag...)
	return append(dst, e.Head...)
}

// seal writes a record's checksum.
func seal(rec []byte) { binary.LittleEndian.PutUint32(rec[4:], checksum(rec)) }

// checksum is over everything behind itself. CRC-32C has an instruction of its own on amd64 and arm64.
func checksum(rec []byte) uint32 {
	return crc32.Update(0, castagnoli, rec[8:])
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Decode takes a record apart without copying, and reports whether it is one: of this version, with lengths that
// add up to its own, and ages that can be reckoned with. It does not look at the checksum.
func Decode(rec []byte) (e Entry, ok bool) {
	if len(rec) < fixedSize || string(rec[:4]) != recordMagic {
		return Entry{}, false
	}
	le := binary.LittleEndian
	number := func(at int) int64 { return int64(le.Uint64(rec[at:])) }
	var ends [5]int
	end := uint64(fixedSize)
	for i := range ends {
		end += uint64(le.Uint32(rec[8+4*i:]))
		if end > uint64(len(rec)) {
			return Entry{}, false
		}
		ends[i] = int(end)
	}
	e.Status, e.Flags = int(le.Uint16(rec[28:])), Flags(le.Uint16(rec[30:]))
	e.RequestTime, e.ResponseTime = number(32), number(40)
	e.InitialAge, e.Lifetime = number(48), number(56)
	e.StaleWhileRevalidate, e.StaleIfError = number(64), number(72)
	e.LastModified, e.Until, e.Date = number(80), number(untilAt), number(96)
	if ends[4] != len(rec) || ends[0] > fixedSize+MaxKeyText || e.Status > 999 ||
		!seconds(e.InitialAge) || !seconds(e.Lifetime) || !seconds(e.StaleWhileRevalidate) || !seconds(e.StaleIfError) {
		return Entry{}, false
	}
	e.Key = rec[fixedSize:ends[0]:ends[0]]
	e.Variant = rec[ends[0]:ends[1]:ends[1]]
	e.ETag = rec[ends[1]:ends[2]:ends[2]]
	e.Head = rec[ends[2]:ends[3]:ends[3]]
	e.Body = rec[ends[3]:ends[4]:ends[4]]
	e.Start = ends[2]
	return e, true
}

func seconds(n int64) bool { return n >= 0 && n <= maxSeconds }

// Check reports whether rec is a record and nothing in it has changed since its checksum was written.
func Check(rec []byte) bool {
	_, ok := Decode(rec)
	return ok && binary.LittleEndian.Uint32(rec[4:]) == checksum(rec)
}

// keyTextOf finds the text of the key in the beginning of a record, which need not be all of it.
func keyTextOf(start []byte) (text []byte, ok bool) {
	if len(start) < fixedSize || string(start[:4]) != recordMagic {
		return nil, false
	}
	n := uint64(binary.LittleEndian.Uint32(start[8:]))
	if n > MaxKeyText || fixedSize+n > uint64(len(start)) {
		return nil, false
	}
	return start[fixedSize : fixedSize+n], true
}

// isList tells of the beginning of a record whether it is a list of variants, and no answer.
func isList(start []byte) bool {
	return len(start) >= fixedSize && string(start[:4]) == recordMagic && Flags(binary.LittleEndian.Uint16(start[30:]))&Varies != 0
}

// untilOf is Until of a record that is known to be one.
func untilOf(rec []byte) int64 {
	return int64(binary.LittleEndian.Uint64(rec[untilAt:]))
}

package caching

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"aigateway/gateway/cache"
	"aigateway/gateway/wire"
)

// What a flight shares is written over once all who hold it have let go, and not before: readers that come late and are slow, that leave in
// the middle, leaders that are gone long before them, readers of a record that its only reader may write into. Every byte that
// anybody sees is of the response that it joined.
func TestFlightsShareNoMemory(t *testing.T) {
	const crowd, rounds = 16, 60
	table := NewFlights(1<<20, 1<<30)
	var responses atomic.Int64
	var all sync.WaitGroup
	for n := range crowd {
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(n), 1))
			w := NewWaiter()
			for range rounds {
				f, leads := table.Join(flightKey(fmt.Sprint(random.IntN(3))), cache.Stamp{}, w)
				if !leads && f.Wait(w, forAges) == Lead {
					leads = true
				}
				if leads {
					fillOne(f, responses.Add(1), random)
				}
				if err := readOne(f, w, random); err != nil {
					t.Error(err)
				}
				f.Leave(w)
				f.Release()
			}
		})
	}
	all.Wait()
	if !table.Idle() || table.Taken() != 0 {
		t.Errorf("%d bytes are taken", table.Taken())
	}
}

// fillOne shares a response whose bytes are all one number.
func fillOne(f *Flight, number int64, random *rand.Rand) {
	letter := string(rune('A' + number%57))
	m := &f.memory
	m.text = append(m.text[:0], strings.Repeat(letter, 20)...)
	m.lines = append(m.lines[:0], "X: "+strings.Repeat(letter, 40)+"\r\n"...)
	pieces := 1 + random.IntN(9)
	size := 1 + random.IntN(20<<10) // some outgrow a small buffer, some a large one
	length := int64(pieces * size)
	if random.IntN(2) == 0 {
		length = -1
	}
	a := Response{Meta: cache.Meta{Status: 200, Lifetime: 60}, Lines: m.lines, Length: length}
	a.Body = m.begin(a.Length)
	f.Fill(a)
	piece := bytes.Repeat([]byte(letter), size)
	for range pieces {
		if f.Write(piece) != nil {
			f.Break()
			return
		}
	}
	if random.IntN(8) == 0 {
		f.Break()
		return
	}
	body, _ := f.Kept()
	f.End(m.recordOf(&cache.Entry{Meta: a.Meta, Key: m.text, Head: appendStoredHead(a.Lines, nil, len(body)), Body: body, Until: 1}))
}

// readOne reads it, all or some, and says what is not its own.
func readOne(f *Flight, w *Waiter, random *rand.Rand) error {
	a := f.Response()
	letter := a.Lines[3]
	odd := func(what string, b []byte) error {
		if i := bytes.IndexFunc(b, func(r rune) bool { return r != rune(letter) }); i >= 0 {
			return fmt.Errorf("%s of a response of %c has %q at %d of %d", what, letter, b[i], i, len(b))
		}
		return nil
	}
	var got []byte
	for more := true; more; {
		var piece []byte
		var err error
		if piece, more, err = f.Next(w, forAges); err != nil {
			break
		}
		if random.IntN(3) == 0 {
			time.Sleep(time.Duration(random.IntN(200)) * time.Microsecond) // and the piece is borrowed meanwhile
		}
		if got = append(got, piece...); random.IntN(20) == 0 {
			break
		}
	}
	if err := odd("a piece", got); err != nil {
		return err
	}
	if err := odd("a line", a.Lines[3:43]); err != nil {
		return err
	}
	a = f.Response()
	if a.Record == nil {
		return nil
	}
	if full := f.Claim(); full != nil {
		if !bytes.Equal(full[recordRoom:], a.Record) {
			return fmt.Errorf("what is claimed is not the record")
		}
		clear(full)
		return nil
	}
	e, ok := cache.Decode(a.Record)
	if !ok {
		return fmt.Errorf("the record of a response of %c cannot be read", letter)
	}
	if err := odd("the record's body", e.Body); err != nil {
		return err
	}
	return odd("the record's key", e.Key)
}

// A record that is written around its body is the one that would be written elsewhere, wherever the body has been moved.
func TestRecordAroundItsBody(t *testing.T) {
	for _, size := range []int{0, 1, 2 << 10, wire.SmallBuffer, wire.LargeBuffer - recordRoom, wire.LargeBuffer, wire.HugeBuffer} {
		for _, length := range []int64{-1, int64(size)} {
			var m memory
			m.text, m.lines, m.etag = []byte("the key"), []byte("A: b\r\n"), []byte(`"e"`)
			body := m.begin(length)
			for left := size; left > 0; {
				n := min(left, 5000)
				if cap(body)-len(body) < n {
					body = m.widen(body, n)
				}
				body = append(body, bytes.Repeat([]byte{byte(left)}, n)...)
				left -= n
			}
			e := cache.Entry{Meta: cache.Meta{Status: 200, ETag: m.etag}, Key: m.text, Variant: []byte("a note"), Head: appendStoredHead(m.lines, nil, size), Body: bytes.Clone(body), Until: 1}
			want := cache.AppendEntry(nil, &e)
			clear(want[4:8]) // the checksum, which it does not get here
			e.Body = body
			got := m.recordOf(&e)
			if clear(got[4:8]); !bytes.Equal(got, want) {
				t.Errorf("%d bytes, announced %d: another record", size, length)
			}
			if full := m.around(got); size > 0 && (full == nil || !bytes.Equal(full[recordRoom:], want)) {
				t.Errorf("%d bytes, announced %d: there is no room before it", size, length)
			}
			m.reset()
		}
	}
}

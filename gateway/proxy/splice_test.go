package proxy

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"aigateway/gateway/wire"
)

// What is put into a held body stands where it should, however the pieces lie, and the model's place follows.
func TestSplice(t *testing.T) {
	const seed = 5
	random := rand.New(rand.NewPCG(seed, seed))
	body := make([]byte, 3*morePart)
	for i := range body {
		body[i] = byte('a' + random.IntN(20))
	}
	ends := []int{100, MaxWhole, MaxWhole + 1, MaxWhole + morePart - 3, MaxWhole + morePart, MaxWhole + 2*morePart - 20}
	for range 300 {
		b := body[:ends[random.IntN(len(ends))]]
		var holds Holds
		holds.Set(1<<20, 1<<22)
		x := &Exchange{hold: hold{holds: &holds, room: 200}}
		h := &x.hold
		h.first = wire.GetBuffer(h.room + MaxWhole + 1 + wire.ChunkTail)
		h.short = copy(h.first.B[h.room:h.room+MaxWhole], b)
		for h.size = h.short; h.size < len(b); h.size += morePart {
			h.more = append(h.more, wire.GetBuffer(wire.LargeBuffer))
			copy(h.more[len(h.more)-1].B[:morePart], b[h.size:])
		}
		h.size = len(b)
		near := ends[random.IntN(len(ends))]
		to := min(len(b), max(0, near-40+random.IntN(80)))
		from := max(0, to-random.IntN(60))
		with := bytes.Repeat([]byte("Z"), random.IntN(70))
		model := Span{In: InBody, From: int64(min(len(b), to+random.IntN(5)))}
		x.Span = model
		if held := x.HeldPart(int64(from), int64(to)); !bytes.Equal(held, b[from:to]) {
			t.Fatalf("%d to %d of %d: %q", from, to, len(b), held)
		}
		if !x.Splice(int64(from), int64(to), with) {
			t.Fatalf("%d to %d of %d: no", from, to, len(b))
		}
		filled := with
		if to > MaxWhole && len(with) < to-from {
			filled = append(with, bytes.Repeat([]byte(" "), to-from-len(with))...)
		}
		want := append(append(append([]byte(nil), b[:from]...), filled...), b[to:]...)
		if got := x.AppendHeld(nil); !bytes.Equal(got, want) || int(h.grown) != len(want)-len(b) {
			t.Fatalf("%d to %d of %d, %d bytes: differs, %d longer", from, to, len(b), len(with), h.grown)
		}
		if int(x.Span.From-model.From) != len(want)-len(b) {
			t.Fatalf("the model's place moves by %d", x.Span.From-model.From)
		}
		h.release()
		if holds.Held() != 0 {
			t.Fatalf("%d bytes are held behind the end", holds.Held())
		}
	}
}

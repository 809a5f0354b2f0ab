package keys

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"aigateway/gateway/config"
)

// A look-up among 100,000 keys, which come in no order, beside what else could be done: Go's map of hashes, and a map of the keys
// themselves, which would have to be in memory. "sha256" is the part of it that hashing takes. With cache=cold none of the data is in the
// processor's caches, since 64 MB of others have been there. cpu-ns/op is what counts on a machine that has other work.
func BenchmarkFind(b *testing.B) {
	const n = 100_000
	list, shown := make([]config.Key, n), make([][]byte, n)
	byHash, byKey := make(map[[32]byte]*config.Key, n), make(map[string]*config.Key, n)
	for i := range list {
		raw := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i)))
		shown[i] = append([]byte("sk-"), base64.RawURLEncoding.EncodeToString(raw[:])...)
		list[i] = stated(fmt.Sprint("k", i), string(shown[i]))
		byHash[list[i].Sums[0]], byKey[string(shown[i])] = &list[i], &list[i]
	}
	s, now := New(&config.Keys{List: list}, nil, TokenOptions{}), time.Now()
	impls := []struct {
		name string
		find func(key []byte) bool
	}{
		{"gateway", func(key []byte) bool { _, why := s.Find(key, now); return why == Granted }},
		{"map-of-hashes", func(key []byte) bool { return byHash[sha256.Sum256(key)] != nil }},
		{"map-of-keys", func(key []byte) bool { return byKey[string(key)] != nil }},
		{"sha256", func(key []byte) bool { return sha256.Sum256(key) != [32]byte{} }},
	}
	for _, impl := range impls {
		b.Run("keys=100000/cache=warm/impl="+impl.name, func(b *testing.B) {
			b.ReportAllocs()
			i, began := 0, used()
			for ; b.Loop(); i++ {
				if !impl.find(shown[i%n]) {
					b.Fatal("not found")
				}
			}
			b.ReportMetric(float64((used()-began).Nanoseconds())/float64(i), "cpu-ns/op")
		})
	}
	other := make([]byte, 64<<20)
	for _, impl := range impls {
		b.Run("keys=100000/cache=cold/impl="+impl.name, func(b *testing.B) {
			var took time.Duration
			rounds := 0
			for ; b.Loop(); rounds++ {
				for i := 0; i < len(other); i += 64 {
					other[i]++
				}
				key := slices.Clone(shown[rounds*7919%n]) // it has just come,
				impl.find(shown[0])                       // and the code has run before
				began := time.Now()
				if !impl.find(key) {
					b.Fatal("not found")
				}
				took += time.Since(began)
			}
			b.ReportMetric(float64(took.Nanoseconds())/float64(rounds), "ns/op")
		})
	}
}

// used is the CPU time of this process.
func used() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

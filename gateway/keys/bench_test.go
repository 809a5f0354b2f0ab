package keys

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"aigateway/gateway/config"
)

// A look-up among 100,000 keys, whose hashes lie in memory in no order, beside what else could be done: Go's map of hashes, and a
// map of the keys themselves, which would have to be in memory. "sha256" is the part of it that hashing takes.
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
	run := func(impl string, find func(key []byte) bool) {
		b.Run("keys=100000/impl="+impl, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if !find(shown[i%n]) {
					b.Fatal("not found")
				}
			}
		})
	}
	run("gateway", func(key []byte) bool { _, why := s.Find(key, now); return why == Granted })
	run("map-of-hashes", func(key []byte) bool { return byHash[sha256.Sum256(key)] != nil })
	run("map-of-keys", func(key []byte) bool { return byKey[string(key)] != nil })
	run("sha256", func(key []byte) bool { return sha256.Sum256(key) != [32]byte{} })
}

package cache

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// What a purge tells are the answers that were there, not the lists of their variants, which go with them.
func TestPurgeCountsAnswers(t *testing.T) {
	r := startServer(t)
	for name, s := range map[string]*Store{"memory": openTestStore(t, Options{}), "redis": openShared(t, r.Addr, nil)} {
		list := func(text string) {
			rec := AppendEntry(nil, &Entry{Meta: Meta{Status: 200, Lifetime: 60, Flags: Varies}, Key: []byte(text), Body: []byte("x-a"), Until: time.Now().Add(time.Minute).UnixMilli()})
			if !s.Put(s.Stamp(keyOf(text)), rec, time.Now().UnixMilli()) {
				t.Error(name, "does not keep a list")
			}
		}
		idle := func() {
			if s.redis != nil {
				s.idle(t)
			}
		}
		for _, match := range []func([]byte) bool{beginsWith("/a"), nil} {
			list("/a")
			for i := range 3 {
				s.set(fmt.Sprint("/a", i), 10)
			}
			idle()
			if n, err := s.Purge(context.Background(), match); n != 3 || err != nil {
				t.Errorf("%s: %d, %v", name, n, err)
			}
			if k := keyOf("/a"); s.tier(t, "/a1") != Nowhere || len(must(s.Get(nil, k, 0))) > 0 {
				t.Error(name, "something is left")
			}
		}
	}
}

func must(rec []byte, _ Tier) []byte { return rec }

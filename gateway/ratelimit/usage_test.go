package ratelimit

import (
	"slices"
	"strings"
	"testing"
	"time"

	"aigateway/gateway/config"
)

// What replicas add is one sum, by time, under keys that do not live for ever; what else lies there is no usage.
func TestUsageStore(t *testing.T) {
	r := startRedis(t)
	now := time.Now()
	a, b := NewUsageStore(config.Redis{Addrs: []string{r.Addr}}, "x:v1:use"), NewUsageStore(config.Redis{Addrs: []string{r.Addr}}, "x:v1:use")
	defer a.Close()
	defer b.Close()
	add := func(s *UsageStore, now time.Time, counts ...int64) {
		t.Helper()
		u := Usage{Tenant: "team-a", Model: "m"}
		copy(u.Counts[:], counts)
		if err := s.Add(now, []Usage{u}); err != nil {
			t.Fatal(err)
		}
	}
	add(a, now, 1, 100, 50)
	add(b, now, 2, 10)
	add(b, now.Add(-10*time.Minute), 4)
	add(b, now.Add(-10*time.Hour), 8)
	r.Do("HSET", "x:v1:use:{total}", "nonsense", "7", "a\x1fb\x1f99", "7")
	rows, err := a.Read(now)
	want := Times{
		Tenant: "team-a", Model: "m", Total: [5]int64{15, 110, 50}, Minute: [5]int64{3, 110, 50}, Hour: [5]int64{7, 110, 50}, Day: [5]int64{15, 110, 50},
	}
	if err != nil || !slices.Equal(rows, []Times{want}) {
		t.Errorf("%v, %+v", err, rows)
	}
	for _, key := range strings.Fields(r.Do("KEYS", "*")) {
		if !strings.HasPrefix(key, "x:v1:use:{") || r.Do("PTTL", key) == "-1" {
			t.Errorf("%s lives for %s ms", key, r.Do("PTTL", key))
		}
	}
	r.Kill()
	if err := a.Add(now, []Usage{{Counts: [5]int64{1}}}); err == nil {
		t.Error("nothing is said about a redis that is away")
	}
	if _, err := a.Read(now); err == nil {
		t.Error("nothing is said about a redis that is away")
	}
}

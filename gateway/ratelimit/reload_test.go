package ratelimit

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// What stays the same keeps its buckets through a reload; what changes begins anew.
func TestWith(t *testing.T) {
	base := Options{Global: Rate{0, 100}, Client: Rate{0, 5}, Routes: []Rate{{0, 3}, {0, 7}}, MaxClients: 100, Cleanup: time.Hour}
	left := func(l *Limiter, class int) int64 {
		t.Helper()
		return l.Class(class).Admit(time.Hour, []byte("client"), 0).Remaining
	}
	f := func(name string, change func(o *Options), want ...int64) {
		t.Run(name, func(t *testing.T) {
			l, err := New(base)
			if err != nil {
				t.Fatal(err)
			}
			for class := range 3 {
				l.Class(class).Admit(time.Hour, []byte("client"), class+1) // 4, 1, 4 are left
			}
			o := base
			change(&o)
			n, err := l.With(o)
			if err != nil {
				t.Fatal(err)
			}
			for class, tokens := range want {
				if got := left(n, class); got != tokens {
					t.Errorf("class %d has %d tokens left, want %d", class, got, tokens)
				}
			}
		})
	}
	f("nothing", func(*Options) {}, 4, 1, 4)
	f("another order", func(o *Options) { o.Routes = []Rate{{0, 7}, {0, 3}} }, 4, 4, 1)
	f("one more", func(o *Options) { o.Routes = []Rate{{0, 9}, {0, 3}, {0, 7}} }, 4, 9, 1, 4)
	f("one less", func(o *Options) { o.Routes = []Rate{{0, 7}} }, 4, 4)
	f("another default", func(o *Options) { o.Client = Rate{0, 6} }, 6, 1, 4)
	f("the default becomes a route's", func(o *Options) { o.Client, o.Routes = Rate{0, 3}, []Rate{{0, 5}} }, 1, 4)
	f("another table", func(o *Options) { o.MaxClients = 200 }, 5, 3, 7)

	l, _ := New(base)
	l.Class(2).Admit(time.Hour, []byte("a"), 6)
	other := base
	other.Client = Rate{0, 50}
	n, err := l.With(other)
	if err != nil {
		t.Fatal(err)
	}
	if v := n.Admit(time.Hour, []byte("b"), 50); !v.OK {
		t.Error("the global bucket has less than it had")
	}
	if v := n.Admit(time.Hour, []byte("c"), 45); v.OK || v.Scope != Global {
		t.Errorf("the global bucket of 100 has more than 44 tokens left: %+v", v)
	}
	if _, err := l.With(Options{}); err == nil {
		t.Error("With takes options that New does not")
	}
}

// An id is never used for two rates, and when all are used up there is another table.
func TestWithManyTimes(t *testing.T) {
	o := Options{Global: Rate{0, 1e9}, Client: Rate{0, 5}, MaxClients: 10000, Cleanup: time.Hour}
	l, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 * maxClasses {
		o.Routes = []Rate{{0, int64(1000 + i)}}
		if l, err = l.With(o); err != nil {
			t.Fatal(err)
		}
		if v := l.Class(1).Admit(time.Hour, []byte("x"), 1); v.Remaining != int64(999+i) {
			t.Fatalf("reload %d: %d tokens left of %d", i, v.Remaining, 1000+i)
		}
	}
}

// Requests of the limiter before meet clients of classes it does not know.
func TestWithWhileInUse(t *testing.T) {
	o := Options{Global: Rate{0, 1e9}, Client: Rate{0, 5}, MaxClients: 16, Cleanup: time.Hour}
	l, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 100 {
		old := l
		wg.Go(func() {
			for j := range 200 {
				old.Admit(time.Duration(j), fmt.Appendf(nil, "%d-%d", i, j), 1)
			}
		})
		o.Routes = append(o.Routes, Rate{1, int64(10 + i)})
		if l, err = l.With(o); err != nil {
			t.Fatal(err)
		}
		class := l.Class(len(o.Routes))
		wg.Go(func() {
			for j := range 200 {
				class.Admit(time.Duration(j), fmt.Appendf(nil, "%d-%d", i, j), 1)
			}
		})
	}
	wg.Wait()
}

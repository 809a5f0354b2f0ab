package ratelimit

import (
	"testing"
	"time"
)

// What is for the client alone costs the others nothing, what is for all costs the client nothing, and what comes back is there again.
func TestAdmitOneBucket(t *testing.T) {
	l, err := New(Options{Global: Rate{Burst: 3}, Client: Rate{Burst: 2}, MaxClients: 10, Cleanup: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	c, who := l.Class(0), []byte("who")
	f := func(what string, v Verdict, want Scope) {
		t.Helper()
		if v.Scope != want || v.OK != (want == None) {
			t.Errorf("%s: %+v", what, v)
		}
	}
	f("the client's first", c.AdmitClient(0, who, 1), None)
	f("the client's second", c.AdmitClient(0, who, 1), None)
	f("the client's third", c.AdmitClient(0, who, 1), Client)
	c.RefundClient(who, 1)
	f("what came back", c.AdmitClient(0, who, 1), None)
	for range 2 {
		f("of all", c.AdmitGlobal(0, 1), None)
	}
	f("the last of all", c.Admit(0, []byte("another"), 1), None)
	f("more of all", c.AdmitGlobal(0, 1), Global)
	f("another's own", c.AdmitClient(0, []byte("another"), 1), None)
	if s := l.Stats(0); s.DroppedClient != 1 || s.DroppedGlobal != 1 {
		t.Errorf("%+v", s)
	}
	c.RefundClient([]byte("nobody"), 1)
	var off *Class
	if off.RefundClient(who, 1); !off.AdmitClient(0, who, 1).OK || !off.AdmitGlobal(0, 1).OK {
		t.Error("a class that is off refuses")
	}
}

// Over all replicas it is the same.
func TestSharedAdmitOneBucket(t *testing.T) {
	var off *SharedClass
	if off.RefundClient(nil, 1); !off.AdmitClient(0, nil, 1).OK || !off.AdmitGlobal(0, 1).OK {
		t.Error("a class that is off refuses")
	}
	r := startRedis(t)
	all := newReplicas(t, r.Addr, 2, SharedOptions{Options: Options{Global: Rate{Burst: 4}, Client: Rate{Burst: 4}}})
	count := func(what string, n, want int, admit func(c *SharedClass) bool) {
		t.Helper()
		admitted := 0
		for i := range n {
			if admit(all[i%2].Class(0)) {
				admitted++
			}
		}
		if admitted != want {
			t.Errorf("%s: %d of %d admitted, want %d", what, admitted, n, want)
		}
	}
	count("of the client", 20, 4, func(c *SharedClass) bool { return c.AdmitClient(0, []byte("who"), 1).OK })
	count("of all, to which the client has left everything", 20, 4, func(c *SharedClass) bool { return c.AdmitGlobal(0, 1).OK })
	count("of another client, when all have had theirs", 4, 4, func(c *SharedClass) bool { return c.AdmitClient(0, []byte("another"), 1).OK })
}

package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"aigateway/bench/drive"
	"aigateway/bench/internal/local"
	"aigateway/bench/internal/process"
)

// turning is clients whose requests name another one of n things each time, one after the other and from then on at random. The name is
// the digits behind mark in the message.
func (r *running) turning(conns, n int, message []byte, mark string) drive.Plan {
	p := drive.Plan{Conns: conns, Timeout: patience}
	from := bytes.Index(message, []byte(mark)) + len(mark)
	to := from
	for to < len(message) && message[to] >= '0' && message[to] <= '9' {
		to++
	}
	var turn int
	for range conns {
		m := bytes.Clone(message)
		p.Targets = append(p.Targets, drive.Target{Addr: r.addr, Next: func() []byte {
			k := turn
			if turn++; turn > n {
				k = rand.IntN(n)
			}
			for i := to - 1; i >= from; i-- {
				m[i] = byte('0' + k%10)
				k /= 10
			}
			return m
		}})
	}
	return p
}

// keyed is clients that ask for one of many answers each time.
func (r *running) keyed(conns, keys, size int) drive.Plan {
	return r.turning(conns, keys, message("GET", fmt.Sprintf("/v1/cached/%d?k=00000000", size), "", ""), "?k=")
}

var anyPassed = expected{status: 200, passed: -1}

// measureMillion fills the cache in memory and asks for what is in it, beside the same with sixteen answers.
func measureMillion(b *bench, r *running, f *figure) error {
	if r.peer.lacks["hit"] != "" {
		return errLacks(r.peer.lacks["hit"])
	}
	return b.with(r.peer, variant{entries: b.keys + b.keys/4}, func(r *running) error {
		few, err := b.saturate(r, r.keyed(64, 16, 200), anyPassed)
		if err != nil {
			return err
		}
		p := r.keyed(64, b.keys, 200)
		if err := askedFor(p, b.keys); err != nil {
			return err
		}
		p.Time = b.time
		before, err := b.counts()
		if err != nil {
			return err
		}
		s, err := r.meter(p)
		if err != nil {
			return err
		}
		after, err := b.counts()
		f.Values["few"], f.Values["cpu"] = few.cpu, s.cpu
		f.Values["mib"] = float64(process.Memory(r.process.PID)+process.Occupied(r.site.Memory)) / (1 << 20)
		f.Values["kept"] = 1 - float64(after.Cached-before.Cached)/float64(max(s.Done, 1))
		return err
	})
}

// keyMark is how keys begin that end with digits.
const keyMark = "sk-field-"

// admit writes who may ask, so many keys of which the first is token, for everybody who has a file of them.
func (s *site) admit(keys int) error {
	if keys == 0 {
		return nil
	}
	var ours, mapped, listed bytes.Buffer
	ours.WriteString("keys:\n")
	for i := range keys {
		key := token
		if i > 0 {
			key = fmt.Sprintf("%s%016d", keyMark, i-1)
		}
		fmt.Fprintf(&ours, "  - {id: t%d, sha256: [%x]}\n", i, sha256.Sum256([]byte(key)))
		fmt.Fprintf(&mapped, "\"Bearer %s\" 0;\n", key)
		fmt.Fprintf(&listed, "Bearer %s\n", key)
	}
	write := func(name string, text []byte) error { return os.WriteFile(filepath.Join(s.Dir, name), text, 0o600) }
	return errors.Join(write("keys.yaml", ours.Bytes()), write("keys.map", mapped.Bytes()), write("keys.list", listed.Bytes()))
}

// measureKeys has a million clients show a key each, beside one key.
func measureKeys(b *bench, r *running, f *figure) error {
	of := r.peer
	for _, n := range []int{1, b.keys} {
		err := b.with(of, variant{keys: n}, func(r *running) error {
			ready := time.Since(r.began)
			settled(r) // what the start left behind is no part of a request
			const clients = 64
			p := r.plan(clients, r.chat(chat{size: 1 << 10}, "/v1"))
			if n > 1 {
				p = r.turning(clients, n-1, r.chat(chat{size: 1 << 10, token: fmt.Sprintf("%s%016d", keyMark, 0)}, "/v1"), keyMark)
			}
			s, err := b.saturate(r, p, passed)
			if err != nil {
				return err
			}
			mib := float64(process.Memory(r.process.PID)) / (1 << 20)
			if n == 1 {
				f.Values["one"], f.Values["mib1"] = s.cpu, mib
				return nil
			}
			f.Values["cpu"], f.Values["mib"], f.Values["start"] = s.cpu, mib, ready.Seconds()
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// measureRedis has a Redis hold answers for which the cache in memory has no room, and then the cache in memory.
func measureRedis(b *bench, r *running, f *figure) error {
	const keys = 20_000
	of := r.peer
	if of.variant == nil || !of.variant(variant{redis: "x"}) {
		return errLacks("has no cache in Redis")
	}
	addr, end, err := b.redis()
	if err != nil {
		return errLacks(err.Error())
	}
	defer end()
	if err := b.with(of, variant{entries: 16, redis: addr}, func(r *running) error { return b.measureTier(r, f, "", keys) }); err != nil {
		return err
	}
	return b.with(of, variant{entries: 2 * keys}, func(r *running) error { return b.measureTier(r, f, "mem", keys) })
}

// askedFor has a cache asked for each of so many keys.
func askedFor(p drive.Plan, keys int) error {
	p.Most = int64(keys)
	if res, err := drive.Run(p); err != nil || res.Failed() > 0 {
		return fmt.Errorf("while it is filled: %w, failed: %v", err, res.Errors)
	}
	return nil
}

// fill has a cache asked for each of its keys until it has nearly all: what is on its way into Redis is left aside where it would be waited
// for.
func (b *bench) fill(r *running, keys, size int) error {
	for range 20 {
		before, err := b.counts()
		if err != nil {
			return err
		}
		if err := askedFor(r.keyed(64, keys, size), keys); err != nil {
			return err
		}
		after, err := b.counts()
		if err != nil {
			return err
		}
		if after.Cached-before.Cached <= int64(keys/1000) {
			return nil
		}
	}
	return errors.New("it does not keep what it is given")
}

// measureTier fills a cache and asks for what is in it. What is measured stands under names that begin with prefix.
func (b *bench) measureTier(r *running, f *figure, prefix string, keys int) error {
	if err := b.fill(r, keys, 2048); err != nil {
		return err
	}
	before, err := b.counts()
	if err != nil {
		return err
	}
	p := r.keyed(64, keys, 2048)
	var done int64
	for _, conns := range []int{8, 64} {
		p.Conns = conns
		s, err := b.saturate(r, p, anyPassed)
		if err != nil {
			return err
		}
		done += s.Done
		f.Values[prefix+"cpu"], f.Values[prefix+"rate"] = s.cpu, s.Per(s.Done)
		if conns == 8 {
			f.Values[prefix+"p50"] = µs(s.Latency.Quantile(.5))
		}
	}
	after, err := b.counts()
	if asked := after.Cached - before.Cached; err == nil && asked > done/100 {
		return fmt.Errorf("%d of more than %d requests were no hits", asked, done)
	}
	return err
}

// redis starts a Redis on the core of the load.
func (b *bench) redis() (addr string, end func(), err error) {
	port, err := local.FreePort()
	if err != nil {
		return "", nil, err
	}
	dir, err := b.alive.Directory("")
	if err != nil {
		return "", nil, err
	}
	cmd := exec.Command("redis-server", "--port", fmt.Sprint(port), "--bind", "127.0.0.1", "--save", "", "--dir", dir)
	p, err := b.alive.Launch(cmd, b.loadCore)
	if err != nil {
		return "", nil, err
	}
	addr = fmt.Sprintf("127.0.0.1:%d", port)
	if err := p.Await(addr, patience); err != nil {
		b.alive.End(p)
		return "", nil, err
	}
	return addr, func() { b.alive.End(p) }, nil
}

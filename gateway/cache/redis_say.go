package cache

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

// What a replica has to say to the others, it says by a key's name. Redis tells all of them the name of every key that is changed
// under our prefix, in the order of the answers on each connection; so a key that is written and deleted at once is a word
// to all, and takes no memory. Behind "say:" is who says it, so that he does not hear himself, and then
//
//	drop:{name}          the record of that name is not to be used any more
//	purge:{mark}what     what Selects understands; without, or if it does not: everything
//
// The braces send a word to the node of a cluster that has the record, or the mark.
const sayName = "say:"

// sayTime is the life of such a key, should deleting it fail. Its end is told like the word itself.
const sayTime = time.Second

// mostSaid bounds what a purge says of itself; what is longer is everything.
const mostSaid = 1024

func (r *remote) dropping(k Key) string {
	return string(r.names) + sayName + r.id + ":drop:{" + r.names.of(k) + "}"
}

func (r *remote) purging(what string) string {
	if len(what) > mostSaid {
		what = ""
	}
	return string(r.names) + sayName + r.id + ":purge:{" + r.names.mark() + "}" + what
}

// hear is told the name of a key that is no record.
func (r *remote) hear(name string) {
	word, ok := strings.CutPrefix(name, string(r.names)+sayName)
	if !ok {
		return
	}
	who, word, _ := strings.Cut(word, ":")
	kind, word, _ := strings.Cut(word, ":")
	about, what, ok := strings.Cut(strings.TrimPrefix(word, "{"), "}")
	if !ok || who == r.id {
		return
	}
	switch kind {
	case "drop":
		k, ok := r.names.key(about)
		if !ok {
			return
		}
		if _, had := r.memory.delete(&k, oneDeletion); had {
			r.pushes.Add(1)
		}
	case "purge":
		if len(what) > mostSaid { // nobody says that
			what = ""
		}
		r.memory.generation.Add(1)
		if !r.alone.Load() { // who keeps something after this sees the generation
			return
		}
		select {
		case r.purgings <- what:
		default:
			r.memory.flush()
		}
	}
}

// forget does in memory what other replicas purge. Of records that Redis has, it tells us one by one.
func (r *remote) forget() {
	for {
		select {
		case <-r.stop.Done():
			return
		case what := <-r.purgings:
			if match := r.o.Selects(what); match != nil && what != "" {
				r.pushes.Add(uint64(r.memory.purge(match)))
			} else {
				r.memory.flush()
			}
		}
	}
}

// When Redis is full it takes no SET, but a script that has deleted something, or tried to, may go on to write: Redis does not
// stop one half-way. So words are heard that would not have been taken otherwise, and they take no memory.
const (
	sayScript  = `redis.call('UNLINK', KEYS[1]) redis.call('SET', KEYS[1], '', 'PX', ARGV[1]) return redis.call('UNLINK', KEYS[1])`
	markScript = `redis.call('UNLINK', KEYS[1]) return redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[1])`
)

// say has all replicas told, and reports why not.
func (r *remote) say(ctx context.Context, names []string) (err error) {
	if len(names) == 0 {
		return nil
	}
	c := r.link.Load()
	commands := make(rueidis.Commands, 0, 2*len(names))
	for _, name := range names {
		commands = append(commands, c.B().Set().Key(name).Value("").PxMilliseconds(sayTime.Milliseconds()).Build(), c.B().Unlink().Key(name).Build())
	}
	var full rueidis.Commands
	for i, result := range c.DoMulti(ctx, commands...) {
		switch e := result.Error(); {
		case isFull(e):
			full = append(full, c.B().Eval().Script(sayScript).Numkeys(1).Key(names[i/2]).Arg(fmt.Sprint(sayTime.Milliseconds())).Build())
		case i%2 == 0 || !answered(e): // that the key stays for its second is no fault
			err = worse(err, e)
		}
	}
	if len(full) > 0 {
		for _, result := range c.DoMulti(ctx, full...) {
			err = worse(err, result.Error())
		}
	}
	return err
}

// sayPurge writes the mark, for who cannot be told, and has all others told.
func (r *remote) sayPurge(ctx context.Context, what string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	c, mark := r.link.Load(), fmt.Sprint(r.id, r.purges.Add(1))
	err := c.Do(ctx, c.B().Set().Key(r.names.mark()).Value(mark).PxMilliseconds(markTime.Milliseconds()).Build()).Error()
	if isFull(err) {
		err = c.Do(ctx, c.B().Eval().Script(markScript).Numkeys(1).Key(r.names.mark()).Arg(fmt.Sprint(markTime.Milliseconds()), mark).Build()).Error()
	}
	return worse(err, r.say(ctx, []string{r.purging(what)}))
}

// seeMark is given the value of the mark, or "" if there is none. Who cannot be told finds out by it that somebody has purged.
func (r *remote) seeMark(mark string) {
	mark = "=" + mark
	if r.blind.Load() && r.lastMark != "" && mark != r.lastMark {
		r.memory.generation.Add(1)
	}
	r.lastMark = mark
}

// answered reports whether an error is Redis' own word.
func answered(err error) bool {
	var answer *rueidis.RedisError
	return errors.As(err, &answer)
}

func isFull(err error) bool { return begins(err, "OOM") }

func isReadOnly(err error) bool { return begins(err, "READONLY") }

func begins(err error, text string) bool {
	var answer *rueidis.RedisError
	return errors.As(err, &answer) && strings.HasPrefix(answer.Error(), text)
}

// worse is the one of two errors that says more: that there was no answer.
func worse(a, b error) error {
	if a == nil || b != nil && answered(a) && !answered(b) {
		return b
	}
	return a
}

package cache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/rueidis"
)

var errAway = errors.New("cannot purge redis: it is away; what it holds may come back with it")

// purge deletes the records whose text of the key matches, nil: all, and returns how many. What is the same as match, for
// other replicas.
func (r *remote) purge(ctx context.Context, what string, match func(text []byte) bool) (int, error) {
	c := r.link.Load()
	if c == nil || !r.trusted(time.Now().UnixMilli()) {
		return 0, errAway
	}
	ctx, cancel := context.WithTimeout(ctx, purgeTime)
	defer cancel()
	// All replicas hear this, and do not store what they are fetching, before the first record is looked at: what they
	// have already stored is found, what they store later was fetched later.
	unheard := r.sayPurge(ctx, what)
	if unheard != nil && !answered(unheard) {
		return 0, fmt.Errorf("cannot purge redis: %w", unheard)
	}
	n, err := r.scan(ctx, match)
	if err != nil {
		return n, fmt.Errorf("cannot purge all of redis: %w", err)
	}
	if unheard != nil {
		return n, fmt.Errorf("cannot tell other gateways of a purge through redis: %w", unheard)
	}
	_, _ = r.ping() // we have been told of all this before the answer: what is asked for from now on is stored
	return n, nil
}

func (r *remote) scan(ctx context.Context, match func(text []byte) bool) (n int, err error) {
	for _, node := range r.link.Load().Nodes() {
		for cursor := uint64(0); ; {
			entry, err := node.Do(ctx, node.B().Scan().Cursor(cursor).Match(string(r.names)+"*").Count(scanCount).Build()).AsScanEntry()
			if err != nil {
				return n, err
			}
			answers, lists, err := r.matching(ctx, entry.Elements, match)
			if err != nil {
				return n, err
			}
			gone, err := r.unlink(ctx, answers, oneDeletion)
			n += gone
			if err != nil {
				return n, err
			}
			if _, err := r.unlink(ctx, lists, oneDeletion); err != nil {
				return n, err
			}
			if cursor = entry.Cursor; cursor == 0 {
				break
			}
		}
	}
	return n, nil
}

// matching returns those names whose records' texts of the key match, answers and lists of variants apart. It reads no more of
// them than it must.
func (r *remote) matching(ctx context.Context, names []string, match func(text []byte) bool) (answers, lists []Key, err error) {
	c := r.link.Load()
	length := int64(peekBytes)
	if match == nil {
		length = fixedSize
	}
	for ; len(names) > 0; length = fixedSize + MaxKeyText {
		var commands rueidis.Commands
		var asked []Key
		for _, name := range names {
			if k, ok := r.names.key(name); ok {
				commands = append(commands, c.B().Getrange().Key(name).Start(0).End(length-1).Build())
				asked = append(asked, k)
			}
		}
		names = nil
		if len(commands) == 0 {
			break
		}
		for i, result := range c.DoMulti(ctx, commands...) {
			start, err := result.AsBytes()
			var answer *rueidis.RedisError
			if err != nil && !errors.As(err, &answer) {
				return nil, nil, err
			}
			text, ok := keyTextOf(start)
			wanted := match == nil || ok && match(text)
			switch {
			case wanted && isList(start):
				lists = append(lists, asked[i])
			case wanted:
				answers = append(answers, asked[i]) // or no record at all, under a name of ours
			case !ok && length == peekBytes && len(start) == peekBytes:
				names = append(names, r.names.of(asked[i]))
			}
		}
	}
	return answers, lists, nil
}

// unlink deletes keys, and what was read into memory from them meanwhile.
func (r *remote) unlink(ctx context.Context, keys []Key, why uint64) (n int, err error) {
	if len(keys) == 0 {
		return 0, nil
	}
	c := r.link.Load()
	commands := make(rueidis.Commands, len(keys))
	for i, k := range keys {
		commands[i] = c.B().Unlink().Key(r.names.of(k)).Build()
	}
	for i, result := range c.DoMulti(ctx, commands...) {
		gone, e := result.AsInt64()
		if e != nil {
			err = e
		}
		n += int(gone)
		r.memory.delete(&keys[i], why)
	}
	return n, err
}

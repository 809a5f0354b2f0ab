package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"aigateway/gateway/config"
)

// A Usage is counts of one tenant and one model.
type Usage struct {
	Tenant, Model string
	Counts        [UsageCounts]int64
}

// UsageCounts is how many counts there are; what they are of is the caller's business.
const UsageCounts = 5

// Times are what is shown of a tenant's and a model's usage.
type Times struct {
	Tenant, Model            string
	Total, Minute, Hour, Day [UsageCounts]int64
}

// UsageStore adds up what all replicas use, in Redis: in hashes by time, each with a TTL, whose fields are a tenant, a model and a
// count. A nil UsageStore keeps nothing.
type UsageStore struct {
	redis   config.Redis
	keys    string
	timeout time.Duration
	client  rueidis.Client // of Add's goroutine, and of Read's: under it they wait for each other
	turn    chan struct{}
}

// The steps of time in which usage is kept, by the letter in the name of their keys.
var usageSteps = [...]struct {
	letter string
	step   time.Duration
	kept   time.Duration
	shown  time.Duration
}{
	{"m", 10 * time.Second, 2 * time.Minute, time.Minute},
	{"h", 2 * time.Minute, 65 * time.Minute, time.Hour},
	{"d", time.Hour, 26 * time.Hour, 24 * time.Hour},
}

const (
	usageTotal = 90 * 24 * time.Hour // a total that nobody adds to is forgotten
	unit       = "\x1f"              // between a tenant, a model and a count's number
	mostUsage  = 1 << 16             // fields that are read of one hash
)

// NewUsageStore makes one. Keys begin as said, gw:v1:use if that is empty.
func NewUsageStore(r config.Redis, keys string) *UsageStore {
	if keys == "" {
		keys = "gw:v1:use"
	}
	return &UsageStore{redis: r, keys: keys, timeout: 500 * time.Millisecond, turn: make(chan struct{}, 1)}
}

// take waits for its turn and for a connection.
func (s *UsageStore) take(ctx context.Context) error {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	if s.client != nil {
		return nil
	}
	client, err := dial(s.redis, s.timeout)
	if err != nil {
		<-s.turn
		return err
	}
	s.client = client
	return nil
}

// Add adds what was used until now. What does not arrive is the caller's to add again; a part of it may have.
func (s *UsageStore) Add(now time.Time, used []Usage) error {
	if s == nil || len(used) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	if err := s.take(ctx); err != nil {
		return fmt.Errorf("cannot keep usage: %w", err)
	}
	defer func() { <-s.turn }()
	var commands rueidis.Commands
	add := func(key string, life time.Duration) {
		for _, u := range used {
			for i, n := range u.Counts {
				if n != 0 {
					field := u.Tenant + unit + u.Model + unit + strconv.Itoa(i)
					commands = append(commands, s.client.B().Hincrby().Key(key).Field(field).Increment(n).Build())
				}
			}
		}
		commands = append(commands, s.client.B().Pexpire().Key(key).Milliseconds(life.Milliseconds()).Build())
	}
	add(s.keys+":{total}", usageTotal)
	for _, t := range usageSteps {
		add(s.key(t.letter, now.UnixNano()/int64(t.step)), t.kept)
	}
	for _, r := range s.client.DoMulti(ctx, commands...) {
		if err := r.Error(); err != nil {
			return fmt.Errorf("cannot keep usage: %w", err)
		}
	}
	return nil
}

func (s *UsageStore) key(letter string, at int64) string {
	return s.keys + ":{" + letter + strconv.FormatInt(at, 10) + "}"
}

// Read is what all replicas have used.
func (s *UsageStore) Read(now time.Time) ([]Times, error) {
	if s == nil {
		return nil, errors.New("there is no redis")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*s.timeout)
	defer cancel()
	if err := s.take(ctx); err != nil {
		return nil, fmt.Errorf("cannot read usage: %w", err)
	}
	defer func() { <-s.turn }()
	commands := rueidis.Commands{s.client.B().Hgetall().Key(s.keys + ":{total}").Build()}
	of := []int{0} // which time each is a part of
	for i, t := range usageSteps {
		at := now.UnixNano() / int64(t.step)
		for n := range int64(t.shown/t.step) + 1 {
			commands, of = append(commands, s.client.B().Hgetall().Key(s.key(t.letter, at-n)).Build()), append(of, i+1)
		}
	}
	rows := make(map[[2]string]*Times)
	for i, r := range s.client.DoMulti(ctx, commands...) {
		fields, err := r.AsIntMap()
		if err != nil {
			return nil, fmt.Errorf("cannot read usage: %w", err)
		}
		if len(fields) > mostUsage {
			return nil, fmt.Errorf("cannot read usage: %d counts are more than the gateway ever keeps", len(fields))
		}
		for field, n := range fields {
			addUsage(rows, field, of[i], n)
		}
	}
	list := make([]Times, 0, len(rows))
	for _, t := range rows {
		list = append(list, *t)
	}
	return list, nil
}

// addUsage adds a field. What is none of the gateway's says nothing.
func addUsage(rows map[[2]string]*Times, field string, of int, n int64) {
	parts := strings.Split(field, unit)
	if len(parts) != 3 {
		return
	}
	i, err := strconv.Atoi(parts[2])
	if err != nil || i < 0 || i >= UsageCounts {
		return
	}
	who := [2]string{parts[0], parts[1]}
	t := rows[who]
	if t == nil {
		t = &Times{Tenant: parts[0], Model: parts[1]}
		rows[who] = t
	}
	[...]*[UsageCounts]int64{&t.Total, &t.Minute, &t.Hour, &t.Day}[of][i] += n
}

// Close ends the connections.
func (s *UsageStore) Close() {
	if s == nil {
		return
	}
	s.turn <- struct{}{}
	if s.client != nil {
		s.client.Close()
	}
}

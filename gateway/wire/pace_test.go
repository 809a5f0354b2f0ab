package wire

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A body that comes more slowly than it must has no end; one that is fast enough over any window, or whose reader is
// the slow one, has.
func TestClientBodyRate(t *testing.T) {
	o := testOptions
	o.Idle, o.BodyRate = time.Minute, 1000 // over 20 seconds
	const size = 200_000
	f := func(name string, want error, most time.Duration, send func(write func(int) bool), pause time.Duration) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, client := pipedClient(t, Listen(nil, o, nil))
				write := func(n int) (ok bool) {
					_, err := client.Write([]byte(strings.Repeat("x", n)))
					return err == nil
				}
				go func() { _, _ = client.Write([]byte(anyHead)) }()
				mustTakeHead(t, c)
				c.ExpectBody(size, size)
				go send(write)
				took, err := timed(func() error {
					b := make([]byte, 16<<10)
					for !c.BodyDone() {
						if _, err := c.ReadBody(b); err != nil {
							return err
						}
						time.Sleep(pause)
					}
					return nil
				})
				if err != want || err != nil && took > most {
					t.Errorf("%v after %v, want %v within %v", err, took, want, most)
				}
				_ = client.Close()
				_ = c.Close()
				settle()
			})
		})
	}
	every := func(d time.Duration, n int) func(write func(int) bool) {
		return func(write func(int) bool) {
			for sent := 0; sent < size; sent += n {
				if time.Sleep(d); !write(min(n, size-sent)) {
					return
				}
			}
		}
	}
	const window = bodyWindow + bodyWindow/paceSlots
	f("silent", ErrBodySlow, window, func(func(int) bool) {}, 0)
	f("a byte a second", ErrBodySlow, window, every(time.Second, 1), 0)
	f("nearly", ErrBodySlow, 2*window, every(time.Second, 950), 0)
	f("a good beginning", ErrBodySlow, 2*window, func(write func(int) bool) { write(size / 2); every(time.Second, 1)(write) }, 0)
	f("fast enough", nil, 0, every(time.Second, 1100), 0)
	f("in bursts", nil, 0, every(15*time.Second, 40_000), 0)
	f("a slow reader", nil, 0, every(0, 1000), 7*time.Second)
	f("a very slow reader", nil, 0, every(0, size), 50*time.Second)
}

// A rate of 0 is none, and the silence counts as before.
func TestClientBodyWithoutRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := testOptions
		o.Idle = time.Minute
		c, client := pipedClient(t, Listen(nil, o, nil))
		go func() { _, _ = client.Write([]byte(anyHead)) }()
		mustTakeHead(t, c)
		c.ExpectBody(100, 100)
		took, err := timed(func() error { _, err := c.ReadBody(make([]byte, 1)); return err })
		if err != ErrBodyTimeout {
			t.Error(err)
		}
		between(t, "idle", took, o.Idle)
		_ = client.Close()
		_ = c.Close()
		settle()
	})
}

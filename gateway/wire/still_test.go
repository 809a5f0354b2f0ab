package wire

import (
	"testing"
	"time"
)

// Who waits while the process stands still waits anew, and only then.
func TestStoodStill(t *testing.T) {
	w := NewWatch(time.Hour) // somebody beats, but not now
	defer w.Close()
	for heart.beating.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	before := Now()
	heart.last.Store(int64(before))
	beat()
	if StoodStill(before) {
		t.Error("it has not stood still")
	}
	heart.last.Store(int64(before - 2*longPause))
	if !StoodStill(before) {
		t.Error("a pause is not noticed before the next beat")
	}
	beat()
	after := Now()
	if !StoodStill(before) || StoodStill(after) {
		t.Error("a pause is not noticed behind it, or still when it is over")
	}
}

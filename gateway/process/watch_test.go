package process

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// Each step does something to the files, looks, and says what is reported.
func TestWatch(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	age := time.Now().Add(-time.Hour)
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		age = age.Add(time.Second) // file systems differ in how fine their times are
		if err := os.Chtimes(path, age, age); err != nil {
			t.Fatal(err)
		}
	}
	point := func(to string) { // as Kubernetes swaps a volume
		t.Helper()
		next := filepath.Join(dir, "next")
		if err := os.Symlink(to, next); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, filepath.Join(dir, "link")); err != nil {
			t.Fatal(err)
		}
	}
	write(a, "1")
	write(b, "1")
	point("b")
	link := filepath.Join(dir, "link")
	w := Watch([]string{a, link})
	step := func(what string, do func(), want ...string) {
		t.Helper()
		do()
		if got := w.Changed(); !slices.Equal(got, want) {
			t.Errorf("%s: %q reported, want %q", what, got, want)
		}
	}
	nothing := func() {}
	step("nothing", nothing)
	step("a write", func() { write(a, "22") })
	step("and then nothing", nothing, a)
	step("reported once", nothing)
	step("a write", func() { write(a, "3") })
	step("which goes on", func() { write(a, "333") })
	step("and then nothing", nothing, a)
	step("the same size", func() { write(a, "444") })
	step("and then nothing", nothing, a)
	step("gone", func() { os.Remove(a) })
	step("still gone", nothing, a)
	step("back", func() { write(a, "5") })
	step("and then nothing", nothing, a)
	step("changed and back again", func() { os.Rename(a, a+"~") })
	step("in between", func() { os.Rename(a+"~", a) })
	step("and then nothing", nothing)
	step("another file behind the link", func() { point("a") })
	step("and then nothing", nothing, link)
	step("the file behind the link", func() { write(a, "6") })
	step("and then nothing", nothing, a, link)
	step("one and then", func() { write(a, "7") })
	step("the other", func() { point("b") })
	step("are one change", nothing, a, link)
	write(b, "8")
	w.Follow([]string{b, a})
	step("as it was when it was first followed", nothing)
	step("a write", func() { write(b, "9") })
	step("and then nothing", nothing, b)
}

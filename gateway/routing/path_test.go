package routing

import "testing"

// What is logged of a target is its path, and nothing that names who asks.
func TestShownPath(t *testing.T) {
	f := func(target, want string) {
		t.Helper()
		if got := string(ShownPath([]byte(target))); got != want {
			t.Errorf("%q: %q, want %q", target, got, want)
		}
	}
	f("/a/b?key=secret", "/a/b")
	f("/", "/")
	f("*", "*")
	f("", "")
	f("http://u:secret@h/a/b?c", "/a/b")
	f("http://u:secret@h", "")
	f("http://u:secret@h?a/b", "")
	f("//u:secret@h/a//b", "/a//b")
	f(`/\u:secret@h/a`, "/a")
	f("//", "")
	f("u:secret@h:443", "")
	f("secret/a", "")
}

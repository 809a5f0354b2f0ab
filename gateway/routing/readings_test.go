package routing

import (
	"testing"

	"aigateway/gateway/wire"
)

func TestAppendPlain(t *testing.T) {
	f := func(path, want string) {
		t.Helper()
		if got := string(appendPlain([]byte("x"), []byte(path))); got != "x"+want {
			t.Errorf("%q is %q, want %q", path, got[1:], want)
		}
		var h wire.RequestHead
		if v := h.Scan([]byte("GET"), []byte(path), []byte("HTTP/1.1"), []byte("Host: a\r\n\r\n")); v == wire.None && h.Plain && path != want {
			t.Errorf("%q is taken for plain", path)
		}
	}
	f("/", "/")
	f("/a", "/a")
	f("/a/", "/a/")
	f("/a/b", "/a/b")
	f("//", "/")
	f("/a//b", "/a/b")
	f("/./a", "/a")
	f("/a/.", "/a/")
	f("/a/..", "/")
	f("/a/../..", "/")
	f("/../../a", "/a")
	f("/a/b/../c", "/a/c")
	f("/%61", "/a")
	f("/%2561", "/%61")
	f("/a%2fb", "/a/b")
	f("/a/%2E%2e/b", "/b")
	f("/%", "/%")
	f("/%4", "/%4")
	f("/%4g", "/%4g")
	f("/...", "/...")
	f("/.a/a.", "/.a/a.")
}

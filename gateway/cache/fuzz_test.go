package cache

import (
	"bytes"
	"net/http"
	"testing"

	"aigateway/gateway/wire"
)

// FuzzCacheControl: what forbids is found wherever it stands on its own; nothing that is read is out of bounds.
func FuzzCacheControl(f *testing.F) {
	for _, seed := range []string{"", "max-age=60", "private=\"a, b\", no-store", "x=\"\\\"\", max-age=\"5\"", "=,;\",", "s-maxage=99999999999999999999"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, list []byte) {
		var d directives
		d.reset()
		d.read(list)
		for _, s := range []span{d.maxAge, d.sMaxAge, d.staleIfError, d.staleWhileRevalidate} {
			if s < absent || s > maxSeconds {
				t.Errorf("%q: %d seconds", list, s)
			}
		}
		d.names([]byte("x"))
		// Whoever adds a directive in a line of its own is heard.
		d.read([]byte("no-store"))
		if !d.noStore {
			t.Errorf("no-store after %q is not heard", list)
		}
		// An answer of such a line is stored only as wire would have let it in.
		var r Request
		r.readControl(list)
		if r.MaxAge > maxSeconds || r.MaxStale > maxSeconds || r.MinFresh > maxSeconds {
			t.Errorf("%q: %+v", list, r)
		}
	})
}

// FuzzTargeted: a dictionary is read, or it is not; never half of it.
func FuzzTargeted(f *testing.F) {
	for _, seed := range []string{"max-age=60", "a=(1 2);b, c=:YQ==:", "private=\"x\";y=?0", "a=1.5, b=-1", "no-store=?0", "a=\"\\\""} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var d directives
		d.reset()
		if !d.readTargeted(line) || len(trim(line)) == 0 {
			return
		}
		d.reset()
		if !d.readTargeted(append(bytes.Clone(line), ", no-store"...)) || !d.noStore {
			t.Errorf("%q is a dictionary, but not with no-store behind it", line)
		}
	})
}

func FuzzDate(f *testing.F) {
	for _, seed := range []string{noonDate, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", "0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, ok := parseDate([]byte(text), noon)
		if want, err := http.ParseTime(text); ok && err == nil && want.Unix() != got && len(text) == 29 {
			t.Errorf("%q is %d, want %d", text, got, want.Unix())
		}
		if !ok {
			return
		}
		if again, ok := parseDate(appendDate(nil, got), noon); got >= -62135596800 && (!ok || again != got) {
			t.Errorf("%q is written as %q", text, appendDate(nil, got))
		}
	})
}

// FuzzReferenced: what comes out could be the target of a request.
func FuzzReferenced(f *testing.F) {
	for _, seed := range []string{"/x", "../..//x", "http://example.com/../x", "//example.com", "?a", "./."} {
		f.Add("/a/b?c", seed)
	}
	f.Fuzz(func(t *testing.T, target, reference string) {
		var h wire.RequestHead
		scan := func(target []byte) wire.Violation {
			return h.Scan([]byte("GET"), target, []byte("HTTP/1.1"), []byte("Host: a\r\n\r\n"))
		}
		if scan([]byte(target)) != wire.None {
			return
		}
		made, ok := AppendReferenced([]byte("/"), example, []byte(target), []byte(reference))
		if string(made[:1]) != "/" || !ok && len(made) != 1 {
			t.Fatalf("%q: %q", reference, made)
		}
		if v := scan(made[1:]); ok && v != wire.None {
			t.Errorf("%q from %q makes the target %q: %v", reference, target, made[1:], v)
		}
	})
}

// FuzzEntityTags: a list that holds the stored tag, however it begins, is at least read to its end.
func FuzzEntityTags(f *testing.F) {
	f.Add([]byte("\"a\", W/\"b\""))
	f.Add([]byte("\"a,"))
	f.Fuzz(func(t *testing.T, list []byte) {
		for rest := list; len(rest) > 0; {
			var tag []byte
			before := len(rest)
			if tag, rest = cutEntityTag(rest); len(rest) >= before {
				t.Fatalf("%q: no end", list)
			}
			if len(tag) > 0 && !bytes.Contains(list, tag) {
				t.Fatalf("%q: %q", list, tag)
			}
		}
	})
}

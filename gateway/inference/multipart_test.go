package inference

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"strings"
	"testing"
)

const formType = `multipart/form-data; boundary=XX`

func scanForm(f *Form, contentType string, body []byte, size int) Refusal {
	if r := f.Reset([]byte(contentType)); r != Accepted {
		return r
	}
	if size == 0 {
		f.Scan(body)
		return f.End()
	}
	for at := 0; at < len(body); at += size {
		f.Scan(body[at:min(at+size, len(body))])
	}
	return f.End()
}

func crlf(lines ...string) string { return strings.Join(lines, "\r\n") }

// field is a part of a form.
func field(name, value string) string {
	return crlf("--XX", `Content-Disposition: form-data; name="`+name+`"`, "", value, "")
}

func TestFormFindsTheModel(t *testing.T) {
	file := crlf("--XX", `content-disposition: form-data; name="file"; filename="C:\a \"...wav"`, "Content-Type: audio/wav", "", "RIFF\r\n--X\r\r\n--\x00\r\n\r", "")
	file = strings.Replace(file, `\"...`, `...`, 1)
	f := func(body, model string) {
		t.Helper()
		for size := range 12 {
			var form Form
			if r := scanForm(&form, formType, []byte(body), size); r != Accepted || !form.Complete() {
				t.Errorf("%q in pieces of %d: %s", body, size, r)
				continue
			}
			name, stated := form.Model()
			from, to := form.Span()
			if string(name) != model || stated != (model != "") || stated && body[from:to] != model {
				t.Errorf("%q in pieces of %d: model %q, stated %t, at %d to %d", body, size, name, stated, from, to)
			}
		}
	}
	f(field("model", "whisper-1")+"--XX--\r\n", "whisper-1")
	f(file+field("model", "whisper-1")+field("language", "en")+"--XX--", "whisper-1")
	f(field("prompt", "model")+file+file+"--XX--\r\n", "")
	f(field("x", "a--XX\r\n-\n\r\n--X\n-\r-\r\r\n--")+field("model", "m")+"--XX--\r\n", "m")
	f(crlf("--XX", `Content-Type: text/plain`, `Content-Disposition:form-data;name=model`, "", "a/b", "--XX--"), "a/b")
	f(crlf("--XX", `Content-Disposition: form-data; name="x"`, "", "", "--XX--"), "")
}

func TestFormRefuses(t *testing.T) {
	f := func(body string, want Refusal) {
		t.Helper()
		for size := range 12 {
			var form Form
			if r := scanForm(&form, formType, []byte(body), size); r != want {
				t.Errorf("%q in pieces of %d: %s, want %s", body, size, r, want)
			}
		}
	}
	const end = "--XX--\r\n"
	model := field("model", "a")
	f(model+model+end, Duplicate)
	f(field("stream", "true")+field("stream", "false")+end, Duplicate)
	f(field("Model", "a")+end, BadPart)
	f(field("model", strings.Repeat("a", 257))+end, ModelTooLong)
	f(field("model", "a\r\nb")+end, ModelUnprintable)
	f(crlf("--XX", `Content-Disposition: form-data; name="model"; filename="m"`, "", "a", end), ModelNotString)
	f(model+end+"x", Trailing)
	f(model+end+"\r\n", Trailing)
	f(model, Cut)
	f(model+"--XX-", Cut)
	f("", Cut)
	f("preamble\r\n"+model+end, BadPart)
	f("\r\n"+model+end, BadPart)
	f(model+"--XXY"+end, BadPart)
	f(model+"--XX \r\n"+end, BadPart)
	f(strings.ReplaceAll(model+end, "\r\n", "\n"), BadPart)
	f("--XX\r\nContent-Disposition: form-data; name=\"model\"\n\r\na\r\n"+end, BadPart)
	head := func(lines ...string) { t.Helper(); f(crlf("--XX", crlf(lines...), "", "a", end), BadPart) }
	head("Content-Type: text/plain")
	head(`Content-Disposition: form-data`)
	head(`Content-Disposition: form-data; name="a"; name="model"`)
	head(`Content-Disposition: form-data; name*=utf-8''model`)
	head(`Content-Disposition: form-data; name="mod\el"`)
	head(`Content-Disposition: form-data; filename="a\"; name="model"`)
	head(`Content-Disposition: attachment; name="model"`)
	head(`Content-Disposition: form-data; name="a`)
	head(`Content-Disposition: form-data; name="a" x`)
	head(`Content-Disposition: form-data; name="a"`, `Content-Disposition: form-data; name="model"`)
	head(`Content-Disposition: form-data;`, ` name="model"`)
	head(`Content-Disposition : form-data; name="model"`)
	head(`Content-Disposition: form-data; name="model"`, `Content-Transfer-Encoding: base64`)
	f(crlf("--XX", `Content-Disposition: form-data; name="a"`, "", "--XX", `Content-Disposition: form-data; name="model"`, "", "b", end), BadPart)
	for _, end := range []string{"\n", "\r", ""} { // readers differ about what ends the line before a delimiter
		for _, before := range []string{"a", "", "a\n", "a\n\r"} {
			if body := before + end; body == "a" || strings.HasSuffix(body, "\r\n") {
				continue
			}
			f("--XX\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n"+before+end+model+"--XX--", BadPart)
		}
	}
	f("--XX\r\nX: "+strings.Repeat("a", 2000), PartTooLong)
	f("--XX\r\n"+strings.Repeat("X: a\r\n", 20), PartTooLong)

	for _, contentType := range []string{"", "application/json", "multipart/form-data", "multipart/form-data; boundary=", `multipart/form-data; boundary="a b"`,
		"multipart/form-data; boundary=a; boundary=b", "multipart/form-data; boundary*=a", "multipart/mixed; boundary=a",
		"multipart/form-data; boundary=" + strings.Repeat("a", 71)} {
		var form Form
		if r := form.Reset([]byte(contentType)); r != BadBoundary {
			t.Errorf("%q: %s", contentType, r)
		}
	}
	for _, contentType := range []string{`Multipart/Form-Data; charset=utf-8 ; boundary="XX"`, "multipart/form-data;boundary=----WebKitFormBoundaryAb3"} {
		var form Form
		if r := form.Reset([]byte(contentType)); r != Accepted {
			t.Errorf("%q: %s", contentType, r)
		}
	}
}

// formAgrees says in what the form and mime/multipart differ about a body.
func formAgrees(body []byte, size int) string {
	var whole, pieces Form
	r := scanForm(&whole, formType, body, 0)
	if p := scanForm(&pieces, formType, body, size); p != r {
		return fmt.Sprintf("whole: %s, in pieces of %d: %s", r, size, p)
	}
	if r != Accepted {
		return ""
	}
	model, stated := whole.Model()
	from, to := whole.Span()
	if stated && !bytes.Equal(body[from:to], model) {
		return fmt.Sprintf("%q stands where %q is to be", body[from:to], model)
	}
	reader := multipart.NewReader(bytes.NewReader(body), "XX")
	found := 0
	for {
		p, err := reader.NextPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			return "" // it does not take it
		}
		value, err := io.ReadAll(p)
		if err != nil {
			return ""
		}
		if p.FormName() == "model" {
			if found++; string(value) != string(model) {
				return fmt.Sprintf("model %q, want %q", model, value)
			}
		}
	}
	if found > 1 || stated != (found == 1) {
		return fmt.Sprintf("%d models, stated %t", found, stated)
	}
	return ""
}

func TestFormAgrees(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	accepted := 0
	for range 20_000 {
		var b strings.Builder
		for range r.IntN(4) {
			b.WriteString("--XX" + pick("\r\n", "\r\n", "\r\n", "\r\n", "\n", " \r\n", "Y\r\n"))
			b.WriteString(pick("", "", "Content-Type: a\r\n", "x:y\n"))
			b.WriteString("Content-Disposition: form-data; " + pick(`name="model"`, `name="model"`, `name=model`, `name="x"`, `name="x"; filename="a\"b"`, `name="\model"`, `name="Model"`))
			b.WriteString(pick("\r\n\r\n", "\r\n\r\n", "\r\n\r\n", "\n\n", "\r\n"))
			b.WriteString(pick("m", "", "a/b", "\r\n", "--XX", "\r\n--X", "\r", "--XX--", "\r\n--XX"+"X", "--XX\r\n"))
			b.WriteString(pick("\r\n", "\r\n", "\r\n", "\r\n", "\n", ""))
		}
		b.WriteString("--XX--" + pick("", "\r\n", "\r\n", "x"))
		body := []byte(b.String())
		if diff := formAgrees(body, 1+r.IntN(9)); diff != "" {
			t.Fatalf("%q: %s", body, diff)
		}
		var form Form
		if scanForm(&form, formType, body, 0) == Accepted {
			accepted++
		}
	}
	if accepted < 500 {
		t.Errorf("only %d were accepted", accepted)
	}
}

// FuzzForm: what mime/multipart takes, the form takes for the same or refuses; and pieces make no difference.
func FuzzForm(f *testing.F) {
	f.Add([]byte(field("model", "a")+field("x", "y")+"--XX--\r\n"), uint8(3))
	f.Add([]byte(crlf("--XX", `Content-Disposition: form-data; name="a"`, "", "--XX--")), uint8(1))
	f.Fuzz(func(t *testing.T, body []byte, size uint8) {
		if diff := formAgrees(body, 1+int(size)); diff != "" {
			t.Errorf("%q: %s", body, diff)
		}
	})
}

func TestModelOfQuery(t *testing.T) {
	var buf [MaxName + 1]byte
	f := func(query, model string, want Refusal) {
		t.Helper()
		q, r := ModelOfQuery(buf[:], []byte(query))
		if r != want || r == Accepted && (string(q.Name) != model || q.Stated != (model != "")) {
			t.Errorf("%q: %q, %t, %s", query, q.Name, q.Stated, r)
		}
	}
	f("", "", Accepted)
	f("model=a", "a", Accepted)
	f("x=1&model=a%2Fb&y=model", "a/b", Accepted)
	f("mod%65l=a", "a", Accepted)
	f("&&model=a&", "a", Accepted)
	f("models=a&xmodel=b", "", Accepted)
	f("model=a&model=b", "", Duplicate)
	f("model=a&x=1&mode%6c=b", "", Duplicate)
	f("Model=a", "", OtherCase)
	f("model=a;x=b", "", OddQuery)
	f("x=b;model=a", "", OddQuery)
	f("model=%00", "", ModelUnprintable)
	f("model="+strings.Repeat("a", 256), strings.Repeat("a", 256), Accepted)
	f("model="+strings.Repeat("a", 257), "", ModelTooLong)
	f("model="+strings.Repeat("%61", 257), "", ModelTooLong)
	q, _ := ModelOfQuery(buf[:], []byte("x=1&model=a%2Fb&y"))
	if got := "x=1&model=a%2Fb&y"[q.From:q.To]; got != "a%2Fb" {
		t.Errorf("it stands at %q", got)
	}
}

func TestFormAllocatesNothing(t *testing.T) {
	body := []byte(crlf("--XX", `Content-Disposition: form-data; name="file"; filename="a"`, "", strings.Repeat("\r\n--Xx\x00", 1000), "") + field("model", "a") + "--XX--")
	query := []byte("x=y&model=a%2Fb")
	var form Form
	var buf [MaxName + 1]byte
	for _, size := range []int{0, 7, 1000} {
		if n := testing.AllocsPerRun(100, func() {
			if scanForm(&form, formType, body, size) != Accepted {
				t.Error("refused")
			}
			if q, _ := ModelOfQuery(buf[:], query); string(q.Name) != "a/b" {
				t.Error("no model")
			}
		}); n != 0 {
			t.Errorf("pieces of %d: %v allocations", size, n)
		}
	}
}

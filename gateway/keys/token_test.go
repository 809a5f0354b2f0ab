package keys

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"aigateway/gateway/config"

	"github.com/go-jose/go-jose/v4"
)

// An issuer signs tokens.
type issuer struct {
	rsa, small *rsa.PrivateKey
	p256, p384 *ecdsa.PrivateKey
	ed         ed25519.PrivateKey
}

var idp = sync.OnceValue(func() *issuer {
	i := &issuer{}
	i.rsa, _ = rsa.GenerateKey(rand.Reader, 2048)
	i.small, _ = rsa.GenerateKey(rand.Reader, 1024)
	i.p256, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	i.p384, _ = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	_, i.ed, _ = ed25519.GenerateKey(rand.Reader)
	return i
})

// set is the issuer's keys as a JWK Set.
func set(t testing.TB, keys ...jose.JSONWebKey) []byte {
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func public(kid string, key crypto.Signer) jose.JSONWebKey {
	return jose.JSONWebKey{KeyID: kid, Key: key.Public()}
}

// sign makes a token of claims in JSON; more are header fields.
func sign(t testing.TB, a jose.SignatureAlgorithm, key any, kid, claims string, more ...any) []byte {
	t.Helper()
	o := &jose.SignerOptions{}
	for i := 0; i < len(more); i += 2 {
		o = o.WithHeader(jose.HeaderKey(more[i].(string)), more[i+1])
	}
	if kid != "" {
		o = o.WithHeader("kid", kid)
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: a, Key: key}, o)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := s.Sign([]byte(claims))
	if err != nil {
		t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return []byte(text)
}

func settings() *config.JWT {
	u, _ := url.Parse("https://idp.example/keys")
	return &config.JWT{Issuer: "https://idp.example", Audience: "gateway", JWKSURL: u, TenantClaim: "sub", ModelsClaim: "models", Limits: config.KeyLimits{TPM: 7}}
}

// claims are good ones for an hour from today, with others in their place.
func claims(more ...string) string {
	all := map[string]string{"iss": `"https://idp.example"`, "aud": `["else","gateway"]`, "exp": fmt.Sprint(today.Unix() + 3600), "sub": `"alice"`, "models": `["llama-*"]`}
	for i := 0; i < len(more); i += 2 {
		if all[more[i]] = more[i+1]; more[i+1] == "" {
			delete(all, more[i])
		}
	}
	var list []string
	for name, value := range all {
		list = append(list, fmt.Sprintf("%q:%s", name, value))
	}
	return "{" + strings.Join(list, ",") + "}"
}

// Each algorithm goes with its type of key, and what a token says of keys of its own is nothing.
func TestVerify(t *testing.T) {
	i, c := idp(), settings()
	signers, err := parseSigners(set(t, public("r", i.rsa), public("e", i.p256), public("d", i.ed)))
	if err != nil || len(signers) != 3 {
		t.Fatal(err, len(signers))
	}
	f := func(what string, token []byte, want Reason) {
		t.Helper()
		who, why := verify(token, signers, c, today)
		if why != want || why == Granted && (who.tenant != "alice" || who.until != today.Unix()+3600) {
			t.Errorf("%s: %v %+v, want %v", what, why, who, want)
		}
	}
	good := sign(t, jose.RS256, i.rsa, "r", claims())
	f("RS256", good, Granted)
	f("ES256", sign(t, jose.ES256, i.p256, "e", claims()), Granted)
	f("EdDSA", sign(t, jose.EdDSA, i.ed, "d", claims()), Granted)
	f("without kid", sign(t, jose.EdDSA, i.ed, "", claims()), Granted) // there is one of the kind

	// algorithms
	der, _ := x509.MarshalPKIXPublicKey(&i.rsa.PublicKey)
	f("HS256 by a public key", sign(t, jose.HS256, der, "r", claims()), BadToken)
	f("PS256", sign(t, jose.PS256, i.rsa, "r", claims()), BadToken)
	f("RS512", sign(t, jose.RS512, i.rsa, "r", claims()), BadToken)
	f("ES384", sign(t, jose.ES384, i.p384, "e", claims()), BadToken)
	f("ES256 in the name of an RSA key", sign(t, jose.ES256, i.p256, "r", claims()), UnknownIssuer)
	f("RS256 in the name of an elliptic key", sign(t, jose.RS256, i.rsa, "e", claims()), UnknownIssuer)
	b64 := base64.RawURLEncoding.EncodeToString
	for _, header := range []string{`{"alg":"none"}`, `{"alg":"None","kid":"r"}`, `{"alg":"","kid":"r"}`, `{"kid":"r"}`, `{"alg":"RS256","alg":"none","kid":"r"}`, `[]`, ``} {
		f(header, []byte(b64([]byte(header))+"."+b64([]byte(claims()))+"."), BadToken)
	}

	// keys
	other, _ := rsa.GenerateKey(rand.Reader, 2048)
	f("another key of the same name", sign(t, jose.RS256, other, "r", claims()), BadSignature)
	f("a key nobody knows", sign(t, jose.RS256, other, "x", claims()), UnknownIssuer)
	f("jku and x5u", sign(t, jose.RS256, other, "x", claims(), "jku", "http://evil.example/keys", "x5u", "http://evil.example/cert"), UnknownIssuer)
	f("jku beside the right key", sign(t, jose.RS256, i.rsa, "r", claims(), "jku", "http://evil.example/keys"), Granted)
	f("jwk", sign(t, jose.RS256, other, "r", claims(), "jwk", jose.JSONWebKey{Key: other.Public()}), BadSignature)
	f("crit", sign(t, jose.RS256, i.rsa, "r", claims(), "crit", []string{"exp"}, "exp", 1), BadSignature)

	// forms
	parts := strings.Split(string(good), ".")
	f("another payload", []byte(parts[0]+"."+b64([]byte(claims("sub", `"bob"`)))+"."+parts[2]), BadSignature)
	f("no signature", []byte(parts[0]+"."+parts[1]+"."), BadSignature)
	f("white space", append([]byte(" "), good...), BadToken)
	f("two parts", []byte(parts[0]+"."+parts[1]), BadToken)
	f("padding", []byte(string(good)+"="), BadToken)
	f("long", sign(t, jose.RS256, i.rsa, "r", claims("x", `"`+strings.Repeat("x", maxToken)+`"`)), BadToken)

	// claims
	g := func(want Reason, more ...string) {
		t.Helper()
		f(fmt.Sprint(more), sign(t, jose.EdDSA, i.ed, "d", claims(more...)), want)
	}
	g(Granted, "aud", `"gateway"`)
	g(BadToken, "iss", `"https://idp.example/"`)
	g(BadToken, "iss", "")
	g(BadToken, "aud", `"other"`)
	g(BadToken, "aud", `["other"]`)
	g(BadToken, "aud", "")
	g(BadToken, "exp", "")
	g(BadToken, "exp", `"4000000000"`)
	g(BadToken, "exp", "1e300")
	g(ExpiredToken, "exp", fmt.Sprint(today.Unix()))
	g(ExpiredToken, "exp", "-1")
	g(Granted, "nbf", fmt.Sprint(today.Unix()+50))
	g(ExpiredToken, "nbf", fmt.Sprint(today.Unix()+70))
	g(BadToken, "nbf", `"now"`)
	g(BadToken, "sub", "")
	g(BadToken, "sub", `""`)
	g(BadToken, "sub", `7`)
	g(BadToken, "sub", `"a\nb"`)
	g(BadToken, "sub", `"`+strings.Repeat("a", 257)+`"`)
	g(BadToken, "SUB", `"bob"`, "sub", "") // case matters
	c.TenantClaim = "org"
	if who, why := verify(sign(t, jose.EdDSA, i.ed, "d", claims("org", `"acme"`)), signers, c, today); why != Granted || who.tenant != "acme" {
		t.Errorf("another claim for the tenant: %v %+v", why, who)
	}
	f("without that claim", sign(t, jose.EdDSA, i.ed, "d", claims()), BadToken)
	c.TenantClaim = "sub"
	f("a claim twice", sign(t, jose.EdDSA, i.ed, "d", strings.Replace(claims(), "{", `{"sub":"bob",`, 1)), BadToken)
	f("no JSON", sign(t, jose.EdDSA, i.ed, "d", "alice"), BadToken)
}

func TestModelsClaim(t *testing.T) {
	i, c := idp(), settings()
	signers, _ := parseSigners(set(t, public("d", i.ed)))
	f := func(value, claim string, want []string) {
		t.Helper()
		c.ModelsClaim = claim
		who, why := verify(sign(t, jose.EdDSA, i.ed, "d", claims("models", value)), signers, c, today)
		if why != Granted || !slices.Equal(who.models, want) || (who.models == nil) != (want == nil) {
			t.Errorf("%s: %v %#v, want %#v", value, why, who.models, want)
		}
	}
	f(`["a","b*"]`, "models", []string{"a", "b*"})
	f(`"a"`, "models", []string{"a"})
	f(`[]`, "models", []string{})
	f(``, "models", []string{}) // missing: none
	f(`null`, "models", []string{})
	f(`[1,"a"]`, "models", []string{"a"})
	f(`["a"]`, "", nil) // nobody asks: all
}

func TestParseSigners(t *testing.T) {
	i := idp()
	f := func(want string, text []byte) {
		t.Helper()
		signers, err := parseSigners(text)
		var got []string
		for _, s := range signers {
			got = append(got, s.kid+":"+string(s.algorithm))
		}
		if strings.Join(got, " ") != want || (err == nil) != (want != "") {
			t.Errorf("%.100s: %q %v, want %q", text, got, err, want)
		}
	}
	f("r:RS256 e:ES256 d:EdDSA", set(t, public("r", i.rsa), public("e", i.p256), public("d", i.ed)))
	sig, enc, es := public("s", i.rsa), public("x", i.rsa), public("a", i.rsa)
	sig.Use, sig.Algorithm, enc.Use, es.Algorithm = "sig", "RS256", "enc", "PS256"
	f("s:RS256", set(t, sig, enc, es))
	f("d:EdDSA", set(t, public("small", i.small), public("p384", i.p384), jose.JSONWebKey{KeyID: "secret", Key: []byte("0123456789abcdef0123456789abcdef")}, jose.JSONWebKey{KeyID: "private", Key: i.rsa}, public("d", i.ed)))
	one := string(set(t, public("d", i.ed)))
	f("d:EdDSA", []byte(strings.Replace(one, `{"keys":[`, `{"keys":[{},1,{"kty":"RSA","n":"!"},{"kty":"new"},`, 1)))
	f("", []byte(`{"keys":[]}`))
	f("", []byte(`{}`))
	f("", []byte(`<html>`))
	f("", nil)
}

// A source is an issuer's keys under a test's control.
type source struct {
	mu    sync.Mutex
	text  []byte
	err   error
	asked int
}

func (s *source) fetch(context.Context, string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if s.err == errPanics {
		panic(s.err)
	}
	return s.text, s.err
}

// errPanics is of a source whose answer a reader has not thought of.
var errPanics = errors.New("a panic")

func (s *source) becomes(text []byte, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text, s.err = text, err
}

func (s *source) was(t *testing.T, want int) {
	t.Helper()
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked != want {
		t.Errorf("the issuer was asked %d times, want %d", s.asked, want)
	}
}

// The issuer is asked at the start, every five minutes, and when a key is not known: at most every ten seconds. While it is away
// its keys stay; what was signed by one that is gone is none any more.
func TestTokensFollowTheIssuer(t *testing.T) {
	i, c := idp(), settings()
	first, second := set(t, public("one", i.ed)), set(t, public("two", i.p256))
	synctest.Test(t, func(t *testing.T) {
		faults := 0
		s := &source{err: errors.New("away")}
		tokens := NewTokens(c, TokenOptions{Fetch: s.fetch, OnFault: func(error) { faults++ }})
		defer tokens.Close()
		far := fmt.Sprint(time.Now().Unix() + 1e6)
		one, two := sign(t, jose.EdDSA, i.ed, "one", claims("exp", far)), sign(t, jose.ES256, i.p256, "two", claims("exp", far))
		f := func(token []byte, want Reason) {
			t.Helper()
			a, why := tokens.Verify(token, time.Now())
			if why != want || why == Granted && (a.Key.ID != "jwt:alice" || a.Key.Label != Others || a.Key.Limits.TPM != 7 || !a.Key.Allows("llama-8b") || a.Key.Allows("qwen")) {
				t.Errorf("%v %+v, want %v", why, a.Key, want)
			}
		}
		known := func(token []byte, want bool) {
			t.Helper()
			if a, ok := tokens.Known(token, time.Now()); ok != want || ok && a.Key.ID != "jwt:alice" {
				t.Errorf("known: %v %v", ok, a.Key)
			}
		}
		s.was(t, 1)
		f(one, UnknownIssuer)
		s.was(t, 1)
		s.becomes(first, nil)
		time.Sleep(renewPause + time.Second)
		s.was(t, 2) // without keys, by itself
		known(one, false)
		f(one, Granted)
		known(one, true)
		f(two, UnknownIssuer)
		s.was(t, 2)
		time.Sleep(renewPause)
		for range 5 {
			f(two, UnknownIssuer)
		}
		s.was(t, 3)
		known(one, true) // nothing has changed
		s.becomes(nil, errPanics)
		time.Sleep(renewPause)
		f(two, UnknownIssuer)
		s.was(t, 4)
		f(one, Granted)
		s.becomes(second, nil)
		time.Sleep(renewPause)
		f(two, Granted) // the request that needs the key waits for it
		s.was(t, 5)
		known(one, false)
		f(one, UnknownIssuer)
		time.Sleep(renewEvery)
		s.was(t, 6)
		if faults != 2 {
			t.Errorf("%d faults were told", faults)
		}
		time.Sleep(1e6 * time.Second)
		known(two, false)
		f(two, ExpiredToken)
	})
}

// Tokens go on with the settings they are of, over other keys, and end with them.
func TestTokensOfASet(t *testing.T) {
	i := idp()
	synctest.Test(t, func(t *testing.T) {
		s := &source{text: set(t, public("d", i.ed))}
		o := TokenOptions{Fetch: s.fetch}
		c := &config.Keys{JWT: settings()}
		old := New(c, nil, o)
		synctest.Wait()
		far := fmt.Sprint(time.Now().Unix() + 1e6)
		a, why := old.Tokens().Verify(sign(t, jose.EdDSA, i.ed, "d", claims("exp", far)), time.Now())
		if why != Granted {
			t.Fatal(why)
		}
		next := New(&config.Keys{List: []config.Key{stated("a", "sk-a")}, JWT: settings()}, old, o)
		if old.Revoke(next) || next.Tokens() != old.Tokens() {
			t.Error("the same issuer is another one")
		}
		old.Close(next)
		if a.Grant.Revoked().Load() {
			t.Error("a token was revoked for nothing")
		}
		other := settings()
		other.Audience = "other"
		last := New(&config.Keys{JWT: other}, next, o)
		if !next.Revoke(last) || !a.Grant.Revoked().Load() {
			t.Error("the tokens of another audience go on")
		}
		next.Close(last)
		last.Close(nil)
	})
}

// What goes on by a token ends when it does, and what goes on by another one goes on, remembered or not.
func TestTokensEnd(t *testing.T) {
	i := idp()
	synctest.Test(t, func(t *testing.T) {
		s := &source{text: set(t, public("d", i.ed))}
		all := New(&config.Keys{JWT: settings()}, nil, TokenOptions{Fetch: s.fetch})
		defer all.Close(nil)
		synctest.Wait()
		began := time.Now()
		verified := func(seconds int64) *Grant {
			a, why := all.Tokens().Verify(sign(t, jose.EdDSA, i.ed, "d", claims("exp", fmt.Sprint(began.Unix()+seconds))), time.Now())
			if why != Granted {
				t.Fatal(why)
			}
			return a.Grant
		}
		late, early, again := verified(100), verified(10), verified(10)
		f := func(after time.Duration, now bool, want ...bool) {
			t.Helper()
			if got := all.Expire(began.Add(after)); got != now {
				t.Errorf("after %v: revoked %v", after, got)
			}
			for i, g := range []*Grant{late, early, again} {
				if g.Revoked().Load() != want[i] {
					t.Errorf("after %v: grant %d: %v", after, i, !want[i])
				}
			}
		}
		f(9*time.Second, false, false, false, false)
		f(10*time.Second, true, false, true, true)
		f(99*time.Second, false, false, true, true)
		f(100*time.Second, true, true, true, true)
		f(101*time.Second, false, true, true, true)
	})
}

// However many tokens come, and however far their ends are, only those are kept in mind that something goes on by.
func TestGrantsForget(t *testing.T) {
	var g grants
	var kept []*Grant
	for i := range 20 * fewGrants {
		made := g.add(int64(1000 + i))
		if i%100 == 0 {
			kept = append(kept, made)
		}
		if i%fewGrants == 0 {
			runtime.GC()
		}
	}
	if n := len(g.queue); n > 4*fewGrants {
		t.Errorf("%d grants are kept in mind", n)
	}
	if !g.expire(1000) || !kept[0].Revoked().Load() || kept[1].Revoked().Load() || !g.expire(1<<40) {
		t.Error("those that are kept do not end")
	}
	for i, k := range kept {
		if !k.Revoked().Load() {
			t.Fatalf("grant %d goes on", i)
		}
	}
	if !g.revoke() || g.revoke() || !g.add(1<<50).Revoked().Load() {
		t.Error("after all were revoked")
	}
}

// By HTTP: no redirects, no more than 256 KB, no other status than 200.
func TestFetch(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "keys") })
	mux.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/keys", http.StatusFound) })
	mux.HandleFunc("/long", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat("x", maxSetBytes+1)) })
	server := httptest.NewServer(mux)
	defer server.Close()
	f := func(path, want, fault string) {
		t.Helper()
		text, err := fetch(context.Background(), server.URL+path)
		if string(text) != want || (err == nil) != (fault == "") || err != nil && !strings.Contains(err.Error(), fault) {
			t.Errorf("%s: %.20q %v", path, text, err)
		}
	}
	f("/keys", "keys", "")
	f("/away", "", "answers 302")
	f("/none", "", "answers 404")
	f("/long", "", "more than 262144 bytes")
	server.Close()
	f("/keys", "", "cannot reach")
}

func TestKnownAllocatesNothing(t *testing.T) {
	m, token := newMemory(), []byte(strings.Repeat("t", 800))
	m.add(token, Access{Key: &Key{}}, today.Unix()+1)
	if n := testing.AllocsPerRun(100, func() {
		if m.find(token, today.Unix()) == nil {
			t.Error("not found")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// The memory holds as many as it has room for; the one that ends first makes room.
func TestMemory(t *testing.T) {
	m, now := newMemory(), today.Unix()
	for i := range 100_000 {
		m.add(fmt.Append(nil, "token", i), Access{Key: &Key{Index: i}}, now+int64(i)+1)
	}
	found := 0
	for i := range 100_000 {
		if v := m.find(fmt.Append(nil, "token", i), now); v != nil {
			if found++; v.Key.Index != i {
				t.Fatalf("token %d is that of %d", i, v.Key.Index)
			}
		}
	}
	if most := 8 << 10; found < most*9/10 || found > most || m.find([]byte("token99999"), now) == nil {
		t.Errorf("%d are left", found)
	}
}

func FuzzVerify(f *testing.F) {
	i, c := idp(), settings()
	signers, _ := parseSigners(set(f, public("r", i.rsa), public("e", i.p256), public("d", i.ed)))
	good := sign(f, jose.EdDSA, i.ed, "d", claims())
	f.Add(good)
	f.Add([]byte("a.b.c"))
	f.Add([]byte("eyJhbGciOiJub25lIn0.e30."))
	f.Fuzz(func(t *testing.T, token []byte) {
		// The last character of base64 has bits that mean nothing: what counts is what it says.
		if who, why := verify(token, signers, c, today); why == Granted && (who.tenant != "alice" || who.until != today.Unix()+3600) {
			t.Errorf("a token that nobody has signed: %q", token)
		}
	})
}

func BenchmarkToken(b *testing.B) {
	i, c := idp(), settings()
	signers, _ := parseSigners(set(b, public("r", i.rsa), public("e", i.p256), public("d", i.ed)))
	token := sign(b, jose.RS256, i.rsa, "r", claims())
	m := newMemory()
	m.add(token, Access{Key: &Key{}}, today.Unix()+1)
	b.Run("impl=known", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			m.find(token, today.Unix())
		}
	})
	for name, token := range map[string][]byte{"RS256": token, "ES256": sign(b, jose.ES256, i.p256, "e", claims()), "EdDSA": sign(b, jose.EdDSA, i.ed, "d", claims())} {
		b.Run("impl=verify-"+name, func(b *testing.B) {
			for b.Loop() {
				verify(token, signers, c, today)
			}
		})
	}
}

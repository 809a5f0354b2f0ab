package keys

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	stdjson "encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"aigateway/gateway/config"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json" // knows case, and refuses a name that comes twice
)

// Tokens are JSON Web Tokens (RFC 7519) that an issuer signs: by which algorithms, and what they must say, is a short list, after
// RFC 8725.

// algorithms are those that are taken. Each goes with one type of key, so that none can be passed off as another: RFC 8725 §3.1.
var algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.EdDSA}

// maxToken bounds a token, in bytes.
const maxToken = 16 << 10

// IsToken tells whether a credential has the form of a token: three parts with dots between them.
func IsToken(credential []byte) bool { return bytes.Count(credential, dot) == 2 }

var dot = []byte(".")

// A signer is a key of the issuer's.
type signer struct {
	kid       string
	algorithm jose.SignatureAlgorithm
	key       any
}

// parseSigners reads a JWK Set (RFC 7517 §5). What cannot sign here is left out: other types and uses, and what is malformed.
func parseSigners(text []byte) ([]signer, error) {
	var set struct {
		Keys []stdjson.RawMessage `json:"keys"`
	}
	if err := stdjson.Unmarshal(text, &set); err != nil {
		return nil, errors.New("is not a JWK Set")
	}
	var all []signer
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		if key.UnmarshalJSON(raw) != nil || !key.IsPublic() || key.Use != "" && key.Use != "sig" {
			continue
		}
		s := signer{kid: key.KeyID, algorithm: algorithmOf(key.Key), key: key.Key}
		if s.algorithm != "" && (key.Algorithm == "" || key.Algorithm == string(s.algorithm)) {
			all = append(all, s)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("holds no key for RS256, ES256 or EdDSA")
	}
	return all, nil
}

// algorithmOf is the one by which a key signs; "": none that is taken.
func algorithmOf(key any) jose.SignatureAlgorithm {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() >= 2048 { // RFC 7518 §3.3
			return jose.RS256
		}
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return jose.ES256
		}
	case ed25519.PublicKey:
		return jose.EdDSA
	}
	return ""
}

// A claimant is what a token says of who shows it.
type claimant struct {
	tenant string
	models []string // that it may ask; nil: all
	until  int64    // Unix seconds
}

// verify checks a token whose signer is one of these. UnknownIssuer is of one that may not be known yet.
func verify(token []byte, signers []signer, c *config.JWT, now time.Time) (who claimant, why Reason) {
	if len(token) > maxToken {
		return who, BadToken
	}
	// A token that names its own key (jwk, jku, x5c, x5u) is not asked about it: only kid is looked at.
	signed, err := jose.ParseSignedCompact(string(token), algorithms)
	if err != nil {
		return who, BadToken
	}
	header := signed.Signatures[0].Protected
	by, ok := find(signers, header.KeyID, jose.SignatureAlgorithm(header.Algorithm))
	if !ok {
		return who, UnknownIssuer
	}
	payload, err := signed.Verify(by.key)
	if err != nil {
		return who, BadSignature
	}
	return readClaims(payload, c, now)
}

// find looks for the key that a token names. One that names none is signed by the only one there is of its algorithm.
func find(signers []signer, kid string, algorithm jose.SignatureAlgorithm) (found signer, ok bool) {
	n := 0
	for _, s := range signers {
		if s.algorithm == algorithm && (kid == "" || s.kid == kid) {
			found = s
			n++
		}
	}
	return found, n == 1
}

// skew is how far the issuer's clock may be ahead of ours.
const skew = time.Minute

// readClaims reads what a token says that was found to be the issuer's.
func readClaims(payload []byte, c *config.JWT, now time.Time) (who claimant, why Reason) {
	var claims map[string]any
	if json.Unmarshal(payload, &claims) != nil || claims["iss"] != c.Issuer || !slices.Contains(texts(claims["aud"]), c.Audience) {
		return who, BadToken
	}
	until, ok := claims["exp"].(float64)
	if !ok || until != until || until > 1<<50 || until < -1<<50 {
		return who, BadToken // one without an end would be for ever
	}
	if who.until = int64(until); now.Unix() >= who.until {
		return who, ExpiredToken
	}
	if since, stated := claims["nbf"]; stated {
		from, ok := since.(float64)
		if !ok {
			return who, BadToken
		}
		if float64(now.Add(skew).Unix()) < from {
			return who, ExpiredToken
		}
	}
	if who.tenant, ok = claims[c.TenantClaim].(string); !ok || !isTenant(who.tenant) {
		return who, BadToken
	}
	if c.ModelsClaim != "" {
		who.models = append([]string{}, texts(claims[c.ModelsClaim])...) // missing: none
	}
	return who, Granted
}

// texts is a claim that is a text or a list of them: RFC 7519 §4.1.3.
func texts(claim any) (list []string) {
	switch v := claim.(type) {
	case string:
		return []string{v}
	case []any:
		for _, one := range v {
			if text, ok := one.(string); ok {
				list = append(list, text)
			}
		}
	}
	return list
}

// isTenant tells whether a claim can stand in logs and keys.
func isTenant(claim string) bool {
	return claim != "" && len(claim) <= 256 && !strings.ContainsFunc(claim, func(r rune) bool { return r <= ' ' || r == 0x7f || r == 0xfffd })
}

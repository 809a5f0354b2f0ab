package keys

import (
	"context"
	stdjson "encoding/json"

	"aigateway/gateway/config"
)

// An Issuer is what an issuer has said of its keys.
type Issuer struct {
	Signers []Signer // of tokens that are taken, at least one
	Others  int      // keys that sign nothing here: of another type, use or algorithm, or too short
}

// A Signer is a key of an issuer's.
type Signer struct {
	ID        string // as tokens name it in kid; "": it has none
	Algorithm string // RS256, ES256 or EdDSA
}

// AskIssuer asks once for the keys that sign tokens, as [NewTokens] does again and again.
func AskIssuer(ctx context.Context, c *config.JWT) (Issuer, error) {
	text, err := fetch(ctx, c.JWKSURL.String())
	if err != nil {
		return Issuer{}, err
	}
	signers, err := parseSigners(text)
	if err != nil {
		return Issuer{}, err
	}
	var issuer Issuer
	for _, s := range signers {
		issuer.Signers = append(issuer.Signers, Signer{s.kid, string(s.algorithm)})
	}
	var all struct {
		Keys []stdjson.RawMessage `json:"keys"`
	}
	if stdjson.Unmarshal(text, &all) == nil {
		issuer.Others = len(all.Keys) - len(signers)
	}
	return issuer, nil
}

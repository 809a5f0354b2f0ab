package keys

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"

	"aigateway/gateway/config"
)

// Generate draws a key of 256 bits and returns it with its line for KEYS_FILE. The key is nowhere else: the line holds its hash.
// An empty id stands for one that is drawn too.
func Generate(id string) (key, line string, err error) {
	var secret [32]byte
	rand.Read(secret[:])
	key = "sk-" + base64.RawURLEncoding.EncodeToString(secret[:])
	if id == "" {
		id = "key-" + rand.Text()[:8]
	}
	if err := config.CheckKeyID(id); err != nil {
		return "", "", err
	}
	return key, fmt.Sprintf("  - {id: %q, sha256: [\"%x\"]}", id, sha256.Sum256([]byte(key))), nil
}

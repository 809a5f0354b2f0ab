package config

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Keys is who may ask, as KEYS_FILE says. It holds no key: only what keys are known by.
type Keys struct {
	List []Key // in the order of the file; empty: nobody has a key
	JWT  *JWT  // nil: tokens are not taken

	Optional bool // who shows none of them may ask as if there were none; of -demo alone, no file can say it
}

// Key is what the file says of a tenant that has keys.
type Key struct {
	ID       string     // what logs, metrics and Redis know it by
	Sums     [][32]byte // SHA-256 of the keys it may show, 1 to maxSums
	Models   []string   // globs of the models it may ask; nil: all, empty: none
	Limits   KeyLimits
	Priority Priority
	Weight   int       // 1..1000: its share in a queue
	Expires  time.Time // from then on it is refused; zero: never
	Disabled bool
}

// KeyLimits are what one tenant may ask for; a zero is no limit of that kind.
type KeyLimits struct {
	RPS         float64 // requests per second
	Burst       int64   // that the bucket of RPS holds; 0: there is no RPS
	RPM         int64   // requests per minute, all of which may come at once
	TPM         int64   // tokens per minute
	TPMBurst    int64   // that the bucket of TPM holds
	TPD         int64   // tokens per day
	Concurrency int     // requests under way
}

// Priority is the class of a request in a queue.
type Priority string

// The classes, highest first. The zero Priority is the middle one.
const (
	Interactive Priority = "interactive"
	Ordinary    Priority = "default"
	Batch       Priority = "batch"
)

// JWT says whose tokens are taken, and what a tenant with such a token may ask for.
type JWT struct {
	Issuer, Audience         string
	JWKSURL                  *url.URL
	TenantClaim, ModelsClaim string // ModelsClaim "": the models are not said by tokens, and all are allowed
	Limits                   KeyLimits
}

const (
	maxSums   = 4  // keys of one tenant; a rotation needs two
	maxKeyID  = 64 // bytes; it stands in lines, labels and names of Redis
	maxTokens = 1_000_000_000_000
	otherKeys = "other" // what metrics call the keys that have no series of their own
)

// ReadKeys reads KEYS_FILE. It returns what is odd as warnings, and everything that is wrong as *Faults.
func ReadKeys(name string, read func(name string) ([]byte, error)) (*Keys, []string, error) {
	return new(KeyReader).Read(name, read)
}

func newKeyDraft(name string, read func(name string) ([]byte, error)) *draft {
	d := &draft{settings: &Settings{given: given{values: map[string]value{}}}, read: read}
	if d.read == nil {
		d.read = os.ReadFile
		d.warnOpen("KEYS_FILE", name)
	}
	return d
}

func (d *draft) readKeyFile(name string) ([]byte, error) {
	text, err := d.read(name)
	if why := (*fs.PathError)(nil); errors.As(err, &why) {
		err = why.Err // without the path a second time
	}
	if err != nil {
		return nil, &Faults{List: []string{fmt.Sprintf("KEYS_FILE: cannot read %q: %v", name, err)}}
	}
	return text, nil
}

// readKeys reads the file of keys, if one is named.
func (d *draft) readKeys(in Input) {
	if d.settings.KeysFile == "" {
		d.readDemoKeys(in.DemoKeys)
		return
	}
	keys, warnings, err := in.Keys.Read(d.settings.KeysFile, in.ReadFile)
	if faults := (*Faults)(nil); errors.As(err, &faults) {
		d.faults = append(d.faults, faults.List...)
	}
	d.settings.Keys, d.warnings = keys, append(d.warnings, warnings...)
	if a := d.settings.Admin; keys != nil && a.Token == "" && a.Addr == "" {
		d.warnings = append(d.warnings, "KEYS_FILE: nobody can see /metrics and the other operators' pages; ADMIN_TOKEN or ADMIN_ADDR opens them")
	}
}

// readDemoKeys reads the keys of -demo, if it has any.
func (d *draft) readDemoKeys(text string) {
	if text == "" {
		return
	}
	keys, _, err := ReadKeys("-demo", func(string) ([]byte, error) { return []byte(text), nil })
	if faults := (*Faults)(nil); errors.As(err, &faults) {
		d.faults = append(d.faults, faults.List...)
		return
	}
	keys.Optional = true
	d.settings.Keys = keys
}

// WithKeys is the same settings with another file of keys.
func (s *Settings) WithKeys(k *Keys) *Settings {
	next := *s
	next.Keys = k
	return &next
}

// warnOpen names a setting's file that others on this machine may read: hashes of keys that were not drawn by keygen can be guessed,
// and with keys of tickets, connections that were listened to can be read.
func (d *draft) warnOpen(setting, name string) {
	if info, err := os.Stat(name); err == nil && info.Mode().Perm()&0o004 != 0 {
		d.warnings = append(d.warnings, fmt.Sprintf("%s: %q can be read by everybody on this machine; chmod o-r takes that away", setting, name))
	}
}

func (d *draft) parseKeys(name string, text []byte) *Keys {
	tree, err := parser.ParseBytes(bytes.TrimPrefix(text, []byte("\ufeff")), 0, parser.AllowDuplicateMapKey())
	if err != nil {
		d.fault(syntaxFault(name, text, err))
		return nil
	}
	root := node{draft: d, file: name, line: 1, secret: true}
	for _, doc := range tree.Docs {
		if root.body != nil && doc.Body != nil {
			root.line = doc.Body.GetToken().Position.Line
			root.fault("a second document begins here; the file has one")
			return nil
		}
		root.body = cmp.Or(root.body, doc.Body)
	}
	if root.body != nil {
		ast.Walk(&d.anchors, root.body)
	}
	k := &Keys{}
	stated := false
	root.fields(map[string]func(node){
		"keys": func(n node) { k.List, stated = readKeyList(n), n.isEmptyList() || !n.empty() },
		"jwt":  func(n node) { k.JWT = readJWT(n) },
	})
	if !stated && k.JWT == nil && len(d.faults) == 0 {
		// Not "nobody": a file that is being written is empty too.
		root.fault("needs keys: a list, or [] if nobody has one")
	}
	return k
}

func (n node) isEmptyList() bool {
	list, ok := n.body.(*ast.SequenceNode)
	return ok && len(list.Values) == 0
}

func readKeyList(n node) []Key {
	list := []Key{}
	ids, sums := map[string]string{}, map[[32]byte]string{}
	n.items(func(n node) {
		k := Key{Weight: 1}
		readKey(n, &k)
		twice := func(what, first string) {
			line, path, _ := strings.Cut(strings.TrimPrefix(first, n.file+":"), ": ")
			n.fault("has " + what + " that " + path + " in line " + line + " has already")
		}
		if first := ids[k.ID]; first != "" && k.ID != "" {
			twice("the id", first)
		}
		ids[k.ID] = n.where()
		for _, sum := range k.Sums {
			if first := sums[sum]; first != "" {
				twice("a hash", first)
			}
			sums[sum] = n.where()
		}
		list = append(list, k)
	})
	return list
}

func readKey(n node, k *Key) {
	before := len(n.draft.faults)
	n.fields(map[string]func(node){
		"id":       to(&k.ID, keyID),
		"sha256":   func(n node) { k.Sums = readSums(n) },
		"models":   func(n node) { k.Models = readGlobs(n) },
		"limits":   func(n node) { readKeyLimits(n, &k.Limits) },
		"priority": to(&k.Priority, priority),
		"weight":   to(&k.Weight, keyWeight),
		"expires":  to(&k.Expires, day),
		"disabled": to(&k.Disabled, boolean),
	})
	switch {
	case len(n.draft.faults) > before:
	case k.ID == "":
		n.fault("needs an id")
	case len(k.Sums) == 0:
		n.fault("needs sha256, the hash of its key; gateway keygen makes both")
	}
}

// readSums reads the hashes of a tenant's keys: one, or a list of them. What it reads is never quoted: it may be a key.
func readSums(n node) (sums [][32]byte) {
	one := func(n node) {
		text := n.text()
		var sum [32]byte
		raw, err := hex.DecodeString(text)
		switch {
		case text == "":
			n.fault("needs a hash")
		case strings.HasPrefix(text, "sk-"):
			n.fault("is a key itself; only its hash belongs here, and who may read this file knows the key now")
		case err != nil || copy(sum[:], raw) != len(sum) || len(raw) != len(sum):
			n.fault("is not a SHA-256 hash, which is 64 hexadecimal digits; gateway keygen prints one")
		default:
			sums = append(sums, sum)
		}
	}
	value, ok := n.resolved()
	switch {
	case !ok:
	case value.isList():
		n.items(one)
	default:
		one(n)
	}
	if len(sums) > maxSums {
		n.fault(fmt.Sprintf("has more than %d hashes; a rotation needs two", maxSums))
	}
	return sums
}

// readGlobs reads which models a tenant may ask. A list that is stated and empty is none; one that is not stated is all.
func readGlobs(n node) []string {
	list := []string{}
	if n.empty() {
		return nil
	}
	n.items(func(n node) {
		var glob string
		before := len(n.draft.faults)
		if to(&glob, modelGlob)(n); glob == "" && len(n.draft.faults) == before {
			n.fault("needs a pattern of models' names")
		}
		list = append(list, glob)
	})
	return list
}

// modelGlob parses a pattern of models' names, in which * stands for any bytes.
func modelGlob(text string) (string, error) {
	if len(text) > 256 || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0xfffd }) {
		return "", errors.New("is not a pattern of models' names: at most 256 printable bytes, * for any")
	}
	return text, nil
}

// keyID parses what a tenant is called: a metric label, a name in Redis and a word in lines.
func keyID(text string) (string, error) {
	switch {
	case strings.HasPrefix(text, "sk-"):
		return "", errors.New("looks like a key; the id is in logs and metrics")
	case !wordOf(text) || len(text) > maxKeyID:
		return "", fmt.Errorf(`an id is of letters, digits, ".", "_" and "-", %d at most`, maxKeyID)
	case text == otherKeys:
		return "", fmt.Errorf("%q is what metrics call all those without a series of their own", text)
	}
	return text, nil
}

// CheckKeyID tells whether a tenant may be called that.
func CheckKeyID(id string) error {
	_, err := keyID(id)
	return err
}

func priority(text string) (Priority, error) { return oneOf(text, Interactive, Ordinary, Batch) }

// day parses a date, which is its midnight in UTC.
func day(text string) (time.Time, error) {
	at, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return at, errors.New("is not a date, such as 2027-01-01; it is meant in UTC")
	}
	return at, nil
}

func readKeyLimits(n node, l *KeyLimits) {
	before := len(n.draft.faults)
	n.fields(map[string]func(node){
		"rps":         to(&l.RPS, rate),
		"burst":       to(&l.Burst, burst),
		"rpm":         to(&l.RPM, burst),
		"tpm":         to(&l.TPM, burst),
		"tpm_burst":   to(&l.TPMBurst, burst),
		"tpd":         to(&l.TPD, dailyTokens),
		"concurrency": to(&l.Concurrency, concurrency),
	})
	if fault := l.complete(); fault != "" && len(n.draft.faults) == before {
		n.fault(fault)
	}
}

var (
	keyWeight   = integer(1, 1000, "weight")
	dailyTokens = integer[int64](1, maxTokens, "number of tokens")
	concurrency = integer(1, maxInflight, "number of requests")
)

// complete states what follows from what is stated, and tells what does not go together.
func (l *KeyLimits) complete() (fault string) {
	switch {
	case l.Burst > 0 && l.RPS == 0:
		fault = "burst is what rps may save up, and there is no rps"
	case l.TPMBurst > 0 && l.TPM == 0:
		fault = "tpm_burst is what tpm may save up, and there is no tpm"
	}
	if l.RPS > 0 {
		l.Burst = cmp.Or(l.Burst, int64(math.Ceil(l.RPS)))
	}
	l.TPMBurst = cmp.Or(l.TPMBurst, l.TPM)
	return fault
}

// readJWT reads whose tokens are taken.
func readJWT(n node) *JWT {
	j, before := &JWT{TenantClaim: "sub"}, len(n.draft.faults)
	n.fields(map[string]func(node){
		"issuer":       to(&j.Issuer, anything),
		"audience":     to(&j.Audience, anything),
		"jwks_url":     to(&j.JWKSURL, jwksURL),
		"tenant_claim": to(&j.TenantClaim, anything),
		"models_claim": to(&j.ModelsClaim, anything),
		"limits":       func(n node) { readKeyLimits(n, &j.Limits) },
	})
	switch {
	case len(n.draft.faults) > before:
	case j.Issuer == "":
		n.fault("needs issuer, as tokens name it in iss")
	case j.Audience == "":
		n.fault("needs audience: a token that was made for somebody else is none here")
	case j.JWKSURL == nil:
		n.fault("needs jwks_url, where the issuer's keys are")
	case j.JWKSURL.Scheme == "http" && !slices.Contains([]string{"localhost", "127.0.0.1", "::1"}, j.JWKSURL.Hostname()):
		n.draft.warnings = append(n.draft.warnings, n.where()+": jwks_url is not https: who is on the way can make tokens")
	}
	return j
}

// jwksURL parses where an issuer's keys are.
func jwksURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.Fragment != "" {
		return nil, errors.New("is not a URL such as https://idp.example/keys, without a user")
	}
	return u, nil
}

package config

import (
	"strings"
)

// A KeyReader reads KEYS_FILE again and again. A tenant whose line it knows from the last time is not read anew: of a hundred
// thousand keys, the one that was taken back is found in a fraction of a second, where the library needs several for all.
type KeyReader struct {
	known map[string]Key // by line; nil: nothing was read yet, or it was not all lines
}

// Read is [ReadKeys]. A nil KeyReader remembers nothing.
func (r *KeyReader) Read(name string, read func(name string) ([]byte, error)) (*Keys, []string, error) {
	if r == nil {
		r = new(KeyReader)
	}
	d := newKeyDraft(name, read)
	text, err := d.readKeyFile(name)
	if err != nil {
		return nil, nil, err
	}
	file, lines := cutKeyLines(string(text))
	if keys := r.quick(name, file); lines && keys != nil {
		r.learn(file, keys)
		return keys, append(d.warnings, file.warnings...), nil
	}
	r.known = nil
	keys := d.parseKeys(name, text)
	if len(d.faults) > 0 {
		return nil, nil, &Faults{List: d.faults}
	}
	if lines {
		r.learn(file, keys)
	}
	return keys, d.warnings, nil
}

// A keyLines is a file in which each tenant has one line.
type keyLines struct {
	items    []string
	rest     string // with as many lines, and a list without tenants
	warnings []string
}

// cutKeyLines takes a file apart that has its keys first, one in each line, as keygen prints them. ok is false for all others, and
// where a line may mean something else than it would alone.
func cutKeyLines(text string) (file *keyLines, ok bool) {
	file = &keyLines{}
	indent, inList, count := "", false, 0
	for line := range strings.Lines(text) {
		plain := strings.TrimSpace(line)
		switch {
		case plain == "" || plain[0] == '#':
		case !inList:
			if inList = strings.TrimRight(line, " \t\r\n") == "keys:"; !inList {
				return file, false
			}
		case strings.HasPrefix(plain, "- {"):
			before := line[:strings.IndexByte(line, '-')]
			if len(file.items) == 0 {
				indent = before
			}
			if before != indent || !standsAlone(plain) {
				return file, false
			}
			file.items = append(file.items, plain)
		case line[0] == ' ' || line[0] == '\t' || line[0] == '-':
			return file, false
		default:
			file.rest = "keys: []\n" + strings.Repeat("\n", max(count-1, 0)) + text
			return file, len(file.items) > 0
		}
		text = text[len(line):]
		count++
	}
	file.rest = "keys: []\n"
	return file, len(file.items) > 0
}

// standsAlone tells whether the line of a tenant means the same wherever it stands: it is whole, and refers to nothing.
func standsAlone(line string) bool {
	if !strings.HasSuffix(line, "}") || strings.ContainsAny(line, "&!#<|>") {
		return false
	}
	for i := range len(line) {
		if line[i] == '*' && strings.IndexByte(" [{,:", line[i-1]) >= 0 {
			return false // an alias, or what looks like one
		}
	}
	return true
}

// quick reads a file of lines of which most are known; nil if there is anything to be told about it.
func (r *KeyReader) quick(name string, file *keyLines) *Keys {
	if r.known == nil {
		return nil
	}
	rest := &draft{settings: &Settings{given: given{values: map[string]value{}}}}
	keys := rest.parseKeys(name, []byte(file.rest))
	if len(rest.faults) > 0 {
		return nil
	}
	file.warnings = rest.warnings
	keys.List = make([]Key, 0, len(file.items))
	ids, sums := make(map[string]bool, len(file.items)), make(map[[32]byte]bool, len(file.items))
	for _, line := range file.items {
		k, known := r.known[line]
		if !known {
			one := &draft{settings: rest.settings}
			list := one.parseKeys(name, []byte("keys:\n"+line+"\n"))
			if len(one.faults) > 0 || len(list.List) != 1 {
				return nil
			}
			k = list.List[0]
		}
		if ids[k.ID] {
			return nil
		}
		ids[k.ID] = true
		for _, sum := range k.Sums {
			if sums[sum] {
				return nil
			}
			sums[sum] = true
		}
		keys.List = append(keys.List, k)
	}
	return keys
}

// learn remembers what the lines of a file mean.
func (r *KeyReader) learn(file *keyLines, keys *Keys) {
	r.known = nil
	if len(file.items) != len(keys.List) {
		return
	}
	r.known = make(map[string]Key, len(file.items))
	for i, line := range file.items {
		r.known[line] = keys.List[i]
	}
}

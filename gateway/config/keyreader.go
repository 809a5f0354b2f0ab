package config

import (
	"strings"
)

// A KeyReader reads KEYS_FILE again and again. What is wrong with a file is told by the library's tree; the tenants of a file without
// faults are read from their lines, as keygen and people write them, in a fiftieth of the time. Of those that are written otherwise,
// it knows what they meant the last time.
type KeyReader struct {
	known map[string]Key // by their text
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
	if file, ok := cutKeyItems(string(text)); ok {
		if keys := r.quick(name, file); keys != nil {
			return keys, append(d.warnings, file.warnings...), nil
		}
	}
	keys := d.parseKeys(name, text)
	if len(d.faults) > 0 {
		return nil, nil, &Faults{List: d.faults}
	}
	return keys, d.warnings, nil
}

// A keyItems is a file taken apart into its tenants.
type keyItems struct {
	items    []string // whole lines of each
	rest     string   // with as many lines, and a list without tenants
	warnings []string
}

// cutKeyItems takes a file apart that has a list of keys. ok is false for all others, and where an item may mean something else than it
// would alone.
func cutKeyItems(text string) (file *keyItems, ok bool) {
	file = &keyItems{}
	indent, inList, count, at := "", false, 0, 0
	from, to := -1, -1 // of the item that may go on
	head := ""
	end := func() bool {
		if from < 0 {
			return true
		}
		item := text[from:to]
		from = -1
		file.items = append(file.items, item)
		return standsAlone(item)
	}
	for line := range strings.Lines(text) {
		plain := strings.TrimSpace(line)
		before := line[:len(line)-len(strings.TrimLeft(line, " "))]
		switch {
		case plain == "" || plain[0] == '#':
			if !end() {
				return file, false
			}
		case !inList:
			if inList = strings.TrimRight(line, " \r\n") == "keys:"; inList {
				head, count = text[:at]+"keys: []\n", -1
			}
		case strings.HasPrefix(plain, "- ") && (before == indent || len(file.items) == 0 && from < 0):
			if indent = before; !end() {
				return file, false
			}
			from, to = at, at+len(line)
		case len(before) > len(indent) && from >= 0:
			to = at + len(line)
		case before != "" || line[0] == '\t' || line[0] == '-':
			return file, false
		default:
			file.rest = head + strings.Repeat("\n", count) + text[at:]
			return file, end() && len(file.items) > 0
		}
		at += len(line)
		count++
	}
	file.rest = head
	return file, end() && len(file.items) > 0
}

// standsAlone tells whether an item means the same wherever it stands: it refers to nothing, and has nothing in it that ends where
// the library says.
func standsAlone(item string) bool {
	if strings.ContainsAny(item, "&!#<|>\t") {
		return false
	}
	for i := range len(item) {
		if item[i] == '*' && strings.IndexByte(" [{,:", item[i-1]) >= 0 {
			return false // an alias, or what looks like one
		}
	}
	return true
}

// quick reads a file that was taken apart; nil if there is anything to be told about it.
func (r *KeyReader) quick(name string, file *keyItems) *Keys {
	rest := &draft{settings: &Settings{given: given{values: map[string]value{}}}}
	keys := rest.parseKeys(name, []byte(file.rest))
	if len(rest.faults) > 0 || keys.List == nil { // what looked like the list is none
		return nil
	}
	file.warnings = rest.warnings
	keys.List = make([]Key, 0, len(file.items))
	var odd map[string]Key
	ids, sums := make(map[string]struct{}, len(file.items)), make(map[[32]byte]struct{}, len(file.items))
	count := 0
	for _, item := range file.items {
		k, ok := readKeyItem(item)
		if !ok {
			if k, ok = r.known[item]; !ok {
				one := &draft{settings: rest.settings}
				list := one.parseKeys(name, []byte("keys:\n"+item))
				if len(one.faults) > 0 || len(list.List) != 1 {
					return nil
				}
				k = list.List[0]
			}
			if odd == nil {
				odd = make(map[string]Key)
			}
			odd[item] = k
		}
		ids[k.ID] = struct{}{}
		for _, sum := range k.Sums {
			sums[sum] = struct{}{}
		}
		count += len(k.Sums)
		keys.List = append(keys.List, k)
	}
	if len(ids) != len(keys.List) || len(sums) != count {
		return nil // there is one twice
	}
	r.known = odd
	return keys
}

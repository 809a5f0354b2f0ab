package config

import (
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// Anchors, aliases, merge keys and tags: YAML 1.2.2 §3.2.2.2 and §6.9, and https://yaml.org/type/merge.html.

// An anchor is a value of the file that has a name, and where it begins.
type anchor struct {
	name   string
	offset int
	value  ast.Node
}

// anchors collects what the file names.
type anchors struct{ list []anchor }

// Visit implements [ast.Visitor].
func (a *anchors) Visit(n ast.Node) ast.Visitor {
	if named, ok := n.(*ast.AnchorNode); ok {
		a.list = append(a.list, anchor{named.Name.GetToken().Value, named.Start.Position.Offset, named.Value})
	}
	return a
}

// find returns the value that a name stands for at an offset: the nearest one before it that is so named.
func (a *anchors) find(name string, offset int) (value ast.Node, ok bool) {
	for _, one := range a.list {
		if one.name == name && one.offset < offset {
			value, ok = one.value, true
		}
	}
	return value, ok
}

// maxAliases bounds how many aliases lead to one value: one that stands in itself would lead on for ever.
const maxAliases = 16

// maxMerged bounds how many keys the merge keys of a file bring in all: a few lines that merge each other many times over
// would be read for hours.
const maxMerged = 100_000

// plainTags are the tags that say what a value is here anyway.
const plainTags = " !!str !!int !!float !!bool !!null !!map !!seq ! "

// shortTag is a tag without what "!!" stands for: YAML 1.2.2 §6.9.1.
func shortTag(tag string) string {
	if name, ok := strings.CutPrefix(tag, "!<tag:yaml.org,2002:"); ok {
		return "!!" + strings.TrimSuffix(name, ">")
	}
	return tag
}

// resolved is the value that a node stands for, behind names and tags. ok is false if there is none, which is told.
func (n node) resolved() (value node, ok bool) {
	for range maxAliases {
		switch body := n.body.(type) {
		case *ast.AnchorNode:
			n.body = body.Value
		case *ast.TagNode:
			if tag := shortTag(body.Start.Value); !strings.Contains(plainTags, " "+tag+" ") {
				n.fault("has " + n.named("the tag", "a tag", tag) + ", which nothing here knows")
				return n, false
			}
			n.body = body.Value
		case *ast.AliasNode:
			name := body.Value.GetToken()
			target, known := n.draft.anchors.find(name.Value, name.Position.Offset)
			if !known {
				n.fault("refers to " + n.named("", "a name", name.Value) + ", which nothing before it is named")
				return n, false
			}
			n.body = target
			if n.depth++; n.depth > maxAliases {
				n.fault(errItself)
				return n, false
			}
		default:
			return n, true
		}
	}
	n.fault(errItself)
	return n, false
}

const errItself = "refers to itself, or over more aliases than can be followed"

// named is a word of the file with what it is, or only what it is where it may be a secret: a password that begins with
// * or ! and was not quoted.
func (n node) named(what, secret, word string) string {
	if n.secret {
		return secret
	}
	return strings.TrimPrefix(what+" "+quoteKey(word), " ")
}

// pair is a key of a mapping and its value.
type pair struct {
	key   string
	child node
}

// pairs lists what a mapping holds, with what it merges (<<), which gives way to what stands in the mapping itself.
func (n node) pairs() (list []pair, ok bool) {
	n, ok = n.resolved()
	if !ok {
		return nil, false
	}
	mapping, ok := n.body.(*ast.MappingNode)
	if !ok {
		n.unlike("is not a mapping of keys to values")
		return nil, false
	}
	own := map[string]bool{}
	var merged []pair
	for _, entry := range mapping.Values {
		token, merging, ok := n.keyOf(entry.Key)
		if !ok {
			return nil, false
		}
		child := n
		child.body, child.line = entry.Value, entry.Key.GetToken().Position.Line
		child.path = strings.TrimPrefix(n.path+"."+quoteKey(token.Value), ".")
		child.place = strings.TrimPrefix(n.place+"."+token.Value, ".")
		if merging {
			some, ok := child.merges(n.path, n.place)
			if !ok {
				return nil, false
			}
			merged = append(merged, some...)
			continue
		}
		own[token.Value] = true
		list = append(list, pair{key: token.Value, child: child})
	}
	for _, p := range merged {
		if !own[p.key] { // of several, the first wins
			own[p.key] = true
			list = append(list, p)
		}
	}
	return list, true
}

// merges lists what a merge key's value holds: a mapping, or a list of them.
func (n node) merges(path, owner string) (list []pair, ok bool) {
	n, ok = n.resolved()
	if !ok || n.empty() {
		return nil, ok
	}
	sources := []node{n}
	if sequence, many := n.body.(*ast.SequenceNode); many {
		sources = sources[:0]
		for _, item := range sequence.Values {
			one := n
			one.body = item
			sources = append(sources, one)
		}
	}
	for _, one := range sources {
		one.path, one.place = path, owner
		some, ok := one.pairs()
		if !ok {
			return nil, false
		}
		if n.draft.merged += 1 + len(some); n.draft.merged > maxMerged {
			one.fault("merges more keys than can be meant")
			return nil, false
		}
		list = append(list, some...)
	}
	return list, true
}

package config

import (
	"github.com/goccy/go-yaml/ast"
	yamltoken "github.com/goccy/go-yaml/token"
)

// mergeTag says of a key that it is "<<": https://yaml.org/type/merge.html.
const mergeTag = "!!merge"

// keyOf is the key that stands in a mapping, behind a name, a tag or a question mark (YAML 1.2.2 §7.4.2, §8.2.2), and whether it
// merges. ok is false if it is no plain value, which is told.
func (n node) keyOf(key ast.Node) (name *yamltoken.Token, merges, ok bool) {
	n.line = key.GetToken().Position.Line
	for range maxAliases {
		switch k := key.(type) {
		case *ast.MergeKeyNode:
			return k.GetToken(), true, true
		case *ast.MappingKeyNode:
			key = k.Value
		case *ast.AnchorNode:
			key = k.Value
		case *ast.TagNode:
			key = k.Value
			if k.Start.Value != mergeTag {
				n.body = k
				value, ok := n.resolved()
				if !ok {
					return nil, false, false
				}
				key = value.body
			}
		case *ast.AliasNode:
			n.body = k
			value, ok := n.resolved()
			if !ok {
				return nil, false, false
			}
			key = value.body
		case ast.ScalarNode:
			return k.GetToken(), false, true
		default:
			n.fault("has a key that is not one plain value")
			return nil, false, false
		}
	}
	n.fault(errItself)
	return nil, false, false
}

package stacks

import (
	"fmt"

	"go.yaml.in/yaml/v3"
)

// PathAt names the field at a line and column of a document, such as spec.services.events.brokers, for readers who see no lines: an object
// in a cluster has none. It is empty where nothing begins there.
func PathAt(src []byte, line, col int) string {
	var doc yaml.Node
	if yaml.Unmarshal(src, &doc) != nil || len(doc.Content) != 1 {
		return ""
	}
	return pathAt(doc.Content[0], "", line, col)
}

// pathAt prefers what lies deepest: a mapping begins where its first key does.
func pathAt(n *yaml.Node, path string, line, col int) string {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			k, v := n.Content[i], n.Content[i+1]
			below := k.Value
			if path != "" {
				below = path + "." + k.Value
			}
			if found := pathAt(v, below, line, col); found != "" {
				return found
			}
			if k.Line == line && k.Column == col {
				return below
			}
		}
	case yaml.SequenceNode:
		for i, v := range n.Content {
			if found := pathAt(v, fmt.Sprintf("%s[%d]", path, i), line, col); found != "" {
				return found
			}
		}
	}
	if n.Line == line && n.Column == col {
		return path
	}
	return ""
}

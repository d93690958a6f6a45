package config

import (
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// shown is what of a setting may be seen.
type shown struct{ text, origin string }

// Print writes the effective settings as a YAML file, each with where it came
// from in a comment, and secrets as ***.
func (c Config) Print(w io.Writer) error {
	root := &yaml.Node{Kind: yaml.MappingNode}
	blocks := map[string]*yaml.Node{"": root}
	for _, s := range settings {
		block, name := "", s.key
		if i := strings.LastIndex(s.key, "."); i >= 0 {
			block, name = s.key[:i], s.key[i+1:]
		}
		if blocks[block] == nil {
			blocks[block] = &yaml.Node{Kind: yaml.MappingNode}
			root.Content = append(root.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: block}, blocks[block])
		}
		value := &yaml.Node{Kind: yaml.ScalarNode, LineComment: "not set"}
		if v, ok := c.shown[s.key]; ok {
			value.Value, value.LineComment = v.text, v.origin
		}
		blocks[block].Content = append(blocks[block].Content, &yaml.Node{Kind: yaml.ScalarNode, Value: name}, value)
	}
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	if err := e.Encode(root); err != nil {
		return err
	}
	return e.Close()
}

package config

import (
	"io"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// shown is the printable value of a setting, without secrets.
type shown struct{ text, origin string }

// show returns the printable values of leaves, by key.
func show(leaves map[string]any) map[string]shown {
	all := map[string]shown{}
	for _, v := range leaves {
		if v, ok := v.(leaf); ok && v.Text != "" {
			s, _ := byKey(v.Key)
			all[v.Key] = shown{s.show(v.Text), v.Origin}
		}
	}
	return all
}

// Value is the value of a setting for printing: secrets are ***.
type Value struct {
	Value string `json:"value"`
	From  string `json:"from"` // its origin; empty: not set
}

// Shown returns the effective settings by key, such as rate.limit. Lists such as schedules
// are lists of entries with such keys.
func (c Config) Shown() map[string]any {
	all := map[string]any{}
	for _, s := range settings {
		v := c.shown[s.key]
		all[s.key] = Value{v.text, v.origin}
	}
	for key, table := range lists {
		entries := []map[string]Value{}
		for _, values := range c.lists[key] {
			entry := map[string]Value{}
			for _, s := range table {
				v := values[s.key]
				entry[strings.TrimPrefix(s.key, key+".")] = Value{v.text, v.origin}
			}
			entries = append(entries, entry)
		}
		all[key] = entries
	}
	return all
}

// Print writes the effective settings as a YAML file, with the origin of each in a comment
// and secrets as ***.
func (c Config) Print(w io.Writer) error {
	root := blocks{"": {Kind: yaml.MappingNode}}
	root.settings("", settings, c.shown)
	root.lists(c)
	return root.write(w)
}

// PrintAll is Print for the result of LoadAll: several configs are a list of namespaces.
func PrintAll(w io.Writer, all []Config) error {
	if len(all) == 1 {
		return all[0].Print(w)
	}
	root := blocks{"": {Kind: yaml.MappingNode}}
	process := slices.DeleteFunc(slices.Clone(settings), func(s setting) bool { return !isProcessWide(s.key) })
	root.settings("", process, all[0].shown)
	list := &yaml.Node{Kind: yaml.SequenceNode}
	for _, c := range all {
		entry := blocks{"": {Kind: yaml.MappingNode}}
		name := c.shown["namespace"]
		entry.add("name", &yaml.Node{Kind: yaml.ScalarNode, Value: name.text, LineComment: name.origin})
		entry.settings("", ofNamespace(), c.shown)
		entry.lists(c)
		list.Content = append(list.Content, entry[""])
	}
	root.add(namespacesKey, list)
	return root.write(w)
}

// ShownAll is Shown for the result of LoadAll: several configs are under namespaces, by
// name.
func ShownAll(all []Config) map[string]any {
	if len(all) == 1 {
		return all[0].Shown()
	}
	named := map[string]any{}
	for _, c := range all {
		named[c.Namespace.String()] = c.Shown()
	}
	return map[string]any{namespacesKey: named}
}

// lists adds the lists, such as schedules.
func (b blocks) lists(c Config) {
	for _, key := range slices.Sorted(maps.Keys(lists)) {
		list := &yaml.Node{Kind: yaml.SequenceNode}
		for _, values := range c.lists[key] {
			entry := blocks{"": {Kind: yaml.MappingNode}}
			entry.settings(key+".", lists[key], values)
			list.Content = append(list.Content, entry[""])
		}
		if list.Content == nil {
			list.Style, list.LineComment = yaml.FlowStyle, "not set"
		}
		b.add(key, list)
	}
}

func (b blocks) write(w io.Writer) error {
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	if err := e.Encode(b[""]); err != nil {
		return err
	}
	return e.Close()
}

// blocks are the nodes of a YAML file by key; "" is the root.
type blocks map[string]*yaml.Node

// settings adds the settings of a table, without the prefix of their keys.
func (b blocks) settings(prefix string, table []setting, values map[string]shown) {
	for _, s := range table {
		value := &yaml.Node{Kind: yaml.ScalarNode, LineComment: "not set"}
		if v, ok := values[s.key]; ok {
			value.Value, value.LineComment = v.text, v.origin
		}
		b.add(strings.TrimPrefix(s.key, prefix), value)
	}
}

// add adds a value, and its blocks if they do not exist.
func (b blocks) add(key string, value *yaml.Node) {
	block, name := "", key
	if i := strings.LastIndex(key, "."); i >= 0 {
		block, name = key[:i], key[i+1:]
	}
	if b[block] == nil {
		b[block] = &yaml.Node{Kind: yaml.MappingNode}
		b.add(block, b[block])
	}
	b[block].Content = append(b[block].Content, &yaml.Node{Kind: yaml.ScalarNode, Value: name}, value)
}

package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// lists has the settings that are lists of blocks, by key, each with the settings of an
// entry. Only the YAML file has lists; they have no variables and no flags. A new list
// needs a line here, a table, and a slice in Config. A setting of an entry is required
// if parse rejects its default.
var lists = map[string][]setting{
	"schedules": schedules,
}

// trees are the settings of entries that may be a block or a list. Their text is then
// JSON.
var trees = []string{"schedules.rooms.list", "schedules.defaults"}

// list collects the entries of a list.
func (y *yamlFile) list(key string, table []setting, line int, n *yaml.Node) {
	if n.Tag == "!!null" {
		return // only comments
	}
	if n.Kind != yaml.SequenceNode {
		y.fault("%s:%d: %s: must be a list with entries such as - NAME: VALUE", y.name, line, key)
		return
	}
	var entries []any
	for _, item := range n.Content {
		if item.Kind == yaml.AliasNode {
			item = item.Alias
		}
		e := newYAML(y.loader, y.name, table)
		e.mapping(key, item)
		if item.Kind != yaml.MappingNode {
			continue // mapping has reported it
		}
		for _, s := range table {
			if e.lines[s.key] > 0 || e.lines[s.key+fileSuffix] > 0 {
				continue
			}
			if _, err := s.parse(s.def); err != nil {
				y.fault("%s: is missing: it %w", y.at(item, s.key), err)
				continue
			}
			e.all = append(e.all, given{s, false, s.def, "default"})
		}
		entry := map[string]any{}
		for k, v := range y.leaves(e.all) {
			entry[strings.TrimPrefix(k, key+".")] = v
		}
		fields, _ := provider(entry).Read()
		entries = append(entries, fields)
	}
	y.put(map[string]any{key: entries})
}

// treeText returns a block or a list as JSON.
func treeText(n *yaml.Node) (string, error) {
	var v any
	if err := n.Decode(&v); err != nil {
		return "", errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	}
	text, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("has a name that is not a string: %w", err)
	}
	return string(text), nil
}

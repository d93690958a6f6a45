package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// namespacesKey is the key of the list of namespaces in the YAML file. An entry has a
// name, and may have every setting except those of the whole process.
const namespacesKey = "namespaces"

// processWide has the keys and prefixes of settings that apply to the whole process.
var processWide = []string{"redis", "http", "metrics", "log", "callback.addr", "worker.concurrency", "worker.spool"}

func isProcessWide(key string) bool {
	return slices.ContainsFunc(processWide, func(p string) bool { return key == p || strings.HasPrefix(key, p+".") })
}

// ofNamespace returns the settings that an entry of the list may have.
func ofNamespace() []setting {
	return slices.DeleteFunc(slices.Clone(settings), func(s setting) bool {
		return s.key == "namespace" || isProcessWide(s.key)
	})
}

// entry is an entry of the list of namespaces.
type entry struct {
	*loader
	name string
}

// namespaces collects the list of namespaces.
func (y *yamlFile) namespaces(line int, n *yaml.Node) {
	if n.Tag == "!!null" {
		return // only comments
	}
	if n.Kind != yaml.SequenceNode {
		y.fault("%s:%d: %s: must be a list with entries such as - name: NAME", y.name, line, namespacesKey)
		return
	}
	name, _ := byKey("namespace")
	for _, item := range n.Content {
		if item.Kind == yaml.AliasNode {
			item = item.Alias
		}
		one := entry{loader: newLoader()}
		e := newYAML(one.loader, y.name, ofNamespace())
		e.known["name"], e.lists, e.entry = given{setting: name}, lists, true
		e.mapping("", item)
		one.layer(e.all)
		y.faults = append(y.faults, one.faults...)
		v, _ := one.koanf.Get("namespace").(leaf)
		switch one.name = v.Text; {
		case item.Kind != yaml.MappingNode: // mapping has reported it
		case one.name == "":
			y.fault("%s: is missing: each namespace needs one", y.at(item, namespacesKey+".name"))
		case slices.ContainsFunc(y.entries, func(before entry) bool { return before.name == one.name }):
			y.fault("%s: %s appears twice", y.at(item, namespacesKey+".name"), quote(one.name))
		}
		y.entries = append(y.entries, one)
	}
}

// LoadAll is Load for each namespace that a process serves, at least one. If the file has
// a list of namespaces, it returns all of them in order, or the one that the environment
// or a flag selects. Flags override an entry of the list, which overrides everything
// else.
func LoadAll(src Source, needs ...Need) ([]Config, error) {
	l := newLoader()
	l.layer(defaults())
	file := l.file(src)
	l.layer(file)
	environment, byFlags := l.environment(src.Environ), flags(src.Flags)
	l.layer(environment)
	all := l.chosen(file, slices.Concat(environment, byFlags))

	var configs []Config
	count := map[string]int{} // by error text
	var faults []error
	for _, one := range all {
		full := l.with(one)
		full.layer(byFlags)
		var c Config
		full.fill(&c)
		full.checkRules(c, needs)
		full.webhook(c.Webhook)
		full.schedules(c, needs)
		configs = append(configs, c)
		for _, err := range full.faults {
			count[err.Error()]++
			if len(all) > 1 && !slices.ContainsFunc(l.faults, func(f error) bool { return f.Error() == err.Error() }) {
				err = fmt.Errorf("namespace %s: %w", one.name, err)
			}
			faults = append(faults, err)
		}
	}
	for i, c := range configs {
		if c.Images.Store != "" &&
			slices.ContainsFunc(configs[:i], func(b Config) bool { return b.Images.Store == c.Images.Store }) {
			faults = append(faults, fmt.Errorf("namespace %s: images.store: another namespace uses the same store: "+
				"give each its own, because their batches may have the same name", c.Namespace))
		}
	}
	if faults == nil {
		return configs, nil
	}
	return nil, errors.Join(unique(faults, count, len(all))...)
}

// unique returns an error of all namespaces once, without the name of a namespace.
func unique(faults []error, count map[string]int, of int) (all []error) {
	seen := map[string]bool{}
	for _, err := range faults {
		if inner := errors.Unwrap(err); inner != nil && count[inner.Error()] == of && of > 1 {
			err = inner
		}
		if !seen[err.Error()] {
			seen[err.Error()] = true
			all = append(all, err)
		}
	}
	return all
}

// chosen returns the entries to serve. Without a list it returns one entry without a
// loader.
func (l *loader) chosen(file, stronger []given) []entry {
	if l.entries == nil {
		return []entry{{}}
	}
	for _, g := range file {
		if g.setting.key == "namespace" {
			l.fault("%s: cannot be used with %s: remove it, or make it an entry of the list", g.origin, namespacesKey)
		}
	}
	if l.koanf.Get("schedules") != nil {
		l.fault("schedules: not allowed beside %s: move each schedule into the namespace of its rooms", namespacesKey)
	}
	var names []string
	for _, e := range l.entries {
		names = append(names, e.name)
	}
	for _, g := range slices.Backward(stronger) {
		if g.setting.key != "namespace" {
			continue
		}
		i := slices.Index(names, g.text)
		if i < 0 {
			l.fault("%s: %s is not one of the file's %s: %s",
				g.origin, quote(g.text), namespacesKey, strings.Join(names, ", "))
			break
		}
		return l.entries[i : i+1]
	}
	return l.entries
}

// with returns the layers before the flags, overridden by an entry. An entry with a part
// of an API key inherits no other part, which would belong to another account.
func (l *loader) with(e entry) *loader {
	full := &loader{koanf: l.koanf.Copy(), isSet: maps.Clone(l.isSet), faults: slices.Clone(l.faults)}
	if e.loader == nil {
		return full
	}
	const key = "tencentcloud."
	for name, set := range e.isSet {
		if !set || !strings.HasPrefix(name, key) {
			continue
		}
		none := []given{}
		for _, s := range settings {
			if strings.HasPrefix(s.key, key) {
				none = append(none, given{s, false, s.def, "default"})
				full.isSet[s.key] = false
			}
		}
		full.layer(none)
		break
	}
	if own, ok := e.koanf.Get("callback.url").(leaf); ok && own.Text == "" {
		full.noCallbacks = true
	}
	if err := full.koanf.Merge(e.koanf); err != nil {
		panic(err) // both are maps
	}
	for name, set := range e.isSet {
		full.isSet[name] = full.isSet[name] || set
	}
	return full
}

package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/knadh/koanf/v2"
	"go.yaml.in/yaml/v3"
)

// namespacesKey is the list of namespaces in the YAML file. Each entry may have
// every setting but those of the whole process, and its name.
const namespacesKey = "namespaces"

// processWide begins the settings that a process has once, whatever namespaces it
// serves.
var processWide = []string{"redis", "http", "metrics", "log", "callback.addr", "worker.concurrency", "worker.spool"}

func isProcessWide(key string) bool {
	return slices.ContainsFunc(processWide, func(p string) bool { return key == p || strings.HasPrefix(key, p+".") })
}

// ofNamespace is the settings that an entry of the list may have.
func ofNamespace() []setting {
	return slices.DeleteFunc(slices.Clone(settings), func(s setting) bool {
		return s.key == "namespace" || isProcessWide(s.key)
	})
}

// entry is a namespace of the list, as far as its entry tells.
type entry struct {
	*loader
	name string
}

// namespaces collects the list of namespaces.
func (y *yamlFile) namespaces(line int, n *yaml.Node) {
	if n.Tag == "!!null" {
		return // nothing but comments
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
		case item.Kind != yaml.MappingNode: // that is its fault
		case one.name == "":
			y.fault("%s: is missing: each namespace needs one", y.at(item, namespacesKey+".name"))
		case slices.ContainsFunc(y.entries, func(before entry) bool { return before.name == one.name }):
			y.fault("%s: %s appears twice", y.at(item, namespacesKey+".name"), quote(one.name))
		}
		y.entries = append(y.entries, one)
	}
}

// LoadAll is Load for each namespace that a process serves, at least one: that of
// the settings, or where the file has a list of namespaces all of those in their
// order, or the one that the environment or a flag chooses. An entry of the list
// is weaker than flags, and stronger than everything else.
func LoadAll(src Source, needs ...Need) ([]Config, error) {
	l := newLoader()
	l.layer(defaults())
	file := l.file(src)
	l.layer(file)
	environment, byFlags := l.environment(src.Environ), flags(src.Flags)
	l.layer(environment)
	all := l.chosen(file, slices.Concat(environment, byFlags))

	var configs []Config
	said := map[string]int{}
	var faults []error
	for _, one := range all {
		full := l.with(one)
		full.layer(byFlags)
		var c Config
		full.fill(&c)
		full.together(c, needs)
		full.webhook(c.Webhook)
		full.schedules(c, needs)
		configs = append(configs, c)
		for _, err := range full.faults {
			said[err.Error()]++
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
				"give each its own, "+
				"as their batches may have one name", c.Namespace))
		}
	}
	if faults == nil {
		return configs, nil
	}
	return nil, errors.Join(once(faults, said, len(all))...)
}

// once says what is wrong with every namespace once, and without the name of any.
func once(faults []error, said map[string]int, of int) (all []error) {
	seen := map[string]bool{}
	for _, err := range faults {
		if inner := errors.Unwrap(err); inner != nil && said[inner.Error()] == of && of > 1 {
			err = inner
		}
		if !seen[err.Error()] {
			seen[err.Error()] = true
			all = append(all, err)
		}
	}
	return all
}

// chosen returns the entries that are served: one without a loader where there is
// no list.
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

// with is what the layers before the flags have, and an entry over it. An entry
// with a part of an API key has all of it: no half of another account's.
func (l *loader) with(e entry) *loader {
	full := &loader{koanf: l.koanf.Copy(), tried: maps.Clone(l.tried), faults: slices.Clone(l.faults)}
	if e.loader == nil {
		return full
	}
	const key = "tencentcloud."
	for name, tried := range e.tried {
		if !tried || !strings.HasPrefix(name, key) {
			continue
		}
		none := []given{}
		for _, s := range settings {
			if strings.HasPrefix(s.key, key) {
				none = append(none, given{s, false, s.def, "default"})
				full.tried[s.key] = false
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
	for name, tried := range e.tried {
		full.tried[name] = full.tried[name] || tried
	}
	return full
}

func newLoader() *loader { return &loader{koanf: koanf.New("."), tried: map[string]bool{}} }

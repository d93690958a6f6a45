package config

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

const (
	envPrefix    = "TIWSNAP_"
	envConfig    = "TIWSNAP_CONFIG"     // the YAML file
	envTest      = "TIWSNAP_TEST_"      // prefix of variables that only tests read
	envSimulator = "TIWSNAP_SIMULATOR_" // prefix of variables that only the simulator reads
	fileSuffix   = "_file"              // suffix of keys and variables for a file with the value
	maxFile      = 1 << 20              // maximum size of a YAML file in bytes
)

func defaults() []given {
	var all []given
	for _, s := range settings {
		all = append(all, given{s, false, s.def, "default"})
	}
	return all
}

// flagKey is the annotation of a flag with its setting.
const flagKey = "tiwsnap_setting"

// Flags defines the flags of some settings, given by YAML key. Secrets have none,
// because every user of the machine can read command lines.
func Flags(fs *pflag.FlagSet, keys ...string) {
	for _, key := range keys {
		s, ok := byKey(key)
		if !ok || s.flag == "" {
			panic("config: no flag for " + key)
		}
		fs.String(s.flag, s.def, s.doc+" ("+s.env()+")")
		fs.SetAnnotation(s.flag, flagKey, []string{key})
	}
}

// AllFlags defines the flags of all settings that have one.
func AllFlags(fs *pflag.FlagSet) {
	for _, s := range settings {
		if s.flag != "" {
			Flags(fs, s.key)
		}
	}
}

func flags(fs *pflag.FlagSet) []given {
	var all []given
	if fs != nil {
		fs.Visit(func(f *pflag.Flag) {
			for _, key := range f.Annotations[flagKey] {
				s, _ := byKey(key)
				all = append(all, given{s, false, f.Value.String(), "--" + f.Name})
			}
		})
	}
	return all
}

// environment reads the variables. An empty variable counts as unset, unless empty is a
// valid value of its setting.
func (l *loader) environment(environ []string) []given {
	known := map[string]given{}
	for _, s := range settings {
		known[s.env()] = given{setting: s}
		if s.secret() {
			known[s.env()+strings.ToUpper(fileSuffix)] = given{setting: s, isFile: true}
		}
	}
	environ = slices.Sorted(slices.Values(environ))
	var all []given
	for _, entry := range environ {
		name, text, _ := strings.Cut(entry, "=")
		g, ok := known[name]
		switch {
		case ok:
			if _, err := g.setting.parse(""); text == "" && (err != nil || g.setting.secret()) {
				continue
			}
			g.text, g.origin = text, name
			all = append(all, g)
		case name == envConfig, !strings.HasPrefix(name, envPrefix), serviceLink.MatchString(entry),
			strings.HasPrefix(name, envTest), strings.HasPrefix(name, envSimulator):
		default:
			l.unknown(name, name, maps.Keys(known))
		}
	}
	return all
}

// serviceLink matches the variables that Kubernetes sets in every container for a Service
// whose name begins with "tiwsnap".
var serviceLink = regexp.MustCompile(
	`^TIWSNAP_(\w+_)?(SERVICE_HOST=|SERVICE_PORT(_\w+)?=|PORT=\w+://|PORT_\d+_[A-Z]+(_\w+)?=)`,
)

// file reads the YAML file, if there is one.
func (l *loader) file(src Source) []given {
	name, namedBy := src.File, "--config"
	for _, entry := range src.Environ {
		if v, ok := strings.CutPrefix(entry, envConfig+"="); ok && src.File == "" {
			name, namedBy = v, envConfig
		}
	}
	if name == "" {
		return nil
	}
	f, err := os.Open(name)
	if err != nil {
		l.fault("%s: %w", namedBy, unreadable(name, err))
		return nil
	}
	defer f.Close()
	y := newYAML(l, name, settings)
	y.lists = lists
	limited := &io.LimitedReader{R: f, N: maxFile + 1}
	decoder := yaml.NewDecoder(limited)
	var doc, second yaml.Node
	err = decoder.Decode(&doc)
	if err == nil {
		switch err = decoder.Decode(&second); {
		case err == nil:
			err = errors.New("has more than one document")
		case errors.Is(err, io.EOF):
			err = nil
		}
	}
	switch {
	case limited.N == 0:
		l.fault("%s: is larger than %d bytes", name, maxFile)
	case errors.Is(err, io.EOF): // empty, or only comments
	case err != nil:
		l.fault("%s: %s", name, strings.ReplaceAll(err.Error(), "yaml: ", "is not YAML: "))
	default:
		y.mapping("", doc.Content[0])
	}
	return y.all
}

// yamlFile collects the settings of a YAML file, or of an entry of a list in it.
type yamlFile struct {
	*loader
	name  string
	known map[string]given
	lists map[string][]setting
	entry bool           // an entry of the list of namespaces
	lines map[string]int // by key: its line
	all   []given
}

func newYAML(l *loader, name string, table []setting) *yamlFile {
	y := &yamlFile{loader: l, name: name, known: map[string]given{}, lines: map[string]int{}}
	for _, s := range table {
		y.known[s.key] = given{setting: s}
		if s.secret() {
			y.known[s.key+fileSuffix] = given{setting: s, isFile: true}
		}
	}
	return y
}

func (y *yamlFile) at(n *yaml.Node, key string) string {
	return fmt.Sprintf("%s:%d: %s", y.name, n.Line, key)
}

// mapping collects the settings of a block with the key prefix.
func (y *yamlFile) mapping(prefix string, n *yaml.Node) {
	if n.Tag == "!!null" {
		return // a block with only comments
	}
	if n.Kind != yaml.MappingNode {
		y.fault("%s: must be a block of NAME: VALUE lines", strings.TrimSuffix(y.at(n, prefix), ": "))
		return
	}
	for i := 0; i < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		key := name.Value
		if prefix != "" {
			key = prefix + "." + key
		}
		if line, twice := y.lines[key]; twice {
			y.fault("%s: is already on line %d: remove one of them", y.at(name, key), line)
			continue
		}
		y.lines[key] = name.Line
		if value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		g, ok := y.known[key]
		g.origin = y.at(name, key)
		switch table, isList := y.lists[key]; {
		case y.entry && isProcessWide(key):
			y.fault("%s: applies to the whole process: move it to the top level of the file", g.origin)
		case key == namespacesKey && y.lists != nil && !y.entry:
			y.namespaces(name.Line, value)
		case isList:
			y.list(key, table, name.Line, value)
		case ok && value.Kind == yaml.ScalarNode:
			g.text = value.Value
			y.all = append(y.all, g)
		case ok && slices.Contains(trees, key):
			var err error
			if g.text, err = treeText(value); err != nil {
				y.fault("%s: %w", g.origin, err)
				continue
			}
			y.all = append(y.all, g)
		case ok:
			y.fault("%s: must be a single value, not a block or a list", g.origin)
		case y.isBlock(key):
			y.mapping(key, value)
		default:
			y.unknown(y.at(name, key), key, y.names())
		}
	}
}

func (y *yamlFile) isBlock(key string) bool {
	for name := range y.names() {
		if strings.HasPrefix(name, key+".") {
			return true
		}
	}
	return false
}

// names returns all valid keys: of settings, lists and blocks.
func (y *yamlFile) names() iter.Seq[string] {
	return func(yield func(string) bool) {
		keys := slices.Collect(maps.Keys(y.known))
		for _, key := range slices.AppendSeq(keys, maps.Keys(y.lists)) {
			for i, c := range key + "." {
				if c == '.' && !yield(key[:i]) {
					return
				}
			}
		}
	}
}

// unknown reports an unknown name, with the nearest known one.
func (l *loader) unknown(origin, name string, known iter.Seq[string]) {
	if instead := replaced[strings.ToLower(strings.TrimPrefix(name, envPrefix))]; instead != "" {
		l.fault("%s: was removed: %s", origin, instead)
		return
	}
	best := Nearest(name, known)
	if best == "" {
		l.fault("%s: is not a setting: \"tiwsnap config print\" lists them", origin)
		return
	}
	l.fault("%s: is not a setting: did you mean %s?", origin, best)
}

const accountReplaced = "set TIWSNAP_NAMESPACE instead (YAML: namespace), to a name of its own for each account on " +
	"this Redis"

// replaced has the replacements of settings of older releases, by name in lower case.
var replaced = map[string]string{"tiw_account": accountReplaced, "tiw.account": accountReplaced}

// Nearest returns the known name that is most similar to name, or an empty string if
// none is similar.
func Nearest(name string, known iter.Seq[string]) string {
	best, least := "", len(name)/3+1
	for k := range known {
		if d := distance(name, k); d < least || d == least && k < best {
			best, least = k, d
		}
	}
	return best
}

// distance returns the Levenshtein distance of a and b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			corner, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, corner+cost)
		}
	}
	return row[len(b)]
}

// quote quotes at most 80 characters of a value for a message.
func quote(s string) string {
	if r := []rune(s); len(r) > 80 {
		s = string(r[:80]) + "…"
	}
	return fmt.Sprintf("%q", s)
}

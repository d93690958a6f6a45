package config

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/maps"
	"github.com/knadh/koanf/v2"
)

// loader merges the layers and collects their errors.
type loader struct {
	koanf  *koanf.Koanf
	faults []error
	isSet  map[string]bool // keys with a value in some layer, even an invalid one

	entries     []entry // the file's list of namespaces
	noCallbacks bool    // the entry of this namespace has an empty callback.url: no callbacks
}

func newLoader() *loader { return &loader{koanf: koanf.New("."), isSet: map[string]bool{}} }

func (l *loader) fault(format string, args ...any) {
	l.faults = append(l.faults, fmt.Errorf(format, args...))
}

// given is the value of a setting in one layer.
type given struct {
	setting setting
	isFile  bool // text is the name of the file with the value
	text    string
	origin  string // for messages: variable, flag, or file and line
}

// leaf is a value in koanf, where later layers replace earlier ones. koanf copies it,
// so it has exported strings only.
type leaf struct {
	Key, Text, Origin string
	File              string // the file that Text was read from, or empty
}

// layer adds a layer, which overrides the earlier ones.
func (l *loader) layer(all []given) {
	for _, g := range all {
		l.isSet[g.setting.key] = l.isSet[g.setting.key] || g.text != ""
	}
	l.put(l.leaves(all))
}

// put adds values by key, which override earlier ones.
func (l *loader) put(values map[string]any) {
	if err := l.koanf.Load(provider(values), nil); err != nil {
		panic(err) // provider returns no error
	}
}

// leaves reads and checks the settings of a layer, and returns them by key. A setting
// that appears twice is an error.
func (l *loader) leaves(all []given) map[string]any {
	leaves := map[string]any{}
	for _, g := range all {
		if before, twice := leaves[g.setting.key].(leaf); twice {
			l.fault("%s: %s is the same setting: remove one of them", g.origin, before.Origin)
			continue
		}
		var file string
		if g.isFile {
			var err error
			file = g.text
			if g.text, err = readSecret(file); err != nil {
				l.fault("%s: %w", g.origin, err)
				continue
			}
		}
		if _, err := g.setting.parse(g.text); err != nil && g.setting.secret() {
			l.fault("%s: %w", g.origin, err)
		} else if err != nil {
			l.fault("%s: %s %w", g.origin, quote(g.setting.show(g.text)), err)
		}
		leaves[g.setting.key] = leaf{g.setting.key, g.text, g.origin, file}
	}
	return leaves
}

// provider is a koanf.Provider of a layer.
type provider map[string]any

func (p provider) Read() (map[string]any, error) { return maps.Unflatten(p, "."), nil }

func (p provider) ReadBytes() ([]byte, error) { return nil, errors.ErrUnsupported }

// fill stores the values in c. If all of them are valid, it panics only if Config and
// settings.go do not match.
func (l *loader) fill(c *Config) {
	parse := func(_, _ reflect.Type, data any) (any, error) {
		if v, ok := data.(leaf); ok {
			s, _ := byKey(v.Key)
			value, err := s.parse(v.Text)
			if secret, ok := value.(Secret); ok {
				secret.file = v.File
				value = secret
			}
			return value, err
		}
		return data, nil
	}
	err := l.koanf.UnmarshalWithConf("", c, koanf.UnmarshalConf{
		DecoderConfig: &mapstructure.DecoderConfig{DecodeHook: parse, ErrorUnused: true},
	})
	if err != nil && l.faults == nil {
		panic(err)
	}
	c.shown = show(l.koanf.All())
	c.texts = map[string]Secret{}
	for key, v := range l.koanf.All() {
		if v, ok := v.(leaf); ok {
			c.texts[key] = NewSecret(v.Text)
		}
	}
	c.lists = map[string][]map[string]shown{}
	for key := range lists {
		entries, _ := l.koanf.Get(key).([]any)
		for _, e := range entries {
			flat, _ := maps.Flatten(e.(map[string]any), nil, ".")
			c.lists[key] = append(c.lists[key], show(flat))
		}
	}
}

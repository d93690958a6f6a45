// Package config reads the settings of tiwsnap: defaults, a YAML file, the environment
// and flags, each overriding the one before. settings.go lists all settings. All errors
// are reported at once, each with the name of its setting.
package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/maps"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"

	"tiwsnap/internal/guard"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/rdb"
	"tiwsnap/tasks"
	"tiwsnap/webhook"
)

// Config has all settings, by YAML key. settings.go has their ranges.
type Config struct {
	Namespace    keys.Namespace `koanf:"namespace"`
	Redis        Redis          `koanf:"redis"`
	TencentCloud TencentCloud   `koanf:"tencentcloud"`
	TIW          TIW            `koanf:"tiw"`
	Rate         Rate           `koanf:"rate"`
	Worker       Worker         `koanf:"worker"`
	Confirm      Confirm        `koanf:"confirm"`
	Callback     Callback       `koanf:"callback"`
	HTTP         HTTP           `koanf:"http"`
	Metrics      Metrics        `koanf:"metrics"`
	// Unknown is what to do with a request of unknown outcome: wait, retry or hold.
	// UnknownGrace is how long it waits for a callback.
	Unknown      string        `koanf:"unknown"`
	UnknownGrace time.Duration `koanf:"unknown_grace"`
	// SuspendFor is how long an application that has worked stays suspended when
	// Tencent refuses it.
	SuspendFor time.Duration `koanf:"suspend_for"`
	// Retention is how long records of ended snapshots are kept.
	Retention time.Duration `koanf:"retention"`
	Images    Images        `koanf:"images"`
	Log       Log           `koanf:"log"`
	Webhook   Webhook       `koanf:"webhook"`
	Schedules []Schedule    `koanf:"schedules"`

	shown map[string]shown              // by key
	texts map[string]Secret             // by key: the text of the value
	lists map[string][]map[string]shown // by key: the entries of each list
}

// Redis is the connection to Redis.
type Redis struct {
	URL        Secret `koanf:"url"`        // see rdb.Check; it may contain a password
	Durability string `koanf:"durability"` // local or replicated
	TLS        TLS    `koanf:"tls"`
}

// TLS has the files and the name for rediss://, see rdb.TLS. All may be empty.
type TLS struct {
	CA         string `koanf:"ca"`
	Cert       string `koanf:"cert"`
	Key        string `koanf:"key"`
	ServerName string `koanf:"server_name"`
}

// TencentCloud is the API key. All are empty if none is set.
type TencentCloud struct {
	SecretID  Secret `koanf:"secret_id"`
	SecretKey Secret `koanf:"secret_key"`
	Token     Secret `koanf:"token"` // of temporary credentials
}

// TIW is the Tencent Interactive Whiteboard API.
type TIW struct {
	Endpoint string        `koanf:"endpoint"` // http(s)://HOST[:PORT]
	Region   string        `koanf:"region"`
	Timeout  time.Duration `koanf:"timeout"` // of a request
	// CallbackURL is the CallbackURL of rooms without one. It is empty if Callback.URL is
	// set.
	CallbackURL Secret `koanf:"callback_url"`
}

// Rate is the rate limit.
type Rate struct {
	Limit  int           `koanf:"limit"`  // requests per second, for each API action
	Margin time.Duration `koanf:"margin"` // added to the one-second window
}

// Worker is one worker process.
type Worker struct {
	Concurrency int `koanf:"concurrency"` // maximum requests in flight
	Attempts    int `koanf:"attempts"`    // maximum attempts for one snapshot
	// Spool is the folder for outcomes that Redis cannot store; empty: the default folder.
	Spool string `koanf:"spool"`
}

// Confirm is the polling for results.
type Confirm struct {
	After time.Duration `koanf:"after"` // from the acceptance to the first poll
	Share int           `koanf:"share"` // percent of the rate limit
}

// Callback is tiwsnap's receiver of callbacks. Either Addr, URL and Key are all set, or
// none of them.
type Callback struct {
	Addr   string `koanf:"addr"` // host:port to listen on
	URL    string `koanf:"url"`  // public base URL, without a trailing slash
	Key    Secret `koanf:"key"`
	KeyOld Secret `koanf:"key_old"` // also verifies; may be empty
}

// Images is the store for copies of images.
type Images struct {
	Store           string        `koanf:"store"` // URL of images.OpenStore, or empty
	AccessKeyID     Secret        `koanf:"access_key_id"`
	SecretAccessKey Secret        `koanf:"secret_access_key"`
	Private         guard.Private `koanf:"private"`
	Copy            string        `koanf:"copy"` // tencent or all
	Rate            ImageRate     `koanf:"rate"`
	Keep            time.Duration `koanf:"keep"` // 0: forever
}

// ImageRate is the maximum rate at which one process downloads images, per second.
type ImageRate struct{ Requests, Bytes int }

// Log is the log on stderr.
type Log struct {
	Level  slog.Level `koanf:"level"`
	Format string     `koanf:"format"` // text or json
}

// Webhook has the receivers, events and secrets of webhooks.
type Webhook struct {
	URL       Secret        `koanf:"url"`    // the default receiver; its path may contain a key
	Secret    Secret        `koanf:"secret"` // see webhook.ParseSecret
	SecretOld Secret        `koanf:"secret_old"`
	Events    []string      `koanf:"events"` // snapshot, batch, images, schedule
	Allow     []string      `koanf:"allow"`  // hosts, see webhook.Host
	Private   guard.Private `koanf:"private"`
	HTTP      bool          `koanf:"http"`
}

// On reports whether there can be receivers.
func (w Webhook) On() bool { return !w.URL.Empty() || len(w.Allow) > 0 }

// Check checks the URL of a batch's receiver.
func (w Webhook) Check(url string) error {
	u, err := webhook.ParseURL(url, true)
	switch {
	case err != nil:
		return err
	case u.Scheme == "http" && !w.HTTP:
		return errors.New("must be https://: TIWSNAP_WEBHOOK_HTTP=true also allows http://")
	case !w.On():
		return fmt.Errorf("leads to %s: set TIWSNAP_WEBHOOK_ALLOW to it, and TIWSNAP_WEBHOOK_SECRET, too",
			quote(webhook.Host(u)))
	case !slices.Contains(w.Allow, webhook.Host(u)):
		return fmt.Errorf("leads to %s, which is not in TIWSNAP_WEBHOOK_ALLOW", quote(webhook.Host(u)))
	}
	if err := w.Private.CheckAddress(u); err != nil {
		return fmt.Errorf("%w: TIWSNAP_WEBHOOK_PRIVATE allows it", err)
	}
	return nil
}

// CheckCallback checks the CallbackURL of a room. The error continues the name of the
// field. If tiwsnap receives Tencent's callbacks and sends webhooks, it calls that URL
// itself, so the URL must be allowed as a webhook receiver. Otherwise Tencent calls it.
func (c Config) CheckCallback(url string) error {
	if err := tasks.CheckCallbackURL(url); err != nil {
		return err
	}
	if c.Callback.URL == "" || !c.Webhook.On() {
		return nil
	}
	if err := c.Webhook.Check(url); err != nil {
		return fmt.Errorf("%w (tiwsnap calls it, as Tencent calls TIWSNAP_CALLBACK_URL)", err)
	}
	return nil
}

// Source is the input of Load.
type Source struct {
	File    string         // YAML file; empty: that of TIWSNAP_CONFIG, if set
	Environ []string       // NAME=value, see os.Environ
	Flags   *pflag.FlagSet // may be nil; only flags defined by Flags are read
}

// Need is a requirement of some commands.
type Need int

const (
	// Credentials: the API key must be set.
	Credentials Need = iota + 1
	// RoomFiles: the files of schedules must be readable.
	RoomFiles
)

// Load reads all layers. The error has a line for every invalid setting and every unmet
// need: the origin of the value, the value unless it is secret, and the valid values.
//
// If the file has a list of namespaces, Load returns the first one, or the one that the
// environment or a flag selects; see LoadAll.
func Load(src Source, needs ...Need) (Config, error) {
	all, err := LoadAll(src, needs...)
	if err != nil {
		return Config{}, err
	}
	return all[0], nil
}

// Changed returns the keys of the settings that differ between a and b, in the order of
// settings.go, then of the lists.
func Changed(a, b Config) []string {
	var keys []string
	for _, s := range settings {
		if a.texts[s.key].Reveal() != b.texts[s.key].Reveal() {
			keys = append(keys, s.key)
		}
	}
	if !reflect.DeepEqual(a.Schedules, b.Schedules) {
		keys = append(keys, "schedules")
	}
	return keys
}

// SameNamespaces reports whether two results of LoadAll have the same namespaces.
func SameNamespaces(a, b []Config) bool {
	return slices.EqualFunc(a, b, func(a, b Config) bool { return a.Namespace == b.Namespace })
}

// ChangedAll is Changed for two results of LoadAll with the same namespaces.
func ChangedAll(a, b []Config) (keys []string) {
	for i := range a {
		for _, key := range Changed(a[i], b[i]) {
			if !slices.Contains(keys, key) {
				keys = append(keys, key)
			}
		}
	}
	return keys
}

// HTTPAddr returns HTTP.Addr alone and ignores errors of other settings: they do not
// affect a process that is already running.
func HTTPAddr(src Source) (string, error) {
	l := newLoader()
	for _, all := range [][]given{defaults(), l.file(src), l.environment(src.Environ), flags(src.Flags)} {
		all = slices.DeleteFunc(all, func(g given) bool { return g.setting.key != "http.addr" })
		l.faults = nil
		if l.layer(all); l.faults != nil {
			return "", errors.Join(l.faults...)
		}
	}
	v, _ := l.koanf.Get("http.addr").(leaf)
	return v.Text, nil
}

// The documented endpoints: the page of 2023 has the first one, also for ap-singapore;
// those of the international site since 2024 have the second.
const (
	ChinaEndpoint = "https://tiw.tencentcloudapi.com"
	IntlEndpoint  = "https://tiw.intl.tencentcloudapi.com"
)

// RegionWarning returns why the endpoint most likely does not have the region, and the
// fix. Both are empty without such evidence. It is only a warning, because Tencent's
// documents may be outdated.
func (c Config) RegionWarning() (why, fix string) {
	u, err := url.Parse(c.TIW.Endpoint)
	if err != nil || !strings.EqualFold("https://"+u.Hostname(), IntlEndpoint) || c.TIW.Region == "ap-singapore" {
		return "", ""
	}
	why = fmt.Sprintf("%s is not available at the endpoint %s: Tencent documents only ap-singapore there",
		c.TIW.Region, c.TIW.Endpoint)
	return why, "set TIWSNAP_TIW_REGION to ap-singapore, or TIWSNAP_TIW_ENDPOINT to " + ChinaEndpoint
}

// loader merges the layers and collects their errors.
type loader struct {
	koanf  *koanf.Koanf
	faults []error
	isSet  map[string]bool // keys with a value in some layer, even an invalid one

	entries     []entry // the file's list of namespaces
	noCallbacks bool    // the entry of this namespace has an empty callback.url: no callbacks
}

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

// together checks settings that depend on one another.
func (l *loader) together(c Config, needs []Need) {
	if c.Redis.Durability == "replicated" && c.Redis.URL.Reveal() == rdb.Embedded {
		l.fault("TIWSNAP_REDIS_DURABILITY: replicated needs a Redis with replicas, but TIWSNAP_REDIS_URL is embedded")
	}
	l.tls(c.Redis)
	l.callbacks()
	l.http(c.HTTP)
	l.credentials(needs)
	if keep := c.Images.Keep; keep > 0 && keep < c.Retention {
		l.fault("TIWSNAP_IMAGES_KEEP: %s is less than TIWSNAP_RETENTION, %s, during which result lists link to the "+
			"copies: set it to that or more", Brief(keep), Brief(c.Retention))
	}
	if c.Images.Store != "" && c.Retention < imagesNeed {
		l.fault("TIWSNAP_RETENTION: %s is less than %s, which images may need until they are copied to "+
			"TIWSNAP_IMAGES_STORE: set it to that or more", Brief(c.Retention), Brief(imagesNeed))
	}
	if l.isSet["images.access_key_id"] != l.isSet["images.secret_access_key"] {
		l.fault("TIWSNAP_IMAGES_ACCESS_KEY_ID and TIWSNAP_IMAGES_SECRET_ACCESS_KEY: only one of them is set: " +
			"set both or neither")
	}
}

func (l *loader) tls(r Redis) {
	for name, file := range map[string]string{"CERT": r.TLS.Key, "KEY": r.TLS.Cert} {
		if file != "" && (r.TLS.Cert == "" || r.TLS.Key == "") {
			l.fault("TIWSNAP_REDIS_TLS_%s: is missing: a client certificate needs both a certificate and a key", name)
		}
	}
	if r.TLS != (TLS{}) && !strings.HasPrefix(r.URL.Reveal(), "rediss") {
		l.fault("TIWSNAP_REDIS_TLS_…: needs TLS: TIWSNAP_REDIS_URL must begin with rediss:// (or rediss+sentinel://, " +
			"rediss+cluster://), or remove these settings")
	}
	if err := (rdb.TLS{CA: r.TLS.CA}).Check(); err != nil {
		l.fault("TIWSNAP_REDIS_TLS_CA: %w", err)
	}
	if r.TLS.Cert != "" && r.TLS.Key != "" {
		if err := (rdb.TLS{Cert: r.TLS.Cert, Key: r.TLS.Key}).Check(); err != nil {
			l.fault("TIWSNAP_REDIS_TLS_CERT and TIWSNAP_REDIS_TLS_KEY: %w", err)
		}
	}
}

// imagesNeed is the minimum retention if images are copied: as long as Tencent keeps
// them.
const imagesNeed = 72 * time.Hour

func (l *loader) callbacks() {
	// The environment or a flag may reset a value of the file.
	isSet := func(key string) bool {
		v, _ := l.koanf.Get(key).(leaf)
		return v.Text != ""
	}
	addr, url := isSet("callback.addr"), isSet("callback.url")
	if addr && !url && !l.noCallbacks {
		l.fault(
			"TIWSNAP_CALLBACK_URL: is missing: TIWSNAP_CALLBACK_ADDR listens for callbacks, but Tencent does not " +
				"know the URL; set it to the URL at which Tencent reaches that address, or remove both",
		)
	}
	if url && !addr {
		l.fault(
			"TIWSNAP_CALLBACK_ADDR: is missing: TIWSNAP_CALLBACK_URL sends callbacks here, but nothing listens; " +
				"set it to an address such as :8081, or remove both",
		)
	}
	if url && !l.isSet["callback.key"] {
		l.fault(
			"TIWSNAP_CALLBACK_KEY: is missing: it signs the URLs under TIWSNAP_CALLBACK_URL; set it, or " +
				"TIWSNAP_CALLBACK_KEY_FILE, to the output of openssl rand -hex 32, the same in all workers",
		)
	}
	if url && l.isSet["tiw.callback_url"] {
		l.fault(
			"TIWSNAP_TIW_CALLBACK_URL: cannot be used with TIWSNAP_CALLBACK_URL: Tencent calls only one URL; " +
				"remove one of them",
		)
	}
}

func (l *loader) credentials(needs []Need) {
	id, key := l.isSet["tencentcloud.secret_id"], l.isSet["tencentcloud.secret_key"]
	if !slices.Contains(needs, Credentials) && !id && !key && !l.isSet["tencentcloud.token"] {
		return
	}
	missing := func(name string) {
		l.fault("%s: is missing: set it, or %s_FILE, as on https://console.tencentcloud.com/cam/capi", name, name)
	}
	if !id {
		missing("TENCENTCLOUD_SECRET_ID")
	}
	if !key {
		missing("TENCENTCLOUD_SECRET_KEY")
	}
}

// webhook checks the settings of webhooks that depend on one another.
func (l *loader) webhook(w Webhook) {
	if w.On() && !l.isSet["webhook.secret"] {
		l.fault(
			"TIWSNAP_WEBHOOK_SECRET: is missing: set it, or TIWSNAP_WEBHOOK_SECRET_FILE, to the output of: echo " +
				"whsec_$(openssl rand -base64 32)",
		)
	}
	if _, err := webhook.ParseURL(w.URL.Reveal(), w.HTTP); err != nil && !w.URL.Empty() {
		l.fault("TIWSNAP_WEBHOOK_URL: %w: TIWSNAP_WEBHOOK_HTTP=true allows it", err)
	}
}

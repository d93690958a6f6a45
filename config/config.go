// Package config reads the settings of tiwsnap: defaults, a YAML file, the
// environment and flags, each overriding the one before. settings.go lists
// every setting, one line each. All errors are reported at once, each with the
// name of its setting.
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

// Config is every setting, by its YAML key. The ranges are in settings.go.
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
	// Unknown is what to do with a request of unknown outcome: wait, retry or
	// hold. UnknownGrace is how long wait waits.
	Unknown      string        `koanf:"unknown"`
	UnknownGrace time.Duration `koanf:"unknown_grace"`
	// SuspendFor is how long an application that has worked waits where Tencent
	// refuses it.
	SuspendFor time.Duration `koanf:"suspend_for"`
	// Retention is how long records of ended snapshots stay.
	Retention time.Duration `koanf:"retention"`
	Images    Images        `koanf:"images"`
	Log       Log           `koanf:"log"`
	Webhook   Webhook       `koanf:"webhook"`
	Schedules []Schedule    `koanf:"schedules"`

	shown map[string]shown              // by key
	texts map[string]Secret             // by key: the values as they were given
	lists map[string][]map[string]shown // by key: the entries of each list

}

// Redis is where everything is kept.
type Redis struct {
	URL        Secret `koanf:"url"`        // in the forms of rdb.Check; it may hold a password
	Durability string `koanf:"durability"` // local or replicated
	TLS        TLS    `koanf:"tls"`
}

// TLS is how rediss:// connects, in the form of rdb.TLS. All may be empty.
type TLS struct {
	CA         string `koanf:"ca"`
	Cert       string `koanf:"cert"`
	Key        string `koanf:"key"`
	ServerName string `koanf:"server_name"`
}

// TencentCloud is the API key. All are empty where none was given.
type TencentCloud struct {
	SecretID  Secret `koanf:"secret_id"`
	SecretKey Secret `koanf:"secret_key"`
	Token     Secret `koanf:"token"` // of temporary credentials
}

// TIW is the Tencent Interactive Whiteboard API.
type TIW struct {
	Endpoint string        `koanf:"endpoint"` // http(s)://HOST[:PORT]
	Region   string        `koanf:"region"`
	Timeout  time.Duration `koanf:"timeout"` // of a whole call
	// CallbackURL is somebody else's receiver of callbacks; empty where
	// Callback.URL is not.
	CallbackURL Secret `koanf:"callback_url"`
}

// Rate is the quota.
type Rate struct {
	Limit  int           `koanf:"limit"`  // requests a second, for each API action
	Margin time.Duration `koanf:"margin"` // added to that second
}

// Worker is one worker process.
type Worker struct {
	Concurrency int `koanf:"concurrency"` // calls in flight
	Attempts    int `koanf:"attempts"`    // sends of one snapshot, at most
	// Spool is a folder for what Redis cannot take; empty for the default.
	Spool string `koanf:"spool"`
}

// Confirm is how an accepted snapshot is followed.
type Confirm struct {
	After time.Duration `koanf:"after"` // from the acceptance to the first question
	Share int           `koanf:"share"` // percent of the quota
}

// Callback is tiwsnap's own receiver of callbacks. Either Addr, URL and Key are
// all given, or there is none.
type Callback struct {
	Addr   string `koanf:"addr"` // host:port to listen on
	URL    string `koanf:"url"`  // public base, without a slash at its end
	Key    Secret `koanf:"key"`
	KeyOld Secret `koanf:"key_old"` // verifies too; may be empty
}

// Images is where images are kept.
type Images struct {
	Store           string        `koanf:"store"` // URL of images.OpenStore, or empty
	AccessKeyID     Secret        `koanf:"access_key_id"`
	SecretAccessKey Secret        `koanf:"secret_access_key"`
	Private         guard.Private `koanf:"private"`
	Copy            string        `koanf:"copy"` // tencent or all
	Rate            ImageRate     `koanf:"rate"`
	Keep            time.Duration `koanf:"keep"` // 0: for ever
}

// ImageRate is how fast one process reads images, at most.
type ImageRate struct{ Requests, Bytes int } // a second

// Log is what goes to stderr.
type Log struct {
	Level  slog.Level `koanf:"level"`
	Format string     `koanf:"format"` // text or json
}

// Webhook is who is told what, and how it is signed.
type Webhook struct {
	URL       Secret        `koanf:"url"`    // the default receiver; its path may be a key
	Secret    Secret        `koanf:"secret"` // in the form of webhook.ParseSecret
	SecretOld Secret        `koanf:"secret_old"`
	Events    []string      `koanf:"events"` // snapshot, batch, schedule
	Allow     []string      `koanf:"allow"`  // hosts, in the form of webhook.Host
	Private   guard.Private `koanf:"private"`
	HTTP      bool          `koanf:"http"`
}

// On reports whether anybody can be told anything.
func (w Webhook) On() bool { return !w.URL.Empty() || len(w.Allow) > 0 }

// Check checks the receiver that a batch names.
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

// CheckCallback checks the CallbackURL of a room; the error reads on after the
// field. Where tiwsnap takes Tencent's callbacks and sends webhooks it calls that
// URL itself, so it must be one that webhooks may go to. Everywhere else Tencent
// calls it.
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

// Source is where Load reads.
type Source struct {
	File    string         // a YAML file; where empty, TIWSNAP_CONFIG may name one
	Environ []string       // NAME=value, as os.Environ has them
	Flags   *pflag.FlagSet // may be nil; only what Flags defined is read
}

// Need is something that some commands cannot do without.
type Need int

const (
	// Credentials are needed by whatever calls Tencent's API.
	Credentials Need = iota + 1
	// RoomFiles are needed by whatever runs schedules.
	RoomFiles
)

// Load reads all layers. The error has a line for every fault in any of them,
// and for every need that is not met: where the value came from, the value
// unless it is secret, and what it must be.
//
// Where the file has a list of namespaces it is the first one, or the one that
// the environment or a flag chooses; see LoadAll.
func Load(src Source, needs ...Need) (Config, error) {
	all, err := LoadAll(src, needs...)
	if err != nil {
		return Config{}, err
	}
	return all[0], nil
}

// Changed returns the keys of what b has otherwise than a: settings in the order of their table, then lists.
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

// SameNamespaces reports whether two that LoadAll has returned name the same.
func SameNamespaces(a, b []Config) bool {
	return slices.EqualFunc(a, b, func(a, b Config) bool { return a.Namespace == b.Namespace })
}

// ChangedAll is Changed for what LoadAll returns, of the same namespaces.
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

// HTTPAddr returns HTTP.Addr alone. What is wrong with other settings does not matter: a process that runs already has
// not read them.
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

// The endpoints that Tencent's documents have: the page of 2023 the first one, also for ap-singapore, and those of the
// international site since 2024 the second.
const (
	ChinaEndpoint = "https://tiw.tencentcloudapi.com"
	IntlEndpoint  = "https://tiw.intl.tencentcloudapi.com"
)

// RegionWarning returns why the region most likely does not go with the endpoint, and what to do; both are empty where
// nothing is known against the pair. It goes by Tencent's documents, so that it is no more than a warning.
func (c Config) RegionWarning() (why, fix string) {
	u, err := url.Parse(c.TIW.Endpoint)
	if err != nil || !strings.EqualFold("https://"+u.Hostname(), IntlEndpoint) || c.TIW.Region == "ap-singapore" {
		return "", ""
	}
	why = fmt.Sprintf("%s is not available at the endpoint %s: Tencent documents only ap-singapore there",
		c.TIW.Region, c.TIW.Endpoint)
	return why, "set TIWSNAP_TIW_REGION to ap-singapore, or TIWSNAP_TIW_ENDPOINT to " + ChinaEndpoint
}

// loader collects the layers and the faults in them.
type loader struct {
	koanf  *koanf.Koanf
	faults []error
	tried  map[string]bool // the keys that somebody gave a value, even a faulty one

	entries     []entry // of the file's list of namespaces
	noCallbacks bool    // the entry of this namespace has an empty callback.url: it wants none, whatever others have
}

func (l *loader) fault(format string, args ...any) {
	l.faults = append(l.faults, fmt.Errorf(format, args...))
}

// given is a setting as one layer has it.
type given struct {
	setting setting
	isFile  bool // text names the file that holds the value
	text    string
	origin  string // for a message: where to look
}

// leaf is what the layers are merged from. Later ones replace earlier ones.
// koanf copies them, so that they hold nothing but exported strings.
type leaf struct {
	Key, Text, Origin string
	File              string // that Text was read from, if it was
}

// layer puts the settings of one layer over those before it.
func (l *loader) layer(all []given) {
	for _, g := range all {
		l.tried[g.setting.key] = l.tried[g.setting.key] || g.text != ""
	}
	l.put(l.leaves(all))
}

// put puts values, by key, over those before them.
func (l *loader) put(values map[string]any) {
	if err := l.koanf.Load(provider(values), nil); err != nil {
		panic(err) // provider has none
	}
}

// leaves reads and checks settings that must not be given twice. They are by
// key.
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

// provider is a layer as koanf takes it.
type provider map[string]any

func (p provider) Read() (map[string]any, error) { return maps.Unflatten(p, "."), nil }

func (p provider) ReadBytes() ([]byte, error) { return nil, errors.ErrUnsupported }

// fill puts the values into c. Where they can all be parsed it can fail only if
// Config and settings.go do not agree.
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

// together checks what one setting alone cannot show.
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
			"copies: "+
			"set it to that or more", brief(keep), brief(c.Retention))
	}
	if c.Images.Store != "" && c.Retention < imagesNeed {
		l.fault("TIWSNAP_RETENTION: %s is less than %s, which images may need until they are copied to "+
			"TIWSNAP_IMAGES_STORE: set it to that or more", brief(c.Retention), brief(imagesNeed))
	}
	if l.tried["images.access_key_id"] != l.tried["images.secret_access_key"] {
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

// imagesNeed is how long the records of images to copy are needed: as long as Tencent
// keeps them.
const imagesNeed = 72 * time.Hour

func (l *loader) callbacks() {
	// The environment or a flag can turn off what the file has on.
	inForce := func(key string) bool {
		v, _ := l.koanf.Get(key).(leaf)
		return v.Text != ""
	}
	addr, url := inForce("callback.addr"), inForce("callback.url")
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
	if url && !l.tried["callback.key"] {
		l.fault(
			"TIWSNAP_CALLBACK_KEY: is missing: it signs the URLs under TIWSNAP_CALLBACK_URL; set it, or " +
				"TIWSNAP_CALLBACK_KEY_FILE, to the output of openssl rand -hex 32, the same in all workers",
		)
	}
	if url && l.tried["tiw.callback_url"] {
		l.fault(
			"TIWSNAP_TIW_CALLBACK_URL: cannot be used with TIWSNAP_CALLBACK_URL: Tencent calls only one URL; " +
				"remove one of them",
		)
	}
}

func (l *loader) credentials(needs []Need) {
	id, key := l.tried["tencentcloud.secret_id"], l.tried["tencentcloud.secret_key"]
	if !slices.Contains(needs, Credentials) && !id && !key && !l.tried["tencentcloud.token"] {
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

// webhook checks what the settings of webhooks need of each other.
func (l *loader) webhook(w Webhook) {
	if w.On() && !l.tried["webhook.secret"] {
		l.fault(
			"TIWSNAP_WEBHOOK_SECRET: is missing: set it, or TIWSNAP_WEBHOOK_SECRET_FILE, to the output of: echo " +
				"whsec_$(openssl rand -base64 32)",
		)
	}
	if _, err := webhook.ParseURL(w.URL.Reveal(), w.HTTP); err != nil && !w.URL.Empty() {
		l.fault("TIWSNAP_WEBHOOK_URL: %w: TIWSNAP_WEBHOOK_HTTP=true allows it", err)
	}
}

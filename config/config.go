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

	"github.com/spf13/pflag"

	"tiwsnap/internal/guard"
	"tiwsnap/internal/keys"
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

package config

import (
	"slices"
	"strings"
	"time"

	"tiwsnap/internal/rdb"
	"tiwsnap/webhook"
)

// checkRules checks settings that depend on one another.
func (l *loader) checkRules(c Config, needs []Need) {
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

package config

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"tiwsnap/images"
	"tiwsnap/internal/guard"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/password"
	"tiwsnap/internal/rdb"
	"tiwsnap/webhook"
)

// setting is a row of the table of settings.
type setting struct {
	key   string // YAML key; env derives the environment variable from it
	flag  string // empty: no flag
	def   string
	doc   string
	parse func(string) (any, error) // returns the value for Config; the error continues the value
	show  func(string) string       // returns the printable value, without secrets
}

// settings is the table of all settings. A new setting needs a line here and a field in
// Config.
var settings = []setting{
	{"namespace", "namespace", keys.Default.String(),
		"name of this installation in Redis; each account and each stage on the same Redis needs its own",
		namespace, plain},
	{"redis.url", "redis-url", "redis://127.0.0.1:6379/0",
		"URL of Redis: redis://, rediss://, unix://, redis+sentinel://H1,H2/MASTER/DB, redis+cluster://H1,H2, or " +
			"embedded",
		redisURL, rdb.Redact},
	{"redis.durability", "durability", "local",
		"where rooms are stored before an enqueue succeeds, and the intent before a request is sent: in Redis " +
			"(local), or also in its replicas (replicated)",
		oneOf("local", "replicated"), plain},
	{"redis.tls.ca", "", "", "PEM file of the CAs that sign the certificate of Redis; empty: the CAs of the system",
		anyText, plain},
	{"redis.tls.cert", "", "", "PEM file of the client certificate, if Redis requires one", anyText, plain},
	{"redis.tls.key", "", "", "PEM file of the client certificate's private key", anyText, plain},
	{"redis.tls.server_name", "", "", "name in the certificate of Redis; empty: the host in its URL", anyText, plain},
	{"tencentcloud.secret_id", "", "", "SecretId of the API key", secret, hide},
	{"tencentcloud.secret_key", "", "", "SecretKey of the API key", secret, hide},
	{"tencentcloud.token", "", "", "token of temporary credentials", secret, hide},
	{"tiw.endpoint", "endpoint", ChinaEndpoint,
		"URL of the API; for the international site https://tiw.intl.tencentcloudapi.com",
		endpoint, hideUser},
	{"tiw.region", "region", "ap-singapore",
		"region of the API",
		pattern(`[a-z]+(-[a-z0-9]+)+`, "a region such as ap-singapore"), plain},
	{"tiw.timeout", "tiw-timeout", "10s",
		"timeout of one API request",
		duration(100*time.Millisecond, time.Minute), plain},
	{"tiw.callback_url", "", "",
		"CallbackURL for rooms that have none; only if tiwsnap receives no callbacks itself",
		ownCallback, hide},
	{"rate.limit", "rate", "20", "requests per second, for each API action", number(1, 10000), plain},
	{"rate.margin", "margin", "15ms",
		"minimum safety margin added to the one-second window; the margin adapts to network jitter, up to 100 ms",
		duration(time.Millisecond, 100*time.Millisecond), plain},
	{"worker.concurrency", "concurrency", "256",
		"maximum requests in flight in one process, for single rooms and for batches each; the actual number follows " +
			"the latency of the API",
		number(1, 1000), plain},
	{"worker.attempts", "attempts", "8", "maximum attempts for one snapshot", number(1, 100), plain},
	{"worker.spool", "spool", "",
		"folder for outcomes while Redis cannot store them; empty: a folder in the user's cache folder",
		anyText, plain},
	{"confirm.after", "confirm-after", "30s",
		"delay before the first result poll",
		duration(100*time.Millisecond, time.Hour), plain},
	{"confirm.share", "confirm-share", "100",
		"percentage of the DescribeSnapshotTask rate limit that polling for results may use",
		number(1, 100), plain},
	{"callback.addr", "callback-addr", "",
		"HOST:PORT to listen on for Tencent's callbacks; empty: no callbacks, results come from polling alone",
		listenAddr, plain},
	{"callback.url", "callback-url", "",
		"public base URL at which Tencent reaches the callback listener",
		publicURL, hideUser},
	{"callback.key", "", "", "secret that signs callback URLs: at least 32 random characters", signingKey, hide},
	{"callback.key_old", "", "",
		"previous secret, whose callback URLs are still accepted during rotation",
		signingKey, hide},
	{"http.addr", "http-addr", DefaultHTTPAddr,
		"HOST:PORT of the pages and the API; empty: not served",
		listenAddr, plain},
	{"http.hosts", "", "",
		"host names of the pages and the API, separated by commas; IP addresses and localhost are always accepted",
		hostNames, plain},
	{"http.proxies", "", "",
		"addresses and networks of the reverse proxies in front of the pages and the API, separated by commas: " +
			"their X-Forwarded-For is trusted",
		networks, plain},
	{"http.session_key", "", "",
		"secret that signs logins, the same in all worker and web processes: at least 32 random characters; " +
			"empty: logins end with the process",
		signingKey, hide},
	{"http.users", "", "",
		"users who may log in, one per line: NAME ROLES HASH, see docs/admin.md",
		logins(password.Check), hideHashes},
	{"http.tokens", "", "",
		"access tokens of programs, one per line: NAME ROLES HASH, see docs/admin.md",
		logins(password.CheckToken), hideHashes},
	{"metrics.addr", "metrics-addr", "",
		"HOST:PORT of /metrics, without a login; empty: /metrics is served with the pages and needs the role view",
		listenAddr, plain},
	{"suspend_for", "suspend-for", "24h",
		"how long an application that has worked before stays suspended when Tencent refuses it, before its rooms fail",
		duration(time.Minute, 720*time.Hour), plain},
	{"unknown", "unknown", "wait",
		"what to do with a request of unknown outcome: wait (for its callback, then retry), retry (at " +
			"once) or hold (for review)",
		oneOf("wait", "retry", "hold"), plain},
	{"unknown_grace", "unknown-grace", "2m",
		"how long an unknown outcome waits for its callback",
		duration(time.Second, time.Hour), plain},
	{"retention", "retention", "168h",
		"how long records of ended snapshots are kept",
		duration(time.Minute, 8760*time.Hour), plain},
	{"images.store", "images-store", "",
		"URL of the store for copies of images: file:///srv/boards, or " +
			"s3://BUCKET/PREFIX?endpoint=https://HOST&region=REGION; " +
			"empty: no copies, and Tencent deletes images after three days", imageStore, hideUser},
	{"images.access_key_id", "", "",
		"access key ID of an S3 store; empty: from the environment, credentials file or instance role of AWS", secret, hide},
	{"images.secret_access_key", "", "", "secret access key of an S3 store", secret, hide},
	{"images.private", "", "",
		"image hosts that may be in a private network: host names, addresses and networks such as 10.1.2.0/24",
		privateHosts, plain},
	{"images.copy", "", "tencent",
		"which images to copy: those that Tencent deletes (tencent), or also those in the rooms' own buckets (all)",
		oneOf("tencent", "all"), plain},
	{"images.rate", "", "200,100MB",
		"maximum requests and bytes per second at which one process downloads images", imageRate, plain},
	{"images.keep", "", "",
		"how long copies are kept after they were last written, such as 8760h; empty: forever", keep, plain},
	{"log.level", "log-level", "info", "lowest level to log: debug, info, warn or error", logLevel, plain},
	{"log.format", "log-format", "text", "log format: text or json", oneOf("text", "json"), plain},
	{"webhook.url", "", "",
		"https:// URL to notify when snapshots and batches end and scheduled ticks fail; empty: only the " +
			"receivers that batches name",
		webhookURL, hidePath},
	{"webhook.secret", "", "", "secret that signs webhooks: whsec_ and 24 to 64 bytes in base64", webhookSecret, hide},
	{"webhook.secret_old", "", "", "previous secret, also used to sign during rotation", webhookSecret, hide},
	{"webhook.events", "", "snapshot,batch,images,schedule",
		"events to send: the end of each snapshot, the end of each batch, all images of a batch copied, " +
			"a failed tick of a schedule",
		words("snapshot", "batch", "images", "schedule"), plain},
	{"webhook.allow", "", "",
		"hosts to which the webhook of a batch and the CallbackURL of a room may go, separated by commas",
		hosts, hideUser},
	{"webhook.private", "", "",
		"receivers that may be in a private network: host names, addresses and networks such as 10.1.2.0/24",
		privateHosts, plain},
	{"webhook.http", "", "false", "also allow http:// receivers: true or false", boolean, plain},
}

// env returns the environment variable of the setting: its YAML key in capitals. The
// credentials have the names that Tencent's tools use.
func (s setting) env() string {
	name := strings.ToUpper(strings.ReplaceAll(s.key, ".", "_"))
	if strings.HasPrefix(s.key, "tencentcloud.") {
		return name
	}
	return "TIWSNAP_" + name
}

// secret reports whether the value must never be printed. Such a setting can also be read
// from a file: KEY_file, and NAME_FILE in the environment.
func (s setting) secret() bool { return s.show("x") == mask }

func byKey(key string) (setting, bool) {
	for _, table := range append(slices.Collect(maps.Values(lists)), settings) {
		for _, s := range table {
			if s.key == key {
				return s, true
			}
		}
	}
	return setting{}, false
}

func plain(s string) string { return s }

func hide(string) string { return mask }

func secret(s string) (any, error) {
	switch {
	case s == mask:
		return nil, errors.New("is the placeholder that config print shows: give the secret itself")
	case strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }):
		return nil, errors.New("must not contain a space or a line break")
	}
	return NewSecret(s), nil
}

func namespace(s string) (any, error) { return keys.Parse(s) }

func redisURL(s string) (any, error) {
	if err := rdb.Check(s); err != nil {
		return nil, fmt.Errorf("is not a Redis URL: %w", err)
	}
	return NewSecret(s), nil
}

func endpoint(s string) (any, error) {
	u, ok := httpURL(s)
	if !ok || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return nil, errors.New("must be https://HOST or http://HOST:PORT, without a path")
	}
	return u.Scheme + "://" + u.Host, nil
}

func httpURL(s string) (u *url.URL, ok bool) {
	u, err := url.Parse(s)
	return u, err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Hostname() != "" && u.User == nil &&
		u.Fragment == ""
}

func publicURL(s string) (any, error) {
	if s == "" {
		return s, nil
	}
	u, ok := httpURL(s)
	if !ok || u.RawQuery != "" {
		return nil, errors.New("must be https://HOST or http://HOST:PORT, with or without a path")
	}
	return strings.TrimRight(u.Scheme+"://"+u.Host+u.EscapedPath(), "/"), nil
}

// ownCallback returns a Secret, because such a URL often contains a token.
func ownCallback(s string) (any, error) {
	if _, ok := httpURL(s); !ok && s != "" {
		return nil, errors.New("must be a URL that begins with https:// or http://")
	}
	return secret(s)
}

func listenAddr(s string) (any, error) {
	if s == "" {
		return s, nil
	}
	_, port, err := net.SplitHostPort(s)
	if n, portErr := strconv.ParseUint(port, 10, 16); err != nil || portErr != nil || n == 0 {
		return nil, errors.New("must be HOST:PORT, or :PORT for all addresses of this machine")
	}
	return s, nil
}

// minKey is the minimum length of a key in bytes: longer keys do not strengthen
// HMAC-SHA256.
const minKey = 32

func signingKey(s string) (any, error) {
	if s != "" && s != mask && len(s) < minKey {
		return nil, fmt.Errorf("must have at least %d characters: make one with openssl rand -hex 32", minKey)
	}
	return secret(s)
}

func anyText(s string) (any, error) { return s, nil }

func pattern(expr, what string) func(string) (any, error) {
	re := regexp.MustCompile(`^(` + expr + `)$`)
	return func(s string) (any, error) {
		if !re.MatchString(s) {
			return nil, errors.New("must be " + what)
		}
		return s, nil
	}
}

func number(lo, hi int) func(string) (any, error) {
	return func(s string) (any, error) {
		n, err := strconv.Atoi(s)
		if err != nil || n < lo || n > hi {
			return nil, fmt.Errorf("must be a whole number from %d to %d", lo, hi)
		}
		return n, nil
	}
}

func duration(lo, hi time.Duration) func(string) (any, error) {
	return func(s string) (any, error) {
		d, err := time.ParseDuration(s)
		if err != nil || d < lo || d > hi {
			return nil, fmt.Errorf("must be a duration such as 500ms, 30s, 10m or 24h, from %s to %s", Brief(lo), Brief(hi))
		}
		return d, nil
	}
}

// Brief formats a duration without zero units: 168h instead of 168h0m0s.
func Brief(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func oneOf(words ...string) func(string) (any, error) {
	return func(s string) (any, error) {
		if !slices.Contains(words, s) {
			return nil, errors.New("must be " + strings.Join(words, " or "))
		}
		return s, nil
	}
}

// list splits a text at commas, without empty elements.
func list(s string) []string {
	var all []string
	for word := range strings.SplitSeq(s, ",") {
		if word = strings.TrimSpace(word); word != "" {
			all = append(all, word)
		}
	}
	return all
}

func words(known ...string) func(string) (any, error) {
	return func(s string) (any, error) {
		all := list(s)
		for _, w := range all {
			if !slices.Contains(known, w) {
				all = nil
			}
		}
		if all == nil {
			return nil, errors.New("must be " + strings.Join(known, " or ") + ", or several of them separated by commas")
		}
		return all, nil
	}
}

func boolean(s string) (any, error) {
	if s != "true" && s != "false" {
		return nil, errors.New("must be true or false")
	}
	return s == "true", nil
}

func webhookSecret(s string) (any, error) {
	if v, err := secret(s); err != nil || s == "" {
		return v, err
	}
	if _, err := webhook.ParseSecret(s); err != nil {
		return nil, fmt.Errorf("%w; make one with: echo whsec_$(openssl rand -base64 32)", err)
	}
	return NewSecret(s), nil
}

// webhookURL accepts https and http; webhook.http decides which.
func webhookURL(s string) (any, error) {
	if strings.HasSuffix(s, "/"+mask) {
		return nil, errors.New("is the placeholder that config print shows: give the URL itself")
	}
	if _, err := webhook.ParseURL(s, true); err != nil && s != "" {
		return nil, err
	}
	return NewSecret(s), nil
}

// hideUser hides the part before the host of a URL, which is most likely a password.
func hideUser(s string) string {
	i := strings.LastIndex(s, "@")
	if i < 0 {
		return s
	}
	scheme, _, found := strings.Cut(s[:i], "://")
	if !found {
		return mask + s[i:]
	}
	return scheme + "://" + mask + s[i:]
}

// hidePath shows scheme and host of a URL and hides the rest, which may be a key.
func hidePath(s string) string {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.User != nil:
		return mask
	case u.Path == "" && u.RawQuery == "" && u.Fragment == "":
		return u.Scheme + "://" + u.Host
	}
	return u.Scheme + "://" + u.Host + "/" + mask
}

// urlText matches URLs in a class list or a block, also with escaped slashes.
var urlText = regexp.MustCompile(`(?i)https?:[^\s",;']+`)

// hideCallbacks hides the paths of all URLs if there is a CallbackURL, which may contain
// a token.
func hideCallbacks(s string) string {
	if !strings.Contains(strings.ToLower(s), "callbackurl") {
		return s
	}
	return urlText.ReplaceAllStringFunc(s, hidePath)
}

func hosts(s string) (any, error) {
	all := []string{}
	for _, entry := range list(s) {
		u, err := webhook.ParseURL("https://"+entry, false)
		if err != nil || u.Path != "" || u.RawQuery != "" || u.ForceQuery {
			return nil, fmt.Errorf("must be hosts such as hooks.example.com or hooks.example.com:8443, "+
				"separated by commas: %s is not a host", quote(hideUser(entry)))
		}
		all = append(all, webhook.Host(u))
	}
	return all, nil
}

func privateHosts(s string) (any, error) {
	p, err := guard.ParsePrivate(list(s))
	if err != nil {
		return nil, fmt.Errorf("must be host names, addresses and networks, separated by commas: %w", err)
	}
	return p, nil
}

// imageStore checks the URL of a store; the credentials are separate settings.
func imageStore(s string) (any, error) {
	if s == "" {
		return s, nil
	}
	if _, err := images.OpenStore(s, images.Credentials{}); err != nil {
		return nil, err
	}
	return s, nil
}

// imageRate parses requests and bytes per second, such as 200,100MB.
func imageRate(s string) (any, error) {
	wrong := errors.New("must be requests and bytes per second, such as 200,100MB: " +
		"from 1 to 10000, and from 1MB to 10000MB")
	requests, size, ok := strings.Cut(s, ",")
	n, err := strconv.Atoi(strings.TrimSpace(requests))
	number, inMB := strings.CutSuffix(strings.TrimSpace(size), "MB")
	mb, sizeErr := strconv.Atoi(number)
	if !ok || !inMB || err != nil || sizeErr != nil || min(n, mb) < 1 || max(n, mb) > 10_000 {
		return nil, wrong
	}
	return ImageRate{Requests: n, Bytes: mb * 1_000_000}, nil
}

func keep(s string) (any, error) {
	if s == "" {
		return time.Duration(0), nil
	}
	return duration(time.Hour, 100*8760*time.Hour)(s)
}

func logLevel(s string) (any, error) {
	levels := map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	}
	level, ok := levels[s]
	if !ok {
		return nil, errors.New("must be debug, info, warn or error")
	}
	return level, nil
}

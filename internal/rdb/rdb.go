// Package rdb connects to Redis by URL: a single server, TLS, a Unix socket, Sentinel or Cluster. Its clients have
// bounded pools and timeouts and respect context deadlines. Ping, Probe and Servers check a Redis: permissions, memory,
// eviction policy and persistence. Fix turns an error of Redis into advice for a person. AwaitReplicas confirms that
// replicas have a write.
package rdb

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Embedded, in place of a URL, means the Redis inside this process (package embedded). Check accepts it, Open does not,
// so that callers of Open do not link that package.
const Embedded = "embedded"

const (
	clientName  = "tiwsnap" // in CLIENT LIST
	poolSize    = 50        // connections of one process to one server
	dialTimeout = 5 * time.Second
	ioTimeout   = 3 * time.Second
	// slotsEvery is how often a client reloads the slots of a Cluster. go-redis does so each minute, and on a redirect,
	// which a dead server does not send.
	slotsEvery   = 2 * time.Second
	pingTimeout  = 6 * time.Second // longer than dialTimeout, so that a dial reports its own timeout
	redisPort    = "6379"
	sentinelPort = "26379"
)

// Open returns a client of the Redis at rawURL and a function that closes it. It does not connect yet: see Ping. The
// forms of rawURL are
//
//	redis://USER:PASSWORD@HOST:6379/DB        rediss:// is the same over TLS
//	unix:///run/redis.sock?db=0
//	redis+sentinel://USER:PASSWORD@HOST1:26379,HOST2/MASTER/DB
//	redis+cluster://USER:PASSWORD@HOST1:6379,HOST2
//
// rediss+sentinel and rediss+cluster use TLS, too. USER and PASSWORD are those of the Redis servers. The parameters
// sentinel_username and sentinel_password are for the sentinels. The URL parameters of go-redis (pool_size=100,
// read_timeout=1s, skip_verify=true, …) override the defaults of this package. The error never contains a password.
func Open(rawURL string) (redis.UniversalClient, func() error, error) { return OpenTLS(rawURL, TLS{}) }

// OpenTLS is Open with TLS settings. It reads their files. TLS settings for a URL without TLS are an error.
func OpenTLS(rawURL string, t TLS) (redis.UniversalClient, func() error, error) {
	if rawURL == Embedded {
		return nil, nil, errors.New("embedded is a Redis inside one process, which no other process can reach; " +
			"give the URL of a server")
	}
	connect, err := parse(rawURL, t)
	if err != nil {
		return nil, nil, err
	}
	c := connect()
	return c, c.Close, nil
}

// Check returns the error that Open would return for rawURL. It also accepts Embedded.
func Check(rawURL string) error {
	if rawURL == Embedded {
		return nil
	}
	_, err := parse(rawURL, TLS{})
	return err
}

// Ping checks that the server answers within six seconds. A server that refuses writes passes. rawURL is the URL of the
// client, for the error. Fix knows the fixes of these errors.
func Ping(ctx context.Context, c redis.UniversalClient, rawURL string) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	err := c.Ping(ctx).Err()
	if Misconf(err) {
		return nil
	}
	return unusable(ctx, c, rawURL, err)
}

var (
	//go:embed probe.lua
	probeSource string
	probeScript = redis.NewScript(probeSource)
)

// Probe checks the server like Ping, by a script without effect on each of keys. The keys must have no other use. It
// finds what PING does not: missing permissions, a node of a Cluster without these keys, a server that refuses writes.
func Probe(ctx context.Context, c redis.UniversalClient, rawURL string, keys ...string) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	for _, key := range keys {
		refused, err := probeScript.Run(ctx, c, []string{key}).StringSlice()
		if len(refused) > 0 {
			err = refusal("NOPERM this user may not run " + strings.Join(refused, ", ") + " on " + key)
		}
		if err != nil {
			return unusable(ctx, c, rawURL, err)
		}
	}
	return nil
}

// refusal is an error reply of a server. It implements redis.Error.
type refusal string

func (r refusal) Error() string { return string(r) }

// RedisError implements redis.Error.
func (refusal) RedisError() {}

// unusable wraps an error of Ping or Probe with the redacted URL and, if possible, a better reason.
func unusable(ctx context.Context, c redis.UniversalClient, rawURL string, err error) error {
	var reply redis.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, redis.Nil): // from the sentinels
		return fmt.Errorf("redis at %s does not answer: the sentinels know no master of that name", Redact(rawURL))
	case errors.As(err, &reply):
		return fmt.Errorf("redis at %s refuses to serve: %w", Redact(rawURL), err)
	}
	if Fix(err) == startFix || Fix(err) == "" {
		err = diagnose(ctx, c, err)
	}
	return fmt.Errorf("redis at %s does not answer: %w", Redact(rawURL), err)
}

var (
	beforeHost    = regexp.MustCompile(`(?s)^((?:rediss?(?:\+\w+)?|unix)://)?(.*)@`)
	passwordParam = regexp.MustCompile(`(password=)[^&]*`)
)

// Redact returns rawURL with *** in place of its passwords, for messages. In an invalid URL it may hide more than the
// password.
func Redact(rawURL string) string {
	if m := beforeHost.FindStringSubmatch(rawURL); m != nil {
		userinfo := "***"
		if user, _, found := strings.Cut(m[2], ":"); found {
			userinfo = user + ":***"
		}
		rawURL = m[1] + userinfo + rawURL[len(m[0])-1:]
	}
	return passwordParam.ReplaceAllString(rawURL, "$1***")
}

func parse(rawURL string, t TLS) (connect func() redis.UniversalClient, err error) {
	scheme, _, tail := split(rawURL)
	if strings.Contains(tail, "@") { // probably part of a password, which the next error would quote
		return nil, fmt.Errorf("there is an @ after the host%s", escapes)
	}
	switch scheme {
	case "redis", "rediss", "unix":
		connect, err = parseSingle(rawURL, t)
	case "redis+sentinel", "rediss+sentinel":
		connect, err = parseSentinel(rawURL, t)
	case "redis+cluster", "rediss+cluster":
		connect, err = parseCluster(rawURL, t)
	default:
		return nil, errors.New("it must be embedded, or begin with redis://, rediss://, unix://, redis+sentinel:// " +
			"or redis+cluster://")
	}
	var syntax *url.Error
	if errors.As(err, &syntax) { // the error quotes the URL, and its cause may quote a part
		reason := "it is not a URL"
		if strings.HasPrefix(syntax.Err.Error(), "invalid port") {
			reason = "the port is not a number"
		}
		return nil, errors.New(reason + escapes)
	}
	return connect, err
}

const escapes = " (in a password, write @ : / ? # % as %40 %3A %2F %3F %23 %25)"

// split splits a URL into scheme, authority (USER:PASSWORD@HOSTS) and the rest.
func split(rawURL string) (scheme, authority, tail string) {
	scheme, rest, _ := strings.Cut(rawURL, "://")
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		return scheme, rest[:i], rest[i:]
	}
	return scheme, rest, ""
}

// setDefaults sets the options that the URL does not contain.
func setDefaults(name *string, pool *int, dial, read, write *time.Duration) {
	*name = cmp.Or(*name, clientName)
	*pool = cmp.Or(*pool, poolSize)
	*dial = cmp.Or(*dial, dialTimeout)
	*read = cmp.Or(*read, ioTimeout)
	*write = cmp.Or(*write, ioTimeout)
}

func parseSingle(rawURL string, t TLS) (func() redis.UniversalClient, error) {
	o, err := redis.ParseURL(rawURL)
	if err != nil {
		return nil, err
	}
	setDefaults(&o.ClientName, &o.PoolSize, &o.DialTimeout, &o.ReadTimeout, &o.WriteTimeout)
	o.ContextTimeoutEnabled = true
	if err := t.apply(o.TLSConfig, false); err != nil {
		return nil, err
	}
	return func() redis.UniversalClient { return redis.NewClient(o) }, nil
}

func parseCluster(rawURL string, t TLS) (func() redis.UniversalClient, error) {
	u, err := oneHost(rawURL, redisPort)
	if err != nil {
		return nil, err
	}
	if db := strings.Trim(u.Path, "/"); db != "" && db != "0" {
		return nil, fmt.Errorf("it names database %q, but a cluster has no databases", db)
	}
	o, err := redis.ParseClusterURL(u.String())
	if err != nil {
		return nil, err
	}
	setDefaults(&o.ClientName, &o.PoolSize, &o.DialTimeout, &o.ReadTimeout, &o.WriteTimeout)
	o.ContextTimeoutEnabled = true
	o.ClusterStateReloadInterval = cmp.Or(o.ClusterStateReloadInterval, slotsEvery)
	if err := t.apply(o.TLSConfig, true); err != nil {
		return nil, err
	}
	return func() redis.UniversalClient { return redis.NewClusterClient(o) }, nil
}

func parseSentinel(rawURL string, t TLS) (func() redis.UniversalClient, error) {
	u, err := oneHost(rawURL, sentinelPort)
	if err != nil {
		return nil, err
	}
	master, db, _ := strings.Cut(strings.Trim(u.Path, "/"), "/")
	if master == "" {
		return nil, errors.New("the name of the sentinels' master is missing: redis+sentinel://HOST/MASTER/DB")
	}
	// go-redis uses the user of such a URL for the sentinels.
	user, q := u.User, u.Query()
	u.User, u.Path = nil, "/"+db
	sentinelUser, sentinelPassword := q.Get("sentinel_username"), q.Get("sentinel_password")
	q.Del("sentinel_username")
	q.Del("sentinel_password")
	q.Set("master_name", master)
	u.RawQuery = q.Encode()
	o, err := redis.ParseFailoverURL(u.String())
	if err != nil {
		return nil, err
	}
	o.Username = user.Username()
	o.Password, _ = user.Password()
	o.SentinelUsername, o.SentinelPassword = sentinelUser, sentinelPassword
	setDefaults(&o.ClientName, &o.PoolSize, &o.DialTimeout, &o.ReadTimeout, &o.WriteTimeout)
	o.ContextTimeoutEnabled = true
	if err := t.apply(o.TLSConfig, true); err != nil {
		return nil, err
	}
	return func() redis.UniversalClient { return redis.NewFailoverClient(o) }, nil
}

// oneHost rewrites SCHEME+KIND://USER@H1,H2/PATH, which is not a valid URL, to the form that go-redis parses:
// SCHEME://USER@H1:PORT/PATH?addr=H2:PORT.
func oneHost(rawURL, defaultPort string) (*url.URL, error) {
	scheme, authority, tail := split(rawURL)
	scheme, _, _ = strings.Cut(scheme, "+")
	at := strings.LastIndex(authority, "@") + 1
	var addrs []string
	for host := range strings.SplitSeq(authority[at:], ",") {
		u, err := url.Parse(scheme + "://" + host)
		if err != nil {
			return nil, err
		}
		if u.Hostname() == "" {
			return nil, errors.New("a host name is missing")
		}
		addrs = append(addrs, net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), defaultPort)))
	}
	u, err := url.Parse(scheme + "://" + authority[:at] + addrs[0] + tail)
	if err != nil {
		return nil, err
	}
	q := u.Query()
	for _, addr := range addrs[1:] {
		q.Add("addr", addr)
	}
	u.RawQuery = q.Encode()
	return u, nil
}

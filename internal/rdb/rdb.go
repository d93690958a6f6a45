// Package rdb connects to Redis by URL: a single server, TLS, a Unix socket,
// Sentinel or Cluster. Its clients have bounded pools and timeouts and respect
// context deadlines. It also has the checks that apply to any Redis, such as
// memory, eviction and clock.
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

// Embedded is in the place of a URL the Redis inside this process of package
// embedded. Check takes it, Open does not: so whoever opens a URL need not link it.
const Embedded = "embedded"

const (
	clientName  = "tiwsnap" // what CLIENT LIST shows
	poolSize    = 50        // connections of one process to one server
	dialTimeout = 5 * time.Second
	ioTimeout   = 3 * time.Second
	// slotsEvery is how often a client of a Cluster asks which server has what. go-redis does so each minute, and where
	// a server redirects it: one that is dead does not.
	slotsEvery   = 2 * time.Second
	pingTimeout  = 6 * time.Second // a dial that runs into its own timeout can still report it
	redisPort    = "6379"
	sentinelPort = "26379"
)

// Open returns a client of the Redis at rawURL and what ends it. It does not
// connect yet: see Ping. The forms of rawURL are
//
//	redis://USER:PASSWORD@HOST:6379/DB        rediss:// is the same over TLS
//	unix:///run/redis.sock?db=0
//	redis+sentinel://USER:PASSWORD@HOST1:26379,HOST2/MASTER/DB
//	redis+cluster://USER:PASSWORD@HOST1:6379,HOST2
//
// rediss+sentinel and rediss+cluster are TLS too. USER and PASSWORD are those
// of the Redis servers; the sentinels' own are the parameters sentinel_username
// and sentinel_password. go-redis's URL parameters (pool_size=100,
// read_timeout=1s, skip_verify=true, …) are understood and win over our
// defaults. The error never contains a password.
func Open(rawURL string) (redis.UniversalClient, func() error, error) { return OpenTLS(rawURL, TLS{}) }

// OpenTLS is Open with more to say about TLS. It reads the files, and refuses them where rawURL asks for no TLS.
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

// Check returns the error that Open would return for the form of rawURL. It takes
// Embedded too.
func Check(rawURL string) error {
	if rawURL == Embedded {
		return nil
	}
	_, err := parse(rawURL, TLS{})
	return err
}

// Ping asks the server whether it is there, for at most six seconds. rawURL is
// what the client was opened with, for the error, which Fix knows. A server that
// refuses writes is there.
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

// Probe is Ping by a script without effect on each of keys, which must be used for nothing else. So it finds what a
// PING does not: rights that the user lacks, a node of a Cluster that has other keys, a server that takes no writes.
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

// refusal is what a server has said, as a redis.Error.
type refusal string

func (r refusal) Error() string { return string(r) }

// RedisError marks it for redis.Error.
func (refusal) RedisError() {}

func unusable(ctx context.Context, c redis.UniversalClient, rawURL string, err error) error {
	var said redis.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, redis.Nil): // of the sentinels
		return fmt.Errorf("redis at %s does not answer: the sentinels know no master of that name", Redact(rawURL))
	case errors.As(err, &said):
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

// Redact returns rawURL with its passwords as ***, for messages. It also works
// on what is no valid URL, where it hides rather too much than too little.
func Redact(rawURL string) string {
	if m := beforeHost.FindStringSubmatch(rawURL); m != nil {
		who := "***"
		if user, _, found := strings.Cut(m[2], ":"); found {
			who = user + ":***"
		}
		rawURL = m[1] + who + rawURL[len(m[0])-1:]
	}
	return passwordParam.ReplaceAllString(rawURL, "$1***")
}

func parse(rawURL string, t TLS) (connect func() redis.UniversalClient, err error) {
	scheme, _, tail := split(rawURL)
	if strings.Contains(tail, "@") { // most likely of a password, which the next error would quote
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
	if errors.As(err, &syntax) { // quotes the URL, and its cause may quote a piece of it
		reason := "it is not a URL"
		if strings.HasPrefix(syntax.Err.Error(), "invalid port") {
			reason = "the port is not a number"
		}
		return nil, errors.New(reason + escapes)
	}
	return connect, err
}

const escapes = " (in a password, write @ : / ? # % as %40 %3A %2F %3F %23 %25)"

// split cuts a URL where its authority (USER:PASSWORD@HOSTS) begins and ends.
func split(rawURL string) (scheme, authority, tail string) {
	scheme, rest, _ := strings.Cut(rawURL, "://")
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		return scheme, rest[:i], rest[i:]
	}
	return scheme, rest, ""
}

// setDefaults fills in what the URL did not say.
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
	// go-redis takes the user of such a URL for the sentinels' own.
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

// oneHost rewrites SCHEME+KIND://USER@H1,H2/PATH, which is no valid URL, to the
// form that go-redis parses: SCHEME://USER@H1:PORT/PATH?addr=H2:PORT.
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

package rdb

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// fixes maps a part of the text of a Redis error to its fix. The first match applies. Error types do not help, because
// go-redis and asynq convert many errors to text.
var fixes = []struct{ part, fix string }{
	{"no master of that name", "take the name of the master from redis-cli -p 26379 SENTINEL MASTERS"},
	{"NOPERM", "give this user the rights that docs/redis.md lists"},
	{"run this command or subcommand", "give this user the rights that docs/redis.md lists"},
	{"at least one of the keys", "give this user the rights that docs/redis.md lists"},
	{"WRONGPASS", "correct the user and the password in TIWSNAP_REDIS_URL" + escapes},
	{"NOAUTH", "put the password into TIWSNAP_REDIS_URL: redis://USER:PASSWORD@HOST:PORT/DB; " +
		"that of the sentinels themselves is the parameter sentinel_password"},
	{"protected mode", "set a password in Redis (requirepass, or ACL SETUSER) and put it into TIWSNAP_REDIS_URL"},
	{"MISCONF", "free or repair the disk of Redis, see its log; reads keep working meanwhile"},
	{"READONLY", "give the URL of the master, or of the sentinels: redis+sentinel://HOST/MASTER/DB"},
	{"NOREPLICAS", "start the replicas that min-replicas-to-write asks for"},
	{"MOVED ", clusterFix}, {"CROSSSLOT", clusterFix},
	{"cluster support disabled", "begin the URL with redis:// instead of redis+cluster://"},
	{"CLUSTERDOWN", "repair the cluster: redis-cli --cluster check HOST:PORT shows what is missing"},
	{"OOM command not allowed", "raise maxmemory, or cancel batches"},
	{"LOADING", "wait: Redis is loading its data"},
	{"max number of clients", "raise maxclients in Redis, or run fewer processes"},
	{"BUSY", "wait, or end the script that blocks Redis: SCRIPT KILL"},
	{"unknown command", "use a Redis server where this command is not renamed or disabled"},
	{"server requires TLS", "begin the URL with rediss:// instead of redis://, or give the port without TLS"},
	{"does not use TLS", "begin the URL with redis:// instead of rediss://, or give the TLS port"},
	{"tls: expired certificate", "renew the client certificate in TIWSNAP_REDIS_TLS_CERT"},
	{"remote error: tls: ", clientFix},
	{"can't parse", "correct TIWSNAP_REDIS_URL: the server there does not speak the protocol of Redis"},
}

const (
	clusterFix = "begin the URL with redis+cluster:// instead of redis://"
	clientFix  = "set TIWSNAP_REDIS_TLS_CERT and TIWSNAP_REDIS_TLS_KEY to a client certificate that the CA of " +
		"Redis signed"
	startFix = "start Redis there, or set TIWSNAP_REDIS_URL or --redis-url"
)

// Fix returns how a person can fix an error of Redis: an imperative that follows the error text. It is empty if no fix
// is known.
func Fix(err error) string {
	if err == nil {
		return ""
	}
	var (
		host    x509.HostnameError
		expired x509.CertificateInvalidError
		unknown x509.UnknownAuthorityError
		network net.Error
	)
	switch {
	case errors.As(err, &host):
		return "set TIWSNAP_REDIS_TLS_SERVER_NAME to a name in the server's certificate, or connect by that name"
	case errors.As(err, &expired) && expired.Reason == x509.Expired:
		return "renew the server's certificate, or set this machine's clock"
	case errors.As(err, &unknown):
		return "set TIWSNAP_REDIS_TLS_CA to the PEM file of the authority that signed the server's certificate"
	}
	text := err.Error()
	for _, f := range fixes {
		if strings.Contains(text, f.part) {
			return f.fix
		}
	}
	if errors.As(err, &network) || errors.Is(err, context.DeadlineExceeded) || strings.Contains(text, "unreachable") {
		return startFix
	}
	return ""
}

// Misconf reports whether Redis rejected a write because it cannot save data to disk (MISCONF). Reads still work.
func Misconf(err error) bool { return err != nil && strings.Contains(err.Error(), "MISCONF") }

const (
	diagnoseFor = time.Second
	bannerFor   = 300 * time.Millisecond // for the error that a server sends before it closes a connection
)

// diagnose returns why a server accepts connections but does not answer, or err if it finds no better reason. go-redis
// writes first. So it gets a broken pipe if the server sent an error and closed the connection, and a timeout if the
// server waits for the rest of a command, as without TLS.
func diagnose(ctx context.Context, c redis.UniversalClient, err error) error {
	network, addr, config := "tcp", "", (*tls.Config)(nil)
	switch c := c.(type) {
	case *redis.Client:
		network, addr, config = c.Options().Network, c.Options().Addr, c.Options().TLSConfig
	case *redis.ClusterClient:
		addr, config = c.Options().Addrs[0], c.Options().TLSConfig
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), diagnoseFor)
	defer cancel()
	banner, plain := readLine(ctx, &net.Dialer{}, network, addr, "")
	var op *net.OpError
	if errors.As(plain, &op) && op.Op == "dial" {
		return err
	}
	if line, ok := strings.CutPrefix(banner, "-"); ok {
		line, _, _ = strings.Cut(line, ". ") // the message of Redis has a page of text
		return errors.New(line)
	}
	if config != nil {
		if reply, _ := readLine(ctx, &net.Dialer{}, network, addr, "PING\r\n"); reply != "" {
			return fmt.Errorf("the server does not use TLS on this port: %w", err)
		}
		if _, alert := readLine(ctx, &tls.Dialer{Config: config}, network, addr, ""); alert != nil {
			return alert
		}
		return err
	}
	insecure := &tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} // no data is sent
	_, alert := readLine(ctx, insecure, network, addr, "")
	if alert == nil || strings.Contains(alert.Error(), "remote error: tls:") {
		return fmt.Errorf("the server requires TLS on this port: %w", err)
	}
	return err
}

// dialer is a net.Dialer or a tls.Dialer.
type dialer interface {
	DialContext(ctx context.Context, network, addr string) (net.Conn, error)
}

// readLine connects, sends text and returns the first line of the reply. Without a reply it returns no line and no
// error.
func readLine(ctx context.Context, d dialer, network, addr, text string) (string, error) {
	conn, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(bannerFor)); err != nil {
		return "", err
	}
	if _, err := conn.Write([]byte(text)); err != nil {
		return "", err
	}
	b := make([]byte, 1024)
	n, err := conn.Read(b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil
	}
	line, _, _ := strings.Cut(string(b[:n]), "\r\n")
	return line, err
}

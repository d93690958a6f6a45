package rdb_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tiwsnap/internal/needs"
	"tiwsnap/internal/rdb"
	"tiwsnap/internal/redistest"
)

// authority signs certificates. file contains its own certificate, in PEM.
type authority struct {
	file string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{}
	a.file, _ = a.sign(t, x509.Certificate{
		Subject: pkix.Name{CommonName: t.TempDir()}, IsCA: true, BasicConstraintsValid: true,
	})
	return a
}

// sign creates a certificate and returns its files. The first call creates that of the authority itself.
func (a *authority) sign(t *testing.T, template x509.Certificate) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	if a.cert == nil {
		a.cert, a.key = &template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", private)
}

// tlsServer starts a Redis with TLS on its own port, with a certificate from template.
func (a *authority) tlsServer(t *testing.T, template x509.Certificate, args ...string) (addr string) {
	t.Helper()
	cert, key := a.sign(t, template)
	port := freePort(t)
	redistest.Real(t, append([]string{
		"--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", a.file,
	}, args...)...)
	return "127.0.0.1:" + port
}

var loopback = x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}

func TestClientCertificates(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	a := newAuthority(t)
	addr := a.tlsServer(t, loopback, "--tls-auth-clients", "yes")
	named := a.tlsServer(t, x509.Certificate{DNSNames: []string{"redis.example"}}, "--tls-auth-clients", "yes")
	expired := a.tlsServer(t, x509.Certificate{
		IPAddresses: loopback.IPAddresses, NotAfter: time.Now().Add(-time.Minute),
	})
	cert, key := a.sign(t, x509.Certificate{})
	otherAuthority := newAuthority(t)
	otherCert, otherKey := otherAuthority.sign(t, x509.Certificate{})

	for _, test := range []struct {
		name, url string
		tls       rdb.TLS
		want, fix string // empty: no error
	}{
		{"valid certificates", "rediss://" + addr, rdb.TLS{CA: a.file, Cert: cert, Key: key}, "", ""},
		{
			"TIWSNAP_REDIS_TLS_SERVER_NAME", "rediss://" + named,
			rdb.TLS{CA: a.file, Cert: cert, Key: key, ServerName: "redis.example"}, "", "",
		},
		{
			"certificate for another name", "rediss://" + named, rdb.TLS{CA: a.file, Cert: cert, Key: key},
			"x509: cannot validate certificate for 127.0.0.1", "TIWSNAP_REDIS_TLS_SERVER_NAME",
		},
		{
			"unknown authority", "rediss://" + addr, rdb.TLS{Cert: cert, Key: key},
			"x509: certificate signed by unknown authority", "TIWSNAP_REDIS_TLS_CA",
		},
		{"no client certificate", "rediss://" + addr, rdb.TLS{CA: a.file}, "certificate required", "TIWSNAP_REDIS_TLS_CERT"},
		{
			"client certificate of an unknown authority", "rediss://" + addr,
			rdb.TLS{CA: a.file, Cert: otherCert, Key: otherKey},
			"certificate", "TIWSNAP_REDIS_TLS_CERT",
		},
		{
			"expired server certificate", "rediss://" + expired, rdb.TLS{CA: a.file, Cert: cert, Key: key},
			"expired", "renew the server's certificate",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, closeRedis, err := rdb.OpenTLS(test.url, test.tls)
			if err != nil {
				t.Fatal(err)
			}
			defer closeRedis()
			err = rdb.Probe(t.Context(), c, test.url, "probe")
			checkError(t, err, test.want, test.fix)
		})
	}

	t.Run("client certificate is renewed", func(t *testing.T) {
		next, nextKey := a.sign(t, x509.Certificate{})
		files := rdb.TLS{CA: a.file, Cert: filepath.Join(t.TempDir(), "cert.pem"), Key: filepath.Join(t.TempDir(), "key.pem")}
		install := func(cert, key string) {
			for from, to := range map[string]string{cert: files.Cert, key: files.Key} {
				b, err := os.ReadFile(from)
				if err == nil {
					err = os.WriteFile(to, b, 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		install(cert, key)
		c, closeRedis, err := rdb.OpenTLS("rediss://"+addr+"?pool_size=1&max_retries=-1", files)
		if err != nil {
			t.Fatal(err)
		}
		defer closeRedis()
		if err := rdb.Ping(t.Context(), c, ""); err != nil {
			t.Fatal(err)
		}
		install(otherCert, otherKey)
		c.Do(t.Context(), "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no")
		redistest.Until(t, "the client reads the new files", func() bool { return rdb.Ping(t.Context(), c, "") != nil })
		install(next, nextKey)
		redistest.Until(t, "the client reconnects", func() bool { return rdb.Ping(t.Context(), c, "") == nil })
	})
}

func TestInvalidTLSFiles(t *testing.T) {
	a := newAuthority(t)
	cert, key := a.sign(t, loopback)
	for _, test := range []struct {
		name, url string
		tls       rdb.TLS
		want      string
	}{
		{"no TLS in the URL", "redis://h", rdb.TLS{CA: a.file}, "the URL must begin with rediss"},
		{"missing file", "rediss://h", rdb.TLS{CA: "none.pem"}, "none.pem"},
		{"file without a certificate", "rediss+cluster://h", rdb.TLS{CA: key}, "contains no PEM certificate"},
		{"certificate without a key", "rediss+sentinel://h/main", rdb.TLS{Cert: cert}, "both"},
		{"key of another certificate", "rediss://h", rdb.TLS{Cert: a.file, Key: key}, "private key does not match"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, _, err := rdb.OpenTLS(test.url, test.tls); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("OpenTLS() = %v, want an error with %q", err, test.want)
			}
		})
	}
}

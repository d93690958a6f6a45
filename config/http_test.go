package config_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/config"
	"tiwsnap/internal/password"
)

const (
	passwordHash = "$argon2id$v=19$m=19456,t=2,p=1$K3YK3YK3YK3YK3YK3YK3Yw$K3YK3YK3YK3YK3YK3YK3YK3YK3YK3YK3YK3YK3YK3Yc"
	loginForm    = "must be NAME ROLES HASH, with roles separated by commas, such as: ada view,produce $argon2id$…"
)

var tokenHash = password.HashToken("K3Y")

func TestLoginErrors(t *testing.T) {
	const open = "which other machines can reach, and without users or tokens anyone has full access; set one of " +
		"them, or listen on 127.0.0.1"
	for _, test := range []struct {
		environ []string
		want    string
	}{
		{[]string{"TIWSNAP_HTTP_ADDR=:8080"}, "TIWSNAP_HTTP_USERS: is missing: TIWSNAP_HTTP_ADDR is :8080, " + open},
		{[]string{"TIWSNAP_HTTP_ADDR=0.0.0.0:8080"},
			"TIWSNAP_HTTP_USERS: is missing: TIWSNAP_HTTP_ADDR is 0.0.0.0:8080, " + open},
		{[]string{"TIWSNAP_HTTP_ADDR=127.example.com:8080"},
			"TIWSNAP_HTTP_USERS: is missing: TIWSNAP_HTTP_ADDR is 127.example.com:8080, " + open},
		{[]string{"TIWSNAP_HTTP_ADDR=here"},
			`TIWSNAP_HTTP_ADDR: "here" must be HOST:PORT, or :PORT for all addresses of this machine`},
		{[]string{"TIWSNAP_HTTP_USERS=K3Y"}, "TIWSNAP_HTTP_USERS: entry 1: " + loginForm},
		{[]string{"TIWSNAP_HTTP_USERS=ada view K3Y", "TIWSNAP_HTTP_ADDR=:8080"},
			`TIWSNAP_HTTP_USERS: entry 1: ada: the hash must be a hash made by tiwsnap hash-password, $argon2id$…, ` +
				`or a bcrypt hash, $2b$…`},
		{[]string{"TIWSNAP_HTTP_USERS=ada view " + passwordHash + "\n# and\n\nbob root " + passwordHash},
			"TIWSNAP_HTTP_USERS: entry 2: bob: a role must be view or produce or operate"},
		{[]string{"TIWSNAP_HTTP_USERS=ada view " + passwordHash + ";ada view " + passwordHash},
			"TIWSNAP_HTTP_USERS: entry 2: ada appears twice"},
		{[]string{"TIWSNAP_HTTP_USERS=a/da view " + passwordHash},
			"TIWSNAP_HTTP_USERS: entry 1: the name must be 1 to 64 of A-Z, a-z, 0-9, . _ @ and -"},
		{[]string{"TIWSNAP_HTTP_USERS=ada view ***"},
			`TIWSNAP_HTTP_USERS: entry 1: *** is the placeholder that config print shows: give the hash itself`},
		{[]string{"TIWSNAP_HTTP_TOKENS=lms produce " + passwordHash},
			`TIWSNAP_HTTP_TOKENS: entry 1: lms: the hash must be a hash made by tiwsnap token: sha256: and 64 ` +
				`hexadecimal digits`},
		{[]string{"TIWSNAP_HTTP_USERS=# nobody", "TIWSNAP_HTTP_ADDR=:8080"}, "TIWSNAP_HTTP_USERS: lists nobody"},
		{[]string{"TIWSNAP_HTTP_SESSION_KEY=K3Y"},
			`TIWSNAP_HTTP_SESSION_KEY: must have at least 32 characters: make one with openssl rand -hex 32`},
		{[]string{"TIWSNAP_HTTP_PROXIES=10.1.2.3,10.1.2.0/16"},
			`TIWSNAP_HTTP_PROXIES: "10.1.2.3,10.1.2.0/16" must be addresses and networks such as 10.1.2.3 or ` +
				`10.1.2.0/24, separated by commas: "10.1.2.0/16" is neither`},
		{[]string{"TIWSNAP_HTTP_HOSTS=ok.example.com, https://x"},
			`TIWSNAP_HTTP_HOSTS: "ok.example.com, https://x" must be host names such as tiwsnap.example.com, without ` +
				`a port, separated by commas: "https://x" is not a host name`},
	} {
		t.Run(strings.Join(test.environ, " "), func(t *testing.T) {
			_, err := config.Load(config.Source{Environ: test.environ})
			if err == nil {
				t.Fatal("Load() = nil, want an error")
			}
			if diff := cmp.Diff(test.want, err.Error()); diff != "" {
				t.Errorf("Load() error (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLogins(t *testing.T) {
	for _, addr := range []string{"", "127.0.0.1:80", "127.1.2.3:80", "[::1]:80", "localhost:80"} {
		load(t, config.Source{Environ: []string{"TIWSNAP_HTTP_ADDR=" + addr}})
	}
	c := load(t, config.Source{File: "testdata/logins.yml", Environ: []string{
		"TIWSNAP_HTTP_TOKENS=lms produce " + tokenHash + "; grafana view " + tokenHash,
		"TIWSNAP_HTTP_HOSTS=A.example.com., b.example.com",
		"TIWSNAP_HTTP_PROXIES=10.1.2.3, ::ffff:10.1.2.4,fd00::/8",
	}})
	if len(c.HTTP.Users) != 2 || c.HTTP.Users[0].Name != "ada" ||
		!cmp.Equal(c.HTTP.Users[0].Roles, []string{"view", "produce"}) || c.HTTP.Users[1].Hash.Reveal() != passwordHash {
		t.Errorf("Users = %+v", c.HTTP.Users)
	}
	if len(c.HTTP.Tokens) != 2 || c.HTTP.Tokens[1].Name != "grafana" || c.HTTP.Tokens[1].Hash.Reveal() != tokenHash {
		t.Errorf("Tokens = %+v", c.HTTP.Tokens)
	}
	if !cmp.Equal(c.HTTP.Hosts, []string{"a.example.com", "b.example.com"}) {
		t.Errorf("Hosts = %v", c.HTTP.Hosts)
	}
	if got := fmt.Sprint(c.HTTP.Proxies); got != "[10.1.2.3/32 10.1.2.4/32 fd00::/8]" {
		t.Errorf("Proxies = %s", got)
	}
	out := printConfig(t, c)
	if strings.Contains(out, "K3Y") || strings.Contains(out, tokenHash[10:]) ||
		!strings.Contains(out, "  users: ada view,produce ***; bob operate *** # testdata/logins.yml:3: http.users\n") {
		t.Errorf("Print() shows a secret, or not the users:\n%s", out)
	}
}

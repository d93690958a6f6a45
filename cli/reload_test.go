package cli

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"tiwsnap/internal/needs"
	"tiwsnap/internal/password"
	"tiwsnap/internal/redistest"
	"tiwsnap/tiw/tiwtest"
)

// SIGHUP reloads the users, the API key and the log level without a restart. Wrong settings change nothing.
func TestHangupReloadsSettings(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	dir := t.TempDir()
	put := func(name, text string) string {
		t.Helper()
		name = filepath.Join(dir, name)
		err := os.WriteFile(name+".new", []byte(text), 0o600)
		if err == nil {
			err = os.Rename(name+".new", name)
		}
		if err != nil {
			t.Fatal(err)
		}
		return name
	}
	line := func(name, word string) string {
		hash, err := password.Hash(word)
		if err != nil {
			t.Fatal(err)
		}
		return name + " operate " + hash + "\n"
	}
	for _, command := range []string{"worker", "web"} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			settings := put(command+".yml", "log: {level: warn}\n")
			users := put(command+"-users", line("ada", "CANARY-old"))
			key := put(command+"-key", "CANARY-key-1")
			addr := redistest.FreeAddr(t)
			p := program(t, s.environ["TIWSNAP_REDIS_URL"], command)
			log := new(lines)
			p.Stderr = log
			p.Env = append(p.Env, "TIWSNAP_CONFIG="+settings, "TIWSNAP_HTTP_ADDR="+addr, "TIWSNAP_HTTP_USERS_FILE="+users,
				"TIWSNAP_TIW_ENDPOINT="+s.sim.URL, "TENCENTCLOUD_SECRET_ID=id", "TENCENTCLOUD_SECRET_KEY_FILE="+key,
				"TIWSNAP_WORKER_SPOOL="+t.TempDir())
			if err := p.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- p.Wait() }()
			defer func() {
				p.Process.Signal(syscall.SIGTERM)
				if err := <-ended; err != nil {
					t.Errorf("%v\n%s", err, log)
				}
			}()
			redistest.Until(t, "the process is healthy", func() bool {
				_, _, code := tiwsnap(t, nil, "health", "--http-addr", addr)
				return code == exitOK
			})
			hangUp := func(words ...string) {
				t.Helper()
				before := len(log.String())
				if err := p.Process.Signal(syscall.SIGHUP); err != nil {
					t.Fatal(err)
				}
				for _, w := range words {
					redistest.Until(t, "the log has "+w, func() bool { return strings.Contains(log.String()[before:], w) })
				}
			}
			b := &browser{T: t}
			if !b.logIn(addr, "ada", "CANARY-old") {
				t.Fatal("login with the first password failed")
			}

			put(command+"-users", line("ada", "CANARY-new")+line("bob", "CANARY-bob"))
			put(command+"-key", "CANARY-key-2")
			put(command+".yml", "log: {level: debug}\nrate: {limit: 19}\n")
			hangUp(`msg="SIGHUP: reloaded the settings" changed="tencentcloud.secret_key, http.users, log.level"`,
				`msg="changed settings need a restart" settings=rate.limit`)
			if status, _ := b.send("GET", "http://"+addr+"/v1/batches", nil); status != http.StatusUnauthorized {
				t.Errorf("session of the old password: status %d, want 401", status)
			}
			if (&browser{T: t}).logIn(addr, "ada", "CANARY-old") {
				t.Error("the old password is still valid")
			}
			if !b.logIn(addr, "bob", "CANARY-bob") || !b.logIn(addr, "ada", "CANARY-new") {
				t.Error("login with the new passwords failed")
			}

			put(command+"-users", "ada operate CANARY-no-hash\n")
			put(command+".yml", "log: {level: CANARY}\n")
			hangUp(`level=ERROR msg="SIGHUP: reload failed, keeping the old settings"`,
				"TIWSNAP_HTTP_USERS_FILE: entry 1")
			if !(&browser{T: t}).logIn(addr, "ada", "CANARY-new") {
				t.Error("login failed after a rejected reload")
			}
			put(command+"-users", line("ada", "CANARY-new")+line("bob", "CANARY-bob"))
			put(command+".yml", "log: {level: error}\nrate: {limit: 19}\n")
			hangUp(`msg="SIGHUP: reloaded the settings" changed="http.users, log.level"`)
			for _, secret := range []string{"CANARY-", "argon2id$v="} {
				if strings.Contains(log.String(), secret) {
					t.Errorf("the log shows %s:\n%s", secret, log)
				}
			}
		})
	}
}

package config_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/config"
)

// rotation is a directory with the files of an API key, and the credential that reads them.
type rotation struct {
	*testing.T
	dir string
	log bytes.Buffer
	key *config.Credential
}

// testCredential writes the files and then runs a test with a fake clock.
func testCredential(t *testing.T, name string, test func(r *rotation), files ...string) {
	t.Run(name, func(t *testing.T) {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			r := &rotation{T: t, dir: dir}
			for _, name := range files {
				r.writeFile(name, "old-"+name, time.Hour)
			}
			r.load("tencentcloud_secret_id", "tencentcloud_secret_key", "tencentcloud_token")
			test(r)
		})
	})
}

// load reads the settings. Each part comes from the file of its name if there is one, else from the environment.
func (r *rotation) load(names ...string) {
	r.Helper()
	var environ []string
	for _, name := range names {
		_, part, _ := strings.Cut(name, "_")
		file := filepath.Join(r.dir, part)
		if _, err := os.Lstat(file); err == nil {
			environ = append(environ, strings.ToUpper(name)+"_FILE="+file)
		} else {
			environ = append(environ, strings.ToUpper(name)+"=static-"+part)
		}
	}
	c := load(r.T, config.Source{Environ: environ})
	r.key = c.TencentCloud.Credential(slog.New(slog.NewTextHandler(&r.log, nil)))
}

// writeFile replaces a file by a rename. The modification time of the new file is age ago.
func (r *rotation) writeFile(name, text string, age time.Duration) {
	r.Helper()
	file := filepath.Join(r.dir, name)
	at := time.Now().Add(-age)
	err := os.WriteFile(file+".new", []byte(text+"\n"), 0o600)
	if err == nil {
		err = os.Chtimes(file+".new", at, at)
	}
	if err == nil {
		err = os.Rename(file+".new", file)
	}
	if err != nil {
		r.Fatal(err)
	}
}

func (r *rotation) checkCredential(id, key, token string) {
	r.Helper()
	gotID, gotKey, gotToken := r.key.GetCredential()
	if diff := cmp.Diff([]string{id, key, token}, []string{gotID, gotKey, gotToken}); diff != "" {
		r.Errorf("GetCredential() (-want +got):\n%s", diff)
	}
}

// checkLog checks and clears the log. The log must have one line for each of want, and the line must contain that text.
func (r *rotation) checkLog(want ...string) {
	r.Helper()
	lines := strings.SplitAfter(r.log.String(), "\n")
	lines = lines[:len(lines)-1]
	ok := len(lines) == len(want)
	for i := 0; ok && i < len(want); i++ {
		ok = strings.Contains(lines[i], want[i])
	}
	if !ok || strings.Contains(r.log.String(), "old-") || strings.Contains(r.log.String(), "new-") {
		r.Errorf("log has lines %q, want %q and no secret", lines, want)
	}
	r.log.Reset()
}

const replaced = "reloaded the API key"

func TestCredentialFollowsItsFiles(t *testing.T) {
	const id, key, token = "secret_id", "secret_key", "token"

	testCredential(t, "all replaced at once: new after one second", func(r *rotation) {
		r.checkCredential("old-secret_id", "old-secret_key", "old-token")
		r.writeFile(id, "new-id", time.Minute)
		r.writeFile(key, "new-key", time.Minute)
		r.writeFile(token, "new-token", time.Minute)
		r.checkCredential("old-secret_id", "old-secret_key", "old-token")
		time.Sleep(time.Second)
		r.checkCredential("new-id", "new-key", "new-token")
		r.checkLog(replaced)
	}, id, key, token)

	testCredential(t, "replaced one by one: new when no file has changed for a second", func(r *rotation) {
		r.checkCredential("old-secret_id", "old-secret_key", "static-token")
		time.Sleep(time.Second)
		r.writeFile(id, "new-id", 0)
		r.checkCredential("old-secret_id", "old-secret_key", "static-token")
		time.Sleep(900 * time.Millisecond)
		r.writeFile(key, "new-key", 0)
		time.Sleep(100 * time.Millisecond)
		r.checkCredential("old-secret_id", "old-secret_key", "static-token")
		time.Sleep(time.Second)
		r.checkCredential("new-id", "new-key", "static-token")
		r.checkLog(replaced)
	}, id, key)

	testCredential(t, "one written in place, the others without a file", func(r *rotation) {
		r.checkCredential("static-secret_id", "old-secret_key", "static-token")
		file := filepath.Join(r.dir, key)
		if err := os.WriteFile(file, []byte("new-secret_key"), 0o600); err != nil { // same length as before
			r.Fatal(err)
		}
		if err := os.Chtimes(file, time.Time{}, time.Now()); err != nil {
			r.Fatal(err)
		}
		time.Sleep(time.Second)
		r.checkCredential("static-secret_id", "new-secret_key", "static-token")
		if r.key.GetSecretId() != "static-secret_id" || r.key.GetSecretKey() != "new-secret_key" ||
			r.key.GetToken() != "static-token" {
			r.Error("GetSecretId, GetSecretKey and GetToken differ from GetCredential")
		}
	}, key)

	testCredential(t, "modification time in the future", func(r *rotation) {
		r.checkCredential("static-secret_id", "old-secret_key", "static-token")
		r.writeFile(key, "new-key", -time.Hour)
		time.Sleep(time.Second)
		r.checkCredential("static-secret_id", "new-key", "static-token")
	}, key)

	testCredential(t, "changed before the first use", func(r *rotation) {
		r.writeFile(key, "new-key", time.Minute)
		r.checkCredential("static-secret_id", "new-key", "static-token")
	}, key)

	testCredential(t, "same content: no log line", func(r *rotation) {
		r.checkCredential("old-secret_id", "old-secret_key", "static-token")
		r.writeFile(id, "old-secret_id", time.Minute)
		time.Sleep(time.Second)
		r.checkCredential("old-secret_id", "old-secret_key", "static-token")
		r.checkLog()
	}, id, key)

	testCredential(t, "unreadable: keeps the old key and logs it once", func(r *rotation) {
		file := filepath.Join(r.dir, key)
		r.writeFile(id, "new-id", time.Minute)
		for _, fault := range []struct {
			cause func() error
			want  string
		}{
			{func() error { return os.Remove(file) }, "no such file or directory"},
			{func() error { r.writeFile(key, "", time.Hour); return nil }, "is empty"},
			{func() error { r.writeFile(key, "new key", time.Hour); return nil }, "must not contain a space"},
			{func() error { r.writeFile(key, strings.Repeat("x", 1<<15), time.Hour); return nil }, "has more than"},
			{func() error { return os.Remove(file) }, "no such file or directory"},
			{func() error { return os.Mkdir(file, 0o700) }, "is a directory"},
		} {
			if err := fault.cause(); err != nil {
				r.Fatal(err)
			}
			for range 5 {
				time.Sleep(time.Second)
				r.checkCredential("old-secret_id", "old-secret_key", "static-token")
			}
			r.checkLog(fault.want)
		}
		if err := os.Remove(file); err != nil {
			r.Fatal(err)
		}
		r.writeFile(key, "new-key", time.Minute)
		time.Sleep(time.Second)
		r.checkCredential("new-id", "new-key", "static-token")
		r.checkLog(replaced)
	}, id, key)
}

func TestCredentialFromPipeIsReadOnce(t *testing.T) {
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	io.WriteString(in, "piped")
	in.Close()
	c := load(t, config.Source{
		Environ: []string{"TENCENTCLOUD_SECRET_ID=id",
			fmt.Sprintf("TENCENTCLOUD_SECRET_KEY_FILE=/dev/fd/%d", out.Fd())},
	})
	var log bytes.Buffer
	key := c.TencentCloud.Credential(slog.New(slog.NewTextHandler(&log, nil)))
	if got := key.GetSecretKey(); got != "piped" || log.Len() > 0 {
		t.Errorf("GetSecretKey() = %q, want piped; log: %s", got, log.String())
	}
}

// Kubernetes replaces all files of a volume by renaming one link. This can happen while the files are being read.
func TestCredentialIsNeverMixed(t *testing.T) {
	dir := t.TempDir()
	must := func(err error) {
		if err != nil {
			t.Error(err)
		}
	}
	link := func(version int) {
		next := filepath.Join(dir, "..next")
		must(os.Symlink(strconv.Itoa(version), next))
		must(os.Rename(next, filepath.Join(dir, "..data")))
	}
	// A version is never reused: a reused version would pass for the previous one.
	write := func(version int) {
		must(os.Mkdir(filepath.Join(dir, strconv.Itoa(version)), 0o700))
		for _, name := range []string{"secret_id", "secret_key", "token"} {
			must(os.WriteFile(filepath.Join(dir, strconv.Itoa(version), name), []byte(strconv.Itoa(version)), 0o600))
		}
	}
	for _, name := range []string{"secret_id", "secret_key", "token"} {
		must(os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)))
	}
	write(0)
	link(0)

	r := rotation{T: t, dir: dir}
	r.load("tencentcloud_secret_id", "tencentcloud_secret_key", "tencentcloud_token")
	stop := make(chan struct{})
	var swapper sync.WaitGroup
	swapper.Go(func() {
		for v := 1; ; v++ {
			select {
			case <-stop:
				return
			default:
				write(v)
				link(v)
			}
		}
	})
	defer swapper.Wait()
	defer close(stop)
	seen := map[string]bool{}
	synctest.Test(t, func(t *testing.T) {
		for range 3000 {
			id, key, token := r.key.GetCredential()
			if seen[id] = true; id != key || key != token {
				t.Fatalf("GetCredential() mixes the versions %s, %s and %s", id, key, token)
			}
			time.Sleep(time.Second)
		}
	})
	if len(seen) < 2 {
		t.Error("the credential never changed")
	}
}

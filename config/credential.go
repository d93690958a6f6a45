package config

import (
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// fileRest is the minimum age of a changed file before it is read, so that an update of
// several files, or a write in place, is complete. It is also the interval of the checks.
const fileRest = time.Second

// Credential is an API key that is reloaded when its files change. GetCredential checks
// the files, at most once per second. If one has changed (by a write, a rename or a
// symbolic link, as in Kubernetes), all are read again. Credential implements
// CredentialIface of Tencent's SDK and is safe for concurrent use.
type Credential struct {
	log *slog.Logger
	key atomic.Pointer[TencentCloud]

	mu    sync.Mutex // held while the files are checked
	next  time.Time  // earliest time of the next check
	files []os.FileInfo
	fault string // the current error, which has been logged
}

// Credential returns the API key, which reloads its files from now on. It logs each
// change, and once per error that a file cannot be read; it then keeps the old key.
func (t TencentCloud) Credential(log *slog.Logger) *Credential {
	c := &Credential{log: log}
	c.Replace(t)
	return c
}

// Replace replaces the API key by another one, which also reloads its files.
func (c *Credential) Replace(t TencentCloud) {
	for _, s := range t.parts() {
		// A pipe, such as a shell's <(...), cannot be read again.
		if info, err := os.Stat(s.file); err == nil && !info.Mode().IsRegular() {
			s.file = ""
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.files, c.fault = nil, ""
	c.key.Store(&t)
}

// GetCredential returns the parts of one API key. The token may be empty.
func (c *Credential) GetCredential() (secretID, secretKey, token string) {
	// Files may be slow: one caller checks them, the others use the current key.
	if c.mu.TryLock() {
		c.check()
		c.mu.Unlock()
	}
	t := c.key.Load()
	return t.SecretID.Reveal(), t.SecretKey.Reveal(), t.Token.Reveal()
}

// GetSecretId returns the SecretId alone.
func (c *Credential) GetSecretId() string { id, _, _ := c.GetCredential(); return id }

// GetSecretKey returns the SecretKey alone.
func (c *Credential) GetSecretKey() string { _, key, _ := c.GetCredential(); return key }

// GetToken returns the token alone.
func (c *Credential) GetToken() string { _, _, token := c.GetCredential(); return token }

// check reloads the files if the last check is fileRest ago.
func (c *Credential) check() {
	now := time.Now()
	if now.Before(c.next) {
		return
	}
	c.next = now.Add(fileRest)
	err := c.reload(now)
	switch {
	case err == nil:
		c.fault = ""
	case err.Error() != c.fault:
		c.fault = err.Error()
		c.log.Error("cannot reload the API key, keeping the old one", "err", err)
	}
}

// reload reads the files again if they have changed.
func (c *Credential) reload(now time.Time) error {
	old := c.key.Load()
	files, err := old.stat()
	if err != nil || slices.EqualFunc(files, c.files, sameFile) {
		return err
	}
	for _, f := range files {
		if age := now.Sub(f.ModTime()); 0 <= age && age < fileRest {
			return nil
		}
	}
	key := *old
	for _, s := range key.parts() {
		if err := s.reread(); err != nil {
			return err
		}
	}
	// If the files have changed since the first stat, the key may be a mix of old and new
	// parts.
	again, err := old.stat()
	if err != nil || !slices.EqualFunc(files, again, sameFile) {
		return err
	}
	c.files = files
	if key.reveal() != old.reveal() {
		c.key.Store(&key)
		c.log.Info("reloaded the API key from its files")
	}
	return nil
}

func (t *TencentCloud) parts() []*Secret { return []*Secret{&t.SecretID, &t.SecretKey, &t.Token} }

func (t *TencentCloud) reveal() [3]string {
	return [3]string{t.SecretID.Reveal(), t.SecretKey.Reveal(), t.Token.Reveal()}
}

// stat returns the file infos of the parts that have a file.
func (t *TencentCloud) stat() (files []os.FileInfo, err error) {
	for _, s := range t.parts() {
		if s.file == "" {
			continue
		}
		info, err := os.Stat(s.file)
		if err != nil {
			return nil, unreadable(s.file, err)
		}
		files = append(files, info)
	}
	return files, nil
}

// sameFile reports whether a file is unchanged, without reading it.
func sameFile(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// reread reads the secret from its file again, if it has one.
func (s *Secret) reread() error {
	if s.file == "" {
		return nil
	}
	text, err := readSecret(s.file)
	if err != nil {
		return err
	}
	if _, err := secret(text); err != nil {
		return fmt.Errorf("%s %w", quote(s.file), err)
	}
	s.text = &text
	return nil
}

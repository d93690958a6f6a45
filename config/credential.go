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

// fileRest is how long a file must have been left alone before it is read
// again: whoever replaces several of them one by one, or writes them in place,
// is done by then. It is also the time between two looks at them.
const fileRest = time.Second

// Credential is an API key of which some parts lie in files, and which follows
// them: they are looked at when it is asked for, once a second at most, and
// read again all together when one has changed, be it by a write, a rename or a
// symbolic link as Kubernetes has them. It is a CredentialIface of Tencent's
// SDK, and safe for concurrent use.
type Credential struct {
	log *slog.Logger
	key atomic.Pointer[TencentCloud]

	mu    sync.Mutex // of whoever looks at the files
	next  time.Time  // not before
	files []os.FileInfo
	fault string // the last one that was logged, while it lasts
}

// Credential returns the API key, which follows its files from now on. log is
// told when it has changed, and once why a file cannot be read; the old key
// stays meanwhile.
func (t TencentCloud) Credential(log *slog.Logger) *Credential {
	c := &Credential{log: log}
	c.Replace(t)
	return c
}

// Replace puts another API key into use, which follows its files as the one
// before did.
func (c *Credential) Replace(t TencentCloud) {
	for _, s := range t.parts() {
		// A pipe, as of a shell's <(...), has been read and has no more.
		if info, err := os.Stat(s.file); err == nil && !info.Mode().IsRegular() {
			s.file = ""
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.files, c.fault = nil, ""
	c.key.Store(&t)
}

// GetCredential returns the parts, which belong together. The token may be
// empty.
func (c *Credential) GetCredential() (secretID, secretKey, token string) {
	// Files may be slow: one caller looks, the others go on with what there is.
	if c.mu.TryLock() {
		c.look()
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

func (c *Credential) look() {
	now := time.Now()
	if now.Before(c.next) {
		return
	}
	c.next = now.Add(fileRest)
	err := c.follow(now)
	switch {
	case err == nil:
		c.fault = ""
	case err.Error() != c.fault:
		c.fault = err.Error()
		c.log.Error("cannot reload the API key, keeping the old one", "err", err)
	}
}

// follow reads the files again if they have changed.
func (c *Credential) follow(now time.Time) error {
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
	// What was read may be half old and half new if the files have changed
	// since they were looked at.
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

// stat looks at the files of the parts, as far as they have some.
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

// sameFile reports whether a file is still what it was, by all that can be
// known without reading it.
func sameFile(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// reread reads the secret from its file, if it has one.
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

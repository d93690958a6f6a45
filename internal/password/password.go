// Package password hashes passwords and access tokens, and verifies them.
//
// The configuration has only hashes: argon2id or bcrypt for passwords, SHA-256 for random tokens.
package password

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// The parameters of Hash, those of OWASP's Password Storage Cheat Sheet for argon2id. A check takes 19 MiB and about 20
// ms of CPU.
const (
	memory  = 19 * 1024 // KiB
	passes  = 2
	threads = 1
	salt    = 16 // bytes
	length  = 32 // bytes
)

// minLength and MaxLength bound a password, in bytes. bcrypt uses at most 72 bytes and refuses more.
const (
	minLength = 8
	MaxLength = 256
)

// Hash returns the argon2id hash of a password with a new salt, in the form that Check accepts. The error says what is
// wrong with the password.
func Hash(password string) (string, error) {
	switch {
	case len(password) < minLength:
		return "", fmt.Errorf("the password is shorter than %d characters", minLength)
	case len(password) > MaxLength:
		return "", fmt.Errorf("the password is longer than %d bytes", MaxLength)
	}
	h := argon{memory, passes, threads, make([]byte, salt), nil}
	rand.Read(h.salt)
	h.key = argon2.IDKey([]byte(password), h.salt, h.passes, h.memory, h.threads, length)
	return h.String(), nil
}

// Verify reports whether hash is the hash of password. It returns false for a hash that Check refuses. Its duration
// does not depend on the password.
func Verify(hash, password string) bool {
	if len(password) > MaxLength {
		return false
	}
	if isBcrypt(hash) {
		return Check(hash) == nil && bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) == nil
	}
	h, err := parseArgon(hash)
	if err != nil {
		return false
	}
	key := argon2.IDKey([]byte(password), h.salt, h.passes, h.memory, h.threads, uint32(len(h.key)))
	return subtle.ConstantTimeCompare(key, h.key) == 1
}

// Check returns an error unless Verify can use hash: argon2id in the PHC string format with at most 256 MiB, 10 passes
// and 16 threads, or bcrypt with a cost from 10 to 15. The error does not contain the hash.
func Check(hash string) error {
	if isBcrypt(hash) {
		cost, err := bcrypt.Cost([]byte(hash))
		if err != nil {
			return errors.New("is not a complete bcrypt hash")
		}
		if cost < 10 || cost > 15 {
			return fmt.Errorf("is a bcrypt hash of cost %d, it must be from 10 to 15", cost)
		}
		return nil
	}
	_, err := parseArgon(hash)
	return err
}

func isBcrypt(hash string) bool { return strings.HasPrefix(hash, "$2") }

// argon is an argon2id hash in the PHC string format, $argon2id$v=19$m=19456,t=2,p=1$SALT$KEY: see
// https://github.com/P-H-C/phc-string-format.
type argon struct {
	memory, passes uint32
	threads        uint8
	salt, key      []byte
}

func (h argon) String() string {
	b := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s",
		argon2.Version, h.memory, h.passes, h.threads, b.EncodeToString(h.salt), b.EncodeToString(h.key))
}

func parseArgon(hash string) (argon, error) {
	field := strings.Split(hash, "$")
	if len(field) != 6 || field[0] != "" || field[1] != "argon2id" {
		return argon{}, errors.New(`must be a hash made by tiwsnap hash-password, $argon2id$…, or a bcrypt hash, $2b$…`)
	}
	var h argon
	var saltErr, keyErr error
	h.salt, saltErr = base64.RawStdEncoding.Strict().DecodeString(field[4])
	h.key, keyErr = base64.RawStdEncoding.Strict().DecodeString(field[5])
	_, err := fmt.Sscanf(field[3], "m=%d,t=%d,p=%d", &h.memory, &h.passes, &h.threads)
	if err = errors.Join(err, saltErr, keyErr); err != nil || field[2] != fmt.Sprintf("v=%d",
		argon2.Version) || h.String() != hash {
		return argon{}, errors.New("is not a complete argon2id hash of version 19")
	}
	switch {
	case h.memory < 8*1024 || h.memory > 256*1024:
		return h, fmt.Errorf("takes %d KiB, it must be from 8192 to 262144 (m=)", h.memory)
	case h.passes < 1 || h.passes > 10:
		return h, fmt.Errorf("takes %d passes, it must be from 1 to 10 (t=)", h.passes)
	case h.threads < 1 || h.threads > 16:
		return h, fmt.Errorf("takes %d threads, it must be from 1 to 16 (p=)", h.threads)
	case len(h.salt) < 8 || len(h.key) < 16 || len(h.key) > 64 || len(h.key)%4 != 0: // 31 bytes are 32 that were cut
		return h, errors.New("has a salt or a key of the wrong length")
	}
	return h, nil
}

const (
	tokenPrefix = "tiwsnap_" // by which scanners find leaked ones
	hashPrefix  = "sha256:"
)

// NewToken returns a new access token of 260 random bits.
func NewToken() string { return tokenPrefix + strings.ToLower(rand.Text()+rand.Text()) }

// HashToken returns the hash of a token. A plain SHA-256 is enough, because a token cannot be guessed.
func HashToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hashPrefix + hex.EncodeToString(sum[:])
}

// CheckToken returns an error unless hash has the form of HashToken. The error does not contain the hash.
func CheckToken(hash string) error {
	sum, err := hex.DecodeString(strings.TrimPrefix(hash, hashPrefix))
	if err != nil || len(sum) != sha256.Size || hash != hashPrefix+hex.EncodeToString(sum) {
		return errors.New(`must be a hash made by tiwsnap token: sha256: and 64 hexadecimal digits`)
	}
	return nil
}

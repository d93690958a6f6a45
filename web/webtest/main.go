// Package webtest serves all of a namespace for the tests of the web packages, and has their clients: programs with
// tokens, forms, and a browser.
package webtest

import (
	"testing"

	"github.com/redis/go-redis/v9/logging"
	"go.uber.org/goleak"

	"tiwsnap/internal/redistest"

	"bytes"
	"sync"
)

// Main runs the tests of a package on both kinds of Redis, and fails if one leaks a goroutine.
func Main(m *testing.M) {
	logging.Disable() // of go-redis, which would print every dial that fails
	goleak.VerifyTestMain(redistest.Both(m))
}

// Buffer is a bytes.Buffer for several goroutines.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Package webtest has servers and clients for the tests of the web packages. The clients are programs with tokens,
// forms, and a browser.
package webtest

import (
	"bytes"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9/logging"
	"go.uber.org/goleak"

	"tiwsnap/internal/redistest"
)

// Main runs the tests of a package on both kinds of Redis. It fails if a test leaks a goroutine.
func Main(m *testing.M) {
	logging.Disable() // go-redis would log every failed dial
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

// Package webtest has servers and clients for the tests of the web packages. The clients are programs with tokens,
// forms, and a browser.
package webtest

import (
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

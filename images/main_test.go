package images_test

import (
	"context"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"tiwsnap/images"
	"tiwsnap/internal/guard"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/ledger"
	"tiwsnap/results"
)

// With these environment variables the test binary runs as a copier, so that a test can kill it.
const copierRedis, copierStore = "TIWSNAP_TEST_COPIER_REDIS", "TIWSNAP_TEST_COPIER_STORE"

func TestMain(m *testing.M) {
	if url := os.Getenv(copierRedis); url != "" {
		o, err := redis.ParseURL(url)
		if err != nil {
			panic(err)
		}
		newCopier(redis.NewClient(o), os.Getenv(copierStore)).Run(context.Background())
	}
	goleak.VerifyTestMain(needs.Reporting(m))
}

// newCopier returns a copier for a store. It fetches at most 4 MB a second.
func newCopier(rdb *redis.Client, store string) *images.Copier {
	s, err := images.OpenStore(store, images.Credentials{AccessKeyID: testKey, SecretAccessKey: testSecret})
	if err != nil {
		panic(err)
	}
	private, err := guard.ParsePrivate([]string{"127.0.0.1"})
	if err != nil {
		panic(err)
	}
	return images.NewCopier(images.CopierOptions{
		Store: s, Fetcher: images.NewFetcher(images.FetcherOptions{Private: private, Bytes: 4_000_000}),
		Ledger: ledger.New(rdb, ledger.Options{}), Results: results.NewReader(rdb, keys.Default),
		Lease: 300 * time.Millisecond, Second: 20 * time.Millisecond, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
}

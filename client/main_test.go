package client_test

import (
	"fmt"
	"os"
	"testing"

	"tiwsnap/internal/embedded"
	"tiwsnap/internal/redistest"
)

func TestMain(m *testing.M) {
	redis := embedded.New() // for the example
	if err := redis.Listen(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Setenv("TIWSNAP_REDIS_URL", redis.URL())
	code := redistest.Both(m).Run()
	redis.Close()
	os.Exit(code)
}

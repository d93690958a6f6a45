// Package workertest runs workers on the simulator, for tests.
package workertest

import (
	"context"
	"log/slog"
	"testing"

	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common"

	"tiwsnap/tiw"
	"tiwsnap/tiw/tiwtest"
	"tiwsnap/worker"
)

// API returns a client of a simulator's API. It has the default secret of the
// simulator unless o has another, and is closed when the test ends.
func API(t testing.TB, sim *tiwtest.Server, o tiw.Options) *tiw.Client {
	t.Helper()
	o.Endpoint = sim.URL
	if o.Credential == nil {
		o.Credential = common.NewCredential(tiwtest.DefaultSecret, tiwtest.DefaultSecret)
	}
	api, err := tiw.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(api.Close)
	return api
}

// Run runs a worker until the test ends or stop is called, which returns when
// the worker has stopped. Its log is that of the test unless o has another.
func Run(t testing.TB, o worker.Options) (stop func()) {
	t.Helper()
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	w, err := worker.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		if err := w.Run(ctx); err != nil {
			t.Errorf("worker: %v", err)
		}
	}()
	stop = func() {
		cancel()
		<-stopped
	}
	t.Cleanup(stop)
	return stop
}

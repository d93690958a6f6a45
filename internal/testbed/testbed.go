// Package testbed sets up what bench and chaos need: a redis-server, the
// simulator as the referee, and a tiwsnap binary that uses both. Everything is
// on loopback.
package testbed

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/rdb"
	"tiwsnap/internal/redistest"
	"tiwsnap/tiw/tiwtest"
)

// Testbed has a Redis, a simulator, and the environment in which tiwsnap uses both.
type Testbed struct {
	Dir     string            // data of Redis and of the caller
	Binary  string            // path of tiwsnap
	Environ []string          // environment of tiwsnap processes
	Redis   *redistest.Server // nil after On
	DB      redis.UniversalClient
	Sim     *tiwtest.Server // nil until Simulate
}

// New starts Redis with the options that the README recommends, and its data in dir. The caller closes the testbed.
func New(dir, binary string) (*Testbed, error) {
	server, err := redistest.Start(dir, "--appendonly", "yes", "--appendfsync", "everysec")
	if err != nil {
		return nil, err
	}
	b, err := On(server.URL(), dir, binary)
	if err != nil {
		server.Kill()
		return nil, err
	}
	b.Redis = server
	return b, nil
}

// On returns a testbed on a running Redis of any kind that tiwsnap supports. Close
// does not stop that Redis.
func On(redisURL, dir, binary string) (*Testbed, error) {
	db, _, err := rdb.Open(redisURL)
	if err != nil {
		return nil, err
	}
	b := &Testbed{Dir: dir, Binary: binary, DB: db}
	b.Environ = append(Environ(),
		"TIWSNAP_REDIS_URL="+redisURL,
		"TENCENTCLOUD_SECRET_ID="+tiwtest.DefaultSecret,
		"TENCENTCLOUD_SECRET_KEY="+tiwtest.DefaultSecret,
		"TIWSNAP_HTTP_ADDR=",
		"TIWSNAP_WORKER_SPOOL="+filepath.Join(dir, "spool"),
	)
	return b, nil
}

// Simulate starts the simulator. Its port is below the ephemeral range of Linux (32768 and up), so that no outgoing
// connection takes it while the simulator refuses connections.
func (b *Testbed) Simulate(o tiwtest.Options) error {
	b.Sim = tiwtest.New(o)
	err := errors.New("no port tried")
	for range 20 {
		if err = b.Sim.Listen(fmt.Sprint("127.0.0.1:", 20_000+rand.IntN(10_000))); err == nil {
			break
		}
	}
	if err != nil {
		return err
	}
	b.Environ = append(b.Environ, "TIWSNAP_TIW_ENDPOINT="+b.Sim.URL)
	return nil
}

// Close stops everything that the testbed has started.
func (b *Testbed) Close() {
	if b.Sim != nil {
		b.Sim.Close()
	}
	b.DB.Close()
	if b.Redis != nil {
		b.Redis.Kill()
	}
}

// Command runs a command of tiwsnap and returns its stdout. The error contains its stderr.
func (b *Testbed) Command(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, b.Binary, args...)
	cmd.Env = b.Environ
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	if err != nil {
		return nil, fmt.Errorf("tiwsnap %s: %w", strings.Join(args, " "), err)
	}
	return out, nil
}

// Environ returns the environment of this process without settings of tiwsnap.
func Environ() []string {
	var environ []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "TIWSNAP_") && !strings.HasPrefix(v, "TENCENTCLOUD_") {
			environ = append(environ, v)
		}
	}
	return environ
}

// Build builds tiwsnap from the module of the working directory and returns the path of the binary in dir.
func Build(ctx context.Context, dir string) (string, error) {
	binary := filepath.Join(dir, "tiwsnap")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", binary, "tiwsnap").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return binary, nil
}

// LoadAverage returns the load average of the last minute, or 0 if the system has none.
func LoadAverage() (load float64) {
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		fmt.Sscan(string(b), &load)
	}
	return load
}

package cli

import (
	"strings"
	"testing"

	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
)

// enqueueCommands returns functions that run both enqueue commands on a Redis.
func enqueueCommands(
	t *testing.T, redisURL string, more ...string,
) map[string]func() (code int, stdout, stderr string) {
	t.Helper()
	s := site{T: t, environ: map[string]string{"TIWSNAP_REDIS_URL": redisURL}}
	return map[string]func() (int, string, string){
		"room": func() (int, string, string) {
			return s.run("", append([]string{"enqueue", "room", "--app", "1", "--room", "1", "--key", "k"}, more...)...)
		},
		"batch": func() (int, string, string) {
			return s.run("SdkAppId,RoomId\n1,1\n", append([]string{"enqueue", "batch", "-", "--name", "b"}, more...)...)
		},
	}
}

func TestEnqueueRefused(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string // arguments of redis-server
		code int
		want []string
	}{
		{"Redis is full", []string{"--maxmemory", "1mb"}, exitTempFail,
			[]string{"nothing was enqueued: Redis is full: ",
				"of 1.0 MB; new work is accepted up to 80 %; retry when records have expired, or raise maxmemory\n"}},
		{"Redis evicts keys", []string{"--maxmemory-policy", "volatile-lru"}, exitConfig,
			[]string{"nothing was enqueued: maxmemory-policy of Redis is volatile-lru",
				"fix: CONFIG SET maxmemory-policy noeviction"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := redistest.Real(t, test.args...)
			for name, enqueue := range enqueueCommands(t, server.URL()) {
				code, stdout, stderr := enqueue()
				if code != test.code || stdout != "" {
					t.Errorf("%s: exit code %d, %q", name, code, stdout)
				}
				for _, want := range test.want {
					if !strings.Contains(stderr, want) {
						t.Errorf("%s: stderr lacks %q: %s", name, want, stderr)
					}
				}
			}
		})
	}
}

func TestEnqueueReplicated(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	t.Run("no replica confirms: error, but enqueued", func(t *testing.T) {
		server := redistest.Real(t)
		for name, enqueue := range enqueueCommands(t, server.URL(), "--durability", "replicated") {
			code, stdout, stderr := enqueue()
			if code != exitTempFail || stdout != "" ||
				!strings.Contains(stderr,
					" is accepted here but not replicated: 0 of 1 replicas confirmed it within 1s; it is safe to repeat the command") {
				t.Errorf("%s: exit code %d, %q, %q", name, code, stdout, stderr)
			}
		}
		for name, enqueue := range enqueueCommands(t, server.URL()) {
			if code, _, stderr := enqueue(); code != exitOK || !strings.Contains(stderr, "exists already with the same") {
				t.Errorf("%s, again: exit code %d, %q", name, code, stderr)
			}
		}
	})

	t.Run("embedded Redis: wrong setting", func(t *testing.T) {
		for name, enqueue := range enqueueCommands(t, "embedded", "--durability", "replicated") {
			if code, _, stderr := enqueue(); code != exitConfig || !strings.Contains(stderr, "TIWSNAP_REDIS_DURABILITY") {
				t.Errorf("%s: exit code %d, %q", name, code, stderr)
			}
		}
	})
}

package cli

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"tiwsnap/config"
)

// reloadHelp is the paragraph about SIGHUP in the help of the commands that reload settings.
const reloadHelp = `

SIGHUP reloads the YAML file and the files of secrets. Only the log level, Tencent's API
key, users, tokens and the session key change without a restart. If a setting is invalid,
the process keeps its settings and logs the error.`

// reloadable lists the settings that change without a restart.
var reloadable = []string{
	"tencentcloud.secret_id", "tencentcloud.secret_key", "tencentcloud.token",
	"http.session_key", "http.users", "http.tokens", "log.level",
}

// reloader reloads the settings of a command on SIGHUP.
type reloader struct {
	load    func() ([]config.Config, error)
	hangups chan os.Signal
}

// newReloader catches SIGHUP, which would end the process, from now on. A command calls
// it first, and run after its start.
func newReloader(cmd *cobra.Command, e env, needs ...config.Need) *reloader {
	r := &reloader{
		load:    func() ([]config.Config, error) { return loadConfigs(cmd, e, needs...) },
		hangups: make(chan os.Signal, 1),
	}
	signal.Notify(r.hangups, syscall.SIGHUP)
	return r
}

func (r *reloader) close() { signal.Stop(r.hangups) }

// run reloads the settings on SIGHUP until ctx ends. apply applies them, or changes
// nothing and returns an error.
func (r *reloader) run(ctx context.Context, now []config.Config, log *slog.Logger, level *slog.LevelVar,
	apply func([]config.Config) error) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.hangups:
		}
		next, err := r.load()
		if err == nil && !config.SameNamespaces(now, next) {
			err = errors.New("the list of namespaces has changed, which needs a restart")
		}
		if err == nil {
			err = apply(next)
		}
		if err != nil {
			log.Error("SIGHUP: reload failed, keeping the old settings", "err", err)
			continue
		}
		var changed, waiting []string
		for _, key := range config.ChangedAll(now, next) {
			if slices.Contains(reloadable, key) {
				changed = append(changed, key)
			} else {
				waiting = append(waiting, key)
			}
		}
		level.Set(min(now[0].Log.Level, next[0].Log.Level)) // log the next line if the old or the new level permits it
		log.Info("SIGHUP: reloaded the settings", "changed", strings.Join(changed, ", "))
		if waiting != nil {
			log.Warn("changed settings need a restart", "settings", strings.Join(waiting, ", "))
		}
		level.Set(next[0].Log.Level)
		now = next
	}
}

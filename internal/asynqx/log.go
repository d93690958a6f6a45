package asynqx

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/hibiken/asynq"
)

// unsubscribed is the prefix of what asynq logs because Taker returns a closed subscription.
const unsubscribed = "cannot subscribe to cancelation channel"

// Log returns a logger that writes asynq's messages to log.
func Log(log *slog.Logger) asynq.Logger { return logger{log} }

type logger struct{ log *slog.Logger }

func (l logger) Debug(args ...any) { l.log.Debug(fmt.Sprint(args...), "from", "asynq") }
func (l logger) Info(args ...any)  { l.log.Info(fmt.Sprint(args...), "from", "asynq") }
func (l logger) Warn(args ...any)  { l.log.Warn(fmt.Sprint(args...), "from", "asynq") }

func (l logger) Error(args ...any) {
	if text := fmt.Sprint(args...); !strings.HasPrefix(text, unsubscribed) {
		l.log.Error(text, "from", "asynq")
	}
}

// Fatal logs an error and does not exit: asynq calls it only from Server.Run, which tiwsnap does not use.
func (l logger) Fatal(args ...any) { l.log.Error(fmt.Sprint(args...), "from", "asynq") }

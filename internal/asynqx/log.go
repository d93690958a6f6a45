package asynqx

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/hibiken/asynq"
)

// unsubscribed begins what asynq logs about the subscription that Taker does not let it have.
const unsubscribed = "cannot subscribe to cancelation channel"

// Log writes asynq's own messages to log.
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

// Fatal does not end the process: asynq calls it only from Server.Run, which
// tiwsnap does not use.
func (l logger) Fatal(args ...any) { l.log.Error(fmt.Sprint(args...), "from", "asynq") }

package asynqx

import (
	"fmt"
	"log/slog"

	"github.com/hibiken/asynq"
)

// Log gives asynq's own messages to slog.
func Log(log *slog.Logger) asynq.Logger { return logger{log} }

type logger struct{ log *slog.Logger }

func (l logger) Debug(args ...any) { l.log.Debug(fmt.Sprint(args...), "from", "asynq") }
func (l logger) Info(args ...any)  { l.log.Info(fmt.Sprint(args...), "from", "asynq") }
func (l logger) Warn(args ...any)  { l.log.Warn(fmt.Sprint(args...), "from", "asynq") }
func (l logger) Error(args ...any) { l.log.Error(fmt.Sprint(args...), "from", "asynq") }

// Fatal does not end the process: asynq calls it only from Server.Run, which
// tiwsnap does not use.
func (l logger) Fatal(args ...any) { l.log.Error(fmt.Sprint(args...), "from", "asynq") }

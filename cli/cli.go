// Package cli implements the command line, one file for each subcommand. Only
// this package reads flags and prints for people: results go to stdout,
// messages to stderr.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes, after sysexits.h where one fits.
const (
	exitOK          = 0
	exitFailed      = 1  // some snapshots failed, rows were left out, or there was nothing to do
	exitUsage       = 2  // wrong flags or arguments
	exitUnavailable = 69 // a needed service is away
	exitTempFail    = 75 // try again later: interrupted, or the output could not be written
	exitConfig      = 78 // bad configuration
)

// exitError ends the program with an exit code. If err is nil, no error is printed.
// Where a comment says that an error has an exit code, the error is an *exitError.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func fail(code int, format string, args ...any) error {
	return &exitError{code, fmt.Errorf(format, args...)}
}

// env is the environment of a command.
type env struct {
	stdin   io.Reader
	stdout  io.Writer
	stderr  io.Writer
	environ func() []string // NAME=value, as os.Environ
}

// getenv returns the value of a variable, or an empty string.
func (e env) getenv(name string) string {
	for _, entry := range e.environ() {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}

// input returns stdin, whose reads end with ctx. Otherwise a read from a terminal or
// an idle pipe would block an interrupt.
func (e env) input(ctx context.Context) io.Reader {
	r, w := io.Pipe()
	go func() {
		_, err := io.Copy(w, e.stdin)
		w.CloseWithError(err)
	}()
	context.AfterFunc(ctx, func() { w.CloseWithError(ctx.Err()) })
	return r
}

// Run runs the command line and returns the exit code. SIGINT or SIGTERM stops the
// command gracefully; a second one ends the process at once.
func Run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	return run(ctx, args, env{os.Stdin, os.Stdout, os.Stderr, os.Environ})
}

func run(ctx context.Context, args []string, e env) int {
	stdout, stderr := newStream(e.stdout, false), newStream(e.stderr, true)
	defer stderr.end()
	e.stdout, e.stderr = stdout, stderr
	root := newRoot(e)
	root.SetArgs(args)
	code, err := exitUsage, root.ExecuteContext(ctx)
	var exit *exitError
	if err != nil && !errors.As(err, &exit) {
		err = explainCobraError(root, err)
	}
	switch {
	case err == nil:
		code = exitOK
	case errors.As(err, &exit):
		code, err = exit.code, exit.err
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		code, err = exitTempFail, errors.New("interrupted")
	}
	lost := stdout.end()
	if err != nil && (lost == nil || !strings.Contains(err.Error(), lost.Error())) { // do not print it twice
		fmt.Fprintf(stderr, "tiwsnap: %v\n", err)
	}
	if lost != nil {
		fmt.Fprintf(stderr, "tiwsnap: the output is incomplete: %v\n", lost)
		code = exitTempFail
	}
	return code
}

func newRoot(e env) *cobra.Command {
	root := &cobra.Command{
		Use:   "tiwsnap",
		Short: "Snapshot Tencent Interactive Whiteboards as fast as the account's rate limit allows",
		Example: `  tiwsnap demo
  tiwsnap worker
  tiwsnap enqueue batch class.csv --wait
  tiwsnap status`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       versionLine(), // for --version
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetIn(e.stdin)
	root.SetOut(e.stdout)
	root.SetErr(e.stderr)
	root.PersistentFlags().String("config", "", "YAML configuration `file` (TIWSNAP_CONFIG)")
	root.AddCommand(
		newDemo(e),
		newWorker(e),
		newWeb(e),
		newHealth(e),
		newEnqueue(e),
		newAgain(e),
		newStatus(e),
		newWait(e),
		newCancel(e),
		newPause(e),
		newResume(e),
		newLimit(e),
		newAudit(e),
		newStop(e),
		newStart(e),
		newRetry(e),
		newFailures(e),
		newImages(e),
		newFind(e),
		newWebhooks(e),
		newSchedule(e),
		newSimulator(e),
		newDoctor(e),
		newFirstLogin(e),
		newHashPassword(e),
		newToken(e),
		newConfig(e),
		newVersion(e),
	)
	root.SetHelpCommand(newHelp())
	root.InitDefaultCompletionCmd()
	if cmd, _, err := root.Find([]string{"completion"}); err == nil {
		cmd.Short, cmd.Long = "Print a shell completion script", "Print a shell completion script."
		cmd.Example = "  source <(tiwsnap completion bash)"
		for _, shell := range cmd.Commands() {
			shell.Short = "Print the completion script for " + shell.Name()
			_, rest, _ := strings.Cut(shell.Long, "\n\n") // after cobra's own first sentence
			shell.Long = shell.Short + ".\n\n" + rest
			shell.Example = "  tiwsnap completion " + shell.Name() + " > FILE"
		}
	}
	root.SetFlagErrorFunc(flagError)
	explainUsageErrors(root, e)
	root.SetUsageTemplate(strings.NewReplacer(
		"{{if .Runnable}}", `{{if and .Runnable (not (index .Annotations "`+needsSubcommand+`"))}}`,
		"Usage:", "USAGE:", "Aliases:", "ALIASES:", "Examples:", "EXAMPLES:", "Available Commands:", "COMMANDS:",
		"Global Flags:", "GLOBAL FLAGS:", "Flags:", "FLAGS:",
	).Replace(root.UsageTemplate()))
	return root
}

// newHelp replaces cobra's help command, which exits with 0 for an unknown command.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:     "help [COMMAND]",
		Short:   "Show the help of a command",
		Example: "  tiwsnap help enqueue batch",
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			var names []string
			if found, rest, err := cmd.Root().Find(args); err == nil && len(rest) == 0 {
				for _, sub := range found.Commands() {
					names = append(names, sub.Name()+"\t"+sub.Short)
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			found, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return fail(exitUsage, "unknown command %q: see tiwsnap -h", strings.Join(args, " "))
			}
			found.InitDefaultHelpFlag()
			return found.Help()
		},
	}
}

package cli

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tiwsnap/config"
	"tiwsnap/internal/plural"
)

// needsSubcommand annotates commands that only run their subcommands.
const needsSubcommand = "needs-subcommand"

// explainUsageErrors improves the usage errors of a command and its subcommands: the flag or
// argument, the allowed values, and the help to read.
func explainUsageErrors(cmd *cobra.Command, e env) {
	if cmd.HasSubCommands() && !cmd.Runnable() {
		cmd.Annotations = map[string]string{needsSubcommand: "true"}
		// cobra would show the help and exit with 0.
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			cmd.SetOut(e.stderr)
			return errors.Join(cmd.Help(), fail(exitUsage, "%s needs a subcommand", cmd.CommandPath()))
		}
	}
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			err := check(cmd, args)
			var said *exitError
			if err == nil || errors.As(err, &said) { // already explained
				return err
			}
			if cmd.HasSubCommands() && len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			given := "no arguments given"
			if len(args) > 0 {
				given = fmt.Sprintf("%s given: %s", plural.Of(len(args), "argument"), strings.Join(args, " "))
			}
			return fail(exitUsage, "%s; usage: %s, see %s -h", given, cmd.UseLine(), cmd.CommandPath())
		}
	}
	for _, sub := range cmd.Commands() {
		explainUsageErrors(sub, e)
	}
}

// unknownCommand returns the error for an unknown subcommand, with the nearest name.
func unknownCommand(cmd *cobra.Command, name string) error {
	hint := fmt.Sprintf("see %s -h", cmd.CommandPath())
	names := func(yield func(string) bool) {
		for _, sub := range cmd.Commands() {
			if !yield(sub.Name()) {
				return
			}
		}
	}
	if meant := config.Nearest(name, names); meant != "" {
		hint = fmt.Sprintf("did you mean %s %s?", cmd.CommandPath(), meant)
	}
	return fail(exitUsage, "unknown command %q for %q: %s", name, cmd.CommandPath(), hint)
}

// exclusiveFlags matches cobra's error about two flags that exclude each other.
var exclusiveFlags = regexp.MustCompile(`^if any flags in the group \[(\S+) (\S+)\] are set none`)

// explainCobraError improves the usage errors that only ExecuteContext returns.
func explainCobraError(root *cobra.Command, err error) error {
	name := ""
	if n, _ := fmt.Sscanf(err.Error(), "unknown command %q", &name); n == 1 {
		return unknownCommand(root, name)
	}
	if m := exclusiveFlags.FindStringSubmatch(err.Error()); m != nil {
		return fail(exitUsage, "--%s and --%s exclude each other: leave out one", m[1], m[2])
	}
	return err
}

// flagError explains an error of a flag.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var wrong *pflag.InvalidValueError
	var lacks *pflag.ValueRequiredError
	switch {
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() == "":
		names := func(yield func(string) bool) {
			cmd.Flags().VisitAll(func(f *pflag.Flag) { _ = f.Hidden || yield(f.Name) })
		}
		hint := "see " + cmd.CommandPath() + " -h"
		if name := config.Nearest(unknown.GetSpecifiedName(), names); name != "" {
			hint = "did you mean --" + name + "?"
		}
		return fail(exitUsage, "unknown flag: --%s: %s", unknown.GetSpecifiedName(), hint)
	case errors.As(err, &wrong):
		f := wrong.GetFlag()
		if must := expectedValue(f); must != "" {
			return fail(exitUsage, "--%s %q: it must be %s", f.Name, wrong.GetValue(), must)
		}
		// A value type of this package explains itself.
		return fail(exitUsage, "--%s %q: %w", f.Name, wrong.GetValue(), wrong.Unwrap())
	case errors.As(err, &lacks):
		return fail(exitUsage, "--%s needs a value: see %s -h", lacks.GetFlag().Name, cmd.CommandPath())
	}
	return fail(exitUsage, "%w: see %s -h", err, cmd.CommandPath())
}

// expectedValue describes the valid values of a flag. It is empty for value types of this
// package, whose errors explain themselves.
func expectedValue(f *pflag.Flag) string {
	switch f.Value.Type() {
	case "uint64":
		return "a whole number from 0 to 18446744073709551615"
	case "int":
		return "a whole number"
	case "float64":
		return "a number"
	case "bool":
		return "true or false"
	case "duration":
		return "a duration such as 500ms, 30s or 10m"
	case "stringToString":
		return "NAME=VALUE"
	}
	return ""
}

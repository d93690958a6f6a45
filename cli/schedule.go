package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tiwsnap/config"
	"tiwsnap/enqueue"
	"tiwsnap/internal/plural"
	"tiwsnap/schedule"
)

func newSchedule(e env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "schedule",
		Short: "List, run, pause and resume schedules",
		Long: `List the schedules of the configuration file, run one now, pause and resume them. A
schedule enqueues its rooms at fixed times, called ticks. The workers do that, with the
same configuration file.`,
		Example: `  tiwsnap schedule list --config tiwsnap.yml`,
	}
	cmd.AddCommand(newScheduleList(e), newScheduleNext(e), newScheduleRun(e),
		newSchedulePauseCommand(e, "pause", "Pause a schedule",
			`Pause a schedule: no worker enqueues its rooms until tiwsnap schedule resume. Ticks
during the pause are not made up.`, (*schedule.Store).Pause),
		newSchedulePauseCommand(e, "resume", "Resume a paused schedule",
			`Resume a paused schedule, from its next tick on.`, (*schedule.Store).Resume))
	return cmd
}

// newSchedules returns the schedules of the settings. The error has an exit code.
func newSchedules(c config.Config) ([]schedule.Schedule, error) {
	var all []schedule.Schedule
	for _, s := range c.Schedules {
		spec, err := schedule.ParseSpec(s.Cron, s.Timezone)
		if err != nil {
			return nil, fail(exitConfig, "schedule %s: %w", s.Name, err)
		}
		source := schedule.List(s.Rooms.List)
		switch {
		case s.Rooms.File != "":
			source = schedule.File(s.Rooms.File)
		case !s.Rooms.URL.Empty():
			if source, err = schedule.URL(s.Rooms.URL.Reveal(), s.Rooms.Token.Reveal()); err != nil {
				return nil, fail(exitConfig, "schedule %s: %w", s.Name, err)
			}
		}
		if u := s.Defaults.CallbackURL; u != "" {
			if err := c.CheckCallback(u); err != nil {
				return nil, fail(exitConfig, "schedule %s: defaults: CallbackURL %w", s.Name, err)
			}
		}
		all = append(all, schedule.Schedule{
			Name: s.Name, Cron: s.Cron, Zone: s.Timezone, Spec: spec, Source: source, Defaults: s.Defaults,
			CheckCallback: c.CheckCallback,
			Missed:        schedule.Missed(s.Missed), MissedWithin: s.MissedWithin, SkipOverlap: s.Overlap == "skip",
		})
	}
	return all, nil
}

// findSchedule returns the schedule of a name. The error has an exit code.
func findSchedule(c config.Config, name string) (schedule.Schedule, error) {
	all, err := newSchedules(c)
	if err != nil {
		return schedule.Schedule{}, err
	}
	var names []string
	for _, s := range all {
		if s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	if names == nil {
		return schedule.Schedule{}, fail(exitUsage, noSchedules)
	}
	return schedule.Schedule{}, fail(exitUsage, "no schedule is named %.80q: the schedules are %s",
		name, strings.Join(names, ", "))
}

// connectSchedule returns the schedule of a name and a connection to Redis. The error has
// an exit code.
func connectSchedule(
	cmd *cobra.Command, e env, name string, needs ...config.Need,
) (schedule.Schedule, *connection, error) {
	cfg, err := loadConfig(cmd, e, needs...)
	if err != nil {
		return schedule.Schedule{}, nil, err
	}
	s, err := findSchedule(cfg, name)
	if err != nil {
		return schedule.Schedule{}, nil, err
	}
	c, err := connectWith(cmd.Context(), cfg)
	return s, c, err
}

const noSchedules = "there are no schedules: add one to the configuration file (--config, see docs/schedules.md)"

func newScheduleList(e env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the schedules",
		Long:  "List the schedules, each with its next tick, its last tick and the outcome of that tick.",
		Example: `  tiwsnap schedule list --config tiwsnap.yml
  tiwsnap schedule list -o json`,
		Args: cobra.NoArgs,
	}
	output := outputFlag(cmd, "table", "json", "jsonl")
	config.Flags(cmd.Flags(), "redis.url", "namespace")
	cmd.RunE = withRedis(e, func(cmd *cobra.Command, c *connection, _ []string) error {
		all, err := newSchedules(c.cfg)
		if err != nil {
			return err
		}
		list, err := schedule.NewStore(c.rdb, c.cfg.Namespace).Status(cmd.Context(), all)
		if err != nil {
			return c.redisError(err)
		}
		switch *output {
		case "json":
			return printJSON(e.stdout, list, true)
		case "jsonl":
			return printLines(e.stdout, list)
		}
		if len(list) == 0 {
			fmt.Fprintln(e.stderr, noSchedules)
			return nil
		}
		rows := [][]string{{"SCHEDULE", "CRON", "ROOMS", "NEXT", "LAST", "OUTCOME"}}
		for i, s := range list {
			zone := all[i].Spec.Zone()
			last := "-"
			if s.Last != nil {
				last = s.Last.Tick.In(zone).Format(time.RFC3339)
			}
			next := s.Next.In(zone).Format(time.RFC3339)
			rows = append(rows, []string{s.Name, s.Cron, s.Source, next, last, scheduleOutcome(s)})
		}
		return printTable(e.stdout, rows)
	})
	return cmd
}

// scheduleOutcome describes the state and the last tick of a schedule.
func scheduleOutcome(s schedule.Status) string {
	var words []string
	if !s.Paused.IsZero() {
		words = append(words, "PAUSED since "+s.Paused.Format(time.RFC3339))
	}
	if !s.Overdue.IsZero() {
		words = append(words, "OVERDUE since "+s.Overdue.Format(time.RFC3339)+": run a worker with this configuration file")
	}
	if t := s.Trying; t != nil {
		words = append(words, fmt.Sprintf("tick %s failed %s: %s",
			t.Tick.Format(time.RFC3339), plural.Of(t.Failures, "time"), t.Error))
	}
	if o := s.Last; o != nil {
		switch text := string(o.Result); {
		case o.Result == schedule.Enqueued && o.BadRows > 0:
			words = append(words, fmt.Sprintf("%s %s: %s; %s: %s",
				text, o.Batch, plural.Of(o.Rooms, "room"), plural.Of(o.BadRows, "bad row"), strings.Join(o.Reasons, "; ")))
		case o.Result == schedule.Enqueued:
			words = append(words, fmt.Sprintf("%s %s: %s", text, o.Batch, plural.Of(o.Rooms, "room")))
		case o.Error != "":
			words = append(words, text+": "+o.Error)
		default:
			words = append(words, text)
		}
	}
	if s.Missed > 0 {
		words = append(words, plural.Of(s.Missed, "tick")+" missed in total")
	}
	return strings.Join(words, "; ")
}

func newScheduleNext(e env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "next NAME",
		Short: "Print the next ticks of a schedule",
		Long:  "Print the next ticks of a schedule, in its time zone. It needs no Redis.",
		Example: `  tiwsnap schedule next nightly
  tiwsnap schedule next nightly -n 30 -o json`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeSchedules(e),
	}
	output := outputFlag(cmd, "table", "json", "jsonl")
	n := cmd.Flags().IntP("number", "n", 5, "`number` of ticks to print, 1 to 1000")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *n < 1 || *n > 1000 {
			return fail(exitUsage, "--number %d: it must be 1 to 1000", *n)
		}
		cfg, err := loadConfig(cmd, e)
		if err != nil {
			return err
		}
		s, err := findSchedule(cfg, args[0])
		if err != nil {
			return err
		}
		ticks := s.Ticks(time.Now(), *n)
		switch *output {
		case "json":
			return printJSON(e.stdout, map[string]any{"ticks": ticks}, true)
		case "jsonl":
			return printLines(e.stdout, ticks)
		}
		if len(ticks) == 0 {
			return fail(exitFailed, "schedule %s never ticks: its cron expression %q matches no date", s.Name, s.Cron)
		}
		for _, tick := range ticks {
			fmt.Fprintln(e.stdout, tick.Format("Mon 2006-01-02 15:04:05 -07:00"))
		}
		return nil
	}
	return cmd
}

func newScheduleRun(e env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run NAME",
		Short: "Enqueue the rooms of a schedule now",
		Long: `Enqueue the rooms of a schedule now, as a batch, and print its id, which contains
"by-hand". Exit code 1 if rows were left out.`,
		Example: `  tiwsnap schedule run nightly
  tiwsnap wait $(tiwsnap schedule run nightly)`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeSchedules(e),
	}
	output := outputFlag(cmd, "table", "json", "jsonl")
	config.Flags(cmd.Flags(), "redis.url", "namespace", "redis.durability")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, c, err := connectSchedule(cmd, e, args[0], config.RoomFiles)
		if err != nil {
			return err
		}
		defer c.close()
		return runSchedule(cmd.Context(), e, c, s, *output)
	}
	return cmd
}

func runSchedule(ctx context.Context, e env, c *connection, s schedule.Schedule, output string) error {
	var report schedule.Report
	batch, err := enqueue.New(c.rdb, c.cfg.Namespace).Batch(ctx, s.Rooms(ctx, &report), enqueue.BatchOptions{
		ID: s.HandID(time.Now()), Defaults: s.Defaults, By: "command " + currentUser(), Replicated: c.replicated(),
	})
	for _, note := range report.Notes {
		fmt.Fprintf(e.stderr, "%s: %s\n", s.Source, plain(note))
	}
	for _, reason := range report.Reasons {
		fmt.Fprintf(e.stderr, "%s: %s\n", s.Source, plain(reason))
	}
	if report.BadRows > 0 {
		fmt.Fprintf(e.stderr, "%s: %s\n", s.Source, badRowsText(report.BadRows))
	}
	var source *schedule.SourceError
	switch {
	case errors.As(err, &source):
		return fail(exitUnavailable, "nothing was enqueued: %w", err)
	case errors.Is(err, enqueue.ErrExists):
		return fail(exitTempFail, "nothing was enqueued: %w, created in the same second; try again", err)
	case err != nil:
		return c.enqueueError(err)
	}
	c.audit(e, "run-schedule", s.Name, batch.ID+": "+plural.Of(batch.Rooms, "room"))
	fmt.Fprintf(e.stderr, "batch %s: %s enqueued\n", batch.ID, plural.Of(batch.Rooms, "room"))
	if output == "table" {
		_, err = fmt.Fprintln(e.stdout, batch.ID)
	} else {
		err = printJSON(e.stdout, map[string]any{
			"id": batch.ID, "rooms": batch.Rooms, "created": batch.Created, "bad_rows": report.BadRows,
		}, output == "json")
	}
	return cmp.Or(err, badRowsExit(report.BadRows))
}

// newSchedulePauseCommand returns the command schedule pause or schedule resume.
func newSchedulePauseCommand(
	e env, name, short, long string, do func(*schedule.Store, context.Context, schedule.Schedule) error,
) *cobra.Command {
	cmd := &cobra.Command{
		Use:               name + " NAME",
		Short:             short,
		Long:              long,
		Example:           "  tiwsnap schedule " + name + " nightly",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeSchedules(e),
	}
	output := outputFlag(cmd, "table", "json")
	config.Flags(cmd.Flags(), "redis.url", "namespace")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, c, err := connectSchedule(cmd, e, args[0])
		if err != nil {
			return err
		}
		defer c.close()
		if err := do(schedule.NewStore(c.rdb, c.cfg.Namespace), cmd.Context(), s); err != nil {
			return c.redisError(err)
		}
		c.audit(e, name+"-schedule", s.Name, "")
		said := map[string]string{"pause": "paused", "resume": "resumed"}[name]
		if *output == "json" {
			return printJSON(e.stdout, map[string]any{"schedule": s.Name, "state": said}, true)
		}
		_, err = fmt.Fprintf(e.stdout, "schedule %s: %s\n", s.Name, said)
		return err
	}
	return cmd
}

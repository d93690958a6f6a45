package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tiwsnap/config"
	"tiwsnap/enqueue"
	"tiwsnap/internal/rdb"
	"tiwsnap/internal/rooms"
	"tiwsnap/tasks"
)

// maxShownFaults is how many faults of a class list are printed; the others
// are counted.
const maxShownFaults = 100

func newEnqueue(e env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "enqueue",
		Short: "Enqueue snapshots: of one room, or of a batch of any size",
		Example: `  tiwsnap enqueue room --app 1400123480 --room 12345
  tiwsnap enqueue batch class.csv --wait`,
	}
	cmd.AddCommand(newEnqueueRoom(e), newEnqueueBatch(e))
	return cmd
}

func newEnqueueRoom(e env) *cobra.Command {
	var room uint64
	cmd := &cobra.Command{
		Use:   "room --app SDKAPPID --room ROOMID",
		Short: "Enqueue a snapshot of one room, ahead of every batch, and print its id",
		Long: `Enqueue a snapshot of one room, ahead of every batch, and print its id. With --key
the same app, room and key are one snapshot, however often it is enqueued; a key
that has other parameters already is an error (exit code 2).`,
		Example: `  tiwsnap enqueue room --app 1400123480 --room 12345 --wait
  tiwsnap enqueue room --app 1400123480 --room 12345 --key lesson-7
  tiwsnap enqueue room --app 1400123480 --room 12345 --width 1920 --height 1080 -o json`,
		Args: cobra.NoArgs,
	}
	read := roomFlags(cmd.Flags())
	cmd.Flags().Uint64Var(&room, "room", 0, "RoomId `number`")
	key := cmd.Flags().
		String("key", "", "`name` of what is snapshotted, such as a class session: the same app, room and key are one snapshot")
	wait := cmd.Flags().Bool("wait", false, "wait for the result and print it")
	output := outputFlag(cmd, "table", "json", "jsonl")
	config.Flags(cmd.Flags(), "redis.url", "namespace", "redis.durability")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		r, err := read()
		if err != nil {
			return err
		}
		r.RoomId = room
		if cmd.Flags().Changed("key") {
			if err := tasks.CheckKey(*key); err != nil {
				return fail(exitUsage, "--key: %w", err)
			}
		}
		if room > tasks.MaxDocumentedRoomID {
			fmt.Fprintf(e.stderr, "warning: RoomId %d is above %d, which other whiteboard APIs do not take\n",
				room, uint64(tasks.MaxDocumentedRoomID))
		}
		c, err := connect(cmd, e)
		if err != nil {
			return err
		}
		defer c.close()
		if err := checkCallback(c.cfg, r); err != nil {
			return err
		}
		snapshot, err := enqueue.New(c.rdb, c.cfg.Namespace).
			Room(ctx, r, enqueue.RoomOptions{Key: *key, Replicated: c.replicated()})
		if errors.Is(err, enqueue.ErrExists) {
			return fail(exitUsage, "nothing was enqueued: %w; give this one another --key", err)
		}
		if err != nil {
			return c.refused(err)
		}
		if snapshot.Created {
			fmt.Fprintf(e.stderr, "snapshot %s: enqueued\n", snapshot.ID)
		} else {
			fmt.Fprintf(
				e.stderr,
				"snapshot %s was enqueued before with the same --key and parameters: nothing was added\n",
				snapshot.ID,
			)
		}
		if *wait {
			return waitAndPrint(ctx, e, c, []string{snapshot.ID}, *output)
		}
		if *output == "table" {
			fmt.Fprintln(e.stdout, snapshot.ID)
			return nil
		}
		return printJSON(e.stdout, map[string]any{"id": snapshot.ID, "created": snapshot.Created}, *output == "json")
	}
	return cmd
}

// checkCallback checks the CallbackURL of a room. The error is ready to return.
func checkCallback(cfg config.Config, r tasks.Room) error {
	if r.CallbackURL != "" {
		if err := cfg.CheckCallback(r.CallbackURL); err != nil {
			return fail(exitUsage, "--callback-url %w", err)
		}
	}
	return nil
}

// replicated is the setting of that name.
func (c *connection) replicated() bool { return c.cfg.Redis.Durability == "replicated" }

// refused makes an error of package enqueue ready to return.
func (c *connection) refused(err error) error {
	var bad *tasks.RoomError
	var full *enqueue.FullError
	var evicts *rdb.EvictionError
	switch {
	case errors.As(err, &bad):
		return fail(exitUsage, "%w", err)
	case errors.As(err, &evicts):
		return fail(exitConfig, "nothing was enqueued: %w", err)
	case errors.As(err, &full):
		return fail(exitTempFail, "nothing was enqueued: %w", err)
	case errors.Is(err, enqueue.ErrNotReplicated):
		return fail(exitTempFail, "%w; the same command again is safe where a --key or a batch's name names the work", err)
	}
	return c.away(err)
}

func newEnqueueBatch(e env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "batch FILE",
		Short: "Enqueue every room of a class list (CSV with a header, .xlsx, or JSON; - is stdin)",
		Long: `Enqueue every room of a class list: CSV with a header, a workbook (.xlsx), JSON
lines or a JSON array, with the API's own field names (SdkAppId, RoomId,
CallbackURL, SnapshotMode, Whiteboard.Width, COS.Bucket, ...) and columns
Label.NAME that are carried through to the results. What a row leaves out comes
from the flags. The format and the encoding are recognised; what is recognised,
and rows that are skipped as they are no rooms, are told.

A row that is wrong is reported with its line and left out (exit code 1); the
others go on, unless --strict. The batch becomes visible all at once. Without
--name it is named after the file and its content: the same command again finds
the same batch and adds nothing, also after it was killed in the middle. A name
that stands for other rooms already is an error (exit code 2).

With --check the list is read and its faults are printed, and nothing is enqueued.
That needs no Redis.`,
		Example: `  tiwsnap enqueue batch class.csv --check
  tiwsnap enqueue batch class.csv --wait
  tiwsnap enqueue batch class.csv --name monday --strict
  tiwsnap enqueue batch rooms.jsonl --app 1400123480 --mode LatestMarksOnly
  generate-rooms | tiwsnap enqueue batch - --name monday -o json`,
		Args: cobra.ExactArgs(1),
	}
	read := roomFlags(cmd.Flags())
	name := cmd.Flags().String("name", "", "`id` of the batch: a-z, 0-9 and -; default: from the file's name and content")
	strict := cmd.Flags().Bool("strict", false, "enqueue nothing if any row is wrong")
	check := cmd.Flags().Bool("check", false, "check the list and enqueue nothing")
	encoding := cmd.Flags().String("encoding", "",
		"`name` of the text's encoding, such as utf-8, gb18030, big5 or windows-1252; default: as recognised")
	sheet := cmd.Flags().String("sheet", "", "`name` of the worksheet of an .xlsx file; default: the first")
	hook := cmd.Flags().
		String("webhook", "", "`URL` that is told of the batch's end in place of TIWSNAP_WEBHOOK_URL; its host must be in TIWSNAP_WEBHOOK_ALLOW, here and at the workers")
	wait := cmd.Flags().Bool("wait", false, "wait until every snapshot has ended; exit 1 if some failed")
	output := outputFlag(cmd, "table", "json", "jsonl")
	cmd.MarkFlagsMutuallyExclusive("check", "wait")
	config.Flags(cmd.Flags(), "redis.url", "namespace", "redis.durability")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		defaults, err := read()
		if err != nil {
			return err
		}
		if err := checkName(*name); err != nil {
			return err
		}
		options := rooms.Options{Defaults: defaults, Sheet: *sheet}
		if options.Encoding, err = rooms.ParseEncoding(*encoding); err != nil {
			return fail(exitUsage, "--encoding: %w", err)
		}
		in, err := openList(ctx, e, args[0])
		if err != nil {
			return err
		}
		defer in.Close()
		cfg, err := loadConfig(cmd, e)
		if err != nil {
			return err
		}
		if *hook != "" {
			if err := cfg.Webhook.Check(*hook); err != nil {
				return fail(exitUsage, "--webhook %w", err)
			}
		}
		if err := checkCallback(cfg, defaults); err != nil {
			return err
		}
		options.CheckCallback = cfg.CheckCallback
		list := &classList{e: e, file: args[0], strict: *strict}
		if *check {
			return list.check(ctx, list.rooms(in, options), *output)
		}
		if err := notEmbedded(cfg); err != nil {
			return err
		}
		c, err := connectTo(ctx, cfg)
		if err != nil {
			return err
		}
		defer c.close()
		batch, err := enqueue.New(c.rdb, c.cfg.Namespace).Batch(ctx, list.rooms(in, options), enqueue.BatchOptions{
			ID: batchID(*name, args[0]), Defaults: defaults, Webhook: *hook, By: "command " + person(), Replicated: c.replicated(),
		})
		list.summary()
		switch {
		case errors.Is(err, enqueue.ErrNotReplicated): // enqueued, interrupted or not
			return c.refused(err)
		case err != nil && ctx.Err() != nil:
			return fail(exitTempFail, "interrupted; nothing was enqueued")
		case list.err != nil:
			return fail(exitUsage, "%s: %w; nothing was enqueued", args[0], list.err)
		case errors.Is(err, enqueue.ErrExists):
			return fail(exitUsage, "nothing was enqueued: %w; give this list another --name", err)
		case err != nil:
			return c.refused(err)
		}
		if batch.Created {
			c.did(e, "create-batch", batch.ID, fmt.Sprintf("%d rooms", batch.Rooms))
			fmt.Fprintf(e.stderr, "batch %s: %s enqueued\n", batch.ID, plural(batch.Rooms, "room"))
		} else {
			fmt.Fprintf(e.stderr, "batch %s was enqueued before with the same %s: nothing was added; "+
				"to snapshot them once more give it another --name\n", batch.ID, plural(batch.Rooms, "room"))
		}
		switch {
		case *wait:
			err = waitAndPrint(ctx, e, c, []string{batch.ID}, *output)
		case *output == "table":
			fmt.Fprintln(e.stdout, batch.ID)
		default:
			err = printJSON(e.stdout, map[string]any{
				"id": batch.ID, "rooms": batch.Rooms, "created": batch.Created, "bad_rows": list.bad,
			}, *output == "json")
		}
		return cmp.Or(err, leftOut(list.bad))
	}
	return cmd
}

// leftOut is the end of a command that has enqueued a list without its bad rows,
// as was said; nil where there were none.
func leftOut(bad int) error {
	if bad == 0 {
		return nil
	}
	return &exitError{exitFailed, nil}
}

// leftOutWords says how many rows were left out.
func leftOutWords(bad int) string {
	if bad == 1 {
		return "1 bad row was left out"
	}
	return fmt.Sprintf("%d bad rows were left out", bad)
}

// classList reads a class list and reports its faults on stderr.
type classList struct {
	e      env
	file   string
	strict bool
	bad    int
	notes  int
	err    error // why nothing may be enqueued
}

func (l *classList) rooms(in io.Reader, o rooms.Options) iter.Seq2[tasks.Room, error] {
	o.Notes = func(n rooms.Note) {
		if l.notes++; l.notes <= maxShownFaults {
			fmt.Fprintf(l.e.stderr, "%s: %s\n", l.file, plain(n.String()))
		}
	}
	return func(yield func(tasks.Room, error) bool) {
		good := 0
		for row, err := range rooms.Read(in, o) {
			var bad *rooms.RowError
			switch {
			case errors.As(err, &bad):
				if l.bad++; l.bad <= maxShownFaults {
					fmt.Fprintf(l.e.stderr, "%s: %s\n", l.file, plain(bad.Error()))
				}
			case err != nil:
				l.err = err
				yield(tasks.Room{}, err)
				return
			case l.strict && l.bad > 0:
				// Nothing will come of it: only the faults are still of interest.
			default:
				good++
				if !yield(row.Room, nil) {
					return
				}
			}
		}
		switch {
		case l.strict && l.bad > 0:
			l.err = fmt.Errorf("%s and --strict", plural(l.bad, "bad row"))
		case good == 0:
			l.err = errors.New("no good row")
		default:
			return
		}
		yield(tasks.Room{}, l.err)
	}
}

// check reads the rooms and says how many there are. The error is ready to return.
func (l *classList) check(ctx context.Context, rooms iter.Seq2[tasks.Room, error], output string) error {
	good := 0
	for _, err := range rooms {
		if err == nil {
			good++
		}
	}
	l.more()
	switch {
	case ctx.Err() != nil:
		return fail(exitTempFail, "interrupted; the list was not checked to its end")
	case l.err != nil:
		return fail(exitUsage, "%s: %w", l.file, l.err)
	case output == "table":
		fmt.Fprintf(l.e.stdout, "%s in order, %s; nothing was enqueued\n", plural(good, "room"), plural(l.bad, "bad row"))
		return leftOut(l.bad)
	}
	counts := map[string]any{"rooms": good, "bad_rows": l.bad}
	return cmp.Or(printJSON(l.e.stdout, counts, output == "json"), leftOut(l.bad))
}

// summary says how many rows were left out.
func (l *classList) summary() {
	l.more()
	if l.bad > 0 && l.err == nil {
		fmt.Fprintf(l.e.stderr, "%s: %s\n", l.file, leftOutWords(l.bad))
	}
}

// more says how many notes and faults were not printed.
func (l *classList) more() {
	if l.notes > maxShownFaults {
		fmt.Fprintf(l.e.stderr, "%s: … and %d more notes\n", l.file, l.notes-maxShownFaults)
	}
	if l.bad > maxShownFaults {
		fmt.Fprintf(l.e.stderr, "%s: … and %d more\n", l.file, l.bad-maxShownFaults)
	}
}

func openList(ctx context.Context, e env, file string) (io.ReadCloser, error) {
	if file == "-" {
		return io.NopCloser(e.input(ctx)), nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, fail(exitUsage, "class list: %w", err)
	}
	if info, err := f.Stat(); err == nil && info.IsDir() {
		f.Close()
		return nil, fail(exitUsage, "class list: %s is a folder", file)
	}
	return f, nil
}

// batchID is the name given, or a prefix made of the file's name, to which
// twelve digits of the content are added.
func batchID(name, file string) string {
	if name != "" {
		return name
	}
	base := strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
	id := strings.Trim(strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '-'
	}, base), "-")
	if len(id) > 40 {
		id = id[:40]
	}
	if id == "" {
		id = "batch"
	}
	return id + "-"
}

// roomFlags adds the flags of a room's fields but for RoomId and returns a
// function that reads them.
func roomFlags(fs *pflag.FlagSet) func() (tasks.Room, error) {
	app := fs.Uint64("app", 0, "SdkAppId `number`")
	callback := fs.String(
		"callback-url",
		"",
		"CallbackURL, the `URL` that is told each result; TIWSNAP_TIW_CALLBACK_URL if not given",
	)
	mode := fs.String("mode", "", "SnapshotMode: AllMarks or LatestMarksOnly")
	width := fs.Uint64("width", 0, "Whiteboard.Width in `pixels`, 0 to 2560 (default 1280)")
	height := fs.Uint64("height", 0, "Whiteboard.Height in `pixels`, 0 to 2560 (default 720)")
	params := fs.String("init-params", "", "Whiteboard.InitParams, a `JSON` document")
	uin := fs.Uint64("cos-uin", 0, "COS.Uin, the account `number` that owns the bucket")
	region := fs.String("cos-region", "", "COS.Region, such as ap-guangzhou")
	bucket := fs.String("cos-bucket", "", "COS.Bucket, in the form name-appid; without one the images live 3 days")
	dir := fs.String("cos-target-dir", "", "COS.TargetDir, a folder in the bucket")
	domain := fs.String("cos-domain", "", "COS.Domain, a CDN domain")
	labels := fs.StringToString("label", nil, "`NAME=VALUE` carried through to the results; may be given several times")
	return func() (tasks.Room, error) {
		r := tasks.Room{SdkAppId: *app, CallbackURL: *callback, SnapshotMode: *mode}
		if fs.Changed("width") || fs.Changed("height") || *params != "" {
			r.Whiteboard = &tasks.Whiteboard{InitParams: *params}
			if fs.Changed("width") {
				r.Whiteboard.Width = width
			}
			if fs.Changed("height") {
				r.Whiteboard.Height = height
			}
		}
		if *uin != 0 || *region != "" || *bucket != "" || *dir != "" || *domain != "" {
			r.COS = &tasks.COS{Uin: *uin, Region: *region, Bucket: *bucket, TargetDir: *dir, Domain: *domain}
		}
		if len(*labels) > 0 {
			r.Label = *labels
		}
		return r, nil
	}
}

// waitAndPrint waits for snapshots and batches and prints them.
func waitAndPrint(ctx context.Context, e env, c *connection, ids []string, output string) error {
	for _, id := range ids {
		if _, _, err := c.find(ctx, id); err != nil {
			return cmp.Or(goesOn(ctx, id), err)
		}
	}
	failed := 0
	for _, id := range ids {
		n, err := watch(ctx, e, c, id)
		if err != nil {
			return err
		}
		failed += n
		if err := printStatus(ctx, e, c, id, output); err != nil {
			return err
		}
	}
	if failed > 0 {
		return &exitError{exitFailed, nil}
	}
	return nil
}

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
		Short: "Enqueue a snapshot of one room, or of a batch of rooms",
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
		Short: "Enqueue a snapshot of one room, ahead of the batches",
		Long: `Enqueue a snapshot of one room, ahead of the batches, and print its id.

--key is an idempotency key: the same app, room and key are one snapshot, however often
it is enqueued. The same key with other parameters is an error (exit code 2).`,
		Example: `  tiwsnap enqueue room --app 1400123480 --room 12345 --wait
  tiwsnap enqueue room --app 1400123480 --room 12345 --key lesson-7
  tiwsnap enqueue room --app 1400123480 --room 12345 --width 1920 --height 1080 -o json`,
		Args: cobra.NoArgs,
	}
	read := roomFlags(cmd.Flags())
	cmd.Flags().Uint64Var(&room, "room", 0, "RoomId `number`")
	key := cmd.Flags().
		String("key", "", "idempotency `key`, such as a class session: the same app, room and key are one snapshot")
	wait := cmd.Flags().Bool("wait", false, "wait until the snapshot has ended, and print it")
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
		seen := c.remember(ctx, e)
		snapshot, err := enqueue.New(c.rdb, c.cfg.Namespace).
			Room(ctx, r, enqueue.RoomOptions{Key: *key, Replicated: c.replicated()})
		if errors.Is(err, enqueue.ErrExists) {
			return fail(exitUsage, "nothing was enqueued: %w; choose another --key", err)
		}
		if err != nil {
			return c.refused(err)
		}
		seen.keep(snapshot.ID)
		if snapshot.Created {
			fmt.Fprintf(e.stderr, "snapshot %s: enqueued\n", snapshot.ID)
		} else {
			fmt.Fprintf(
				e.stderr,
				"snapshot %s exists already with the same --key and parameters; nothing was enqueued\n",
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
		return fail(exitTempFail, "%w; it is safe to repeat the command with a --key, or with the name of the batch",
			err)
	}
	return c.away(err)
}

func newEnqueueBatch(e env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "batch FILE",
		Short: "Enqueue every room of a class list (CSV, .xlsx or JSON; - is stdin)",
		Long: `Enqueue every room of a class list, as one batch, and print its id.

The list is CSV with a header, a workbook (.xlsx), JSON lines or a JSON array. Its
columns have the API's field names: SdkAppId, RoomId, CallbackURL, SnapshotMode,
Whiteboard.Width, COS.Bucket and so on. Columns named Label.NAME are copied to the
results. Flags give the values that a row leaves out. Format and encoding are detected
and reported, and so are rows that are skipped because they are not rooms.

A bad row is reported with its line number and left out (exit code 1). With --strict
one bad row rejects the whole list. A batch is enqueued as a whole or not at all.

Without --name the batch is named after the file and its content. Repeating the command
then finds the same batch and adds nothing, even if it was killed halfway. A name that
belongs to other rooms is an error (exit code 2).

--check reads the list, prints its errors and enqueues nothing. It needs no Redis.`,
		Example: `  tiwsnap enqueue batch class.csv --check
  tiwsnap enqueue batch class.csv --wait
  tiwsnap enqueue batch class.csv --name monday --strict
  tiwsnap enqueue batch rooms.jsonl --app 1400123480 --mode LatestMarksOnly
  generate-rooms | tiwsnap enqueue batch - --name monday -o json`,
		Args: cobra.ExactArgs(1),
	}
	read := roomFlags(cmd.Flags())
	name := cmd.Flags().String("name", "",
		"`id` of the batch: a-z, 0-9 and -; default: made from the name and content of the file")
	strict := cmd.Flags().Bool("strict", false, "enqueue nothing if any row is bad")
	check := cmd.Flags().Bool("check", false, "check the list without enqueueing it")
	encoding := cmd.Flags().String("encoding", "",
		"text `encoding`, such as utf-8, gb18030, big5 or windows-1252; default: detected")
	sheet := cmd.Flags().String("sheet", "", "`name` of the worksheet in an .xlsx file; default: the first")
	hook := cmd.Flags().
		String("webhook", "", "`URL` to notify when the batch ends, instead of TIWSNAP_WEBHOOK_URL; "+
			"TIWSNAP_WEBHOOK_ALLOW must name its host, here and at the workers")
	wait := cmd.Flags().Bool("wait", false, "wait until all snapshots have ended; exit code 1 if any failed")
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
		seen := c.remember(ctx, e)
		batch, err := enqueue.New(c.rdb, c.cfg.Namespace).Batch(ctx, list.rooms(in, options), enqueue.BatchOptions{
			ID: batchID(*name, args[0]), Defaults: defaults, Webhook: *hook, By: "command " + person(),
			Replicated: c.replicated(),
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
			return fail(exitUsage, "nothing was enqueued: %w; choose another --name", err)
		case err != nil:
			return c.refused(err)
		}
		seen.keep(batch.ID)
		if batch.Created {
			c.did(e, "create-batch", batch.ID, fmt.Sprintf("%d rooms", batch.Rooms))
			fmt.Fprintf(e.stderr, "batch %s: %s enqueued\n", batch.ID, plural(batch.Rooms, "room"))
		} else {
			fmt.Fprintf(e.stderr, "batch %s exists already with the same %s; nothing was enqueued. "+
				"To snapshot them again, choose another --name\n", batch.ID, plural(batch.Rooms, "room"))
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
		return "1 bad row left out"
	}
	return fmt.Sprintf("%d bad rows left out", bad)
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
			l.err = fmt.Errorf("%s, and --strict allows none", plural(l.bad, "bad row"))
		case good == 0:
			l.err = errors.New("the list has no valid row")
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
		return fail(exitTempFail, "interrupted; the list was checked only in part")
	case l.err != nil:
		return fail(exitUsage, "%s: %w", l.file, l.err)
	case output == "table":
		fmt.Fprintf(l.e.stdout, "%s valid, %s; nothing was enqueued\n", plural(good, "room"), plural(l.bad, "bad row"))
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
		fmt.Fprintf(l.e.stderr, "%s: … and %d more bad rows\n", l.file, l.bad-maxShownFaults)
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
		"CallbackURL, the `URL` notified of each result; default: TIWSNAP_TIW_CALLBACK_URL",
	)
	mode := fs.String("mode", "", "SnapshotMode: AllMarks or LatestMarksOnly")
	width := fs.Uint64("width", 0, "Whiteboard.Width in `pixels`, 0 to 2560 (default 1280)")
	height := fs.Uint64("height", 0, "Whiteboard.Height in `pixels`, 0 to 2560 (default 720)")
	params := fs.String("init-params", "", "Whiteboard.InitParams, a `JSON` document")
	uin := fs.Uint64("cos-uin", 0, "COS.Uin, the `number` of the account that owns the bucket")
	region := fs.String("cos-region", "", "COS.Region, such as ap-guangzhou")
	bucket := fs.String("cos-bucket", "",
		"COS.Bucket, as name-appid; without one Tencent deletes the images after 3 days")
	dir := fs.String("cos-target-dir", "", "COS.TargetDir, a folder in the bucket")
	domain := fs.String("cos-domain", "", "COS.Domain, a CDN domain")
	labels := fs.StringToString("label", nil, "`NAME=VALUE` copied to the results; may be repeated")
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

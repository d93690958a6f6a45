package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common"

	"tiwsnap/backlog"
	"tiwsnap/config"
	"tiwsnap/enqueue"
	"tiwsnap/examples"
	"tiwsnap/images"
	"tiwsnap/internal/embedded"
	"tiwsnap/internal/guard"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/plural"
	"tiwsnap/internal/rdb"
	"tiwsnap/internal/rooms"
	"tiwsnap/ledger"
	"tiwsnap/results"
	"tiwsnap/schedule"
	"tiwsnap/tiw"
	"tiwsnap/tiw/tiwtest"
	"tiwsnap/web/metrics"
	"tiwsnap/worker"
)

// demoSecret is the demo's secret id and key, valid only for its own simulator.
const demoSecret = "demo"

func newDemo(e env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run a demo in one process, without Redis or a Tencent account",
		Long: `Run a demo in one process, without Redis or a Tencent account: an embedded Redis, a
simulator of Tencent's API and a worker, all on loopback. They snapshot the rooms of
three classes that end at the same time. Only the copied images are kept. Of a --config
file, only the schedules are used.

All of it shares the CPU. On a busy machine the simulator records some requests late, so
the peak second may show more than 20.`,
		Example: `  tiwsnap demo
  tiwsnap demo --keep
  tiwsnap demo --rooms class.csv`,
		Args: cobra.NoArgs,
	}
	output := outputFlag(cmd, "table", "json")
	file := cmd.Flags().String("rooms", "", "class list `file` to snapshot instead of examples/class.csv")
	keep := cmd.Flags().Bool("keep", false, "keep running afterwards and print the addresses")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		list, name := io.Reader(bytes.NewReader(examples.Class)), "examples/class.csv"
		if *file != "" {
			f, err := openList(cmd.Context(), e, *file)
			if err != nil {
				return err
			}
			defer f.Close()
			list, name = f, *file
		}
		var schedules []schedule.Schedule
		if cmd.Flags().Changed("config") {
			c, err := loadConfig(cmd, e, config.RoomFiles)
			if err != nil {
				return err
			}
			if schedules, err = newSchedules(c); err != nil {
				return err
			}
		}
		return demo(cmd.Context(), e, list, name, *keep, schedules, *output)
	}
	return cmd
}

func demo(
	ctx context.Context, e env, list io.Reader, name string, keep bool, schedules []schedule.Schedule, output string,
) (err error) {
	fmt.Fprintln(e.stderr, "demo: an embedded Redis, a simulator of Tencent's API and a worker, in this process; "+
		"nothing is durable")
	redis := embedded.New()
	if err := redis.Listen(); err != nil {
		return fail(exitUnavailable, "%w", err)
	}
	defer redis.Close()
	client, closeRedis, err := rdb.Open(redis.URL())
	if err != nil {
		return err
	}
	defer closeRedis()

	sim := tiwtest.New(tiwtest.Options{
		Credentials:  map[string]tiwtest.Secret{demoSecret: demoSecret},
		Latency:      80 * time.Millisecond,
		LatencySigma: 0.35,
		TaskDuration: time.Second,
		TaskSigma:    0.5,
	})
	defer sim.Close()
	if err := sim.Listen("127.0.0.1:0"); err != nil {
		return fail(exitUnavailable, "simulator: %w", err)
	}
	api, err := tiw.New(tiw.Options{
		Endpoint: sim.URL, Region: "ap-singapore", Credential: common.NewCredential(demoSecret, demoSecret),
	})
	if err != nil {
		return err
	}
	defer api.Close()
	log := slog.New(slog.NewTextHandler(e.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	registry := metrics.NewRegistry()
	c := &connection{
		rdb: client, ledger: ledger.New(client, ledger.Options{}), backlog: backlog.New(client, keys.Default),
		results: results.NewReader(client, keys.Default),
	}
	if err := demoImages(&c.cfg.Images); err != nil {
		return err
	}
	defer os.Remove(strings.TrimPrefix(c.cfg.Images.Store, "file://")) // if it is empty
	copier, closeCopier, err := newCopier(c, log, registry)
	if err != nil {
		return err
	}
	defer closeCopier()
	w, err := worker.New(worker.Options{
		Redis: client, TIW: api, ConfirmAfter: time.Second,
		Margin:    50 * time.Millisecond, // simulator, Redis and worker delay one another in one process
		Schedules: schedules, Copier: copier,
		Log: log, Metrics: withNamespaceLabel(registry, config.Config{}),
	})
	if err != nil {
		return err
	}
	running, stopWorker := context.WithCancel(ctx)
	stopped := make(chan error, 1)
	go func() { stopped <- w.Run(running) }()
	defer func() {
		stopWorker()
		err = errors.Join(err, <-stopped)
	}()

	var addr string
	if keep {
		c.cfg.HTTP.Addr = "127.0.0.1:0"
		h, err := serveHTTP(serving{
			sites:   []*servedNamespace{{connection: c, limiters: w.Limiters(), schedules: schedules, log: log}},
			metrics: registry, log: log,
		})
		if err != nil {
			return err
		}
		defer h.stop()
		addr = h.addr
		fmt.Fprintf(e.stderr, "Dashboard: http://%s/\n", addr)
	}
	lines := &classList{e: e, file: name}
	batch, err := enqueue.New(client, keys.Default).Batch(ctx, lines.rooms(list, rooms.Options{}),
		enqueue.BatchOptions{ID: batchID("", name)})
	lines.summary()
	if lines.err != nil {
		return fail(exitUsage, "%s: %w", name, lines.err)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(e.stderr, "batch %s: %s of %s enqueued\n", batch.ID, plural.Of(batch.Rooms, "room"), name)
	failed, err := watch(ctx, e, c, batch.ID)
	if ctx.Err() != nil {
		return fail(exitTempFail, "interrupted; nothing of the demo is kept")
	}
	if err != nil {
		return err
	}
	if err := demoCopied(ctx, e, c, batch.ID); err != nil {
		return err
	}
	if err := demoSummary(ctx, e, c, batch.ID, sim, output); err != nil {
		return err
	}
	if keep {
		fmt.Fprintf(e.stderr, `
Still running; stop it with Ctrl-C:
  pages      http://%s/
  API        http://%s/openapi.json
  simulator  %s/state
  Redis      tiwsnap status %s --redis-url %s
`, addr, addr, sim.URL, batch.ID, redis.URL())
		<-ctx.Done()
	}
	if failed > 0 {
		return &exitError{exitFailed, nil}
	}
	return badRowsExit(lines.bad)
}

// demoImages creates a folder for copies of the images, which is kept.
func demoImages(c *config.Images) (err error) {
	if c.Private, err = guard.ParsePrivate([]string{"127.0.0.1"}); err != nil { // the simulator's address
		return err
	}
	dir, err := os.MkdirTemp("", "tiwsnap-demo-")
	if err != nil {
		return fail(exitTempFail, "%w", err)
	}
	c.Store = "file://" + filepath.ToSlash(dir)
	return nil
}

// demoTimeout bounds the wait for the last copies.
const demoTimeout = 30 * time.Second

// demoCopied waits until the images of the batch are copied, and prints their path.
func demoCopied(ctx context.Context, e env, c *connection, id string) error {
	wait, cancel := context.WithTimeout(ctx, demoTimeout)
	defer cancel()
	for {
		b, err := c.ledger.Batch(ctx, id)
		if err != nil {
			return err
		}
		if b.PendingImages == 0 && images.Archived(b) {
			dir := strings.TrimPrefix(c.cfg.Images.Store, "file://")
			fmt.Fprintf(e.stderr, "images: %d copied, open %s\n",
				b.CopiedImages, filepath.Join(dir, b.Folder, "index.html"))
			return nil
		}
		select {
		case <-wait.Done():
			return fail(exitFailed, "%[2]d of %[1]d images were not copied within %[3]s",
				b.Images, b.PendingImages, demoTimeout)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// demoSummary prints the result of the batch.
func demoSummary(ctx context.Context, e env, c *connection, id string, sim *tiwtest.Server, output string) error {
	b, err := c.ledger.Batch(ctx, id)
	if err != nil {
		return err
	}
	create := sim.State().Actions[tiwtest.ActionCreate]
	if output == "json" {
		return printJSON(e.stdout, map[string]any{
			"batch": b, "seconds": b.EndedAt.Sub(b.CreatedAt).Seconds(),
			"peak_second": create.Received.SlidingSecond.Requests, "rejected": create.Rejected,
		}, true)
	}
	return printFields(e.stdout,
		"rooms", b.Total,
		"succeeded", b.Succeeded,
		"of them without an image", nonzero(b.NoImage),
		"failed", b.Failed,
		"images", b.Images,
		"seconds", fmt.Sprintf("%.1f", b.EndedAt.Sub(b.CreatedAt).Seconds()),
		"requests in the peak second", create.Received.SlidingSecond.Requests,
		"rejected", create.Rejected,
	)
}

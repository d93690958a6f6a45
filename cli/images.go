package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"golang.org/x/time/rate"

	"tiwsnap/config"
	"tiwsnap/images"
	"tiwsnap/internal/guard"
	"tiwsnap/internal/plural"
	"tiwsnap/ledger"
	"tiwsnap/results"
)

func newImages(e env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "images BATCH",
		Short: "Download the images of a batch",
		Long: `Download the images of a batch into a folder (--to) or a ZIP archive (--zip), with
results.csv, results.jsonl and index.html, a page to browse them offline. Images are
read from the store of copies; an image without a copy comes from Tencent, as long as
Tencent keeps it. Existing files are kept, so the command can be repeated. Without --to
and --zip it prints where the images are.

Exit code 1 if an image is missing.`,
		Example: `  tiwsnap images monday
  tiwsnap images monday --to ./boards
  tiwsnap images monday --zip monday.zip
  tiwsnap images retry monday`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeBatches(e, anyBatch),
	}
	to := cmd.Flags().String("to", "",
		"write into this `folder`, in a subfolder named like the batch; missing folders are created")
	file := cmd.Flags().String("zip", "", "write into this ZIP `file`; - is stdout")
	cmd.MarkFlagsMutuallyExclusive("to", "zip")
	output := outputFlag(cmd, "table", "json")
	config.Flags(cmd.Flags(), "redis.url", "namespace", "images.store")
	cmd.RunE = withRedis(e, func(cmd *cobra.Command, c *connection, args []string) error {
		ctx := cmd.Context()
		b, err := c.batch(ctx, args[0])
		switch {
		case err != nil:
			return err
		case *to == "" && *file == "":
			return c.printImages(ctx, e, b, *output)
		}
		return c.exportImages(ctx, e, b, *to, *file, *output)
	})
	cmd.AddCommand(newImagesRetry(e))
	return cmd
}

func newImagesRetry(e env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "retry BATCH",
		Short: "Retry copying the images of a batch that have no copy",
		Long: `Retry copying the images of a batch that have no copy: those that were lost, and those
from before a store was set. Workers that have a store copy them, if Tencent still
keeps them.`,
		Example:           "  tiwsnap images retry monday",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeBatches(e, anyBatch),
	}
	output := outputFlag(cmd, "table", "json")
	config.Flags(cmd.Flags(), "redis.url", "namespace")
	cmd.RunE = withRedis(e, func(cmd *cobra.Command, c *connection, args []string) error {
		ctx := cmd.Context()
		b, err := c.batch(ctx, args[0])
		if err != nil {
			return err
		}
		n := 0
		for r, err := range c.results.Batch(ctx, b, 1, b.Total) {
			if err != nil {
				return c.redisError(err)
			}
			queued, err := c.ledger.CopyAgain(ctx, r.Snapshot)
			if err != nil {
				return c.redisError(err)
			}
			n += queued
		}
		if n > 0 {
			c.audit(e, "retry-images", b.ID, plural.Of(n, "image"))
			if c.cfg.Images.Store == "" {
				fmt.Fprintln(e.stderr, "no image store is set here: images are copied only by workers with TIWSNAP_IMAGES_STORE")
			}
		}
		switch {
		case *output == "json":
			err = printJSON(e.stdout, map[string]any{"batch": b.ID, "queued": n}, true)
		case n > 0:
			_, err = fmt.Fprintf(e.stdout, "%s of batch %s queued for copying\n", plural.Of(n, "image"), b.ID)
		}
		if err == nil && n == 0 {
			return fail(exitFailed, "nothing to copy: batch %s has no images, or all are copied or queued", b.ID)
		}
		return err
	})
	return cmd
}

// printImages prints the counts of a batch's images and the URL of their page.
func (c *connection) printImages(ctx context.Context, e env, b ledger.Batch, output string) error {
	where := ""
	store, err := imageStore(c.cfg.Images)
	if err != nil {
		return err
	}
	if store != nil && b.Folder != "" && images.Archived(b) {
		where = b.Folder + "/index.html"
		if bucket := store.String(); strings.HasPrefix(bucket, "s3://") {
			where = bucket + "/" + where // not signed: a signed page would link to unsigned images
		} else if where, err = store.URL(ctx, where); err != nil {
			return fail(exitUnavailable, "%w", err)
		}
	}
	if output == "json" {
		return printJSON(e.stdout, map[string]any{
			"batch": b.ID, "images": b.Images, "copied": b.CopiedImages, "pending": b.PendingImages, "lost": b.LostImages,
			"page": where,
		}, true)
	}
	return printFields(e.stdout,
		"batch", b.ID,
		"images", b.Images,
		"copied", b.CopiedImages,
		"to copy", nonzero(b.PendingImages),
		"lost", nonzero(b.LostImages),
		"page", where,
	)
}

// exportImages writes the images of a batch into a folder or a ZIP file.
func (c *connection) exportImages(ctx context.Context, e env, b ledger.Batch, to, file, output string) error {
	source, err := imageSource(c.cfg.Images)
	if err != nil {
		return err
	}
	defer source.Fetcher.Close()
	var done images.Exported
	rows := c.results.Batch(ctx, b, 1, b.Total)
	if to != "" {
		if err := os.MkdirAll(to, 0o755); err != nil {
			return fail(exitTempFail, "%w", err)
		}
		dir, err := filepath.Abs(to)
		if err != nil {
			return fail(exitTempFail, "%w", err)
		}
		folder, err := images.OpenStore((&url.URL{Scheme: "file",
			Path: filepath.ToSlash(dir)}).String(), images.Credentials{})
		if err != nil {
			return fail(exitUsage, "--to: %w", err)
		}
		if done, err = images.Export(ctx, folder, source, b, rows); err != nil {
			if ctx.Err() != nil {
				return fail(exitTempFail, "interrupted after %s; repeat the command to continue",
					plural.Of(done.Images, "image"))
			}
			return exportFailed(err)
		}
		to = filepath.Join(dir, b.ID, "index.html")
	} else {
		if done, err = exportZip(ctx, e, source, b, rows, file); err != nil {
			if ctx.Err() != nil {
				return fail(exitTempFail, "interrupted; no archive was written")
			}
			return exportFailed(err)
		}
		to = file
	}
	if output == "json" && file != "-" {
		if err := printJSON(e.stdout, map[string]any{
			"batch": b.ID, "images": done.Images, "kept": done.Kept, "missing": done.Missing, "path": to,
		}, true); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(e.stderr, "%s of batch %s, %d of them kept from before: %s\n",
			plural.Of(done.Images, "image"), b.ID, done.Kept, to)
	}
	if done.Missing > 0 {
		if errors.Is(done.Why, guard.ErrPrivate) {
			done.Why = fmt.Errorf("%w; if this host is yours, list it in TIWSNAP_IMAGES_PRIVATE", done.Why)
		}
		return fail(exitFailed, "%s missing: %w", plural.Of(done.Missing, "image"), done.Why)
	}
	return nil
}

// exportZip writes a ZIP archive, which gets its name only when it is complete.
func exportZip(
	ctx context.Context, e env, s *images.Source, b ledger.Batch, rows iter.Seq2[results.Result, error], file string,
) (done images.Exported, err error) {
	out := e.stdout
	var temp *os.File
	if file != "-" {
		if temp, err = os.CreateTemp(filepath.Dir(file), ".tiwsnap-*.zip"); err != nil {
			return done, err
		}
		defer os.Remove(temp.Name()) // fails after the rename
		defer temp.Close()
		out = temp
	}
	buffered := bufio.NewWriterSize(out, 64<<10)
	z := images.NewZip(buffered, b.CreatedAt)
	defer z.Discard()
	if done, err = images.Export(ctx, z, s, b, rows); err != nil {
		return done, err
	}
	if err := errors.Join(z.Close(), buffered.Flush()); err != nil || temp == nil {
		return done, err
	}
	if err := errors.Join(temp.Chmod(0o644), temp.Close()); err != nil {
		return done, err
	}
	return done, os.Rename(temp.Name(), file)
}

func exportFailed(err error) error {
	return fail(exitTempFail, "the images are incomplete: %w", err)
}

// imageSource returns a source of images by the settings. The error has an exit code.
func imageSource(c config.Images) (*images.Source, error) {
	store, err := imageStore(c)
	if err != nil {
		return nil, err
	}
	return &images.Source{Store: store, Fetcher: newFetcher(c)}, nil
}

// imageStore returns the store of the settings, or nil if none is set. The error has an
// exit code.
func imageStore(c config.Images) (images.Store, error) {
	if c.Store == "" {
		return nil, nil
	}
	store, err := images.OpenStore(c.Store, images.Credentials{
		AccessKeyID: c.AccessKeyID.Reveal(), SecretAccessKey: c.SecretAccessKey.Reveal(),
	})
	if err != nil {
		return nil, fail(exitConfig, "TIWSNAP_IMAGES_STORE %w", err)
	}
	return store, nil
}

func newFetcher(c config.Images) *images.Fetcher {
	return images.NewFetcher(images.FetcherOptions{
		Private: c.Private, Requests: rate.Limit(c.Rate.Requests), Bytes: rate.Limit(c.Rate.Bytes),
	})
}

// newCopier returns the copier of images and a function that closes it. The copier is nil
// if no store is set. The error has an exit code.
func newCopier(c *connection, log *slog.Logger, metrics prometheus.Registerer) (*images.Copier, func(), error) {
	store, err := imageStore(c.cfg.Images)
	if store == nil {
		return nil, func() {}, err
	}
	fetcher := newFetcher(c.cfg.Images)
	return images.NewCopier(images.CopierOptions{
		Store: store, Fetcher: fetcher, Ledger: c.ledger, Results: c.results,
		All: c.cfg.Images.Copy == "all", Keep: c.cfg.Images.Keep, Log: log, Metrics: metrics,
	}), fetcher.Close, nil
}

// locateCopies adds the URLs of copies to result lists. The error has an exit code.
func (c *connection) locateCopies() error {
	store, err := imageStore(c.cfg.Images)
	if store == nil {
		return err
	}
	c.results.LocateCopies(func(ctx context.Context, s ledger.Snapshot, n int) string {
		url, err := store.URL(ctx, images.Name(s, n))
		if err != nil {
			return "" // no credentials: reading an image reports the error
		}
		return url
	})
	return nil
}

package cli

import (
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"tiwsnap/ledger"
	"tiwsnap/results"
)

// batchStates are the states of a ledger.Batch.
var batchStates = []string{"running", "paused", "canceled", "ended"}

// batchPage is the number of batches read at a time.
const batchPage = 500

// batchFilter selects batches. The zero value selects all.
type batchFilter struct {
	states []string
	since  time.Time
	limit  int // 0: no limit
}

// batchFilterFlags adds the filter flags and returns a function that reads them, whose
// error has an exit code.
func batchFilterFlags(cmd *cobra.Command) func() (batchFilter, error) {
	states := cmd.Flags().
		StringSlice("state", nil, "list only batches in these `states`: "+strings.Join(batchStates, ", "))
	since := cmd.Flags().
		String("since", "",
			"list only batches enqueued since this `time`: a duration ago (90m, 48h), a date, or RFC 3339")
	limit := cmd.Flags().Int("limit", 0, "list at most this `number` of batches; 0: all")
	cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(batchStates, cobra.ShellCompDirectiveNoFileComp))
	return func() (batchFilter, error) {
		f := batchFilter{states: *states, limit: *limit}
		for _, s := range f.states {
			if !slices.Contains(batchStates, s) {
				return f, fail(exitUsage, "--state %q: it must be one of %s", s, strings.Join(batchStates, ", "))
			}
		}
		if f.limit < 0 {
			return f, fail(exitUsage, "--limit %d: it must be 0 (all) or more", f.limit)
		}
		var err error
		if *since != "" {
			f.since, err = parseSince(*since, time.Now())
		}
		return f, err
	}
}

// parseSince parses a duration before now, a date in UTC, or RFC 3339.
func parseSince(text string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fail(exitUsage, "--since %q: it must be a duration such as 90m or 48h, a date such as %s, "+
		"or a time such as %s",
		text, now.UTC().Format(time.DateOnly), now.UTC().Format(time.RFC3339))
}

// batches returns the selected batches, newest first, read in pages. At the end, more
// is true if the limit left any out. An error ends the sequence.
func (f batchFilter) batches(ctx context.Context, l *ledger.Ledger, more *bool) iter.Seq2[ledger.Batch, error] {
	return func(yield func(ledger.Batch, error) bool) {
		n := 0
		for cursor := ""; ; {
			page, next, err := l.BatchPage(ctx, cursor, batchPage)
			if err != nil {
				yield(ledger.Batch{}, err)
				return
			}
			for _, b := range page {
				switch {
				case b.CreatedAt.Before(f.since):
					return
				case len(f.states) > 0 && !slices.Contains(f.states, b.State):
					continue
				case f.limit > 0 && n == f.limit:
					*more = true
					return
				}
				if !yield(b, nil) {
					return
				}
				n++
			}
			if next == "" {
				return
			}
			cursor = next
		}
	}
}

// printBatches prints one line per batch, as they are read.
func printBatches(ctx context.Context, e env, c *connection, f batchFilter, output string) error {
	var more bool
	all := f.batches(ctx, c.ledger, &more)
	if output == "json" {
		return c.redisError(printJSONList(e.stdout, "batches", all, &more))
	}
	n, err := printRows(e, withNamespace("", all), output, false)
	switch {
	case err != nil:
		return c.redisError(err)
	case more:
		fmt.Fprintf(e.stderr, "only the newest %d listed; list more with --limit\n", f.limit)
	case n == 0 && output == "table" && (len(f.states) > 0 || !f.since.IsZero()):
		fmt.Fprintln(e.stderr, "no batches match")
	case n == 0 && output == "table":
		fmt.Fprintln(e.stderr, "no batches")
	}
	return nil
}

// alignedRows is the number of table rows that are aligned and printed together.
const alignedRows = 100

// namedBatch is a batch with the name of its namespace.
type namedBatch struct {
	Namespace string `json:"namespace,omitempty"`
	ledger.Batch
}

// withNamespace adds the name of their namespace to batches.
func withNamespace(name string, all iter.Seq2[ledger.Batch, error]) iter.Seq2[namedBatch, error] {
	return func(yield func(namedBatch, error) bool) {
		for b, err := range all {
			if !yield(namedBatch{name, b}, err) {
				return
			}
		}
	}
}

// printNamespaces prints the batches of several namespaces, each with its namespace.
func printNamespaces(ctx context.Context, e env, all []*connection, f batchFilter, output string) error {
	for _, c := range all {
		var said bytes.Buffer
		if err := printWarnings(ctx, env{stderr: &said}, c); err != nil {
			return err
		}
		for line := range strings.Lines(said.String()) {
			fmt.Fprintf(e.stderr, "%s: %s", c.cfg.Namespace, line)
		}
	}
	var more bool
	at := all[0]
	batches := func(yield func(namedBatch, error) bool) {
		for _, at = range all {
			var some bool
			for b, err := range withNamespace(at.cfg.Namespace.String(), f.batches(ctx, at.ledger, &some)) {
				if !yield(b, err) || err != nil {
					return
				}
			}
			more = more || some
		}
	}
	if output == "json" {
		return at.redisError(printJSONList(e.stdout, "batches", batches, &more))
	}
	n, err := printRows(e, batches, output, true)
	switch {
	case err != nil:
		return at.redisError(err)
	case more:
		fmt.Fprintf(e.stderr, "only the newest %d of each namespace listed; list more with --limit\n", f.limit)
	case n == 0 && output == "table":
		fmt.Fprintln(e.stderr, "no batches in any namespace")
	}
	return nil
}

func printRows(e env, all iter.Seq2[namedBatch, error], output string, named bool) (n int, err error) {
	cells := csv.NewWriter(e.stdout)
	table := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
	heading := batchHeading
	if named {
		heading = append([]string{"NAMESPACE"}, heading...)
	}
	line := func(cells ...string) { fmt.Fprintln(table, strings.Join(cells, "\t")) }
	if output == "csv" {
		line = func(row ...string) { cells.Write(row) } // the error is checked below
	}
	for b, err := range all {
		if err != nil {
			return n, err
		}
		if output == "jsonl" {
			err = printJSON(e.stdout, b, false)
		} else {
			if n == 0 {
				line(heading...)
			}
			if row := batchRow(b.Batch); named {
				line(append([]string{b.Namespace}, row...)...)
			} else {
				line(row...)
			}
			if n%alignedRows == alignedRows-1 {
				err = table.Flush()
			}
		}
		if n++; err != nil {
			return n, err
		}
	}
	if n == 0 && output == "csv" {
		line(heading...)
	}
	cells.Flush()
	if err := cells.Error(); err != nil {
		return n, err
	}
	return n, table.Flush()
}

var batchHeading = []string{
	"BATCH",
	"STATE",
	"ROOMS",
	"QUEUED",
	"IN PROGRESS",
	"SUCCEEDED",
	"NO IMAGE",
	"FAILED",
	"CANCELED",
	"IMAGES",
	"ENQUEUED",
	"ENDED",
}

func batchRow(b ledger.Batch) []string {
	return []string{
		b.ID, b.State, strconv.Itoa(b.Total), strconv.Itoa(b.Queued), strconv.Itoa(inProgress(b)),
		strconv.Itoa(b.Succeeded), strconv.Itoa(b.NoImage), strconv.Itoa(b.Failed), strconv.Itoa(b.Canceled),
		strconv.Itoa(b.Images),
		formatTime(b.CreatedAt), formatTime(b.EndedAt),
	}
}

// inProgress returns the number of snapshots of a batch that are sent and not ended.
func inProgress(b ledger.Batch) int { return b.Sending + b.Unknown + b.Accepted }

// batchSummary returns the progress of a batch on one line.
func batchSummary(b ledger.Batch, p *results.Pace) string {
	words := fmt.Sprintf("%d/%d done, %d failed", b.Done(), b.Total, b.Failed)
	if b.Canceled > 0 {
		words += fmt.Sprintf(", %d canceled", b.Canceled)
	}
	if b.NoImage > 0 {
		words += fmt.Sprintf(", %d without an image", b.NoImage)
	}
	if b.Accepted > 0 { // the only visible progress until the first result poll
		words += fmt.Sprintf(", %d accepted", b.Accepted)
	}
	if rate := p.Rate(); rate > 0 && !b.Ended() {
		words += fmt.Sprintf(", %.1f/s, %s left", rate, results.Left(b, rate).Round(time.Second))
	}
	return words
}

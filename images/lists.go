package images

import (
	"context"
	"encoding/json"
	"io"
	"iter"
	"path"
	"time"

	"tiwsnap/ledger"
	"tiwsnap/results"
)

// Writer takes files. A Store and a Zip are writers; Store describes Put.
type Writer interface {
	Put(ctx context.Context, name, mediaType string, fill func(io.Writer) error) error
}

// WriteLists writes three files beside the copies of a batch: results.csv for Excel, results.jsonl, and index.html,
// a page that works without a server. The URLs of copies in all must be relative to the folder.
func WriteLists(ctx context.Context, w Writer, folder string, b ledger.Batch,
	all iter.Seq2[results.Result, error]) error {
	var n counts
	sheet, err := results.NewSheet(b.Labels, time.UTC, func(yield func(results.Result, error) bool) {
		for r, err := range all {
			n.add(r)
			if !yield(r, err) {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	defer sheet.Close()
	err = w.Put(ctx, path.Join(folder, "results.csv"), "text/csv; charset=utf-8", sheet.WriteCSV)
	if err != nil {
		return err
	}
	err = w.Put(ctx, path.Join(folder, "results.jsonl"), "application/x-ndjson", func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		return sheet.Each(func(r results.Result) error { return enc.Encode(r) })
	})
	if err != nil {
		return err
	}
	return w.Put(ctx, path.Join(folder, "index.html"), "text/html; charset=utf-8", func(w io.Writer) error {
		return writeIndex(w, b, n, sheet.Each)
	})
}

package api

import (
	"context"
	"encoding/json"
	"io"
	"iter"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/negotiation"

	"tiwsnap/ledger"
	"tiwsnap/results"
	"tiwsnap/web"
)

const (
	// scanRows bounds the rows that one page searches.
	scanRows = 10_000
	// maxDownloads bounds the lists that a process sends at a time, and maxOwnDownloads those to one principal.
	maxDownloads    = 16
	maxOwnDownloads = 8
	// maxSheets bounds the lists for Excel that a process makes at a time, and maxOwnSheets those for one principal. A
	// workbook takes 40 MB.
	maxSheets    = 2
	maxOwnSheets = 1
)

// The media types of a result list.
const (
	typeJSON      = "application/json"
	typeJSONLines = "application/x-ndjson"
	typeCSV       = "text/csv"
)

type ListSnapshotsInput struct {
	exchange
	ID     string `path:"id" maxLength:"64" doc:"Id of the batch"`
	State  string `query:"state" enum:"queued,sending,unknown,accepted,succeeded,failed,canceled" doc:"Only this state"`
	Code   string `query:"code" maxLength:"100" doc:"Only with this error code, as ClientError.NoImage"`
	Format string `query:"format" enum:"json,jsonl,csv,xlsx" doc:"In place of the header Accept"`
	Excel  bool   `query:"excel" doc:"CSV for Excel: a byte order mark, a column for each image, times in tz"`
	Zone   string `query:"tz" maxLength:"64" doc:"Of .xlsx and of CSV for Excel; default: UTC" example:"Asia/Shanghai"`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"How many at most on a page of JSON"`
	Cursor int    `query:"cursor" minimum:"1" doc:"next of the page before, of JSON"`
	Accept string `header:"Accept" doc:"application/json: a page. JSON lines, CSV or .xlsx: the whole list"`
}

// SnapshotPage is a page of the snapshots of a batch.
type SnapshotPage struct {
	Snapshots []results.Result `json:"snapshots" doc:"In the order of the class list"`
	Next      int              `json:"next,omitempty" doc:"Cursor of the next page; a short page may not be the last"`
}

func (in *ListSnapshotsInput) media() string {
	if in.Format != "" {
		return map[string]string{
			"json": typeJSON, "jsonl": typeJSONLines, "csv": typeCSV, "xlsx": typeWorkbook,
		}[in.Format]
	}
	if t := negotiation.SelectQValue(in.Accept, []string{typeJSON, typeJSONLines, typeCSV, typeWorkbook}); t != "" {
		return t
	}
	return typeJSON
}

func (a *API) listSnapshots() func(huma.API, huma.Operation) {
	return func(api huma.API, op huma.Operation) {
		lines := &huma.Schema{Type: "string"}
		op.Responses = map[string]*huma.Response{"200": {Description: "OK", Content: map[string]*huma.MediaType{
			typeJSON:      {Schema: api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[SnapshotPage](), true, "")},
			typeJSONLines: {Schema: lines},
			typeCSV:       {Schema: lines},
			typeWorkbook:  {Schema: &huma.Schema{Type: "string", Format: "binary"}},
		}}}
		huma.Register(api, op, func(ctx context.Context, in *ListSnapshotsInput) (*huma.StreamResponse, error) {
			b, err := a.Batch(ctx, in.ID)
			var page *SnapshotPage
			media := in.media()
			var zone *time.Location // of a list for Excel
			if err == nil {
				err = in.paging(media)
			}
			if err == nil {
				zone, err = in.sheet(media)
			}
			if err == nil && media == typeJSON {
				page, err = a.SnapshotPage(ctx, b, in)
			}
			if err != nil {
				return nil, answerable(ctx, op.OperationID, err)
			}
			if page != nil {
				return &huma.StreamResponse{Body: func(c huma.Context) {
					c.SetHeader("Content-Type", typeJSON)
					json.NewEncoder(c.BodyWriter()).Encode(page)
				}}, nil
			}
			kind := a.downloads
			if zone != nil {
				kind = a.sheets
				ctx = context.WithValue(ctx, originKey{}, web.Origin(in.r)) // a sheet needs absolute URLs
			}
			free, err := kind.Take(ctx)
			if err != nil {
				return nil, err
			}
			write := func(w io.Writer) error { return writeList(w, media, b.Labels, a.list(ctx, b, in)) }
			if zone != nil && in.r.Method != http.MethodHead {
				sheet, err := results.NewSheet(b.Labels, zone, a.list(ctx, b, in))
				if err != nil {
					free()
					return nil, answerable(ctx, op.OperationID, err)
				}
				taken := free
				free = func() { sheet.Close(); taken() }
				write = sheet.WriteCSV
				if media == typeWorkbook {
					write = sheet.WriteXLSX
				}
			}
			return &huma.StreamResponse{Body: func(huma.Context) {
				defer free()
				a.download(ctx, b, in, media, write)
			}}, nil
		})
	}
}

// SnapshotPage reads a page of the snapshots of a batch.
func (a *API) SnapshotPage(ctx context.Context, b ledger.Batch, in *ListSnapshotsInput) (*SnapshotPage, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	p := &SnapshotPage{Snapshots: []results.Result{}}
	row, n := max(in.Cursor, 1), scanRows
	if in.all() {
		n = in.Limit
	}
	for s, err := range a.Results.Batch(ctx, b, row, n) {
		if err != nil {
			return nil, err
		}
		row++
		if in.wants(s) {
			p.Snapshots = append(p.Snapshots, s)
		}
		if len(p.Snapshots) == in.Limit {
			break
		}
	}
	if row <= b.Total {
		p.Next = row
	}
	return p, nil
}

// paging returns a *Problem if a page of a whole list is asked for.
func (in *ListSnapshotsInput) paging(media string) error {
	for _, name := range []string{"limit", "cursor"} {
		if media != typeJSON && in.r.URL.Query().Has(name) {
			return web.Invalid(name, "goes with pages of JSON: other formats are the whole list")
		}
	}
	return nil
}

// sheet returns the time zone of a list for Excel, and nil for other lists. The error is a *Problem.
func (in *ListSnapshotsInput) sheet(media string) (*time.Location, error) {
	isSheet := media == typeWorkbook || media == typeCSV && in.Excel
	switch {
	case in.Excel && media != typeCSV && media != typeWorkbook:
		return nil, web.Invalid("excel", "goes with CSV: add format=csv")
	case in.Zone != "" && !isSheet:
		return nil, web.Invalid("tz", "goes with format=xlsx and with format=csv&excel=true: other times are in UTC")
	case !isSheet:
		return nil, nil
	}
	zone, err := time.LoadLocation(in.Zone) // "" is UTC
	if err != nil || in.Zone == "Local" {
		return nil, web.Invalid("tz", "must be a time zone such as Asia/Shanghai")
	}
	return zone, nil
}

// all reports whether there is no filter.
func (in *ListSnapshotsInput) all() bool { return in.State == "" && in.Code == "" }

// wants reports whether a snapshot passes the filters.
func (in *ListSnapshotsInput) wants(s results.Result) bool {
	return (in.State == "" || s.State == ledger.State(in.State)) && s.HasCode(in.Code)
}

// list yields the snapshots of a batch that pass the filters.
func (a *API) list(ctx context.Context, b ledger.Batch, in *ListSnapshotsInput) iter.Seq2[results.Result, error] {
	return func(yield func(results.Result, error) bool) {
		for s, err := range a.Results.Batch(ctx, b, 1, b.Total) {
			if err != nil || in.wants(s) {
				if !yield(s, err) {
					return
				}
			}
		}
	}
}

// download writes a whole list. If that fails on the way, it breaks the connection, so that nobody takes a part for
// the whole.
func (a *API) download(
	ctx context.Context, b ledger.Batch, in *ListSnapshotsInput, media string, write func(io.Writer) error,
) {
	h := in.w.Header()
	h.Set("Content-Type", media)
	if media != typeWorkbook {
		h.Set("Content-Type", media+"; charset=utf-8")
	}
	extension := map[string]string{typeJSONLines: ".jsonl", typeCSV: ".csv", typeWorkbook: ".xlsx"}[media]
	h.Set("Content-Disposition", `attachment; filename="`+b.ID+extension+`"`)
	if in.r.Method == http.MethodHead {
		return
	}
	if err := write(web.NewDeadlineWriter(in.w)); err != nil {
		if ctx.Err() == nil {
			a.o.Log.Warn("download broken off", "batch", b.ID, "err", err)
		}
		panic(http.ErrAbortHandler)
	}
}

func writeList(w io.Writer, media string, labels []string, all iter.Seq2[results.Result, error]) error {
	if media == typeCSV {
		return results.WriteCSV(w, labels, all)
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for s, err := range all {
		if err == nil {
			err = enc.Encode(s)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// originKey is the context key of the Origin for lists with absolute URLs.
type originKey struct{}

package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"

	"tiwsnap/enqueue"
	"tiwsnap/internal/plural"
	"tiwsnap/internal/rooms"
	"tiwsnap/tasks"
	"tiwsnap/web"
)

// List is a list of rooms that is being read.
type List struct {
	head   ListHead
	Rooms  iter.Seq2[tasks.Room, error] // the valid ones; an error ends it
	Report *Report                      // complete when all rooms are read
	close  func()
}

// openList begins to read the list of a request. The error is a *Problem, or that of the body.
func (a *API) openList(
	in *createBatchInput, up io.Reader, format listFormat, encoding rooms.Encoding,
) (list *List, err error) {
	l := &List{Report: &Report{Faults: []web.Fault{}, Notes: []Note{}}, close: func() {}}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	lines := up
	if format == listJSON {
		body, err := newJSONList(rooms.Text(up, encoding, l.Report.note))
		if err != nil {
			return nil, err
		}
		l.close = body.Close
		if lines, err = body.lines(); err != nil {
			return nil, err
		}
		l.head = body.head
	}
	if l.head, err = l.head.over(ListHead{
		Name: in.Name, Strict: in.Strict, Webhook: in.Webhook,
		Defaults: tasks.Room{SdkAppId: in.SdkAppId, CallbackURL: in.Callback, SnapshotMode: in.Mode},
	}); err != nil {
		return nil, err
	}
	if l.head.Webhook != "" {
		if err := a.o.CheckWebhook(l.head.Webhook); err != nil {
			return nil, web.Invalid("webhook", err.Error())
		}
	}
	if err := a.checkCallback(l.head.Defaults); err != nil {
		return nil, err
	}
	options := rooms.Options{
		Format: rooms.JSONLines, Defaults: l.head.Defaults, MaxRows: a.o.maxRows,
		CheckCallback: a.o.CheckCallback, Encoding: encoding, Sheet: in.Sheet, Notes: l.Report.note,
	}
	switch format {
	case listCSV:
		options.Format = rooms.CSV
	case listAny:
		options.Format = rooms.Auto
	case listJSON:
		options.Encoding = rooms.Encoding{} // is UTF-8 by now
	}
	l.Rooms = goodRooms(rooms.Read(lines, options), l.head.Strict, l.Report)
	return l, nil
}

// ReadList begins to read a list of any format that rooms.Read detects.
func (a *API) ReadList(r io.Reader, head ListHead) *List {
	l := &List{head: head, Report: &Report{}, close: func() {}}
	l.Rooms = goodRooms(rooms.Read(r, rooms.Options{
		Defaults: head.Defaults, MaxRows: a.o.maxRows, CheckCallback: a.o.CheckCallback, Notes: l.Report.note,
	}), head.Strict, l.Report)
	return l
}

// EnqueueList enqueues a list as a batch. If the id ends in "-", a new id begins with it. Errors: that of the list,
// enqueue.ErrExists, or that of Redis.
func (a *API) EnqueueList(ctx context.Context, l *List, id string) (enqueue.Batch, error) {
	batch, err := a.queue.Batch(ctx, l.Rooms, enqueue.BatchOptions{
		ID: id, Defaults: l.head.Defaults, Webhook: l.head.Webhook, By: web.PrincipalOf(ctx).Key(),
		Replicated: a.o.Replicated,
	})
	if err == nil && batch.Created {
		a.Audit(ctx, "create-batch", batch.ID, plural.Of(batch.Rooms, "room"))
	}
	return batch, err
}

// checkCallback returns a *Problem if the CallbackURL is not allowed.
func (a *API) checkCallback(r tasks.Room) error {
	if r.CallbackURL != "" {
		if err := a.o.CheckCallback(r.CallbackURL); err != nil {
			return web.Invalid("CallbackURL", err.Error())
		}
	}
	return nil
}

// Report is the faulty rows of a list, and notes about it.
type Report struct {
	Bad    int
	Faults []web.Fault
	Notes  []Note
}

// Note is a remark about a list that is no fault.
type Note struct {
	Line int    `json:"line,omitempty" doc:"From 1; left out for the whole list"`
	Text string `json:"text" example:"the text is read as gb18030, as its bytes suggest"`
}

func (r *Report) note(n rooms.Note) {
	if len(r.Notes) < web.MaxFaults {
		r.Notes = append(r.Notes, Note{n.Line, n.Text})
	}
}

func (r *Report) add(line int, all []rooms.Fault) {
	r.Bad++
	for _, f := range faults(line, all) {
		if len(r.Faults) < web.MaxFaults {
			r.Faults = append(r.Faults, f)
		}
	}
}

// goodRooms yields the rooms of valid rows and reports the others. At the end it yields an error if nothing may be
// enqueued: no row is valid, or strict and a row is not.
func goodRooms(rows iter.Seq2[rooms.Row, error], strict bool, report *Report) iter.Seq2[tasks.Room, error] {
	return func(yield func(tasks.Room, error) bool) {
		good := 0
		for row, err := range rows {
			var bad *rooms.RowError
			switch {
			case errors.As(err, &bad):
				report.add(bad.Line, bad.Faults)
			case err != nil:
				yield(tasks.Room{}, err)
				return
			case strict && report.Bad > 0:
				good++ // nothing is enqueued any more: only the faults matter
			default:
				good++
				if !yield(row.Room, nil) {
					return
				}
			}
		}
		if good == 0 || strict && report.Bad > 0 {
			p := web.NewProblem(http.StatusUnprocessableEntity, web.CodeInvalid,
				"nothing was enqueued: no row is valid; wrong rows: %d", report.Bad)
			if good > 0 {
				p.Detail = fmt.Sprintf("nothing was enqueued: strict is set; wrong rows: %d", report.Bad)
			}
			p.Faults = report.Faults
			yield(tasks.Room{}, p)
		}
	}
}

// ListHead is the options of a list.
type ListHead struct {
	Name     string     `json:"name,omitempty" pattern:"^[a-z0-9][a-z0-9-]{0,63}$" doc:"Id; default: a new one"`
	Strict   bool       `json:"strict,omitempty" doc:"Enqueue nothing if any room is wrong"`
	Webhook  string     `json:"webhook,omitempty" doc:"URL to notify at the end, if the configuration allows its host"`
	Defaults tasks.Room `json:"defaults,omitempty" doc:"Defaults for rooms"`
}

// over merges the options of a query into those of a body. The error is a *Problem if they contradict each other.
func (h ListHead) over(query ListHead) (ListHead, error) {
	for _, p := range []struct {
		field       string
		body, query *string
	}{{"name", &h.Name, &query.Name}, {"webhook", &h.Webhook, &query.Webhook}} {
		if *p.body != "" && *p.query != "" && *p.body != *p.query {
			return h, web.Invalid(p.field, "is one thing in the query and another in the body")
		}
		*p.body = cmp.Or(*p.body, *p.query)
	}
	h.Strict = h.Strict || query.Strict
	h.Defaults = h.Defaults.Over(query.Defaults)
	if h.Name != "" && !tasks.ValidBatchID(h.Name) {
		return h, web.Invalid("name", "must be 1 to 64 of a-z, 0-9 and -, and not begin with -")
	}
	return h, nil
}

package web

import (
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"tiwsnap/enqueue"
	"tiwsnap/internal/rooms"
	"tiwsnap/tasks"
)

var newPage = page("new.html")

// previewRows is how many rooms of a list are shown before it is enqueued.
const previewRows = 10

// newData is what the page shows on which a batch is started.
type newData struct {
	ID      string // of the draft; empty: none was uploaded yet
	File    string
	Head    batchHead
	Good    int
	Bad     int
	Faults  []Fault
	Notes   []Note
	Rooms   []tasks.Room // the first ones
	Labels  []string
	Problem string // why nothing can be enqueued
	Default string // how the name of the batch begins where none is given
	NoApp   bool   // what is wrong is that nobody has said the SdkAppId
}

func (p *Pages) newRoutes() []Route {
	routes := p.screen(newPage, screen{
		path: "/batches/new", role: RoleProduce, nav: "batches",
		read: func(r *http.Request) (string, any, error) { return langOf(r).say("new.link"), newData{}, nil },
	})
	routes = append(routes, p.screen(newPage, screen{
		path: "/drafts/{draft}", role: RoleProduce, nav: "batches", read: p.readDraft,
	})...)
	return append(routes,
		Route{"POST /batches/new", RoleProduce, http.HandlerFunc(p.upload)},
		p.action("/drafts/{draft}/defaults", RoleProduce, func(r *http.Request) (string, text, error) {
			id := r.PathValue("draft")
			d, list, err := p.api.draft(r.Context(), id)
			if err != nil {
				return "", text{}, err
			}
			list.Close()
			if d.Head, err = headOf(r.PostFormValue); err != nil {
				return "", text{}, err
			}
			return "/drafts/" + id, text{}, p.api.setDraft(r.Context(), id, d, nil)
		}),
		p.action("/drafts/{draft}/enqueue", RoleProduce, func(r *http.Request) (string, text, error) {
			id := r.PathValue("draft")
			d, list, err := p.api.draft(r.Context(), id)
			if err != nil {
				return "", text{}, err
			}
			defer list.Close()
			batch, bad, err := p.api.enqueueDraft(r, id, d, list)
			if err != nil {
				return "", text{}, err
			}
			p.api.dropDraft(r.Context(), id)
			switch {
			case !batch.Created:
				return "/batches/" + batch.ID, say("said.there", batch.Rooms), nil
			case bad > 0:
				return "/batches/" + batch.ID, say("said.ran.bad", batch.Rooms, bad), nil
			}
			return "/batches/" + batch.ID, say("said.ran", batch.Rooms), nil
		}),
	)
}

// headOf reads what a form says of a list. The error is a *Problem.
func headOf(value func(string) string) (h batchHead, err error) {
	h.Name = strings.TrimSpace(value("name"))
	if h.Name != "" && !tasks.ValidBatchID(h.Name) {
		return h, invalid("name", "must be 1 to 64 of a-z, 0-9 and -, and not begin with -")
	}
	if app := strings.TrimSpace(value("SdkAppId")); app != "" {
		if h.Defaults.SdkAppId, err = strconv.ParseUint(app, 10, 64); err != nil {
			return h, invalid("SdkAppId", "must be a number")
		}
	}
	switch mode := value("SnapshotMode"); mode {
	case "", "AllMarks", "LatestMarksOnly":
		h.Defaults.SnapshotMode = mode
	default:
		return h, invalid("SnapshotMode", "must be AllMarks or LatestMarksOnly")
	}
	return h, nil
}

// upload keeps a list that was uploaded or pasted, and leads to what is wrong
// with it.
func (p *Pages) upload(w http.ResponseWriter, r *http.Request) {
	id, err := p.takeUpload(w, r)
	if err != nil {
		answerable(p.logged(r.Context()), "upload", err).write(w, r)
		return
	}
	http.Redirect(w, r, newView(r, "", nil).Link("/drafts/%s", id), http.StatusSeeOther)
}

func (p *Pages) takeUpload(w http.ResponseWriter, r *http.Request) (id string, err error) {
	free, err := p.api.uploads.take(r.Context())
	if err != nil {
		return "", err
	}
	defer free()
	r.Body = http.MaxBytesReader(w, r.Body, maxDraft+maxForm)
	parts, err := r.MultipartReader()
	if err != nil {
		return "", invalid("form", "is no upload: "+err.Error())
	}
	values := map[string]string{}
	for {
		part, err := parts.NextPart()
		if err == io.EOF {
			return "", invalid("list", "is empty: choose a file or paste rows")
		}
		if err != nil {
			return "", formFault(err)
		}
		switch part.FormName() {
		case "file", "text":
			// The fields come in the order of the form: these are its last ones.
			head, err := headOf(func(name string) string { return values[name] })
			if err != nil {
				return "", err
			}
			id, err := p.api.keepDraft(r.Context(), draft{Name: fileName(part), Head: head}, part)
			var none *Problem
			if part.FormName() == "file" && errors.As(err, &none) && none.Status == http.StatusUnprocessableEntity {
				continue // no file was chosen
			}
			return id, formFault(err)
		default:
			b, err := io.ReadAll(io.LimitReader(part, 1000))
			if err != nil {
				return "", formFault(err)
			}
			values[part.FormName()] = string(b)
		}
	}
}

// formFault makes a Problem of a form that breaks off.
func formFault(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, multipart.ErrMessageTooLarge) {
		return problem(http.StatusBadRequest, codeInvalid, "nothing was enqueued: the upload broke off: %v", err)
	}
	return err
}

// fileName is what the browser calls the file.
func fileName(part *multipart.Part) string {
	name := []rune(part.FileName())
	return string(name[:min(len(name), 100)])
}

// options are how a draft is read.
func (a *API) draftOptions(d draft, report *rowReport) rooms.Options {
	return rooms.Options{
		Defaults: d.Head.Defaults, MaxRows: a.o.maxRows, CheckCallback: a.o.CheckCallback, Notes: report.note,
	}
}

// readDraft reads a list and shows what would be enqueued of it.
func (p *Pages) readDraft(r *http.Request) (string, any, error) {
	d, list, err := p.api.draft(r.Context(), r.PathValue("draft"))
	if err != nil {
		return "", nil, err
	}
	defer list.Close()
	report := rowReport{}
	out := newData{ID: r.PathValue("draft"), File: d.Name, Head: d.Head, Default: nameOf(d.Name)}
	var fault error
	for room, err := range goodRooms(rooms.Read(list, p.api.draftOptions(d, &report)), false, &report) {
		if err != nil {
			fault = err
			break
		}
		if out.Good++; len(out.Rooms) < previewRows {
			room = room.Over(d.Head.Defaults).Redacted()
			out.Rooms = append(out.Rooms, room)
			for name := range room.Label {
				if !slices.Contains(out.Labels, name) {
					out.Labels = append(out.Labels, name)
				}
			}
		}
		if r.Context().Err() != nil {
			return "", nil, r.Context().Err()
		}
	}
	slices.Sort(out.Labels)
	out.Bad, out.Faults, out.Notes = report.bad, report.faults, report.notes
	if fault != nil {
		known := problemOf(fault)
		if known == nil {
			return "", nil, fault
		}
		out.Problem = known.Detail
		if len(out.Faults) == 0 {
			out.Faults = known.Faults
		}
	}
	out.NoApp = d.Head.Defaults.SdkAppId == 0 && slices.ContainsFunc(out.Faults, func(f Fault) bool {
		return strings.Contains(f.Reason, rooms.NoSdkAppId)
	})
	return langOf(r).say("new.link"), out, nil
}

// enqueueDraft makes a batch of a draft, the same one however often it is asked
// for.
func (a *API) enqueueDraft(r *http.Request, id string, d draft, list io.Reader) (batch enqueue.Batch, bad int,
	err error) {
	report := rowReport{}
	name := d.Head.Name
	if name == "" {
		name = nameOf(d.Name) + "-"
	}
	batch, err = a.queue.Batch(r.Context(), goodRooms(rooms.Read(list, a.draftOptions(d, &report)), false, &report),
		enqueue.BatchOptions{
			ID: name, Defaults: d.Head.Defaults, By: PrincipalOf(r.Context()).key(), Replicated: a.o.Replicated,
		})
	if errors.Is(err, enqueue.ErrExists) {
		return batch, 0, problem(http.StatusConflict, codeExists, "nothing was enqueued: %v; give this one another name", err)
	}
	if err == nil && batch.Created {
		a.did(r.Context(), "create-batch", batch.ID, fmt.Sprintf("%d rooms", batch.Rooms))
	}
	return batch, report.bad, err
}

// nameOf makes the beginning of the id of a batch of the name of a file.
func nameOf(file string) string {
	if i := strings.LastIndexByte(file, '.'); i > 0 {
		file = file[:i]
	}
	var b strings.Builder
	for _, c := range strings.ToLower(file) {
		switch {
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
			b.WriteRune(c)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	name := strings.Trim(b.String(), "-")
	if name == "" {
		return "batch"
	}
	return strings.Trim(name[:min(len(name), 40)], "-")
}

package pages

import (
	"cmp"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"tiwsnap/internal/rooms"
	"tiwsnap/tasks"
	"tiwsnap/web"
	"tiwsnap/web/api"
)

var newPage = page("new.html")

// previewRows is how many rooms of a draft are shown.
const previewRows = 10

// newData is the data of the page that starts a batch.
type newData struct {
	ID      string // of the draft; empty: none was uploaded yet
	File    string
	Head    api.ListHead
	Good    int
	Bad     int
	Faults  []web.Fault
	Notes   []api.Note
	Rooms   []tasks.Room // the first ones
	Labels  []string
	Problem string // why nothing can be enqueued
	Default string // start of the name if none is given
	NoApp   bool   // the fault is a missing SdkAppId
}

func (p *Pages) newRoutes() []web.Route {
	routes := p.screen(newPage, screen{
		path: "/batches/new", role: web.RoleProduce, nav: "batches",
		read: func(r *http.Request) (string, any, error) { return langOf(r).say("new.link"), newData{}, nil },
	})
	routes = append(routes, p.screen(newPage, screen{
		path: "/drafts/{draft}", role: web.RoleProduce, nav: "batches", read: p.readDraft,
	})...)
	return append(routes,
		web.Handle("POST /batches/new", web.RoleProduce, p.upload),
		p.action("/drafts/{draft}/defaults", web.RoleProduce, func(r *http.Request) (string, text, error) {
			id := r.PathValue("draft")
			d, list, err := p.draft(r.Context(), id)
			if err != nil {
				return "", text{}, err
			}
			list.Close()
			if d.Head, err = headOf(r.PostFormValue); err != nil {
				return "", text{}, err
			}
			return "/drafts/" + id, text{}, p.setDraft(r.Context(), id, d, nil)
		}),
		p.action("/drafts/{draft}/enqueue", web.RoleProduce, func(r *http.Request) (string, text, error) {
			id := r.PathValue("draft")
			d, list, err := p.draft(r.Context(), id)
			if err != nil {
				return "", text{}, err
			}
			defer list.Close()
			rows := p.api.ReadList(list, d.Head)
			batch, err := p.api.EnqueueList(r.Context(), rows, cmp.Or(d.Head.Name, nameOf(d.Name)+"-"))
			if err != nil {
				return "", text{}, err
			}
			p.dropDraft(r.Context(), id)
			switch {
			case !batch.Created:
				return "/batches/" + batch.ID, say("said.there", batch.Rooms), nil
			case rows.Report.Bad > 0:
				return "/batches/" + batch.ID, say("said.ran.bad", batch.Rooms, rows.Report.Bad), nil
			}
			return "/batches/" + batch.ID, say("said.ran", batch.Rooms), nil
		}),
	)
}

// headOf reads the options of a list from a form. The error is a *Problem.
func headOf(value func(string) string) (h api.ListHead, err error) {
	h.Name = strings.TrimSpace(value("name"))
	if h.Name != "" && !tasks.ValidBatchID(h.Name) {
		return h, web.Invalid("name", "must be 1 to 64 of a-z, 0-9 and -, and not begin with -")
	}
	if app := strings.TrimSpace(value("SdkAppId")); app != "" {
		if h.Defaults.SdkAppId, err = strconv.ParseUint(app, 10, 64); err != nil {
			return h, web.Invalid("SdkAppId", "must be a number")
		}
	}
	switch mode := value("SnapshotMode"); mode {
	case "", "AllMarks", "LatestMarksOnly":
		h.Defaults.SnapshotMode = mode
	default:
		return h, web.Invalid("SnapshotMode", "must be AllMarks or LatestMarksOnly")
	}
	return h, nil
}

// upload stores a list that was uploaded or pasted, and redirects to its check.
func (p *Pages) upload(w http.ResponseWriter, r *http.Request) {
	id, err := p.takeUpload(w, r)
	if err != nil {
		api.ProblemOf(p.o.Log, "upload", err).Write(w, r)
		return
	}
	http.Redirect(w, r, newView(r, "", nil).Link("/drafts/%s", id), http.StatusSeeOther)
}

func (p *Pages) takeUpload(w http.ResponseWriter, r *http.Request) (id string, err error) {
	free, err := p.api.Uploads.Take(r.Context())
	if err != nil {
		return "", err
	}
	defer free()
	r.Body = http.MaxBytesReader(w, r.Body, maxDraft+maxForm)
	parts, err := r.MultipartReader()
	if err != nil {
		return "", web.Invalid("form", "is not an upload: "+err.Error())
	}
	values := map[string]string{}
	for {
		part, err := parts.NextPart()
		if err == io.EOF {
			return "", web.Invalid("list", "is empty: choose a file or paste rows")
		}
		if err != nil {
			return "", formFault(err)
		}
		switch part.FormName() {
		case "file", "text":
			// Fields come in the order of the form: these are the last.
			head, err := headOf(func(name string) string { return values[name] })
			if err != nil {
				return "", err
			}
			id, err := p.keepDraft(r.Context(), draft{Name: fileName(part), Head: head}, part)
			var none *web.Problem
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

// formFault returns the problem with a form that broke off.
func formFault(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, multipart.ErrMessageTooLarge) {
		return web.NewProblem(http.StatusBadRequest, web.CodeInvalid, "nothing was enqueued: the upload broke off: %v", err)
	}
	return err
}

// fileName returns the name of the file in the browser.
func fileName(part *multipart.Part) string {
	name := []rune(part.FileName())
	return string(name[:min(len(name), 100)])
}

// readDraft reads a draft and shows what would be enqueued.
func (p *Pages) readDraft(r *http.Request) (string, any, error) {
	d, list, err := p.draft(r.Context(), r.PathValue("draft"))
	if err != nil {
		return "", nil, err
	}
	defer list.Close()
	rows := p.api.ReadList(list, d.Head)
	out := newData{ID: r.PathValue("draft"), File: d.Name, Head: d.Head, Default: nameOf(d.Name)}
	var fault error
	for room, err := range rows.Rooms {
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
	out.Bad, out.Faults, out.Notes = rows.Report.Bad, rows.Report.Faults, rows.Report.Notes
	if fault != nil {
		known := api.ClientProblem(fault)
		if known == nil {
			return "", nil, fault
		}
		out.Problem = known.Detail
		if len(out.Faults) == 0 {
			out.Faults = known.Faults
		}
	}
	out.NoApp = d.Head.Defaults.SdkAppId == 0 && slices.ContainsFunc(out.Faults, func(f web.Fault) bool {
		return strings.Contains(f.Reason, rooms.NoSdkAppId)
	})
	return langOf(r).say("new.link"), out, nil
}

// nameOf returns the start of a batch id, made from a file name.
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

package pages

import (
	"context"
	"crypto/hmac"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"tiwsnap/ledger"
	"tiwsnap/results"
	"tiwsnap/tasks"
	"tiwsnap/web"
	"tiwsnap/web/api"
)

var imagesPage = page("images.html")

// imagesRooms is how many rooms with images a page shows.
const imagesRooms = 60

// imageRows bounds the rows of a batch that a page searches for images.
const imageRows = 10_000

// imagesData is the data of the page of images.
type imagesData struct {
	ledger.Batch
	Snapshots []results.Result
	From      int
	Last      int // last row that was searched
	Next      int
	Pass      string    // of a shared link; empty: logged in
	Until     time.Time // of that link
	Link      string    // that was just created
}

// LabelOf returns the name of a room for people.
func (imagesData) LabelOf(s results.Result) string { return labelOf(s) }

// Caption returns the name of a room and its id.
func (imagesData) Caption(s results.Result) string {
	if len(s.Room.Label) == 0 {
		return labelOf(s)
	}
	return fmt.Sprintf("%s · %d", labelOf(s), s.Room.RoomId)
}

// Row returns the row of a snapshot in the class list.
func (imagesData) Row(s results.Result) int {
	_, row, _ := tasks.SplitRowID(s.ID)
	return row
}

// sharedFor are the days for which a link can be valid.
var sharedFor = []int{1, 7, 30}

func (p *Pages) imagesRoutes() []web.Route {
	routes := p.screen(imagesPage, screen{
		path: "/batches/{id}/images", role: web.RoleRead, nav: "batches",
		read: func(r *http.Request) (string, any, error) {
			b, err := p.api.Batch(r.Context(), r.PathValue("id"))
			if err != nil {
				return "", nil, err
			}
			d, err := p.images(r, b)
			if until, bad := strconv.ParseInt(r.URL.Query().Get("link"), 10, 64); bad == nil && err == nil {
				d.Until = time.Unix(until, 0)
				d.Link = web.Origin(r) + web.BaseOf(r) + "/images/" + p.pass(b, d.Until)
			}
			return b.ID, d, err
		},
	})
	routes = append(routes, p.action("/batches/{id}/share", web.RoleRead, func(r *http.Request) (string, text, error) {
		b, err := p.api.Batch(r.Context(), r.PathValue("id"))
		if err != nil {
			return "", text{}, err
		}
		days, err := strconv.Atoi(r.PostFormValue("days"))
		if err != nil || days < 1 || days > sharedFor[len(sharedFor)-1] {
			return "", text{}, web.Invalid("days", fmt.Sprintf("must be 1 to %d days", sharedFor[len(sharedFor)-1]))
		}
		until := time.Now().Add(time.Duration(days) * 24 * time.Hour)
		p.api.Audit(r.Context(), "share-images", b.ID, until.UTC().Format(time.RFC3339))
		return fmt.Sprintf("/batches/%s/images?link=%d", b.ID, until.Unix()), text{}, nil
	}))
	shared := p.screen(imagesPage, screen{
		path: "/images/{pass}", role: "",
		read: func(r *http.Request) (string, any, error) {
			b, until, err := p.shared(r)
			if err != nil {
				return "", nil, err
			}
			d, err := p.images(r, b)
			d.Pass, d.Until = r.PathValue("pass"), until
			return b.ID, d, err
		},
	})
	return append(append(routes, shared...),
		web.Handle("GET /images/{pass}/{row}/{n}", "", p.sharedImage))
}

// images reads the rooms of a batch that have images.
func (p *Pages) images(r *http.Request, b ledger.Batch) (imagesData, error) {
	from, _ := strconv.Atoi(r.URL.Query().Get("from"))
	d := imagesData{Batch: b, From: max(from, 1)}
	ctx, cancel := context.WithTimeout(r.Context(), pageTime)
	defer cancel()
	row := d.From
	for s, err := range p.api.Results.Batch(ctx, b, row, imageRows) {
		if err != nil {
			return d, err
		}
		if row++; len(s.Images) > 0 {
			d.Snapshots = append(d.Snapshots, s)
		}
		if len(d.Snapshots) == imagesRooms {
			break
		}
	}
	d.Last = row - 1
	if row <= b.Total {
		d.Next = row
	}
	return d, nil
}

// pass returns the secret of a link to the images of a batch that is valid until then: ID.UNIX.MAC. The MAC covers the
// time of the batch, so that another batch of that name has other links, and is made with the session key, whose
// change ends all links.
func (p *Pages) pass(b ledger.Batch, until time.Time) string {
	head := base64.RawURLEncoding.EncodeToString([]byte(b.ID)) + "." + strconv.FormatInt(until.Unix(), 36)
	return head + "." + p.o.Auth.Sign(fmt.Sprintf("tiwsnap images\n%s\n%d", head, b.CreatedAt.UnixMilli()))
}

// shared returns the batch of a link. The error is a *Problem, or that of Redis.
func (p *Pages) shared(r *http.Request) (b ledger.Batch, until time.Time, err error) {
	gone := web.NewProblem(http.StatusNotFound, web.CodeExpired,
		"this link is invalid or has expired: ask for a new one")
	pass := r.PathValue("pass")
	field := strings.Split(pass, ".")
	if len(field) != 3 {
		return b, until, gone
	}
	id, err1 := base64.RawURLEncoding.DecodeString(field[0])
	unix, err2 := strconv.ParseInt(field[1], 36, 64)
	if until = time.Unix(unix, 0); err1 != nil || err2 != nil || !time.Now().Before(until) ||
		!tasks.ValidBatchID(string(id)) {
		return b, until, gone
	}
	b, err = p.api.Ledger.Batch(r.Context(), string(id))
	if errors.Is(err, ledger.ErrNotFound) || err == nil && !hmac.Equal([]byte(pass), []byte(p.pass(b, until))) {
		err = gone
	}
	return b, until, err
}

// sharedImage serves an image to anyone with the link.
func (p *Pages) sharedImage(w http.ResponseWriter, r *http.Request) {
	b, _, err := p.shared(r)
	row, err1 := strconv.Atoi(r.PathValue("row"))
	n, err2 := strconv.Atoi(r.PathValue("n"))
	width, _ := strconv.Atoi(r.URL.Query().Get("width"))
	if err == nil && (err1 != nil || err2 != nil || row < 1 || row > b.Total || width != 0 && width != 320) {
		err = web.NewProblem(http.StatusNotFound, web.CodeNotFound, "there is no such image")
	}
	if err == nil {
		var s ledger.Snapshot
		if s, err = p.api.Results.Snapshot(r.Context(), tasks.RowID(b.ID, row)); err == nil {
			var write func()
			if write, err = p.api.Image(r.Context(), w, r, s, n, width); err == nil {
				write()
				return
			}
		}
	}
	api.ProblemOf(p.o.Log, "image", err).Write(w, r)
}

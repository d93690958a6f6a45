package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"tiwsnap/images"
	"tiwsnap/internal/guard"
	"tiwsnap/ledger"
	"tiwsnap/web"
)

const (
	// maxImages bounds the images that a process serves at a time, and maxOwnImages those to one principal, or to one
	// address with a link.
	maxImages    = 64
	maxOwnImages = 32
	// imageTurn is how long a request waits until it is served. A page asks for more images at once than that, and a
	// browser does not retry.
	imageTurn = 20 * time.Second
)

// imagePatience is the Retry-After of an image that cannot be read now.
const imagePatience = 10 * time.Second

type imageInput struct {
	exchange
	ID    string `path:"id" maxLength:"80" doc:"Id of the snapshot"`
	N     int    `path:"n" minimum:"1" maximum:"10000" doc:"Number of the image, from 1"`
	Width int    `query:"width" minimum:"160" maximum:"640" multipleOf:"160" doc:"Of a thumbnail, in pixels; it is a JPEG"`
}

func (a *API) getImage(api huma.API, op huma.Operation) {
	binary := &huma.Schema{Type: "string", Format: "binary"}
	op.Responses = map[string]*huma.Response{"200": {
		Description: "The copy, or the image at Tencent while there is no copy",
		Content:     map[string]*huma.MediaType{"image/png": {Schema: binary}, "image/jpeg": {Schema: binary}}}}
	op.Errors = []int{http.StatusNotFound, http.StatusGone, http.StatusServiceUnavailable}
	huma.Register(api, op, func(ctx context.Context, in *imageInput) (*huma.StreamResponse, error) {
		s, err := a.Snapshot(ctx, in.ID)
		if err != nil {
			return nil, answerable(ctx, op.OperationID, err)
		}
		write, err := a.Image(ctx, in.w, in.r, s, in.N, in.Width)
		if err != nil {
			return nil, answerable(ctx, op.OperationID, err)
		}
		return &huma.StreamResponse{Body: func(huma.Context) { write() }}, nil
	})
}

// Image returns a function that writes an image of a snapshot, or with a width its thumbnail. Call it. The error is a
// *Problem, or that of Redis.
func (a *API) Image(
	ctx context.Context, w http.ResponseWriter, r *http.Request, s ledger.Snapshot, n, width int,
) (write func(), err error) {
	free, err := a.images.Await(ctx, imageTurn)
	if err != nil {
		return nil, err
	}
	h := w.Header()
	if width > 0 {
		b, err := a.thumbnails.Open(ctx, s, n, width)
		free()
		if err != nil {
			return nil, imageProblem(err)
		}
		return func() {
			h.Set("Content-Type", images.JPEG.MediaType())
			h.Set("Content-Length", strconv.Itoa(len(b)))
			h.Set("Cache-Control", imageCache)
			w.Write(b)
		}, nil
	}
	p, err := a.o.Images.Open(ctx, s, n)
	if err != nil {
		free()
		return nil, imageProblem(err)
	}
	return func() {
		defer free()
		defer p.Close()
		h.Set("Content-Type", p.Format.MediaType())
		h.Set("Content-Disposition", `inline; filename="`+s.ID+"-"+strconv.Itoa(n)+"."+string(p.Format)+`"`)
		h.Set("Cache-Control", imageCache)
		if p.Size >= 0 {
			h.Set("Content-Length", strconv.FormatInt(p.Size, 10))
		}
		if r.Method == http.MethodHead {
			return
		}
		if _, err := io.Copy(web.NewDeadlineWriter(w), p); err != nil {
			if ctx.Err() == nil {
				a.o.Log.Warn("image broken off", "snapshot", s.ID, "image", n, "err", err)
			}
			panic(http.ErrAbortHandler) // the client must not take a part for the whole
		}
	}, nil
}

func (a *API) getImages(api huma.API, op huma.Operation) {
	op.Responses = map[string]*huma.Response{"200": {Description: "The archive",
		Content: map[string]*huma.MediaType{
			typeZip: {Schema: &huma.Schema{Type: "string", Format: "binary"}},
		}}}
	huma.Register(api, op, func(ctx context.Context, in *imagesInput) (*huma.StreamResponse, error) {
		b, err := a.Batch(ctx, in.ID)
		if err != nil {
			return nil, answerable(ctx, op.OperationID, err)
		}
		free, err := a.downloads.Take(ctx)
		if err != nil {
			return nil, err
		}
		return &huma.StreamResponse{Body: func(huma.Context) {
			defer free()
			h := in.w.Header()
			h.Set("Content-Type", typeZip)
			h.Set("Content-Disposition", `attachment; filename="`+b.ID+`.zip"`)
			if in.r.Method == http.MethodHead {
				return
			}
			z := images.NewZip(web.NewDeadlineWriter(in.w), b.CreatedAt)
			defer z.Discard()
			done, err := images.Export(ctx, z, a.o.Images, b, a.Results.Batch(ctx, b, 1, b.Total))
			if err == nil {
				err = z.Close()
			}
			if done.Missing > 0 { // its lists say which
				a.o.Log.Warn("images are missing from an archive", "batch", b.ID, "missing", done.Missing, "err", done.Why)
			}
			if err != nil {
				if ctx.Err() == nil {
					a.o.Log.Warn("archive broken off", "batch", b.ID, "err", err)
				}
				panic(http.ErrAbortHandler) // the client must not take a part for the whole
			}
		}}, nil
	})
}

const typeZip = "application/zip"

type imagesInput struct {
	exchange
	ID string `path:"id" maxLength:"64" doc:"Id of the batch"`
}

// imageCache lets the browser keep an image, which does not change. Shared caches must not: this server checks who may
// see it.
const imageCache = "private, max-age=86400, immutable"

// imageProblem returns the problem with an image.
func imageProblem(err error) error {
	var remote *images.FetchError
	var store *images.StoreError
	switch {
	case errors.Is(err, images.ErrNoImage):
		return web.NewProblem(http.StatusNotFound, web.CodeNotFound, "the snapshot has no image of that number")
	case errors.Is(err, images.ErrGone):
		return web.NewProblem(http.StatusGone, web.CodeGone, "%v", err)
	case errors.As(err, &remote) && errors.Is(err, guard.ErrPrivate):
		return web.NewProblem(http.StatusServiceUnavailable, web.CodeImage,
			"%v; if this host is yours, list it in TIWSNAP_IMAGES_PRIVATE", remote).RetryAfter(imagePatience)
	case errors.As(err, &remote):
		return web.NewProblem(http.StatusServiceUnavailable, web.CodeImage, "%v; try again later",
			remote).RetryAfter(imagePatience)
	case errors.As(err, &store):
		return web.NewProblem(http.StatusServiceUnavailable, web.CodeImage, "the copy cannot be read: %v",
			store).RetryAfter(imagePatience)
	}
	return err
}

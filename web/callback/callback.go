// Package callback receives Tencent's callbacks over HTTP. A URL that tiwsnap
// has signed is recorded; every other request from the Internet is answered
// with 404.
package callback

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"tiwsnap/internal/seldom"
	"tiwsnap/tiw"
)

// Options are the settings of a callback handler. Keys and Record are required.
type Options struct {
	// Keys verify the URLs.
	Keys tiw.CallbackKeys
	// Record stores a callback. It may be called again for the same one. taskID is empty if the body has none. The
	// body has at most tiw.MaxCallback bytes and may be forged. ctx ends after 3 s, and not with the request.
	Record func(ctx context.Context, snapshot string, attempt int, taskID string, body []byte) error
	Log    *slog.Logger // default: none
	// Metrics registers the counter of callbacks. Default: none.
	Metrics prometheus.Registerer
}

// recordTimeout bounds Record. Other products of Tencent wait 5 s for an answer.
const recordTimeout = 3 * time.Second

// NewHandler returns the receiver of Tencent's callbacks. A POST to a
// URL that the keys made is answered
//
//	200 when Record has kept it, whatever the body is; of one that is larger
//	    than tiw.MaxCallback the beginning is kept, since sending it again
//	    would not make it smaller
//	408 when the body is incomplete; what came is kept nevertheless,
//	    because the URL alone shows that the task has ended
//	503 when Record failed, so that a sender that retries does
//
// and every other request 404, so that a guess reveals nothing. No part of a URL is logged.
func NewHandler(o Options) http.Handler {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &handler{
		o: o,
		count: promauto.With(o.Metrics).NewCounterVec(prometheus.CounterOpts{
			Name: "tiwsnap_callbacks_total",
			Help: "Requests to the callback listener by result: recorded, cut, failed or refused.",
		}, []string{"result"}),
		refused: seldom.New(),
		failed:  seldom.New(),
	}
}

type handler struct {
	o               Options
	count           *prometheus.CounterVec
	refused, failed seldom.Message
}

var errNotPost = errors.New("not a POST")

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	snapshot, attempt, err := h.o.Keys.Verify(r.URL.EscapedPath(), time.Now())
	if err == nil && r.Method != http.MethodPost {
		err = errNotPost
	}
	if err != nil {
		if n := h.refused.Now(); n > 0 {
			h.o.Log.Warn("requests to the callback address refused", "count", n, "last_from", r.RemoteAddr, "last_err", err)
		}
		h.count.WithLabelValues("refused").Inc()
		http.NotFound(w, r)
		return
	}

	body, readErr := io.ReadAll(io.LimitReader(r.Body, tiw.MaxCallback))
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), recordTimeout)
	defer cancel()
	err = h.o.Record(ctx, snapshot, attempt, tiw.ParseCallback(body).TaskID, body)
	switch {
	case err != nil:
		if n := h.failed.Now(); n > 0 {
			h.o.Log.Error("callbacks not recorded", "count", n, "last_id", snapshot, "last_attempt", attempt, "last_err", err)
		}
		h.count.WithLabelValues("failed").Inc()
		http.Error(w, "try again later", http.StatusServiceUnavailable)
	case readErr != nil:
		h.count.WithLabelValues("cut").Inc()
		http.Error(w, "the body did not come whole", http.StatusRequestTimeout)
	default:
		h.count.WithLabelValues("recorded").Inc()
		// Tencent recommends this body for the callbacks that it documents:
		// https://cloud.tencent.com/document/product/1137/40257
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"error_code":0}`)
	}
}

// NewServer returns a server for a callback handler. It listens to the
// whole Internet, so that nothing about a request may take long or be large.
func NewServer(addr string, callbacks http.Handler) *http.Server {
	return &http.Server{
		Addr:              addr,
		Handler:           callbacks,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      15 * time.Second, // from the end of the header: there is an answer to a slow body too
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    8 << 10,
		// Else "OPTIONS *" would be answered 200.
		DisableGeneralOptionsHandler: true,
	}
}

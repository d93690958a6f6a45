package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"tiwsnap/backlog"
	"tiwsnap/enqueue"
	"tiwsnap/gate"
	"tiwsnap/images"
	"tiwsnap/internal/keys"
	"tiwsnap/ledger"
	"tiwsnap/ratelimit"
	"tiwsnap/results"
	"tiwsnap/schedule"
	"tiwsnap/tasks"
)

// APIOptions are the settings of an API. Redis and Ledger are required.
type APIOptions struct {
	Redis     redis.UniversalClient // stays the caller's to close
	Namespace keys.Namespace        // default: keys.Default
	// Ledger writes what is ended here, with the settings of the workers.
	Ledger *ledger.Ledger
	// Replicated answers an enqueue only when a replica of Redis has it too.
	Replicated bool
	// CheckWebhook says what is wrong with the receiver that a batch names.
	// Default: none may be named.
	CheckWebhook func(url string) error
	// CheckCallback says what is wrong with the CallbackURL of a room. Default:
	// nothing but what tasks.Room does not allow.
	CheckCallback func(url string) error
	// Images opens images. Default: those that Tencent has, from public hosts.
	Images *images.Source
	// Limiters are those of this process, by API action.
	Limiters map[string]*ratelimit.Limiter
	// Schedules are those of the configuration.
	Schedules []schedule.Schedule
	Version   string // of this build
	// Base is that of its Site. Beside is another API of this process, whose
	// bounds on what is under way hold for both. Default: none.
	Base   string
	Beside *API
	Log    *slog.Logger // default: none

	maxUpload  int64         // bytes of one list; default 1 GiB
	maxRows    int           // of one list; default 2 million
	uploadPace time.Duration // default 30 s
}

// API is the HTTP API of programs: /v1 and its description. It is safe for
// concurrent use.
type API struct {
	o         APIOptions
	ledger    *ledger.Ledger
	gate      *gate.Breaker
	backlog   *backlog.Backlog
	results   *results.Reader
	queue     *enqueue.Client
	inspector *asynq.Inspector
	keys      idempotency
	paces     paces
	watcher   *watcher
	// Those under way.
	uploads, downloads, sheets, pictures *slots
	streams                              *streams

	thumbnails *images.Thumbnails
}

// NewAPI returns the API. It does not touch Redis.
func NewAPI(o APIOptions) *API {
	o.maxUpload = cmp.Or(o.maxUpload, maxUpload)
	o.maxRows = cmp.Or(o.maxRows, maxUploadRows)
	o.uploadPace = cmp.Or(o.uploadPace, uploadPace)
	if o.CheckWebhook == nil {
		o.CheckWebhook = func(string) error { return errors.New("cannot be named here") }
	}
	if o.CheckCallback == nil {
		o.CheckCallback = tasks.CheckCallbackURL
	}
	if o.Images == nil {
		o.Images = &images.Source{Fetcher: images.NewFetcher(images.FetcherOptions{})}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	a := &API{
		o:         o,
		ledger:    o.Ledger,
		gate:      gate.NewBreaker(o.Redis, o.Namespace),
		backlog:   backlog.New(o.Redis, o.Namespace),
		results:   results.NewReader(o.Redis, o.Namespace),
		queue:     enqueue.New(o.Redis, o.Namespace),
		inspector: asynq.NewInspectorFromRedisClient(o.Redis),
		keys:      idempotency{o.Redis, o.Namespace},

		uploads: &slots{what: "lists are being uploaded", all: maxUploads, own: maxOwnUploads, retry: 5 * time.Second},
		downloads: &slots{what: "lists are being downloaded", all: maxDownloads, own: maxOwnDownloads,
			retry: 5 * time.Second},
		sheets:   &slots{what: "lists for Excel are made", all: maxSheets, own: maxOwnSheets, retry: 5 * time.Second},
		streams:  newStreams(),
		pictures: &slots{what: "images are being read", all: maxImages, own: maxOwnImages, retry: time.Second},

		thumbnails: images.NewThumbnails(o.Images),
	}
	if b := o.Beside; b != nil {
		a.uploads, a.downloads, a.sheets, a.streams, a.pictures = b.uploads, b.downloads, b.sheets, b.streams, b.pictures
	}
	a.results.LocateCopies(func(ctx context.Context, s ledger.Snapshot, n int) string {
		at, _ := ctx.Value(originKey{}).(string)
		return fmt.Sprintf("%s%s/v1/snapshots/%s/images/%d", at, o.Base, s.ID, n)
	})
	a.watcher = &watcher{a: a, streams: map[string]int{}}
	return a
}

// Close ends all streams, also those to open pages, so that a server can shut
// down.
func (a *API) Close() {
	a.streams.close()
	a.o.Images.Fetcher.Close()
}

// operation is one line of the table of what the API does.
type operation struct {
	pattern string // method and path
	role    Role
	id      string // its name for generated clients; it stays
	summary string
	add     func(huma.API, huma.Operation)
}

// operations is the table.
func (a *API) operations() []operation {
	return []operation{
		{"POST /v1/snapshots", RoleProduce, "create-snapshot", "Enqueue one room, ahead of every batch",
			enqueues[EnqueuedSnapshot](handle(a.createSnapshot))},
		{"GET /v1/snapshots/{id}", roleRead, "get-snapshot", "What became of a snapshot", handle(a.getSnapshot)},
		{"GET /v1/snapshots/{id}/images/{n}", roleRead, "get-image",
			"An image of a snapshot, or with width a thumbnail of it", a.getImage},
		{"POST /v1/snapshots/{id}/cancel", RoleProduce, "cancel-snapshot",
			"Cancel a snapshot, unless Tencent has accepted it", handle(a.cancelSnapshot)},
		{"POST /v1/snapshots/{id}/retry", RoleOperate, "retry-snapshot",
			"Send a snapshot again that failed, was canceled or is held", handle(a.retrySnapshot)},

		{"POST /v1/batches", RoleProduce, "create-batch", "Enqueue a batch: a list of rooms of any size",
			enqueues[Enqueued](a.createBatch)},
		{"GET /v1/batches", roleRead, "list-batches", "All batches", handle(a.listBatches)},
		{"GET /v1/batches/{id}", roleRead, "get-batch", "What became of a batch", handle(a.getBatch)},
		{"GET /v1/batches/{id}/snapshots", roleRead, "list-snapshots",
			"What became of the snapshots of a batch: a page, or the whole list", a.listSnapshots()},
		{"GET /v1/batches/{id}/images.zip", roleRead, "get-batch-images",
			"All images of a batch with its lists, as a ZIP archive", a.getImages},
		{"GET /v1/batches/{id}/events", roleRead, "follow-batch", "Follow a batch to its end by server-sent events",
			streaming("Event batch: the whole batch after each change; finally end, or gone if it has expired", a.batchEvents)},
		{"POST /v1/batches/{id}/cancel", RoleProduce, "cancel-batch",
			"Cancel a batch, as far as Tencent has not accepted it", handle(a.cancelBatch)},
		{"POST /v1/batches/{id}/pause", RoleOperate, "pause-batch",
			"Feed nothing more of a batch; what was fed, a few seconds of work, goes on", handle(a.pauseBatch)},
		{"POST /v1/batches/{id}/resume", RoleOperate, "resume-batch", "Let a paused batch go on", handle(a.resumeBatch)},
		{"POST /v1/batches/{id}/retry", RoleOperate, "retry-batch", "Send the failed snapshots of a batch again",
			handle(a.retryBatch)},
		{"POST /v1/batches/{id}/again", RoleOperate, "again-batch", "Enqueue the rooms of a batch as a new one",
			within(runTime, a.againBatch)},

		{"GET /v1/find", roleRead, "find-snapshots",
			"Find snapshots by RoomId, TaskID, RequestId or the value of a label", handle(a.find)},
		{"GET /v1/failures", RoleView, "list-failures",
			"What failed, by error code: how often, what it means, what to do", handle(a.listFailures)},
		{"POST /v1/failures/retry", RoleOperate, "retry-failures", "Send again what has failed everywhere",
			handle(a.retryFailures)},
		{"GET /v1/schedules", RoleView, "list-schedules",
			"The schedules: when each comes next, and what became of its last tick", handle(a.listSchedules)},
		{"POST /v1/schedules/{name}/run", RoleOperate, "run-schedule", "Enqueue the rooms of a schedule now",
			within(runTime, a.runSchedule)},
		{"POST /v1/schedules/{name}/pause", RoleOperate, "pause-schedule", "Make no more ticks of a schedule",
			handle(a.pauseSchedule)},
		{"POST /v1/schedules/{name}/resume", RoleOperate, "resume-schedule",
			"Make the ticks of a schedule again, from now on", handle(a.resumeSchedule)},
		{"GET /v1/webhooks", RoleView, "list-webhooks", "The webhooks that could not be delivered, or wait",
			handle(a.listWebhooks)},
		{"POST /v1/webhooks/{id}/resend", RoleOperate, "resend-webhook",
			"Send a webhook again that could not be delivered", handle(a.resendWebhook)},
		{"POST /v1/webhooks/resend", RoleOperate, "resend-webhooks",
			"Send all webhooks again that could not be delivered", handle(a.resendWebhooks)},
		{"GET /v1/workers", RoleView, "list-workers", "The workers that run, and settings in which they differ",
			handle(a.listWorkers)},
		{"GET /v1/redis", RoleView, "get-redis", "How Redis is", handle(a.getRedis)},
		{"GET /v1/audit", RoleView, "list-audit", "Who has changed what, when", handle(a.listAudit)},
		{"POST /v1/limit", RoleOperate, "set-limit", "Set the rate limit of all workers", handle(a.setLimit)},
		{"GET /v1/limit/history", RoleView, "get-limit-history", "The requests of the last 15 minutes, day or week",
			handle(a.limitHistory)},
		{"GET /v1/limit", RoleView, "get-limit", "The request quotas, and why nothing is sent", handle(a.getLimit)},
		{"POST /v1/stop", RoleOperate, "stop-sending", "Stop all sending at once, until it is started", handle(a.stop)},
		{"POST /v1/start", RoleOperate, "start-sending", "Start all sending, whatever has stopped it", handle(a.start)},
		{"GET /v1/events", RoleView, "follow-all", "Follow everything by server-sent events", streaming(
			"Events batch with a whole batch, of the 50 newest, and status, each time that something has changed", a.allEvents)},
	}
}

// callTimeout bounds a call that neither uploads nor downloads a list.
const callTimeout = 10 * time.Second

// handle makes an operation of a function. Errors become problems.
func handle[I, O any](f func(context.Context, *I) (*O, error)) func(huma.API, huma.Operation) {
	return within(callTimeout, f)
}

// within is handle for a function that may take longer.
func within[I, O any](d time.Duration, f func(context.Context, *I) (*O, error)) func(huma.API, huma.Operation) {
	return func(api huma.API, op huma.Operation) {
		huma.Register(api, op, func(ctx context.Context, in *I) (*O, error) {
			ctx, cancel := context.WithTimeout(ctx, d)
			defer cancel()
			out, err := f(ctx, in)
			if err != nil {
				return nil, answerable(ctx, op.OperationID, err)
			}
			return out, nil
		})
	}
}

// enqueues tells what an operation answers that enqueues.
func enqueues[O any](add func(huma.API, huma.Operation)) func(huma.API, huma.Operation) {
	return func(api huma.API, op huma.Operation) {
		op.DefaultStatus = http.StatusAccepted
		answer := func(description string) *huma.Response {
			return &huma.Response{Description: description, Content: map[string]*huma.MediaType{
				typeJSON: {Schema: api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[O](), true, "")},
			}}
		}
		op.Responses = map[string]*huma.Response{"202": answer("Enqueued"),
			"200": answer("It was there already, and is the same")}
		op.Errors = []int{http.StatusConflict, http.StatusUnprocessableEntity, http.StatusServiceUnavailable}
		add(api, op)
	}
}

// answerable makes a Problem of any error, and tells the log of those that are
// not the client's fault.
func answerable(ctx context.Context, operation string, err error) *Problem {
	log, _ := ctx.Value(logKey{}).(*slog.Logger)
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	p := problemOf(err)
	switch {
	case p == nil && errors.Is(err, context.Canceled):
		p = problem(http.StatusRequestTimeout, codeTimeout, "the request has ended before its answer") // nobody reads it
	case p == nil:
		log.Error("request failed", "operation", operation, "err", err)
		p = problem(http.StatusInternalServerError, codeInternal, "something went wrong here, and the log says what")
	case p.Code == codeRedisAway: // or it has refused what we asked of it
		log.Warn("unexpected error from Redis", "operation", operation, "err", err)
	case p.Code == codeNoDisk:
		log.Warn("no room for a temporary file", "operation", operation, "err", err)
	}
	return p
}

type logKey struct{}

// Routes returns the routes of the API and of its description.
func (a *API) Routes() []Route {
	c := &collector{log: a.o.Log}
	config := huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info:    &huma.Info{Title: "tiwsnap", Version: cmp.Or(a.o.Version, "development"), Description: description},
			Components: &huma.Components{
				Schemas: huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
				SecuritySchemes: map[string]*huma.SecurityScheme{
					"token":   {Type: "http", Scheme: "bearer", Description: "A token of the configuration"},
					"session": {Type: "apiKey", In: "cookie", Name: sessionCookie, Description: "A login in the browser"},
				},
			},
		},
		OpenAPIPath: "/openapi",
		Formats: map[string]huma.Format{"application/json": huma.DefaultJSONFormat,
			"json": huma.DefaultJSONFormat},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
	}
	if a.o.Base != "" {
		config.Servers = []*huma.Server{{URL: a.o.Base}}
	}
	api := huma.NewAPI(config, c)
	for _, o := range a.operations() {
		method, path, _ := strings.Cut(o.pattern, " ")
		c.role = o.role
		o.add(api, huma.Operation{
			OperationID: o.id, Method: method, Path: path, Summary: o.summary,
			Description: "Needs the role " + string(o.role) + ".",
			Security:    []map[string][]string{{"token": {}}, {"session": {}}},
		})
	}
	return append(c.routes, Route{"GET /docs", "", docs(api.OpenAPI())})
}

const description = "Snapshots of Tencent Interactive Whiteboards at the rate limit of the account. " +
	"Errors are problem documents (RFC 9457) with a stable code."

// collector is the adapter by which huma gives its handlers to the table of
// routes.
type collector struct {
	log    *slog.Logger
	role   Role // of what is registered now
	routes []Route
}

// Handle is for huma.
func (c *collector) Handle(op *huma.Operation, handler func(huma.Context)) {
	if strings.HasPrefix(op.Path, "/openapi") && op.Path != "/openapi.json" {
		return // one form is enough
	}
	c.routes = append(c.routes,
		Route{op.Method + " " + op.Path, c.role, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r = r.WithContext(context.WithValue(r.Context(), logKey{}, c.log))
			handler(humago.NewContext(op, r, w))
		})})
}

// ServeHTTP is for huma's tests.
func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }

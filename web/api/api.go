// Package api is the HTTP API: /v1, its OpenAPI description, and its streams of events. One table lists the operations,
// each with the role that may call it. Each operation is a Go method, too: the pages show and change the state of a
// namespace through them, so that both check the same permissions and write the same audit log.
package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"slices"
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
	"tiwsnap/web"
)

// Options are the settings of an API. Redis and Ledger are required.
type Options struct {
	Redis     redis.UniversalClient // stays the caller's to close
	Namespace keys.Namespace        // default: keys.Default
	// Ledger cancels with the settings of the workers.
	Ledger *ledger.Ledger
	// Replicated answers an enqueue only after a replica of Redis has confirmed it.
	Replicated bool
	// CheckWebhook returns why the webhook of a batch is not allowed. Default: none is.
	CheckWebhook func(url string) error
	// CheckCallback returns why the CallbackURL of a room is not allowed. Default: tasks.CheckCallbackURL.
	CheckCallback func(url string) error
	// Images opens images. Default: those at Tencent, from public hosts.
	Images *images.Source
	// Limiters are the rate limiters of this process, by API action.
	Limiters map[string]*ratelimit.Limiter
	// Schedules are those of the configuration.
	Schedules []schedule.Schedule
	Version   string // of this build
	// Base is that of its Site. Beside is another API of this process that shares its limits on what runs at a time.
	// Default: none.
	Base   string
	Beside *API
	Log    *slog.Logger // default: none

	maxUpload  int64         // bytes of one list; default 1 GiB
	maxRows    int           // of one list; default 2 million
	uploadPace time.Duration // default 30 s
}

// Readers read the state of a namespace, for the API and for the pages.
type Readers struct {
	Redis     redis.UniversalClient
	Namespace keys.Namespace
	Ledger    *ledger.Ledger
	Backlog   *backlog.Backlog
	Results   *results.Reader
	Limiter   *ratelimit.Limiter // of CreateSnapshotTask; nil if this process has none
}

// API is the HTTP API: /v1 and its OpenAPI description. It is safe for concurrent use.
type API struct {
	Readers
	o         Options
	gate      *gate.Breaker
	queue     *enqueue.Client
	inspector *asynq.Inspector
	keys      idempotency
	paces     paces
	watcher   *watcher
	// Limits on what runs at a time.
	Uploads, downloads, sheets, images *web.Slots
	Streams                            *web.Streams

	thumbnails *images.Thumbnails

	routes []web.Route
	spec   *huma.OpenAPI
}

// New returns the API. It does not use Redis.
func New(o Options) *API {
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
		o: o,
		Readers: Readers{
			Redis: o.Redis, Namespace: o.Namespace, Ledger: o.Ledger, Backlog: backlog.New(o.Redis, o.Namespace),
			Results: results.NewReader(o.Redis, o.Namespace), Limiter: o.Limiters[gate.ActionCreate],
		},
		gate:      gate.NewBreaker(o.Redis, o.Namespace),
		queue:     enqueue.New(o.Redis, o.Namespace),
		inspector: asynq.NewInspectorFromRedisClient(o.Redis),
		keys:      idempotency{o.Redis, o.Namespace},

		Uploads: &web.Slots{What: "lists are being uploaded", All: maxUploads, Own: maxOwnUploads, Retry: 5 * time.Second},
		downloads: &web.Slots{What: "lists are being downloaded", All: maxDownloads, Own: maxOwnDownloads,
			Retry: 5 * time.Second},
		sheets: &web.Slots{What: "lists for Excel are being made", All: maxSheets, Own: maxOwnSheets,
			Retry: 5 * time.Second},
		Streams: web.NewStreams(),
		images:  &web.Slots{What: "images are being read", All: maxImages, Own: maxOwnImages, Retry: time.Second},

		thumbnails: images.NewThumbnails(o.Images),
	}
	if b := o.Beside; b != nil {
		a.Uploads, a.downloads, a.sheets, a.Streams, a.images = b.Uploads, b.downloads, b.sheets, b.Streams, b.images
	}
	a.Results.LocateCopies(func(ctx context.Context, s ledger.Snapshot, n int) string {
		at, _ := ctx.Value(originKey{}).(string)
		return fmt.Sprintf("%s%s/v1/snapshots/%s/images/%d", at, o.Base, s.ID, n)
	})
	a.watcher = &watcher{a: a, streams: map[string]int{}}
	a.routes, a.spec = a.register()
	return a
}

// Close ends all streams, also those of pages, so that a server can shut down.
func (a *API) Close() {
	a.Streams.Close()
	a.o.Images.Fetcher.Close()
}

// operation is a line of the table of operations.
type operation struct {
	pattern string // method and path
	role    web.Role
	id      string // name in generated clients; never changes
	summary string
	add     func(huma.API, huma.Operation)
}

// operations returns the table.
func (a *API) operations() []operation {
	return []operation{
		{"POST /v1/snapshots", web.RoleProduce, "create-snapshot", "Enqueue one room, ahead of every batch",
			enqueues[EnqueuedSnapshot](limited(a.createSnapshot))},
		{"GET /v1/snapshots/{id}", web.RoleRead, "get-snapshot", "The state and result of a snapshot",
			limited(a.getSnapshot)},
		{"GET /v1/snapshots/{id}/images/{n}", web.RoleRead, "get-image",
			"An image of a snapshot, or with width a thumbnail of it", a.getImage},
		{"POST /v1/snapshots/{id}/cancel", web.RoleProduce, "cancel-snapshot",
			"Cancel a snapshot, unless Tencent has accepted it", limited(a.CancelSnapshot)},
		{"POST /v1/snapshots/{id}/retry", web.RoleOperate, "retry-snapshot",
			"Retry a snapshot that failed, was canceled or is held for review", limited(a.RetrySnapshot)},

		{"POST /v1/batches", web.RoleProduce, "create-batch", "Enqueue a batch: a list of rooms of any size",
			enqueues[Enqueued](a.createBatch)},
		{"GET /v1/batches", web.RoleRead, "list-batches", "All batches", limited(a.ListBatches)},
		{"GET /v1/batches/{id}", web.RoleRead, "get-batch", "The state of a batch", limited(a.getBatch)},
		{"GET /v1/batches/{id}/snapshots", web.RoleRead, "list-snapshots",
			"The results of a batch: a page, or the whole list", a.listSnapshots()},
		{"GET /v1/batches/{id}/images.zip", web.RoleRead, "get-batch-images",
			"All images of a batch with its lists, as a ZIP archive", a.getImages},
		{"GET /v1/batches/{id}/events", web.RoleRead, "follow-batch", "Follow a batch to its end by server-sent events",
			streaming("Event batch: the whole batch after each change; at its end event end, or gone if it has expired",
				a.batchEvents)},
		{"POST /v1/batches/{id}/cancel", web.RoleProduce, "cancel-batch",
			"Cancel a batch, as far as Tencent has not accepted it", limited(a.CancelBatch)},
		{"POST /v1/batches/{id}/pause", web.RoleOperate, "pause-batch",
			"Pause a batch; the few seconds of work on the queue continue", limited(a.PauseBatch)},
		{"POST /v1/batches/{id}/resume", web.RoleOperate, "resume-batch", "Resume a paused batch", limited(a.ResumeBatch)},
		{"POST /v1/batches/{id}/retry", web.RoleOperate, "retry-batch", "Retry the failed snapshots of a batch",
			limited(a.RetryBatch)},
		{"POST /v1/batches/{id}/again", web.RoleOperate, "again-batch", "Enqueue the rooms of a batch as a new one",
			within(runTime, a.AgainBatch)},

		{"GET /v1/find", web.RoleRead, "find-snapshots",
			"Find snapshots by RoomId, TaskID, RequestId or the value of a label", limited(a.Find)},
		{"GET /v1/failures", web.RoleView, "list-failures",
			"Failures by error code: count, meaning, fix", limited(a.listFailures)},
		{"POST /v1/failures/retry", web.RoleOperate, "retry-failures", "Retry the failed snapshots of all batches",
			limited(a.RetryFailures)},
		{"GET /v1/schedules", web.RoleView, "list-schedules",
			"The schedules: next ticks, and the outcome of the last one", limited(a.ListSchedules)},
		{"POST /v1/schedules/{name}/run", web.RoleOperate, "run-schedule", "Enqueue the rooms of a schedule now",
			within(runTime, a.RunSchedule)},
		{"POST /v1/schedules/{name}/pause", web.RoleOperate, "pause-schedule", "Pause a schedule",
			limited(a.PauseSchedule)},
		{"POST /v1/schedules/{name}/resume", web.RoleOperate, "resume-schedule",
			"Resume a schedule; ticks missed during the pause are not made up", limited(a.ResumeSchedule)},
		{"GET /v1/webhooks", web.RoleView, "list-webhooks", "Undelivered webhooks, and those that wait for a retry",
			limited(a.ListWebhooks)},
		{"POST /v1/webhooks/{id}/resend", web.RoleOperate, "resend-webhook",
			"Resend an undelivered webhook", limited(a.ResendWebhook)},
		{"POST /v1/webhooks/resend", web.RoleOperate, "resend-webhooks",
			"Resend all undelivered webhooks", limited(a.ResendWebhooks)},
		{"GET /v1/workers", web.RoleView, "list-workers", "The running workers, and settings in which they differ",
			limited(a.ListWorkers)},
		{"GET /v1/redis", web.RoleView, "get-redis", "The state of Redis", limited(a.GetRedis)},
		{"GET /v1/audit", web.RoleView, "list-audit", "The audit log: who changed what, and when", limited(a.ListAudit)},
		{"POST /v1/limit", web.RoleOperate, "set-limit", "Set the rate limit of all workers", limited(a.SetLimit)},
		{"GET /v1/limit/history", web.RoleView, "get-limit-history", "Requests of the last 15 minutes, day or week",
			limited(a.limitHistory)},
		{"GET /v1/limit", web.RoleView, "get-limit", "The rate limits, and why sending is stopped", limited(a.getLimit)},
		{"POST /v1/stop", web.RoleOperate, "stop-sending", "Stop all sending until it is started", limited(a.Stop)},
		{"POST /v1/start", web.RoleOperate, "start-sending", "Start all sending, whatever has stopped it", limited(a.Start)},
		{"GET /v1/events", web.RoleView, "follow-all", "Follow everything by server-sent events", streaming(
			"Events batch (a whole batch, of the 50 newest) and status, after each change", a.allEvents)},
	}
}

// callTimeout bounds an operation that neither uploads nor downloads a list.
const callTimeout = 10 * time.Second

// limited registers a method as an operation. Its errors become problems.
func limited[I, O any](f func(context.Context, *I) (*O, error)) func(huma.API, huma.Operation) {
	return within(callTimeout, f)
}

// within is limited for a method that may take longer.
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

// enqueues describes the answers of an operation that enqueues.
func enqueues[O any](add func(huma.API, huma.Operation)) func(huma.API, huma.Operation) {
	return func(api huma.API, op huma.Operation) {
		op.DefaultStatus = http.StatusAccepted
		answer := func(description string) *huma.Response {
			return &huma.Response{Description: description, Content: map[string]*huma.MediaType{
				typeJSON: {Schema: api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[O](), true, "")},
			}}
		}
		op.Responses = map[string]*huma.Response{"202": answer("Enqueued"),
			"200": answer("It existed already and is the same")}
		op.Errors = []int{http.StatusConflict, http.StatusUnprocessableEntity, http.StatusServiceUnavailable}
		add(api, op)
	}
}

// Routes returns the routes of the API and of its description.
func (a *API) Routes() []web.Route { return slices.Clone(a.routes) }

// OpenAPI returns the description of the API. Do not change it.
func (a *API) OpenAPI() *huma.OpenAPI { return a.spec }

// register returns the routes of the operations and their description.
func (a *API) register() ([]web.Route, *huma.OpenAPI) {
	c := &adapter{log: a.o.Log}
	config := huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info:    &huma.Info{Title: "tiwsnap", Version: cmp.Or(a.o.Version, "development"), Description: description},
			Components: &huma.Components{
				Schemas: huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
				SecuritySchemes: map[string]*huma.SecurityScheme{
					"token":   {Type: "http", Scheme: "bearer", Description: "A token of the configuration"},
					"session": {Type: "apiKey", In: "cookie", Name: web.SessionCookie, Description: "A login in the browser"},
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
	return c.routes, api.OpenAPI()
}

const description = "Snapshots of Tencent Interactive Whiteboards at the rate limit of the account. " +
	"Errors are problem documents (RFC 9457) with a stable code."

// adapter collects the routes that huma makes of the operations.
type adapter struct {
	log    *slog.Logger
	role   web.Role // of the operation that is being registered
	routes []web.Route
}

// Handle is for huma.
func (c *adapter) Handle(op *huma.Operation, handler func(huma.Context)) {
	if strings.HasPrefix(op.Path, "/openapi") && op.Path != "/openapi.json" {
		return // one form is enough
	}
	c.routes = append(c.routes, web.Handle(op.Method+" "+op.Path, c.role, func(w http.ResponseWriter, r *http.Request) {
		r = r.WithContext(context.WithValue(r.Context(), logKey{}, c.log))
		handler(humago.NewContext(op, r, w))
	}))
}

// ServeHTTP is for tests of huma.
func (c *adapter) ServeHTTP(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }

// exchange is embedded in the input of an operation that itself reads or writes the body.
type exchange struct {
	w http.ResponseWriter
	r *http.Request
}

// Resolve is for huma.
func (x *exchange) Resolve(ctx huma.Context) []error {
	x.r, x.w = humago.Unwrap(ctx)
	return nil
}

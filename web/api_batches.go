package web

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"tiwsnap/enqueue"
	"tiwsnap/internal/rooms"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
)

// exchange is embedded in the input of an operation that reads or writes its
// body by itself.
type exchange struct {
	w http.ResponseWriter
	r *http.Request
}

// Resolve is for huma.
func (x *exchange) Resolve(ctx huma.Context) []error {
	x.r, x.w = humago.Unwrap(ctx)
	return nil
}

// createBatchInput is a list and what is said of it beside.
type createBatchInput struct {
	exchange
	Key      string `header:"Idempotency-Key" maxLength:"255" doc:"A repeat with the same key creates nothing"`
	Name     string `query:"name" pattern:"^[a-z0-9][a-z0-9-]{0,63}$" doc:"Id of the batch; default: a new one"`
	Strict   bool   `query:"strict" doc:"Enqueue nothing if any row is wrong"`
	Check    bool   `query:"check" doc:"Check the list and enqueue nothing: 200 with what is wrong"`
	Webhook  string `query:"webhook" doc:"URL that is told of the end, if the configuration allows its host"`
	SdkAppId uint64 `query:"SdkAppId" doc:"What rows leave out"`
	Callback string `query:"CallbackURL" doc:"What rows leave out"`
	Mode     string `query:"SnapshotMode" enum:"AllMarks,LatestMarksOnly" doc:"What rows leave out"`
	Encoding string `query:"encoding" maxLength:"40" doc:"Of a text, such as gb18030; default: as recognised"`
	Sheet    string `query:"sheet" maxLength:"100" doc:"Name of the worksheet of an .xlsx file; default: the first"`
}

// Enqueued is what became of a list.
type Enqueued struct {
	ID      string  `json:"id" doc:"Of the batch; empty where the list was only checked"`
	Rooms   int     `json:"rooms" doc:"In the batch, or in order"`
	Created bool    `json:"created" doc:"false: only checked, or the same batch existed already"`
	BadRows int     `json:"bad_rows" doc:"Rows that were left out because they are wrong"`
	Faults  []Fault `json:"errors" doc:"What is wrong with them; at most 100"`
	Notes   []Note  `json:"notes" doc:"What was recognised, and rows that are no rooms; at most 100"`
}

func (a *API) createBatch(api huma.API, op huma.Operation) {
	huma.Register(api, op, func(ctx context.Context, in *createBatchInput) (*accepted, error) {
		out, err := a.takeBatch(ctx, in)
		if err != nil {
			return nil, answerable(ctx, op.OperationID, err)
		}
		return out, nil
	})
	room := api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[tasks.Room](), true, "")
	// Told to huma any earlier, it would read the body whole.
	api.OpenAPI().Paths[op.Path].Post.RequestBody = &huma.RequestBody{
		Required:    true,
		Description: "The rooms: CSV with a header, .xlsx, JSON lines, or JSON. docs/lists.md says what is recognised.",
		Content: map[string]*huma.MediaType{
			typeCSV: {Schema: &huma.Schema{Type: "string"}, Example: "SdkAppId,RoomId,Label.Class\n1400123480,20117,3B\n"},
			typeJSONLines: {
				Schema:  &huma.Schema{Type: "string"},
				Example: `{"SdkAppId":1400123480,"RoomId":20117,"Label":{"Class":"3B"}}` + "\n",
			},
			typeWorkbook: {Schema: &huma.Schema{Type: "string", Format: "binary"}},
			typeJSON: {Schema: &huma.Schema{OneOf: []*huma.Schema{
				{Type: "array", Items: room},
				{Type: "object", Properties: map[string]*huma.Schema{
					"name": {Type: "string"}, "strict": {Type: "boolean"}, "webhook": {Type: "string"}, "defaults": room,
					"rooms": {Type: "array", Items: room},
				}, Required: []string{"rooms"}},
			}}},
		},
	}
}

// takeBatch reads a list and enqueues it as a batch.
func (a *API) takeBatch(ctx context.Context, in *createBatchInput) (*accepted, error) {
	format, encoding, err := formatOf(in.r)
	if err != nil {
		return nil, err
	}
	if in.Encoding != "" {
		if encoding, err = rooms.ParseEncoding(in.Encoding); err != nil {
			return nil, invalid("encoding", err.Error())
		}
	}
	if in.r.ContentLength > a.o.maxUpload {
		return nil, &http.MaxBytesError{Limit: a.o.maxUpload}
	}
	if in.Check {
		return a.checkList(ctx, in, format, encoding)
	}
	claim, err := a.keys.claim(ctx, "create-batch", in.Key)
	if err != nil {
		return nil, err
	}
	var done *kept
	defer func() { claim.end(ctx, done, a.o.Log) }()

	sum := sha256.New()
	fmt.Fprintf(sum, "%d\n%s\n", format, in.r.URL.Query().Encode())
	up := newUpload(in.w, in.r, a.o.maxUpload, a.o.uploadPace, sum)
	defer up.finish()
	if claim.answer != nil {
		digest, err := up.digest()
		if err != nil {
			return nil, err
		}
		return claim.replay(digest)
	}
	free, err := a.uploads.take(ctx)
	if err != nil {
		return nil, err
	}
	defer free()
	list, err := a.openList(in, up, format, encoding)
	if err != nil {
		return nil, err
	}
	defer list.close()
	head, report := list.head, list.report
	id := head.Name
	if id == "" {
		id = "batch-" + claim.id
	}
	batch, err := a.queue.Batch(ctx, list.rooms, enqueue.BatchOptions{
		ID: id, Defaults: head.Defaults, Webhook: head.Webhook, By: PrincipalOf(ctx).key(), Replicated: a.o.Replicated,
	})
	switch {
	case errors.Is(err, enqueue.ErrExists) && head.Name == "":
		return nil, problem(http.StatusUnprocessableEntity, codeKeyReused,
			"an earlier request with this Idempotency-Key has made another batch, %s", batch.ID)
	case errors.Is(err, enqueue.ErrExists):
		return nil, problem(http.StatusConflict, codeExists, "nothing was enqueued: %v; give this one another name", err)
	case err != nil:
		return nil, err
	}
	if batch.Created {
		a.did(ctx, "create-batch", batch.ID, fmt.Sprintf("%d rooms", batch.Rooms))
	}
	digest, err := up.digest()
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(Enqueued{
		ID: batch.ID, Rooms: batch.Rooms, BadRows: report.bad, Faults: report.faults, Notes: report.notes,
		// What was found under an id that only this request has was made by it.
		Created: batch.Created || head.Name == "",
	})
	if err != nil {
		return nil, err
	}
	done = &kept{digest, http.StatusAccepted, a.o.Base + "/v1/batches/" + batch.ID, string(body)}
	if !batch.Created && head.Name != "" {
		done.status = http.StatusOK
	}
	return done.accepted(false), nil
}

// checkList reads a list to its end and tells what is wrong with it.
func (a *API) checkList(
	ctx context.Context, in *createBatchInput, format listFormat, encoding rooms.Encoding,
) (*accepted, error) {
	free, err := a.uploads.take(ctx)
	if err != nil {
		return nil, err
	}
	defer free()
	up := newUpload(in.w, in.r, a.o.maxUpload, a.o.uploadPace, sha256.New())
	defer up.finish()
	list, err := a.openList(in, up, format, encoding)
	if err != nil {
		return nil, err
	}
	defer list.close()
	out := Enqueued{}
	for _, err := range list.rooms {
		if err != nil {
			return nil, err
		}
		out.Rooms++
	}
	out.BadRows, out.Faults, out.Notes = list.report.bad, list.report.faults, list.report.notes
	body, err := json.Marshal(out)
	if err != nil {
		return nil, err
	}
	return &accepted{Status: http.StatusOK, Body: body}, nil
}

// roomList is a list that comes with a request.
type roomList struct {
	head   batchHead
	rooms  iter.Seq2[tasks.Room, error] // those in order; an error ends it
	report *rowReport                   // of the others, when all were read
	close  func()
}

// openList begins to read a list. The error is a *Problem, or that of the body.
func (a *API) openList(
	in *createBatchInput, up io.Reader, format listFormat, encoding rooms.Encoding,
) (list *roomList, err error) {
	l := &roomList{report: &rowReport{faults: []Fault{}, notes: []Note{}}, close: func() {}}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	lines := up
	if format == listJSON {
		body, err := newJSONList(rooms.Text(up, encoding, l.report.note))
		if err != nil {
			return nil, err
		}
		l.close = body.Close
		if lines, err = body.lines(); err != nil {
			return nil, err
		}
		l.head = body.head
	}
	if l.head, err = l.head.over(batchHead{
		Name: in.Name, Strict: in.Strict, Webhook: in.Webhook,
		Defaults: tasks.Room{SdkAppId: in.SdkAppId, CallbackURL: in.Callback, SnapshotMode: in.Mode},
	}); err != nil {
		return nil, err
	}
	if l.head.Webhook != "" {
		if err := a.o.CheckWebhook(l.head.Webhook); err != nil {
			return nil, invalid("webhook", err.Error())
		}
	}
	if err := a.checkCallback(l.head.Defaults); err != nil {
		return nil, err
	}
	options := rooms.Options{
		Format: rooms.JSONLines, Defaults: l.head.Defaults, MaxRows: a.o.maxRows,
		CheckCallback: a.o.CheckCallback, Encoding: encoding, Sheet: in.Sheet, Notes: l.report.note,
	}
	switch format {
	case listCSV:
		options.Format = rooms.CSV
	case listAny:
		options.Format = rooms.Auto
	case listJSON:
		options.Encoding = rooms.Encoding{} // is UTF-8 by now
	}
	l.rooms = goodRooms(rooms.Read(lines, options), l.head.Strict, l.report)
	return l, nil
}

// checkCallback returns a *Problem where the CallbackURL is not allowed.
func (a *API) checkCallback(r tasks.Room) error {
	if r.CallbackURL != "" {
		if err := a.o.CheckCallback(r.CallbackURL); err != nil {
			return invalid("CallbackURL", err.Error())
		}
	}
	return nil
}

type batchInput struct {
	ID string `path:"id" maxLength:"64" doc:"Id of the batch"`
}

type batchOutput struct {
	Body Batch
}

// Batch is a batch as programs see it.
type Batch struct {
	ledger.Batch
	Rate float64 `json:"rate,omitempty" doc:"Snapshots that recently ended per second; from the second request on"`
	Left float64 `json:"seconds_left,omitempty" doc:"Until the end at that rate"`
}

// batch returns a batch that the principal of ctx may see. Errors:
// ledger.ErrNotFound, also where it may not, or Redis'.
func (a *API) batch(ctx context.Context, id string) (ledger.Batch, error) {
	b, err := a.ledger.Batch(ctx, id)
	if err == nil && !seesAll(ctx) && b.By != PrincipalOf(ctx).key() {
		return ledger.Batch{}, ledger.ErrNotFound
	}
	return b, err
}

// seesAll reports whether the principal of ctx sees what others have enqueued.
func seesAll(ctx context.Context) bool {
	p := PrincipalOf(ctx)
	return p.May(RoleView)
}

// mayChange returns a *Problem where what by has enqueued is not the
// principal's to cancel.
func mayChange(ctx context.Context, by string) error {
	if p := PrincipalOf(ctx); !p.May(RoleOperate) && by != p.key() {
		return problem(http.StatusForbidden, "role", "%s may cancel only what it has enqueued itself", p.Name)
	}
	return nil
}

func (a *API) getBatch(ctx context.Context, in *batchInput) (*batchOutput, error) {
	b, err := a.batch(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &batchOutput{a.paces.of(b)}, nil
}

type listBatchesInput struct {
	Limit  int       `query:"limit" minimum:"1" maximum:"500" default:"50" doc:"How many at most"`
	Cursor string    `query:"cursor" maxLength:"100" doc:"next of the page before"`
	State  string    `query:"state" enum:"open,running,paused,canceled,ended,failed" doc:"failed: with failures"`
	Text   string    `query:"text" maxLength:"100" doc:"Only those with this text in their id or in the name of a label"`
	Since  time.Time `query:"since" doc:"Only those that were made then or later"`
	Until  time.Time `query:"until" doc:"Only those that were made before"`
}

// matches reports whether a batch is one that is asked for.
func (in *listBatchesInput) matches(b ledger.Batch) bool {
	state := in.State == "" || b.State == in.State || in.State == "open" && !b.Ended() ||
		in.State == "failed" && b.Failed > 0
	word := strings.ToLower(in.Text)
	has := func(s string) bool { return strings.Contains(strings.ToLower(s), word) }
	return state && (has(b.ID) || slices.ContainsFunc(b.Labels, has))
}

// scanBatches is how many batches one page looks at, to find those that are
// asked for.
const scanBatches = 2000

type listBatchesOutput struct {
	Body struct {
		Batches []Batch `json:"batches" doc:"The newest first"`
		Next    string  `json:"next,omitempty" doc:"Cursor of the next page, if any; a short page may not be the last"`
	}
}

func (a *API) listBatches(ctx context.Context, in *listBatchesInput) (*listBatchesOutput, error) {
	out := &listBatchesOutput{}
	out.Body.Batches = []Batch{}
	cursor := in.Cursor
	if cursor == "" && !in.Until.IsZero() {
		cursor = ledger.CursorBefore(in.Until)
	}
	n := in.Limit
	if in.State != "" || in.Text != "" || !seesAll(ctx) {
		n = 200
	}
	for looked := 0; looked < scanBatches; looked += n {
		all, next, err := a.ledger.BatchPage(ctx, cursor, n)
		if err != nil {
			return nil, err
		}
		for i, b := range all {
			if b.CreatedAt.Before(in.Since) {
				return out, nil
			}
			if in.matches(b) && (seesAll(ctx) || b.By == PrincipalOf(ctx).key()) {
				out.Body.Batches = append(out.Body.Batches, a.paces.of(b))
			}
			if len(out.Body.Batches) == in.Limit {
				if out.Body.Next = next; i < len(all)-1 {
					out.Body.Next = b.Cursor()
				}
				return out, nil
			}
		}
		if cursor = next; next == "" {
			return out, nil
		}
	}
	out.Body.Next = cursor
	return out, nil
}

type cancelBatchOutput struct {
	Body struct {
		Canceled int   `json:"canceled_now" doc:"Snapshots canceled at once; fed ones follow unless Tencent accepts them"`
		Batch    Batch `json:"batch"`
	}
}

func (a *API) cancelBatch(ctx context.Context, in *batchInput) (*cancelBatchOutput, error) {
	before, err := a.batch(ctx, in.ID)
	if err == nil {
		err = mayChange(ctx, before.By)
	}
	if err != nil {
		return nil, err
	}
	out := &cancelBatchOutput{}
	if out.Body.Canceled, err = a.ledger.CancelBatch(ctx, in.ID); err != nil {
		return nil, err
	}
	b, err := a.batch(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if out.Body.Canceled == 0 && before.CanceledFrom == 0 && b.CanceledFrom == 0 && b.Queued+b.Sending+b.Unknown == 0 {
		return nil, problem(http.StatusConflict, codeState,
			"nothing is left to cancel: %d accepted, %d succeeded, %d failed, %d canceled",
			b.Accepted, b.Succeeded, b.Failed, b.Canceled)
	}
	out.Body.Batch = a.paces.of(b)
	a.did(ctx, "cancel-batch", in.ID, fmt.Sprintf("%d at once", out.Body.Canceled))
	return out, nil
}

func (a *API) pauseBatch(ctx context.Context, in *batchInput) (*batchOutput, error) {
	return a.turn(ctx, in.ID, "pause-batch", a.backlog.Pause)
}

func (a *API) resumeBatch(ctx context.Context, in *batchInput) (*batchOutput, error) {
	return a.turn(ctx, in.ID, "resume-batch", a.backlog.Resume)
}

// turn takes a batch out of its turn or back in.
func (a *API) turn(ctx context.Context, id, action string,
	do func(context.Context, string) error) (*batchOutput, error) {
	b, err := a.batch(ctx, id)
	if err != nil {
		return nil, err
	}
	if b.Ended() || b.CanceledFrom > 0 && b.Queued == 0 {
		return nil, problem(http.StatusConflict, codeState, "nothing is left to feed: the batch is %s", b.State)
	}
	if err := do(ctx, id); err != nil {
		return nil, err
	}
	a.did(ctx, action, id, "")
	return a.getBatch(ctx, &batchInput{id})
}

// retryTime bounds the retry of a batch: within it come some 50,000 snapshots.
const retryTime = 8 * time.Second

type retryBatchInput struct {
	ID   string `path:"id" maxLength:"64" doc:"Id of the batch"`
	Held bool   `query:"held" doc:"Retry those held for review instead; this may create a second task of each"`
	Code string `query:"code" maxLength:"100" doc:"Only this error code; InternalError includes InternalError.Timeout"`
}

type retryBatchOutput struct {
	Body struct {
		Retried  int   `json:"retried" doc:"Snapshots that were queued again"`
		Complete bool  `json:"complete" doc:"false: there are more, and the same request again does the rest"`
		Batch    Batch `json:"batch"`
	}
}

func (a *API) retryBatch(ctx context.Context, in *retryBatchInput) (*retryBatchOutput, error) {
	if _, err := a.batch(ctx, in.ID); err != nil {
		return nil, err
	}
	some, cancel := context.WithTimeout(ctx, retryTime)
	defer cancel()
	out := &retryBatchOutput{}
	var err error
	out.Body.Retried, err = a.queue.RetryBatch(some, in.ID, in.Held, in.Code)
	if out.Body.Complete = err == nil; err != nil && (some.Err() == nil || ctx.Err() != nil) {
		return nil, err
	}
	if out.Body.Complete && out.Body.Retried == 0 {
		why, err := a.results.NothingToRetry(ctx, in.ID, in.Held, in.Code)
		if err != nil {
			return nil, err
		}
		return nil, problem(http.StatusConflict, codeState, "%s", why)
	}
	b, err := a.batch(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	out.Body.Batch = a.paces.of(b)
	if out.Body.Retried > 0 {
		a.did(ctx, "retry-batch", in.ID, strings.TrimSpace(fmt.Sprintf("%d %s", out.Body.Retried, in.Code)))
	}
	return out, nil
}

type againBatchInput struct {
	ID   string `path:"id" maxLength:"64" doc:"Id of the batch"`
	Name string `query:"name" pattern:"^[a-z0-9][a-z0-9-]{0,63}$" doc:"Id; default: the old id and the time"`
}

// AgainBatch is a batch that was made of the rooms of another one.
type AgainBatch struct {
	ID    string `json:"id" doc:"Of the new batch"`
	Rooms int    `json:"rooms"`
}

type againBatchOutput struct {
	Status int
	Body   AgainBatch
}

// againBatch enqueues the rooms of a batch as a new one.
func (a *API) againBatch(ctx context.Context, in *againBatchInput) (*againBatchOutput, error) {
	if _, err := a.batch(ctx, in.ID); err != nil {
		return nil, err
	}
	if in.Name != "" && !tasks.ValidBatchID(in.Name) {
		return nil, invalid("name", "must be 1 to 64 of a-z, 0-9 and -, and not begin with -")
	}
	batch, err := a.queue.Rerun(ctx, in.ID, enqueue.BatchOptions{
		ID: in.Name, By: PrincipalOf(ctx).key(), Replicated: a.o.Replicated,
	})
	if errors.Is(err, enqueue.ErrExists) {
		return nil, problem(http.StatusConflict, codeExists, "nothing was enqueued: %v; give this one another name", err)
	}
	if err != nil {
		return nil, err
	}
	a.did(ctx, "again-batch", in.ID, fmt.Sprintf("%s: %d rooms", batch.ID, batch.Rooms))
	return &againBatchOutput{http.StatusAccepted, AgainBatch{batch.ID, batch.Rooms}}, nil
}

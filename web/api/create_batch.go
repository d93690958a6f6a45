package api

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"tiwsnap/enqueue"
	"tiwsnap/internal/rooms"
	"tiwsnap/tasks"
	"tiwsnap/web"
)

// createBatchInput is a list and its options.
type createBatchInput struct {
	exchange
	Key      string `header:"Idempotency-Key" maxLength:"255" doc:"A repeat with the same key creates nothing"`
	Name     string `query:"name" pattern:"^[a-z0-9][a-z0-9-]{0,63}$" doc:"Id of the batch; default: a new one"`
	Strict   bool   `query:"strict" doc:"Enqueue nothing if any row is wrong"`
	Check    bool   `query:"check" doc:"Check the list and enqueue nothing: 200 with what is wrong"`
	Webhook  string `query:"webhook" doc:"URL to notify at the end, if the configuration allows its host"`
	SdkAppId uint64 `query:"SdkAppId" doc:"Default for rows without one"`
	Callback string `query:"CallbackURL" doc:"Default for rows without one"`
	Mode     string `query:"SnapshotMode" enum:"AllMarks,LatestMarksOnly" doc:"Default for rows without one"`
	Encoding string `query:"encoding" maxLength:"40" doc:"Of a text, such as gb18030; default: as recognised"`
	Sheet    string `query:"sheet" maxLength:"100" doc:"Name of the worksheet of an .xlsx file; default: the first"`
}

// Enqueued is the outcome of an uploaded list.
type Enqueued struct {
	ID      string      `json:"id" doc:"Of the batch; empty if the list was only checked"`
	Rooms   int         `json:"rooms" doc:"Valid rooms"`
	Created bool        `json:"created" doc:"false: only checked, or the same batch existed already"`
	BadRows int         `json:"bad_rows" doc:"Rows that were left out because of a fault"`
	Faults  []web.Fault `json:"errors" doc:"Their faults; at most 100"`
	Notes   []Note      `json:"notes" doc:"What was detected, and skipped rows; at most 100"`
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
	// Set before, it would make huma read the whole body into memory.
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
			return nil, web.Invalid("encoding", err.Error())
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
	var done *storedAnswer
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
	free, err := a.Uploads.Take(ctx)
	if err != nil {
		return nil, err
	}
	defer free()
	list, err := a.openList(in, up, format, encoding)
	if err != nil {
		return nil, err
	}
	defer list.close()
	head, report := list.head, list.Report
	id := head.Name
	if id == "" {
		id = "batch-" + claim.id
	}
	batch, err := a.EnqueueList(ctx, list, id)
	if errors.Is(err, enqueue.ErrExists) && head.Name == "" {
		return nil, web.NewProblem(http.StatusUnprocessableEntity, web.CodeKeyReused,
			"an earlier request with this Idempotency-Key has made another batch, %s", batch.ID)
	}
	if err != nil {
		return nil, err
	}
	digest, err := up.digest()
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(Enqueued{
		ID: batch.ID, Rooms: batch.Rooms, BadRows: report.Bad, Faults: report.Faults, Notes: report.Notes,
		// A batch with the id of this request was made by this request, or an earlier try of it.
		Created: batch.Created || head.Name == "",
	})
	if err != nil {
		return nil, err
	}
	done = &storedAnswer{digest, http.StatusAccepted, a.o.Base + "/v1/batches/" + batch.ID, string(body)}
	if !batch.Created && head.Name != "" {
		done.status = http.StatusOK
	}
	return done.accepted(false), nil
}

// checkList reads a list and returns what is wrong with it.
func (a *API) checkList(
	ctx context.Context, in *createBatchInput, format listFormat, encoding rooms.Encoding,
) (*accepted, error) {
	free, err := a.Uploads.Take(ctx)
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
	for _, err := range list.Rooms {
		if err != nil {
			return nil, err
		}
		out.Rooms++
	}
	out.BadRows, out.Faults, out.Notes = list.Report.Bad, list.Report.Faults, list.Report.Notes
	body, err := json.Marshal(out)
	if err != nil {
		return nil, err
	}
	return &accepted{Status: http.StatusOK, Body: body}, nil
}

package api

import (
	"context"
	"errors"

	"tiwsnap/ledger"
	"tiwsnap/results"
	"tiwsnap/web"
)

type FindInput struct {
	Word  string `query:"q" required:"true" minLength:"1" maxLength:"1024" doc:"RoomId, TaskID, RequestId or label value"`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"How many at most"`
	After string `query:"cursor" doc:"next of the previous answer: search more of the queued rooms"`
}

type findOutput struct{ Body results.Found }

// Find returns snapshots by RoomId, TaskID, RequestId or the value of a label.
func (a *API) Find(ctx context.Context, in *FindInput) (*findOutput, error) {
	found, err := a.Results.Find(ctx, in.Word, in.Limit, in.After)
	if err != nil {
		return nil, err
	}
	if !SeesAll(ctx) {
		mine := []results.Result{}
		for _, s := range found.Snapshots {
			by, err := a.Owner(ctx, s.Snapshot)
			if err != nil && !errors.Is(err, ledger.ErrNotFound) {
				return nil, err
			}
			if by == web.PrincipalOf(ctx).Key() {
				mine = append(mine, s)
			}
		}
		found.Snapshots = mine
	}
	return &findOutput{found}, nil
}

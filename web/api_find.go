package web

import (
	"context"
	"errors"

	"tiwsnap/ledger"
	"tiwsnap/results"
)

type findInput struct {
	Word  string `query:"q" required:"true" minLength:"1" maxLength:"1024" doc:"RoomId, TaskID, RequestId or label value"`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"At most so many"`
	After string `query:"cursor" doc:"The member next of the answer before: go on with the rooms that wait"`
}

type findOutput struct{ Body results.Found }

func (a *API) find(ctx context.Context, in *findInput) (*findOutput, error) {
	found, err := a.results.Find(ctx, in.Word, in.Limit, in.After)
	if err != nil {
		return nil, err
	}
	if !seesAll(ctx) {
		mine := []results.Result{}
		for _, s := range found.Snapshots {
			by, err := a.owner(ctx, s.Snapshot)
			if err != nil && !errors.Is(err, ledger.ErrNotFound) {
				return nil, err
			}
			if by == PrincipalOf(ctx).key() {
				mine = append(mine, s)
			}
		}
		found.Snapshots = mine
	}
	return &findOutput{found}, nil
}

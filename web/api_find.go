package web

import (
	"context"

	"tiwsnap/results"
)

type findInput struct {
	Word  string `query:"q" required:"true" minLength:"1" maxLength:"1024" doc:"RoomId, TaskID, RequestId, or the whole value of a label"`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"At most so many"`
}

type findOutput struct{ Body results.Found }

func (a *API) find(ctx context.Context, in *findInput) (*findOutput, error) {
	found, err := a.results.Find(ctx, in.Word, in.Limit)
	if err != nil {
		return nil, err
	}
	return &findOutput{found}, nil
}

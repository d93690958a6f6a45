package web

import (
	"context"
	"maps"
	"slices"
)

// limits are the quotas as the limiters of this process know them, by the name
// of the action.
func (a *API) limits(ctx context.Context) ([]Limit, error) {
	all := []Limit{}
	for _, action := range slices.Sorted(maps.Keys(a.o.Limiters)) {
		s, err := a.o.Limiters[action].State(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, Limit{action, s.Limit, s.Effective, s.Used, s.Margin.Seconds()})
	}
	return all, nil
}

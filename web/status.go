package web

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"tiwsnap/ledger"
	"tiwsnap/tiw"
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

// stops are the reasons for which requests are not sent: the one for all first.
func (a *API) stops(ctx context.Context) ([]Stop, error) {
	trouble, tripped, err := a.ledger.Tripped(ctx)
	if err != nil {
		return nil, err
	}
	held, err := a.ledger.HeldApps(ctx)
	if err != nil {
		return nil, err
	}
	stop := func(app uint64, t ledger.Trouble) Stop {
		x := tiw.Explain(t.Code)
		return Stop{Code: t.Code, Meaning: x.Meaning, Fix: x.Fix, Since: t.Since, SdkAppId: app}
	}
	all := []Stop{}
	if tripped {
		all = append(all, stop(0, trouble))
	}
	for app, t := range held {
		all = append(all, stop(app, t))
	}
	slices.SortFunc(all, func(a, b Stop) int { return cmp.Compare(a.SdkAppId, b.SdkAppId) })
	return all, nil
}

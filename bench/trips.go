package bench

import (
	"context"
	"time"
)

// trips measures what Redis has to do for one snapshot.
func trips(ctx context.Context, r *recorder) error {
	for _, procs := range []int{1, 4} {
		name := processes(procs)
		c, err := r.steady(ctx, name, procs, 0, referee(), 20*time.Second)
		if err != nil {
			return err
		}
		r.add(name+": round trips a snapshot", c.trips, "", atMost(12))
		r.add(name+": commands a snapshot, as clients send them", c.commands, "", noted)
		r.add(name+": commands a snapshot, those in scripts too", c.inside, "", noted)
		r.add(name+": Redis' processor time a snapshot", c.redis, "ms", noted)
	}
	return nil
}

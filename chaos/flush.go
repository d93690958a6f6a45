package main

import (
	"context"
	"fmt"
	"time"
)

// alarmWithin is how soon a loss of Redis' data must be reported.
const alarmWithin = 15 * time.Second

// flush empties Redis in mid-batch (FLUSHALL). status and doctor must report it. The same enqueue again must give a
// batch that ends with the right counts. Rooms that were sent before are sent again, which the loss explains.
func flush(ctx context.Context, s *stage) ([]*report, error) {
	in, err := s.onServer()
	if err != nil {
		return nil, err
	}
	defer in.close()
	s.begin()
	if err := in.enqueue(ctx); err != nil {
		return nil, err
	}
	rng := random(s.seed, faultFlush)
	if err := in.sent(ctx, 0.2+0.5*rng.Float64()); err != nil {
		return nil, err
	}
	lost := &span{from: s.begun}
	if err := in.DB.FlushAll(ctx).Err(); err != nil {
		return nil, err
	}
	lost.to = time.Now()
	again := time.Duration(rng.Float64() * float64(10*time.Second)).Round(time.Millisecond)
	s.log(faultFlush, "the same command again after %s", again)
	alarms := make(chan []string, 1)
	go func() { alarms <- in.alarms(ctx) }()
	pause(ctx, again)
	if err := in.enqueue(ctx); err != nil {
		return nil, err
	}
	in.follow(ctx)
	r, err := in.finish(ctx, evidence{lost: lost})
	if err != nil {
		return nil, err
	}
	r.Broken = append(r.Broken, <-alarms...)
	return []*report{r}, nil
}

// alarms lists the commands that did not report the loss in time.
func (in *installation) alarms(ctx context.Context) (broken []string) {
	began := time.Now()
	for _, args := range [][]string{{"status"}, {"doctor", "--skip-tiw"}} {
		if err := in.says(ctx, alarmWithin-time.Since(began), "Redis has lost its data", args...); err != nil {
			broken = append(broken, err.Error())
			continue
		}
		in.stage.log("alarm", "reported by %s after %.1f s", fmt.Sprint(args), time.Since(began).Seconds())
	}
	return broken
}

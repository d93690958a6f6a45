package ledger

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// chartBars is the maximum number of bars. It is part of the format, see prelude.lua.
const chartBars = 60

// Chart shows the progress of a batch: requests and results in intervals of equal width.
type Chart struct {
	Since time.Time // of the first bar: when the batch was created
	Width time.Duration
	Bars  []Bar // up to the last one that is not empty; at most 60
}

// Bar counts the requests of one interval, and the snapshots that succeeded or failed.
type Bar struct{ Sent, Ended int }

// Chart returns the chart of a batch. It has no bars if nothing was sent yet, or the
// batch has expired.
func (l *Ledger) Chart(ctx context.Context, b Batch) (Chart, error) {
	names := make([]string, 0, 2*chartBars)
	for i := range chartBars {
		names = append(names, fmt.Sprint("sent:", i), fmt.Sprint("ended:", i))
	}
	pipe := l.rdb.TxPipeline()
	width := pipe.HMGet(ctx, l.ns.Batch(b.ID), "chart")
	counts := pipe.HMGet(ctx, l.ns.Rows(b.ID), names...)
	if _, err := pipe.Exec(ctx); err != nil {
		return Chart{}, fmt.Errorf("read the chart of batch %s: %w", b.ID, err)
	}
	seconds, _ := width.Val()[0].(string)
	c := Chart{Since: b.CreatedAt, Width: time.Duration(max(atoi(seconds), 1)) * time.Second}
	number := func(v any) int {
		text, _ := v.(string)
		n, _ := strconv.Atoi(text) // a missing bar is 0
		return n
	}
	for i := range chartBars {
		bar := Bar{number(counts.Val()[2*i]), number(counts.Val()[2*i+1])}
		if bar != (Bar{}) {
			c.Bars = append(c.Bars, make([]Bar, i-len(c.Bars))...)
			c.Bars = append(c.Bars, bar)
		}
	}
	return c, nil
}

package ledger

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// chartBars is how many bars a chart has at most. It is part of the format, see
// prelude.lua.
const chartBars = 60

// Chart is how a batch got on: requests and results in equal parts of its time.
type Chart struct {
	Since time.Time // of the first bar: when the batch was made
	Width time.Duration
	Bars  []Bar // up to the last one that has anything; at most 60
}

// Bar is one part of the time of a chart.
type Bar struct{ Sent, Ended int } // requests; snapshots that succeeded or failed

// Chart returns the chart of a batch. Without bars nothing was sent yet, or the
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

package pages

import (
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"

	"tiwsnap/ledger"
	"tiwsnap/ratelimit"
	"tiwsnap/web/api"
)

// chart is the requests a second over a span, as SVG.
type chart struct {
	Span   string
	Points []ratelimit.Point // only slots that all workers have recorded; a partial one would look like a drop
	Until  time.Time         // when the last of them was over
	Slot   time.Duration
	Cap    int     // the highest limit of the span, or that of now
	Peak   float64 // requests a second in the busiest slot
	Sent   int
	Over   int // refused
}

// spanOf returns the span of the query.
func spanOf(r *http.Request) ratelimit.Span {
	switch s := ratelimit.Span(r.URL.Query().Get("span")); s {
	case ratelimit.Day, ratelimit.Week:
		return s
	}
	return ratelimit.Quarter
}

// chartOf reads the chart of a page. This process must have a limiter.
func chartOf(a *api.API, r *http.Request) (chart, error) {
	h, err := a.Limiter.History(r.Context(), spanOf(r))
	if err != nil {
		return chart{}, err
	}
	c := chart{
		Span: string(h.Span), Points: h.Points[:h.Complete], Until: h.Points[h.Complete].At,
		Slot: time.Duration(h.Slot) * time.Second, Cap: a.Limiter.Limit(),
	}
	for _, p := range h.Points {
		c.Cap = max(c.Cap, p.Limit)
		c.Peak = max(c.Peak, c.rate(p))
		c.Sent, c.Over = c.Sent+p.Sent, c.Over+p.Refused
	}
	return c, nil
}

func (c chart) rate(p ratelimit.Point) float64 { return float64(p.Sent) / c.Slot.Seconds() }

// The size of a chart. Its height holds a little more than the cap.
const chartWidth, chartHeight = 720, 160

func (c chart) y(rate float64) float64 {
	top := max(float64(c.Cap), c.Peak) * 1.1
	return chartHeight * (1 - rate/top)
}

// Area returns the path of the requests, closed at the bottom.
func (c chart) Area() string {
	return fmt.Sprintf("M0 %d%s L%d %d Z", chartHeight, strings.Replace(c.Line(), "M", " L", 1), chartWidth, chartHeight)
}

// Line returns the path of the requests a second.
func (c chart) Line() string {
	var b strings.Builder
	for i, p := range c.Points {
		mark := "L"
		if i == 0 {
			mark = "M"
		}
		fmt.Fprintf(&b, "%s%.1f %.1f", mark, float64(chartWidth)*float64(i)/float64(len(c.Points)-1), c.y(c.rate(p)))
	}
	return b.String()
}

// CapY is where the cap is.
func (c chart) CapY() string { return fmt.Sprintf("%.1f", c.y(float64(c.Cap))) }

// Since is the beginning of the chart.
func (c chart) Since() time.Time { return c.Points[0].At }

// Refusals are small marks where requests were refused.
func (c chart) Refusals() template.HTML {
	var b strings.Builder
	for i, p := range c.Points {
		if p.Refused > 0 {
			x := float64(chartWidth) * float64(i) / float64(len(c.Points)-1)
			fmt.Fprintf(&b, `<circle class="bad" cx="%.1f" cy="%.1f" r="3"/>`, x, c.y(c.rate(p)))
		}
	}
	return template.HTML(b.String())
}

// batchChart is the requests and results of a batch over time, as SVG.
type batchChart struct {
	ledger.Chart
	Parts int // of the time, each as wide as a bar: those that are over
}

func batchChartOf(c ledger.Chart, b ledger.Batch, now time.Time) batchChart {
	parts := len(c.Bars)
	if !b.Ended() { // an unfinished bar would look like a drop, and an idle time has no bars
		parts = max(int(now.Sub(c.Since)/c.Width), 0)
		c.Bars = c.Bars[:min(len(c.Bars), parts)]
	}
	return batchChart{c, parts}
}

// Peak returns the requests a second in the busiest bar.
func (c batchChart) Peak() (peak float64) {
	for _, b := range c.Bars {
		peak = max(peak, float64(b.Sent)/c.Width.Seconds())
	}
	return peak
}

// Until returns the end of the last part.
func (c batchChart) Until() time.Time { return c.Since.Add(time.Duration(c.Parts) * c.Width) }

// Sent returns the path of the requests, in steps.
func (c batchChart) Sent() string { return c.steps(func(b ledger.Bar) int { return b.Sent }) }

// Results returns the path of the results, in steps.
func (c batchChart) Results() string { return c.steps(func(b ledger.Bar) int { return b.Ended }) }

func (c batchChart) steps(of func(ledger.Bar) int) string {
	top := 1
	for _, b := range c.Bars {
		top = max(top, b.Sent, b.Ended)
	}
	x := func(part int) float64 { return chartWidth * float64(part) / float64(c.Parts) }
	var b strings.Builder
	mark := "M"
	for i, bar := range c.Bars {
		y := chartHeight * (1 - float64(of(bar))/float64(top)/1.1)
		fmt.Fprintf(&b, "%s%.1f %.1fL%.1f %.1f", mark, x(i), y, x(i+1), y)
		mark = "L"
	}
	if n := len(c.Bars); n < c.Parts {
		fmt.Fprintf(&b, "L%.1f %dL%d %d", x(n), chartHeight, chartWidth, chartHeight)
	}
	return b.String()
}

// Area returns the path of the requests, closed at the bottom.
func (c batchChart) Area() string {
	return fmt.Sprintf("M0 %d%s L%d %d Z", chartHeight, strings.Replace(c.Sent(), "M", " L", 1), chartWidth, chartHeight)
}

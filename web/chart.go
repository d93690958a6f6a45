package web

import (
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"

	"tiwsnap/ratelimit"
)

// chart is the requests a second over a span, as an SVG picture.
type chart struct {
	Span   string
	Points []ratelimit.Point
	slot   float64 // seconds
	Cap    int     // the highest limit of the span, or that of now
	Peak   float64 // requests a second in the fullest slot
	Sent   int
	Over   int // refused
}

// spanOf is the span that the query asks for.
func spanOf(r *http.Request) ratelimit.Span {
	switch s := ratelimit.Span(r.URL.Query().Get("span")); s {
	case ratelimit.Day, ratelimit.Week:
		return s
	}
	return ratelimit.Quarter
}

// chart reads the chart that a page shows. This process must have a limiter.
func (a *API) chart(r *http.Request) (chart, error) {
	h, err := a.limiter().History(r.Context(), spanOf(r))
	if err != nil {
		return chart{}, err
	}
	c := chart{Span: string(h.Span), Points: h.Points, slot: float64(h.Slot), Cap: a.limiter().Limit()}
	for _, p := range h.Points {
		c.Cap = max(c.Cap, p.Limit)
		c.Peak = max(c.Peak, c.rate(p))
		c.Sent, c.Over = c.Sent+p.Sent, c.Over+p.Refused
	}
	return c, nil
}

func (c chart) rate(p ratelimit.Point) float64 { return float64(p.Sent) / c.slot }

// The size of a chart. Its height holds a little more than the cap.
const chartWidth, chartHeight = 720, 160

func (c chart) y(rate float64) float64 {
	top := max(float64(c.Cap), c.Peak) * 1.1
	return chartHeight * (1 - rate/top)
}

// Area is the path of what was sent, and Line that of its upper edge.
func (c chart) Area() string {
	return fmt.Sprintf("M0 %d%s L%d %d Z", chartHeight, strings.Replace(c.Line(), "M", " L", 1), chartWidth, chartHeight)
}

// Line is the path of the requests a second.
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

// Since and Until are the ends of the chart.
func (c chart) Since() time.Time { return c.Points[0].At }

// Until is the end of the chart.
func (c chart) Until() time.Time { return c.Points[len(c.Points)-1].At }

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

package cli

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"tiwsnap/enqueue"
	"tiwsnap/images"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
	"tiwsnap/tiw"
	"tiwsnap/tiw/tiwtest"
	"tiwsnap/web/callback"
	"tiwsnap/web/metrics"
	"tiwsnap/webhook"
	"tiwsnap/worker"
	"tiwsnap/worker/workertest"
)

// descRecorder records the registered metrics.
type descRecorder struct {
	*prometheus.Registry
	descs []string
}

func (c *descRecorder) MustRegister(all ...prometheus.Collector) {
	for _, one := range all {
		ch := make(chan *prometheus.Desc, 100)
		one.Describe(ch)
		close(ch)
		for d := range ch {
			c.descs = append(c.descs, d.String())
		}
	}
	c.Registry.MustRegister(all...)
}

// docs/metrics.md must list every metric with its help and its labels, and no other metric.
func TestMetricsAreDocumented(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	rdb := redistest.Client(t)
	sim := tiwtest.Start(t, tiwtest.Options{})
	api := workertest.API(t, sim, tiw.Options{})
	c := &descRecorder{Registry: prometheus.NewPedanticRegistry()}
	w, err := worker.New(worker.Options{
		Redis: rdb, TIW: api, Metrics: c, Webhooks: webhook.Subscription{Sender: new(webhook.Sender)},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		for _, l := range w.Limiters() {
			l.Close(t.Context())
		}
	}()
	callback.NewHandler(callback.Options{Metrics: c})
	images.NewCopier(images.CopierOptions{Metrics: c})
	c.MustRegister(metrics.NewCollector(metrics.Options{
		Redis: rdb, Ledger: ledger.New(rdb, ledger.Options{}), Limiters: w.Limiters(),
	}))

	text, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	form := regexp.MustCompile(`^Desc\{fqName: "([^"]+)", help: "([^"]+)".*variableLabels: \{([^}]*)\}\}`)
	for _, d := range c.descs {
		m := form.FindStringSubmatch(d)
		if m == nil {
			t.Fatalf("cannot parse the description %s", d)
		}
		labels := strings.ReplaceAll(m[3], ",", ", ")
		if labels != "" {
			labels = " " + labels
		}
		plain := fmt.Sprintf("| `%s` |%s | %s |\n", m[1], labels, m[2])
		marked := strings.Replace(plain, "| "+m[2], "| *all:* "+m[2], 1)
		if !strings.Contains(string(text), plain) && !strings.Contains(string(text), marked) {
			t.Errorf("docs/metrics.md lacks %s", plain)
		}
		if !strings.HasPrefix(m[1], "tiwsnap_") {
			t.Errorf("metric %s does not begin with tiwsnap_", m[1])
		}
	}
	if n := strings.Count(string(text), "\n| `tiwsnap_"); n != len(c.descs) {
		t.Errorf("docs/metrics.md has %d metrics, want %d", n, len(c.descs))
	}
	if problems, err := testutil.GatherAndLint(c); err != nil || len(problems) > 0 {
		t.Errorf("lint problems %v (%v)", problems, err)
	}

	// The values of the metrics match the work in Redis.
	if _, err := enqueue.New(rdb, keys.Default).Batch(t.Context(), func(yield func(tasks.Room, error) bool) {
		for id := range uint64(7) {
			if !yield(tasks.Room{SdkAppId: 7, RoomId: id + 1}, nil) {
				return
			}
		}
	}, enqueue.BatchOptions{ID: "b"}); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"tiwsnap_backlog_rooms 7", "tiwsnap_redis_up 1", `tiwsnap_snapshots{state="queued"} 7`,
		`tiwsnap_limit_requests{action="CreateSnapshotTask"} 20`,
	}
	tick := time.NewTicker(200 * time.Millisecond) // the values of a scrape are cached for two seconds
	defer tick.Stop()
	for deadline := time.After(20 * time.Second); len(want) > 0; {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("metrics lack %v after 20 s", want)
		}
		families, err := c.Gather()
		if err != nil {
			t.Fatal(err)
		}
		have := []string{}
		for _, f := range families {
			for _, m := range f.Metric {
				var labels []string
				for _, l := range m.Label {
					labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
				}
				name := f.GetName()
				if len(labels) > 0 {
					name += "{" + strings.Join(labels, ",") + "}"
				}
				have = append(have, fmt.Sprintf("%s %g", name, m.Gauge.GetValue()))
			}
		}
		want = slices.DeleteFunc(want, func(s string) bool { return slices.Contains(have, s) })
	}
}

package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/config"
	"tiwsnap/gate"
	"tiwsnap/ratelimit"
	"tiwsnap/tiw"
)

const (
	maxSkew    = 5 * time.Second // between this clock and that of the API
	probeAppID = 1400000000      // the probe describes a task that exists in no application
	probeTask  = "00000000-0000-0000-0000-000000000000"
	permitTime = 10 * time.Second // maximum wait for a permit
)

// tiw checks that the namespace works with the endpoint, that the endpoint answers, then the
// credentials. Without Redis no request is sent, because it needs a permit of the rate limit.
func (d *doctor) tiw(ctx context.Context, c config.Config, rdb redis.UniversalClient) {
	d.region(c)
	var checked error // of the endpoint that the namespace works with
	if rdb != nil {
		checked = gate.NewBreaker(rdb, c.Namespace).CheckEndpoint(ctx, c.TIW.Endpoint)
	}
	var other *gate.EndpointError
	if errors.As(checked, &other) {
		d.fail(exitConfig, "namespace", other.Fix(), "%v; no request was sent", checked)
		return
	}
	if !d.endpoint(ctx, c.TIW.Endpoint, c.TIW.Timeout) {
		return
	}
	const check = "credentials"
	if c.TencentCloud.SecretID.Empty() {
		d.fail(
			exitConfig,
			check,
			"set TENCENTCLOUD_SECRET_ID and TENCENTCLOUD_SECRET_KEY, or their _FILE; --skip-tiw skips this check",
			"not set",
		)
		return
	}
	client, err := newTIW(c, c.TencentCloud.Credential(slog.New(slog.DiscardHandler)))
	if err != nil {
		d.fail(exitConfig, check, "see tiwsnap config check", "%v", err)
		return
	}
	defer client.Close()
	if rdb == nil {
		d.warn(check, "repair Redis first", "not checked: a request needs a permit from Redis")
		return
	}
	if checked != nil {
		d.warn(check, "see the findings about Redis", "not checked: %v", checked)
		return
	}
	err = describe(ctx, c, client, rdb)
	var answer *tiw.Error
	if errors.As(err, &answer) && answer.Class == tiw.Clock {
		err = describe(ctx, c, client, rdb) // now signed with the corrected time
	}
	var stopped *gate.Stopped
	switch {
	case errors.As(err, &stopped):
		d.warn(check, plain(stopped.Fix), "not checked: %s", plain(err.Error()))
		return
	case err != nil && !errors.As(err, &answer):
		d.warn(check, "check the rate limit: tiwsnap limit", "not checked: no permit for a request: %v", err)
		return
	}
	if !errors.As(err, &answer) {
		d.ok(check, "accepted")
		return
	}
	why := tiw.Explain(answer.Code)
	detail := fmt.Sprintf("%s, %s: %s", answer.Code, why.Meaning, answer.Message)
	switch {
	case why.OneApp, why.Class == tiw.Permanent: // codes that only a valid signature gets
		d.ok(check, "accepted (response to the probe: %s)", answer.Code)
	case why.Class == tiw.Account && strings.HasPrefix(answer.Code, "ResourceUnavailable"):
		// The key is valid, the service is suspended.
		d.fail(exitUnavailable, check, why.Fix, "%s", detail)
	case why.Class == tiw.Account:
		d.fail(exitConfig, check, why.Fix+otherSite(c.TIW.Endpoint), "%s", detail)
	case strings.HasPrefix(answer.Code, "ClientError."):
		d.fail(exitUnavailable, check, why.Fix, "not checked: %s", detail)
	default:
		d.warn(check, why.Fix, "not checked: %s", detail)
	}
}

// region warns if Tencent's documents do not list the region at the endpoint. The
// documents may be outdated, so the check never fails.
func (d *doctor) region(c config.Config) {
	if detail, fix := c.RegionWarning(); detail != "" {
		d.warn("region", fix, "%s", detail)
	}
}

// otherSite suggests Tencent's other site for a key that is refused at one of the two.
// It is empty for any other endpoint.
func otherSite(endpoint string) string {
	other := map[string]string{config.ChinaEndpoint: config.IntlEndpoint,
		config.IntlEndpoint: config.ChinaEndpoint}[endpoint]
	if other == "" {
		return ""
	}
	return fmt.Sprintf("; or try TIWSNAP_TIW_ENDPOINT=%s, the endpoint of Tencent's other site", other)
}

// describe sends a DescribeSnapshotTask for a task that does not exist.
func describe(ctx context.Context, c config.Config, client *tiw.Client, rdb redis.UniversalClient) error {
	g, err := gate.New(gate.Options{
		Redis: rdb, Namespace: c.Namespace, RateLimit: c.Rate.Limit, DescribeShare: c.Confirm.Share,
		Margin: c.Rate.Margin, CallTimeout: c.TIW.Timeout, Follows: true,
	})
	if err != nil {
		return err
	}
	defer g.Close(ctx)
	wait, cancel := context.WithTimeout(ctx, permitTime)
	defer cancel()
	permit, err := g.Describe(wait, ratelimit.Interactive)
	if err != nil {
		return err
	}
	defer permit.Release()
	probe := tiw.NewDescribeSnapshotTaskRequest()
	task, app := probeTask, uint64(probeAppID)
	probe.TaskID, probe.SdkAppId = &task, &app
	_, err = client.DescribeSnapshotTask(permit.Context(ctx), probe)
	permit.Done(ctx, "", err)
	return err
}

// endpoint checks that the endpoint responds to an HTTP request, and compares the
// clocks.
func (d *doctor) endpoint(ctx context.Context, url string, timeout time.Duration) bool {
	const check = "endpoint"
	const fix = "check TIWSNAP_TIW_ENDPOINT, DNS, firewall, proxy and the machine's certificates"
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		d.fail(exitConfig, check, fix, "%v", err)
		return false
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	defer transport.CloseIdleConnections()
	begin := time.Now()
	resp, err := transport.RoundTrip(req) // no redirects
	if err != nil {
		d.fail(exitUnavailable, check, fix, "%s does not answer: %v", url, err)
		return false
	}
	resp.Body.Close()
	took := time.Since(begin)
	d.ok(check, "%s answers in %s", url, round(took))
	if theirs, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		if skew := theirs.Sub(begin.Add(took)).Round(time.Second); skew.Abs() > maxSkew+took {
			d.warn("endpoint clock", "run an NTP client on this machine", "differs by %s from the clock here", skew)
		}
	}
	return true
}

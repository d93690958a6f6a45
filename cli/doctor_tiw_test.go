package cli

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/config"
	"tiwsnap/gate"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/tiw/tiwtest"
)

func TestDoctorChecksAPI(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	// Other tests check Redis. One line is enough here.
	const redisLine = "warn  redis: embedded in each process: nothing is shared or durable; " +
		"fix: set TIWSNAP_REDIS_URL or --redis-url to the URL of a Redis server"
	const endpointLine = "ok    endpoint: http://# answers in #"
	noKey := []string{"TIWSNAP_REDIS_URL=embedded"}
	key := func(id, key string) []string {
		return append(slices.Clone(noKey), "TENCENTCLOUD_SECRET_ID="+id, "TENCENTCLOUD_SECRET_KEY="+key)
	}
	good := key(tiwtest.DefaultSecret, tiwtest.DefaultSecret)
	failing := func(code string) tiwtest.Faults {
		return tiwtest.Faults{Code: 1, CodeName: code, Actions: []string{tiwtest.ActionDescribe}}
	}

	for _, test := range []struct {
		name    string
		faults  tiwtest.Faults
		environ []string
		code    int
		want    string
	}{
		{"a good key", tiwtest.Faults{}, good, exitOK,
			"ok    credentials: accepted (response to the probe: InvalidParameter.TaskNotFound)"},
		{"another account's application", failing("UnauthorizedOperation.SdkAppId"), good, exitOK,
			"ok    credentials: accepted (response to the probe: UnauthorizedOperation.SdkAppId)"},
		{"an unknown SecretId", tiwtest.Faults{}, key("overdue", "S3CR3T"), exitConfig,
			"FAIL  credentials: AuthFailure.SecretIdNotFound, the SecretId does not exist"},
		{"a wrong SecretKey", tiwtest.Faults{}, key(tiwtest.DefaultSecret, "S3CR3T"), exitConfig,
			"FAIL  credentials: AuthFailure.SignatureFailure, the signature is wrong"},
		{"no permission", failing("UnauthorizedOperation"), good, exitConfig,
			"FAIL  credentials: UnauthorizedOperation, "},
		{"arrears", tiwtest.Faults{Arrears: tiwtest.Period{For: tiwtest.Duration(time.Hour)}}, good, exitUnavailable,
			"FAIL  credentials: ResourceUnavailable.ServiceExpired, "},
		{"throttled", failing("RequestLimitExceeded"), good, exitOK,
			"warn  credentials: not checked: RequestLimitExceeded, "},
		{"an internal error", tiwtest.Faults{InternalError: 1, Actions: []string{tiwtest.ActionDescribe}}, good, exitOK,
			"warn  credentials: not checked: InternalError, "},
		{"a response that is not JSON", tiwtest.Faults{HTML: 1, Actions: []string{tiwtest.ActionDescribe}}, good,
			exitUnavailable, "FAIL  credentials: not checked: ClientError.HttpStatusCodeError, "},
		{"no key", tiwtest.Faults{}, noKey, exitConfig,
			"FAIL  credentials: not set; fix: set TENCENTCLOUD_SECRET_ID and TENCENTCLOUD_SECRET_KEY, or their _FILE; " +
				"--skip-tiw skips this check"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			sim := tiwtest.Start(t, tiwtest.Options{Faults: test.faults})
			lines, code := runDoctor(t, test.environ, "--endpoint", sim.URL)
			if code != test.code {
				t.Errorf("doctor: exit code %d, want %d", code, test.code)
			}
			if len(lines) != 3 || lines[0] != redisLine || lines[1] != endpointLine ||
				!strings.HasPrefix(lines[2], test.want) {
				t.Errorf("got\n%s\nwant as the last line\n%s", strings.Join(lines, "\n"), test.want)
			}
			last := lines[len(lines)-1]
			if status := last[:4]; (status != "ok  ") != strings.Contains(last, "; fix: ") {
				t.Errorf("only a line that is not ok must have a fix:\n%s", last)
			}
			if strings.Contains(strings.Join(lines, "\n"), "S3CR3T") {
				t.Error("the output shows a secret")
			}
		})
	}

	t.Run("clock differs", func(t *testing.T) {
		t.Parallel()
		sim := tiwtest.Start(t, tiwtest.Options{Clock: func() time.Time { return time.Now().Add(-time.Hour) }})
		lines, code := runDoctor(t, good, "--endpoint", sim.URL)
		text := regexp.MustCompile(`-(1h0m0s|1h0m1s)`).ReplaceAllString(strings.Join(lines, "\n"), "-#")
		want := strings.Join([]string{
			redisLine,
			endpointLine,
			"warn  endpoint clock: differs by -# from the clock here; fix: run an NTP client on this machine",
			"ok    credentials: accepted (response to the probe: InvalidParameter.TaskNotFound)",
		}, "\n")
		if diff := cmp.Diff(want, text); diff != "" || code != exitOK {
			t.Errorf("doctor: exit code %d; output (-want +got):\n%s", code, diff)
		}
	})

	t.Run("endpoint refuses connections", func(t *testing.T) {
		t.Parallel()
		srv := httptest.NewServer(http.NotFoundHandler())
		srv.Close()
		lines, code := runDoctor(t, good, "--endpoint", srv.URL)
		want := []string{redisLine, "FAIL  endpoint: http://# does not answer: dial tcp #: connect: connection refused; " +
			"fix: check TIWSNAP_TIW_ENDPOINT, DNS, firewall, proxy and the machine's certificates"}
		if diff := cmp.Diff(want, lines); diff != "" || code != exitUnavailable {
			t.Errorf("doctor: exit code %d; output (-want +got):\n%s", code, diff)
		}
	})

	t.Run("endpoint with an untrusted certificate", func(t *testing.T) {
		t.Parallel()
		srv := httptest.NewUnstartedServer(http.NotFoundHandler())
		srv.Config.ErrorLog = log.New(io.Discard, "", 0) // it would log the failed handshake
		srv.StartTLS()
		defer srv.Close()
		lines, code := runDoctor(t, good, "--endpoint", srv.URL)
		if len(lines) != 2 || !strings.Contains(lines[1], "certificate") || code != exitUnavailable {
			t.Errorf("doctor: exit code %d\n%s", code, strings.Join(lines, "\n"))
		}
	})

	t.Run("endpoint never responds", func(t *testing.T) {
		t.Parallel()
		silent := make(chan struct{})
		srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-silent }))
		defer srv.Close()
		defer close(silent)
		lines, code := runDoctor(t, good, "--endpoint", srv.URL, "--tiw-timeout", "100ms")
		if len(lines) != 2 || !strings.HasPrefix(lines[1], "FAIL  endpoint: ") || code != exitUnavailable {
			t.Errorf("doctor: exit code %d\n%s", code, strings.Join(lines, "\n"))
		}
	})

	t.Run("region not available at the endpoint", func(t *testing.T) {
		d := doctor{report: io.Discard}
		d.region(config.Config{TIW: config.TIW{Endpoint: config.IntlEndpoint, Region: "ap-guangzhou"}})
		d.region(config.Config{TIW: config.TIW{Endpoint: config.IntlEndpoint, Region: "ap-singapore"}})
		if len(d.findings) != 1 || d.findings[0].Status != statusWarn || d.exitCode() != exitOK ||
			!strings.Contains(d.findings[0].Fix, config.ChinaEndpoint) {
			t.Errorf("findings %+v, want one warning", d.findings)
		}
	})

	t.Run("refused key: names the other site", func(t *testing.T) {
		for endpoint, want := range map[string]string{
			config.ChinaEndpoint: config.IntlEndpoint, config.IntlEndpoint: config.ChinaEndpoint, "http://127.0.0.1:1": "",
		} {
			if got := otherSite(endpoint); !strings.Contains(got, want) || (got == "") != (want == "") {
				t.Errorf("otherSite(%s) = %q, want %q in it", endpoint, got, want)
			}
		}
	})

	t.Run("skipped", func(t *testing.T) {
		lines, code := runDoctor(t, []string{"TIWSNAP_REDIS_URL=embedded"}, "--skip-tiw")
		if diff := cmp.Diff([]string{redisLine}, lines); diff != "" || code != exitOK {
			t.Errorf("doctor: exit code %d; output (-want +got):\n%s", code, diff)
		}
	})
}

// Every request of the doctor counts against the rate limit.
func TestDoctorTakesPermit(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	c := s.client()
	describes := func() int { return int(s.sim.State().Actions[tiwtest.ActionDescribe].Received.Requests) }
	if code, out, _ := s.run("", "doctor"); code != exitOK || describes() != 1 {
		t.Errorf("doctor: exit code %d, %d Describe requests, want 1:\n%s", code, describes(), out)
	}
	if n := c.Exists(t.Context(), keys.Default.Limit("DescribeSnapshotTask")).Val(); n != 1 {
		t.Error("no permit was taken from the shared limit")
	}
	if code, out, _ := s.run("", "doctor", "--skip-redis"); code != exitOK || describes() != 1 ||
		!strings.Contains(out, "warn  credentials: not checked") {
		t.Errorf("doctor: exit code %d, %d Describe requests, want 1:\n%s", code, describes(), out)
	}
	if _, err := gate.NewBreaker(c, keys.Default).Stop(t.Context(), "ada", "exams"); err != nil {
		t.Fatal(err)
	}
	if code, out, _ := s.run("", "doctor"); code != exitUnavailable || describes() != 1 ||
		!strings.Contains(out, "stopped by ada: exams") {
		t.Errorf("doctor: exit code %d, %d Describe requests, want 1:\n%s", code, describes(), out)
	}
}

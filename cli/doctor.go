package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"tiwsnap/config"
)

func newDoctor(e env) *cobra.Command {
	var skipTIW, skipRedis bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check Redis, the API and the credentials, and suggest fixes",
		Long: `Check whether a worker can run here: Redis, Tencent's API and the credentials. Each
line begins with ok, warn or FAIL.

The credentials are checked with one DescribeSnapshotTask for a task that does not
exist. It is harmless and counts against the rate limit that all workers share.

Exit code 0: no check failed. 78: the credentials are missing or refused, or the
namespace works with another endpoint. 69: another check failed, or sending is stopped.`,
		Example: `  tiwsnap doctor
  tiwsnap doctor --skip-tiw
  tiwsnap doctor -o json | jq '.[] | select(.status != "ok")'`,
		Args: cobra.NoArgs,
	}
	output := outputFlag(cmd, "table", "json")
	cmd.Flags().BoolVar(&skipTIW, "skip-tiw", false, "check Redis only; needs no credentials")
	cmd.Flags().BoolVar(&skipRedis, "skip-redis", false,
		"check the endpoint only, not the credentials: a request needs a permit from Redis")
	config.Flags(cmd.Flags(), "redis.url", "namespace", "tiw.endpoint", "tiw.region", "tiw.timeout",
		"rate.limit", "rate.margin", "confirm.share")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		all, err := loadConfigs(cmd, e)
		if err != nil {
			return err
		}
		d := doctor{report: io.Discard, findings: []finding{}}
		if *output == "table" {
			d.report = e.stdout
		}
		for _, c := range all {
			if len(all) > 1 {
				d.prefix = c.Namespace.String() + " "
			}
			var client redis.UniversalClient
			if !skipRedis {
				var closeRedis func()
				if client, closeRedis, err = d.redis(cmd.Context(), c); err == nil {
					defer closeRedis()
				}
			}
			if !skipTIW {
				d.tiw(cmd.Context(), c, client)
			}
			d.images(cmd.Context(), c.Images)
		}
		if *output == "json" {
			if err := printJSON(e.stdout, d.findings, true); err != nil {
				return err
			}
		}
		if code := d.exitCode(); code != exitOK {
			return &exitError{code, nil}
		}
		return nil
	}
	return cmd
}

const (
	statusOK   = "ok"
	statusWarn = "warn"
	statusFail = "FAIL"
)

// finding is the result of a check.
type finding struct {
	Check  string `json:"check"`
	Status string `json:"status"`
	Detail string `json:"detail"`
	Fix    string `json:"fix,omitempty"`

	code int // exit code of a FAIL
}

// doctor collects findings. It prints each at once, because the next check may take
// seconds.
type doctor struct {
	report   io.Writer
	findings []finding
	prefix   string // before the name of a check: the namespace, if there are several
}

func (d *doctor) add(f finding) {
	f.Check = d.prefix + f.Check
	d.findings = append(d.findings, f)
	fmt.Fprintf(d.report, "%-4s  %s: %s", f.Status, f.Check, f.Detail)
	if f.Fix != "" {
		fmt.Fprintf(d.report, "; fix: %s", f.Fix)
	}
	fmt.Fprintln(d.report)
}

func (d *doctor) ok(check, format string, args ...any) {
	d.add(finding{check, statusOK, fmt.Sprintf(format, args...), "", exitOK})
}

func (d *doctor) warn(check, fix, format string, args ...any) {
	d.add(finding{check, statusWarn, fmt.Sprintf(format, args...), fix, exitOK})
}

func (d *doctor) fail(code int, check, fix, format string, args ...any) {
	d.add(finding{check, statusFail, fmt.Sprintf(format, args...), fix, code})
}

// exitCode returns the highest code of the findings: exitConfig (fix the settings) wins
// over exitUnavailable (the service may recover).
func (d *doctor) exitCode() int {
	code := exitOK
	for _, f := range d.findings {
		code = max(code, f.code)
	}
	return code
}

// round rounds a latency for display.
func round(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }

package cli

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"tiwsnap/config"
)

// healthTimeout bounds a health check.
const healthTimeout = 2 * time.Second

func newHealth(e env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Check that the worker or web process on this machine is alive",
		Long: `Check that the worker or web process on this machine is alive: GET /livez at its
http.addr must answer within two seconds. No other setting is read.

It does not check Redis or Tencent: a process waits until they are back, and a restart
would not help.

Exit code 0: alive. 69: no answer.`,
		Example: `  tiwsnap health
  tiwsnap health --http-addr 127.0.0.1:9090   # a simulator`,
		Args: cobra.NoArgs,
	}
	output := outputFlag(cmd, "table", "json")
	config.Flags(cmd.Flags(), "http.addr")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		file, err := cmd.Flags().GetString("config")
		if err != nil {
			return err
		}
		addr, err := config.HTTPAddr(config.Source{File: file, Environ: e.environ(), Flags: cmd.Flags()})
		if err != nil {
			return fail(exitConfig, "bad configuration: %w", err)
		}
		if addr == "" {
			return fail(exitConfig, "TIWSNAP_HTTP_ADDR is empty, so there is no address to check: "+
				"set it for the process and for this command")
		}
		if err := checkLive(cmd.Context(), addr); err != nil {
			return fail(exitUnavailable, "%w (TIWSNAP_HTTP_ADDR is %s)", err, addr)
		}
		if *output == "json" {
			return printJSON(e.stdout, map[string]bool{"ok": true}, true)
		}
		_, err = fmt.Fprintln(e.stdout, "ok")
		return err
	}
	return cmd
}

// checkLive sends GET /livez to the process that listens at addr. It returns an error
// unless the response is 200.
func checkLive(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+dialAddr(addr)+"/livez", nil)
	if err != nil {
		return err
	}
	req.Host = "localhost"           // always accepted, unlike names that are not in http.hosts
	transport := new(http.Transport) // without a proxy
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("%s does not answer: %w", req.URL, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", req.URL, resp.Status)
	}
	return nil
}

// dialAddr returns the address to connect to a listener at addr: loopback, if it listens
// on all addresses.
func dialAddr(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// Package tiw is a client of the snapshot API of Tencent Interactive
// Whiteboard. A call sends at most one HTTP request: the API has no idempotency
// key, so a second request would create a second task. The Class of an Error
// says what the failure means for the caller.
package tiw

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common"
	tchttp "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/http"
	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/profile"
)

// Options of a Client. Credential is required; for the rest the zero value is
// the default.
type Options struct {
	// Endpoint is the URL of the API without a path; https or, for a server
	// nearby, http. Default https://tiw.tencentcloudapi.com; the international
	// site is https://tiw.intl.tencentcloudapi.com.
	Endpoint string
	// Region is the X-TC-Region. Default ap-singapore, the only one of the
	// international site.
	Region string
	// Credential is asked once in each call, by GetCredential, and must neither
	// block nor fail.
	Credential common.CredentialIface
	// Timeout bounds a whole call, from the connection to the last byte of the
	// answer. Default 10 s.
	Timeout time.Duration
	// MaxConns is how many connections are kept for the next calls: as many as
	// calls are normally in flight. Default 32. One call more is not held back,
	// since the permit of the rate limit that it was given would run out; it
	// opens a connection for itself.
	MaxConns int
}

// Client calls the API. It is safe for concurrent use. HTTP(S)_PROXY and
// NO_PROXY of the environment apply, but never to loopback addresses.
type Client struct {
	sdk       *common.Client
	transport *transport
	timeout   time.Duration
	clock     clock
}

var validRegion = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)

// New returns a Client. It does not touch the network. The error lists every
// option that cannot be used.
func New(o Options) (*Client, error) {
	endpoint, endpointErr := parseEndpoint(cmp.Or(o.Endpoint, "https://tiw.tencentcloudapi.com"))
	region := cmp.Or(o.Region, "ap-singapore")
	timeout := cmp.Or(o.Timeout, 10*time.Second)
	conns := cmp.Or(o.MaxConns, 32)
	errs := []error{endpointErr}
	if !validRegion.MatchString(region) {
		errs = append(errs, fmt.Errorf("region %.64q: want a name such as ap-singapore", region))
	}
	if o.Credential == nil {
		errs = append(errs, errors.New("credential is missing: want a SecretId and a SecretKey"))
	}
	if timeout < 0 {
		errs = append(errs, fmt.Errorf("timeout %s: want more than 0", timeout))
	}
	if conns < 0 {
		errs = append(errs, fmt.Errorf("connections %d: want 1 or more", conns))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}

	t := newTransport(conns, timeout)
	sdk := new(common.Client).Init(region).
		WithCredential(o.Credential).
		WithProfile(newProfile(endpoint)).
		WithHttpTransport(t)
	return &Client{sdk: sdk, transport: t, timeout: timeout}, nil
}

func parseEndpoint(endpoint string) (*url.URL, error) {
	const want = "want a URL such as https://tiw.tencentcloudapi.com or http://127.0.0.1:8089"
	u, err := url.Parse(endpoint)
	if err != nil {
		var parse *url.Error // it repeats the whole URL, which may hold a password
		if errors.As(err, &parse) {
			err = parse.Err
		}
		return nil, fmt.Errorf("endpoint cannot be read (%w): %s", err, want)
	}
	switch {
	case u.User != nil:
		return nil, errors.New("endpoint has a user name in it: " + want)
	case u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "":
		return nil, fmt.Errorf("endpoint %.100q: %s", endpoint, want)
	case u.Path != "" && u.Path != "/", u.RawQuery != "", u.Fragment != "":
		return nil, fmt.Errorf("endpoint %.100q has more than scheme, host and port: %s", endpoint, want)
	}
	return u, nil
}

// newProfile turns off whatever makes the SDK send a request twice or to
// another host.
func newProfile(endpoint *url.URL) *profile.ClientProfile {
	p := profile.NewClientProfile()
	p.HttpProfile.Scheme = endpoint.Scheme
	p.HttpProfile.Endpoint = strings.ToLower(endpoint.Host)
	p.HttpProfile.ReqTimeout = 0 // ours is the context's, which also knows fractions of a second
	p.Language = "en-US"
	p.Debug = false // it would log the Authorization header
	p.DisableRegionBreaker = true
	p.NetworkFailureMaxRetries = 0
	p.RateLimitExceededMaxRetries = 0
	p.UnsafeRetryOnConnectionFailure = false
	return p
}

// Close closes the connections that are kept for the next calls.
func (c *Client) Close() { c.transport.http.CloseIdleConnections() }

// ClockOffset is what is added to this machine's time to sign a request: 0, or
// from an error of class Clock on how far Tencent's clock is ahead, to about a
// second; negative if it is behind, at most a day.
func (c *Client) ClockOffset() time.Duration { return c.clock.learntOffset() }

// CreateSnapshotTask makes a task. Without an error, the TaskID is not empty.
// The request is not changed. Every error is an *Error.
func (c *Client) CreateSnapshotTask(ctx context.Context,
	request *CreateSnapshotTaskRequest) (*CreateSnapshotTaskResponseParams, error) {
	req, resp := *request, NewCreateSnapshotTaskResponse()
	req.BaseRequest = NewCreateSnapshotTaskRequest().BaseRequest
	// A callback URL lets whoever knows it report results.
	if err := c.send(ctx, &req, resp, value(req.CallbackURL)); err != nil {
		return nil, err
	}
	params := cmp.Or(resp.Response, &CreateSnapshotTaskResponseParams{})
	if value(params.TaskID) == "" {
		return nil, incomplete(&req, "TaskID", value(params.RequestId))
	}
	return params, nil
}

// DescribeSnapshotTask asks what has become of a task; ResultOf reads the
// answer. Without an error, it has a RequestId or a Status, and may have
// nothing else. The request is not changed. Every error is an *Error.
func (c *Client) DescribeSnapshotTask(ctx context.Context,
	request *DescribeSnapshotTaskRequest) (*DescribeSnapshotTaskResponseParams, error) {
	req, resp := *request, NewDescribeSnapshotTaskResponse()
	req.BaseRequest = NewDescribeSnapshotTaskRequest().BaseRequest
	if err := c.send(ctx, &req, resp); err != nil {
		return nil, err
	}
	params := cmp.Or(resp.Response, &DescribeSnapshotTaskResponseParams{})
	if value(params.Status) == "" && value(params.RequestId) == "" {
		return nil, incomplete(&req, "RequestId", "")
	}
	return params, nil
}

// send sends the request once. The caller has given it a BaseRequest of its
// own: the SDK keeps the state of the call there, and an idempotency header
// among a caller's would let net/http repeat a POST. The Message of the error
// has neither the secrets nor the credentials.
func (c *Client) send(ctx context.Context, req tchttp.Request, resp tchttp.Response, secrets ...string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout,
		fmt.Errorf("timed out after %s: %w", c.timeout, context.DeadlineExceeded))
	defer cancel()
	ctx, x := withExchange(ctx, cancel)
	req.SetContext(ctx)
	signed := c.clock.now()
	req.SetHeader(map[string]string{ // the SDK signs this time in place of its own
		"X-TC-Timestamp": strconv.FormatInt(signed.Unix(), 10),
	})
	// The key may be replaced at any time, so one copy of it serves the whole
	// call, to the redaction of the answer.
	id, key, token := c.sdk.GetCredential().GetCredential()
	sdk := *c.sdk
	sdk.WithCredential(common.NewTokenCredential(id, key, token))
	if err := sdk.Send(req, resp); err != nil {
		e := newError(ctx, x, err)
		if e.Code == codeSignatureExpire && c.clock.correct(signed, x.date) {
			e.Message = fmt.Sprintf("Tencent's clock differs by %s from the clock here (%s: %s)",
				c.ClockOffset(), e.Code, e.Message)
			e.Code, e.Class = codeClockSkew, Explain(codeClockSkew).Class
		}
		e.Action = req.GetAction()
		e.Message = cmp.Or(clean(redact(e.Message, append(secrets, id, key, token))), Explain(e.Code).Meaning)
		return e
	}
	return nil
}

var signature = regexp.MustCompile(`Signature=\w+`)

// redact is for servers that repeat what they were sent: it takes out the
// secrets and the signature, which is good for five minutes.
func redact(s string, secrets []string) string {
	for _, secret := range secrets {
		if secret != "" {
			s = strings.ReplaceAll(s, secret, "***")
		}
	}
	return signature.ReplaceAllString(s, "Signature=***")
}

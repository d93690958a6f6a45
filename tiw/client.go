// Package tiw is a client of the snapshot API of Tencent Interactive Whiteboard.
// A call sends at most one HTTP request: the API has no idempotency key, so a second
// request would create a second task. The Class of an Error tells the caller whether
// to retry.
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

// Options of a Client. Credential is required; zero values of the others are the
// defaults.
type Options struct {
	// Endpoint is the URL of the API without a path: https or, for a simulator, http.
	// Default https://tiw.tencentcloudapi.com; the international
	// site is https://tiw.intl.tencentcloudapi.com.
	Endpoint string
	// Region is the X-TC-Region. Default ap-singapore, the only one of the
	// international site.
	Region string
	// Credential is read once per call, by GetCredential, which must neither block nor
	// fail.
	Credential common.CredentialIface
	// Timeout bounds a call, from the connection to the last byte of the response.
	// Default 10 s.
	Timeout time.Duration
	// MaxConns is the number of idle connections that are kept, usually the number of
	// calls in flight. Default 32. It does not limit calls, because their permits of the
	// rate limit would expire: further calls open new connections.
	MaxConns int
}

// Client calls the API. It is safe for concurrent use. HTTP(S)_PROXY and NO_PROXY of
// the environment apply, except to loopback addresses.
type Client struct {
	sdk       *common.Client
	transport *transport
	timeout   time.Duration
	clock     clock
}

var validRegion = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)

// New returns a Client. It does not use the network. The error lists all invalid
// options.
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
		var parse *url.Error // it contains the URL, which may have a password
		if errors.As(err, &parse) {
			err = parse.Err
		}
		return nil, fmt.Errorf("endpoint cannot be parsed (%w): %s", err, want)
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

// newProfile disables all retries and redirections to other hosts in the SDK.
func newProfile(endpoint *url.URL) *profile.ClientProfile {
	p := profile.NewClientProfile()
	p.HttpProfile.Scheme = endpoint.Scheme
	p.HttpProfile.Endpoint = strings.ToLower(endpoint.Host)
	p.HttpProfile.ReqTimeout = 0 // the context has the timeout; this one is in whole seconds
	p.Language = "en-US"
	p.Debug = false // it would log the Authorization header
	p.DisableRegionBreaker = true
	p.NetworkFailureMaxRetries = 0
	p.RateLimitExceededMaxRetries = 0
	p.UnsafeRetryOnConnectionFailure = false
	return p
}

// Close closes the idle connections.
func (c *Client) Close() { c.transport.http.CloseIdleConnections() }

// ClockOffset returns the time that is added to this machine's clock to sign requests:
// 0 until an error of class Clock, then Tencent's lead to about a second. It is
// negative if Tencent's clock is behind, and at most a day.
func (c *Client) ClockOffset() time.Duration { return c.clock.learntOffset() }

// CreateSnapshotTask creates a task. Without an error, the TaskID is not empty. The
// request is not modified. Every error is an *Error.
func (c *Client) CreateSnapshotTask(ctx context.Context,
	request *CreateSnapshotTaskRequest) (*CreateSnapshotTaskResponseParams, error) {
	req, resp := *request, NewCreateSnapshotTaskResponse()
	req.BaseRequest = NewCreateSnapshotTaskRequest().BaseRequest
	// The callback URL is a secret.
	if err := c.send(ctx, &req, resp, value(req.CallbackURL)); err != nil {
		return nil, err
	}
	params := cmp.Or(resp.Response, &CreateSnapshotTaskResponseParams{})
	if value(params.TaskID) == "" {
		return nil, incomplete(&req, "TaskID", value(params.RequestId))
	}
	return params, nil
}

// DescribeSnapshotTask returns the state of a task; ResultOf reads it. Without an
// error, it has at least a RequestId or a Status. The request is not modified. Every
// error is an *Error.
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

// send sends the request once. The request needs a BaseRequest of its own: the SDK
// stores the state of the call there, and an idempotency header of the caller would
// let net/http repeat the POST. The Message of the error contains neither secrets nor
// credentials.
func (c *Client) send(ctx context.Context, req tchttp.Request, resp tchttp.Response, secrets ...string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout,
		fmt.Errorf("timed out after %s: %w", c.timeout, context.DeadlineExceeded))
	defer cancel()
	ctx, x := withExchange(ctx, cancel)
	req.SetContext(ctx)
	signed := c.clock.now()
	req.SetHeader(map[string]string{ // the SDK signs this time instead of its own
		"X-TC-Timestamp": strconv.FormatInt(signed.Unix(), 10),
	})
	// The key may be replaced at any time; the whole call, including the redaction,
	// uses one copy.
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

// redact removes the secrets and the signature, which is valid for five minutes, from
// the text of a server that may repeat the request.
func redact(s string, secrets []string) string {
	for _, secret := range secrets {
		if secret != "" {
			s = strings.ReplaceAll(s, secret, "***")
		}
	}
	return signature.ReplaceAllString(s, "Signature=***")
}

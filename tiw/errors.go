package tiw

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	tcerr "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/errors"
	tchttp "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/http"
)

// Class is the meaning of a failed call for its caller.
type Class uint8

const (
	// Unknown: the task may exist, and the API cannot look it up. It is the zero value,
	// because it is the safe assumption.
	Unknown Class = iota
	// Throttled: rejected for the quota, before anything ran. Retry later; it costs no
	// attempt.
	Throttled
	// NotSent: no task exists, because Tencent was not reached or rejected the request
	// for a temporary reason. Retry.
	NotSent
	// Account: all calls fail until a person acts.
	Account
	// Permanent: this request never succeeds.
	Permanent
	// Clock: no task exists, because Tencent rejected the signed time. The next call of
	// this Client uses the time of the response: retry at once; it costs no attempt. This
	// cannot repeat endlessly: within a minute after a correction, a rejected time is of
	// class Account.
	Clock
)

func (c Class) String() string {
	switch c {
	case Unknown:
		return "unknown"
	case Throttled:
		return "throttled"
	case NotSent:
		return "not sent"
	case Account:
		return "account"
	case Permanent:
		return "permanent"
	case Clock:
		return "clock"
	}
	return fmt.Sprintf("Class(%d)", uint8(c))
}

// Error is a failed call.
type Error struct {
	Action string // CreateSnapshotTask or DescribeSnapshotTask
	Class  Class  // always that of Explain(Code)
	// Code is Tencent's error code, or one of this client that begins with
	// "ClientError.".
	Code string
	// Message describes the error in at most 256 printable bytes without secrets. Tencent
	// may change its texts: show it, never parse it.
	Message   string
	RequestID string // empty without a response
	// Err is the cause, if there is one: an error of the network or of the context, which
	// may have ended during the response.
	Err error
}

func (e *Error) Error() string {
	s := fmt.Sprintf("%s: %s: %s (%s", e.Action, e.Code, e.Message, e.Class)
	if e.RequestID != "" {
		s += ", RequestId " + e.RequestID
	}
	return s + ")"
}

func (e *Error) Unwrap() error { return e.Err }

// newError makes an Error from the error of the SDK and the exchange that the transport
// recorded. Its Message is not cleaned yet.
func newError(ctx context.Context, x *exchange, err error) *Error {
	e := &Error{}
	var answer *tcerr.TencentCloudSDKError
	errors.As(err, &answer)
	var broken *url.Error // every error of the transport is one
	if errors.As(err, &broken) {
		e.Err = broken.Err
		e.Message = broken.Err.Error()
	}
	switch {
	case x.refused != nil:
		e.Code, e.Message, e.Err = codeNotPermitted, x.refused.Error(), x.refused
	case answer != nil && clean(answer.Code) != "" && !isClientError(answer.Code):
		e.Code = clean(answer.Code)
		e.Message = answer.Message
		e.RequestID = clean(answer.RequestId)
	case x.status == http.StatusTooManyRequests:
		e.Code, e.Message = codeTooManyRequests, x.describe()
	case x.status != 0 && x.status != http.StatusOK:
		e.Code, e.Message = codeHTTPStatus, x.describe()
	case x.status == http.StatusOK && (broken == nil || broken.Err == errNotJSON):
		e.Code = codeParseJSON
		e.Message = "response cannot be understood: " + cmp.Or(string(x.body), "(empty)")
	case x.status == http.StatusOK:
		e.Code = codeIO
	case x.stage == sent:
		e.Code = codeNetwork
	case x.stage == connecting, ctx.Err() != nil:
		e.Code = CodeConnect
	default: // the transport rejected the request before connecting
		e.Code, e.Message = codeBuildRequest, cmp.Or(e.Message, err.Error())
	}
	e.Class = Explain(e.Code).Class
	return e
}

// incomplete returns the error for a successful response without a field.
func incomplete(req tchttp.Request, field, requestID string) *Error {
	return &Error{
		Action:    req.GetAction(),
		Class:     Explain(codeIncomplete).Class,
		Code:      codeIncomplete,
		Message:   "no " + field + " in the response",
		RequestID: clean(requestID),
	}
}

// describe returns the status and the body, in which proxies explain errors.
func (x *exchange) describe() string {
	s := fmt.Sprintf("HTTP %d %s", x.status, http.StatusText(x.status))
	if len(x.body) > 0 {
		s += ": " + string(x.body)
	}
	return s
}

// maxText is the maximum length of a message from a server, in bytes.
const maxText = 256

// clean returns s as one printable line of at most maxText bytes.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if len(s) <= maxText {
		return s
	}
	const more = "…"
	end := maxText - len(more)
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + more
}

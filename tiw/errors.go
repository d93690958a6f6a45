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

// Class is what a failed call means for the one who made it.
type Class uint8

const (
	// Unknown: the task may have been made, and without an idempotency key
	// nobody can look it up. It is the zero value because it is the careful
	// answer.
	Unknown Class = iota
	// Throttled: refused for the quota before anything ran. It costs the job
	// nothing; try again later.
	Throttled
	// NotSent: certainly no task was made, since Tencent was not reached or
	// refused for a passing reason. A retry may work.
	NotSent
	// Account: every call will fail until a person acts.
	Account
	// Permanent: this request will never work.
	Permanent
	// Clock: certainly no task was made, since Tencent refused the time that
	// was signed. Its answer told the right one, with which the next call of
	// this Client is signed: try again at once. It costs the job nothing and
	// cannot go round: what was learnt stays for a minute, and what is refused
	// for its time meanwhile is of class Account.
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
	// Code is Tencent's, or one of this client's own that begins with
	// "ClientError.".
	Code string
	// Message says what happened, in at most 256 printable bytes without
	// secrets. Tencent may change its texts: show it, never parse it.
	Message   string
	RequestID string // empty when no answer came
	// Err is the cause where there is one: of the network, or of the context,
	// also when the context ended in the middle of the answer.
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

// newError reads what the SDK returned and what the transport saw of a call.
// Its Message is as others wrote it.
func newError(ctx context.Context, x *exchange, err error) *Error {
	e := &Error{}
	var answer *tcerr.TencentCloudSDKError
	errors.As(err, &answer)
	var broken *url.Error // whatever goes wrong in the transport comes as one
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
	default: // the transport refused the request before it asked for a connection
		e.Code, e.Message = codeBuildRequest, cmp.Or(e.Message, err.Error())
	}
	e.Class = Explain(e.Code).Class
	return e
}

// incomplete is the error for an answer that reports success without field.
func incomplete(req tchttp.Request, field, requestID string) *Error {
	return &Error{
		Action:    req.GetAction(),
		Class:     Explain(codeIncomplete).Class,
		Code:      codeIncomplete,
		Message:   "no " + field + " in the response",
		RequestID: clean(requestID),
	}
}

// describe names the status, and the body because proxies explain themselves
// there.
func (x *exchange) describe() string {
	s := fmt.Sprintf("HTTP %d %s", x.status, http.StatusText(x.status))
	if len(x.body) > 0 {
		s += ": " + string(x.body)
	}
	return s
}

// maxText bounds what others wrote and people will read, in bytes.
const maxText = 256

// clean makes one printable line of at most maxText bytes.
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

package tiw_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/tiw"
)

// classes lists Tencent's error codes by the class that the queue gives them.
var classes = map[tiw.Class][]string{
	tiw.Throttled: {
		"RequestLimitExceeded", "RequestLimitExceeded.IPLimitExceeded", "RequestLimitExceeded.UinLimitExceeded",
		"RequestLimitExceeded.GlobalRegionUinLimitExceeded", "LimitExceeded", "LimitExceeded.TaskConcurrency",
	},
	tiw.Unknown: {"InternalError", "ServiceUnavailable", "ResponseSizeLimitExceeded"},
	tiw.NotSent: {"ResourceUnavailable", "ResourceInsufficient", "ResourceInUse", "FailedOperation"},
	tiw.Account: {
		"ResourceUnavailable.NotRegistered", "ResourceUnavailable.ServiceExpired",
		"ResourceUnavailable.InterfaceUnAuthorized",
		"UnauthorizedOperation", "UnauthorizedOperation.SdkAppId",
		"AuthFailure", "AuthFailure.UnauthorizedOperation", "AuthFailure.SignatureExpire", "AuthFailure.SignatureFailure",
		"AuthFailure.TokenFailure", "AuthFailure.SecretIdNotFound", "AuthFailure.InvalidSecretId",
		"AuthFailure.InvalidAuthorization", "AuthFailure.MFAFailure",
		"IpInBlacklist", "IpNotInWhitelist", "InvalidAction", "NoSuchVersion", "NoSuchProduct", "ActionOffline",
		"UnsupportedProtocol", "UnsupportedRegion", "InvalidParameter.CallbackAddressFormatError",
	},
	tiw.Permanent: {
		"InvalidParameter", "InvalidParameter.SdkAppIdNotFound", "InvalidParameter.TaskNotFound", "InvalidParameterValue",
		"MissingParameter", "UnknownParameter", "InvalidRequest", "RequestSizeLimitExceeded", "ResourceNotFound",
		"UnsupportedOperation", "DryRunOperation", "InternalErr",
	},
}

func TestErrorCodeClasses(t *testing.T) {
	t.Parallel()
	var code string
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, errorEnvelope(code)) })
	c := newClient(t, tiw.Options{Endpoint: s.URL})
	tested := map[string]bool{}
	for class, codes := range classes {
		for _, code = range codes {
			tested[code] = true
			for action, call := range map[string]func() error{
				"CreateSnapshotTask":   func() error { _, err := create(t.Context(), c); return err },
				"DescribeSnapshotTask": func() error { _, err := describe(t.Context(), c); return err },
			} {
				before := s.hits.Load()
				got := apiError(t, call())
				want := &tiw.Error{Action: action, Class: class, Code: code, Message: "test message", RequestID: "req-1"}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", code, diff)
				}
				if hits := s.hits.Load() - before; hits != 1 {
					t.Errorf("%s: the server received %d requests for one call", code, hits)
				}
			}
		}
	}
	for _, code := range tiw.Codes() {
		if !tested[code] && !strings.HasPrefix(code, "ClientError") {
			t.Errorf("code %s is in the error table, but not in this test", code)
		}
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	t.Run("every code has a meaning and a fix", func(t *testing.T) {
		for _, code := range append(tiw.Codes(), "NeverHeardOf.It") {
			e := tiw.Explain(code)
			for _, s := range []string{e.Meaning, e.Fix} {
				if s == "" || strings.HasSuffix(s, ".") {
					t.Errorf("Explain(%s) has %q, want a text without a full stop", code, s)
				}
			}
		}
	})
	t.Run("new codes have the class of the part before the first dot", func(t *testing.T) {
		for code, class := range map[string]tiw.Class{
			"RequestLimitExceeded.New":            tiw.Throttled,
			"LimitExceeded.TranscodePages":        tiw.Throttled,
			"InternalError.Timeout":               tiw.Unknown,
			"ResourceInUse.RecordUserId":          tiw.NotSent,
			"FailedOperation.Record":              tiw.NotSent,
			"AuthFailure.New":                     tiw.Account,
			"UnauthorizedOperation.New":           tiw.Account,
			"InvalidParameterValue.A.B":           tiw.Permanent,
			"UnsupportedOperation.InvalidTask":    tiw.Permanent,
			"InvalidParameter.UrlFormatError":     tiw.Permanent,
			"ClientError.CircuitBreakerError":     tiw.Unknown,
			"ResourceUnavailable.SomethingPasses": tiw.NotSent,
		} {
			if got := tiw.Explain(code).Class; got != class {
				t.Errorf("Explain(%s).Class = %v, want %v", code, got, class)
			}
		}
	})
	t.Run("all other codes are unknown", func(t *testing.T) {
		for _, code := range []string{"", ".", "NeverHeardOf", "NeverHeardOf.It", "requestlimitexceeded"} {
			if got := tiw.Explain(code).Class; got != tiw.Unknown {
				t.Errorf("Explain(%q).Class = %v, want %v", code, got, tiw.Unknown)
			}
		}
	})
	t.Run("only one code concerns a single application", func(t *testing.T) {
		for _, code := range tiw.Codes() {
			if got, want := tiw.Explain(code).OneApp, code == "UnauthorizedOperation.SdkAppId"; got != want {
				t.Errorf("Explain(%s).OneApp = %v, want %v", code, got, want)
			}
		}
	})
}

func ExampleExplain() {
	e := tiw.Explain("ResourceUnavailable.ServiceExpired")
	fmt.Printf("%s: %s\n%s\n", e.Class, e.Meaning, e.Fix)
	// Output:
	// account: the service has expired or the account is in arrears
	// renew it or top up the account in Tencent's console
}

package tiw

import "strings"

// Codes of this client, for calls without an error code of Tencent. They have the SDK's
// names, if it has one.
const (
	clientError         = "ClientError"
	codeNotPermitted    = clientError + ".NotPermitted"
	codeNetwork         = clientError + ".NetworkError"
	codeIO              = clientError + ".IOError"
	codeParseJSON       = clientError + ".ParseJsonError"
	codeHTTPStatus      = clientError + ".HttpStatusCodeError"
	codeTooManyRequests = clientError + ".TooManyRequests"
	codeIncomplete      = clientError + ".IncompleteResponse"
	codeBuildRequest    = clientError + ".BuildRequestError"
	codeClockSkew       = clientError + ".ClockSkew"

	// CodeConnect: no connection, nothing was sent.
	CodeConnect = clientError + ".ConnectError"
	// The following codes are results of snapshots, not of calls.

	// CodeResultTimeout: the task had no result in time.
	CodeResultTimeout = clientError + ".ResultTimeout"
	// CodeOddResult: the result has an undocumented form.
	CodeOddResult = clientError + ".OddResult"
	// CodeNoImage: the task succeeded without an image, which is no failure.
	CodeNoImage = clientError + ".NoImage"
	// CodeImageLost: an image could not be copied while Tencent had it. The snapshot has
	// succeeded.
	CodeImageLost = clientError + ".ImageLost"
	// CodeInvalidRoom: another release of tiwsnap accepted the room, but it is invalid in
	// this one.
	CodeInvalidRoom = clientError + ".InvalidRoom"

	// Tencent's code for a wrong signing time. If the response allows a correction, the
	// call ends with codeClockSkew instead.
	codeSignatureExpire = "AuthFailure.SignatureExpire"
)

func isClientError(code string) bool { return strings.HasPrefix(code, clientError) }

// Explanation is the meaning of an error code and its fix.
type Explanation struct {
	Class   Class
	Meaning string
	Fix     string
	// OneApp is true if the error concerns only the SdkAppId of the request.
	OneApp bool
}

// Explain looks up an error code, then its part before the first dot. An undocumented
// code is of class Unknown: the task may exist, so a retry is bounded and counted as a
// possible duplicate.
func Explain(code string) Explanation {
	if e, ok := explanations[code]; ok {
		return e
	}
	family, _, _ := strings.Cut(code, ".")
	if e, ok := explanations[family]; ok {
		return e
	}
	return Explanation{
		Class:   Unknown,
		Meaning: "a code that Tencent does not document for this API",
		Fix:     "read the message; if it lasts, ask Tencent's support with the RequestId",
	}
}

// explanations has the codes that Tencent documents for the two actions, the common
// codes of its API 3.0, and those of this client. Sources:
// https://www.tencentcloud.com/document/product/1176/55153 (the action),
// https://www.tencentcloud.com/document/product/1176/55215 (common codes),
// https://cloud.tencent.com/document/product/1278/109059 (frequency limits).
// The classes are this project's choice.
var explanations = map[string]Explanation{
	// Quota: rejected before the request reaches the service.
	"RequestLimitExceeded": {
		Class:   Throttled,
		Meaning: "more requests in a second than the rate limit of this API allows",
		Fix: "nothing, unless it lasts: then find other clients of the same account, or ask Tencent for a " +
			"higher quota",
	},
	"RequestLimitExceeded.IPLimitExceeded": {
		Class:   Throttled,
		Meaning: "more requests in a second than one source address may make",
		Fix:     "find what else calls Tencent from this address, or use a second address",
	},
	"RequestLimitExceeded.UinLimitExceeded": {
		Class:   Throttled,
		Meaning: "more requests in a second than the whole account may make",
		Fix:     "find what else calls Tencent with this account, or ask Tencent for more",
	},
	"RequestLimitExceeded.GlobalRegionUinLimitExceeded": {
		Class:   Throttled,
		Meaning: "more requests in a second than the whole account may make over all regions",
		Fix:     "find what else calls Tencent with this account, or ask Tencent for more",
	},
	"LimitExceeded": {
		Class:   Throttled,
		Meaning: "a quota of the account is used up",
		Fix:     "wait some minutes; if it lasts, ask Tencent for more",
	},
	"LimitExceeded.TaskConcurrency": {
		Class:   Throttled,
		Meaning: "the account has reached its limit of concurrent tasks",
		Fix:     "wait for running tasks to end; if it lasts, ask Tencent for more",
	},
	codeTooManyRequests: {
		Class:   Throttled,
		Meaning: "HTTP 429 from something in front of Tencent's API",
		Fix:     "look at the proxy or gateway between here and Tencent",
	},

	// The task may exist.
	"InternalError": {
		Class:   Unknown,
		Meaning: "something failed inside Tencent; its gateway also says so when the service behind it was too slow",
		Fix:     "nothing, unless it lasts: then ask Tencent's support with the RequestId",
	},
	"ServiceUnavailable": {
		Class:   Unknown,
		Meaning: "the service is down for the moment",
		Fix:     "nothing, unless it lasts: then look at Tencent's status page",
	},
	"ResponseSizeLimitExceeded": {
		Class:   Unknown,
		Meaning: "the response was too large for Tencent's gateway and is lost",
		Fix:     "ask Tencent's support with the RequestId",
	},
	codeNetwork: {
		Class:   Unknown,
		Meaning: "the connection broke or timed out, after the request may have been sent",
		Fix:     "look at the network between here and Tencent, and at the timeout",
	},
	codeIO: {
		Class:   Unknown,
		Meaning: "the response could not be read to its end",
		Fix:     "look at the network between here and Tencent, and at the timeout",
	},
	codeParseJSON: {
		Class:   Unknown,
		Meaning: "the response is not one of Tencent's API",
		Fix:     "check the endpoint, and what proxy stands in between",
	},
	codeHTTPStatus: {
		Class:   Unknown,
		Meaning: "an HTTP status other than 200, which Tencent's API never uses for a request that it has processed",
		Fix:     "check the endpoint, and what proxy stands in between",
	},
	codeIncomplete: {
		Class:   Unknown,
		Meaning: "the response reports success but lacks a required field",
		Fix:     "ask Tencent's support with the RequestId",
	},
	clientError: {
		Class:   Unknown,
		Meaning: "the call failed in this client",
		Fix:     "read the message",
	},

	// Results of tasks, not of calls.
	"InternalErr": {
		Class:   Permanent,
		Meaning: "Tencent created the task and failed to render the whiteboard",
		Fix:     "retry the room; if it fails again, ask Tencent's support with the TaskID",
	},
	CodeResultTimeout: {
		Class:   Permanent,
		Meaning: "the task was created and has not finished in time",
		Fix:     "ask Tencent's support with the TaskID",
	},
	CodeOddResult: {
		Class:   Permanent,
		Meaning: "the task was created, but Tencent reported its end in an undocumented way",
		Fix:     "look at the images, if there are any; otherwise retry the room, or ask Tencent's support with the TaskID",
	},
	CodeNoImage: {
		Class:   Permanent,
		Meaning: "the task succeeded without an image: most likely nobody has marked a page of the board",
		Fix:     "make the classroom application call addSnapshotMark, then enqueue the room again",
	},
	CodeImageLost: {
		Class:   Permanent,
		Meaning: "an image could not be copied in the three days for which Tencent keeps it",
		Fix: "read the message about its host; a retry copies the image if Tencent still has it; " +
			"otherwise enqueue the room again",
	},
	CodeInvalidRoom: {
		Class:   Permanent,
		Meaning: "the room was accepted by another release of tiwsnap and is invalid in this one: nothing was sent",
		Fix:     "correct the room as the message says, and enqueue it again",
	},

	// No task exists; a retry may succeed.
	CodeConnect: {
		Class:   NotSent,
		Meaning: "no connection to the endpoint: nothing was sent",
		Fix:     "check the endpoint, DNS, firewall, proxy and the machine's certificates",
	},
	codeNotPermitted: {
		Class:   NotSent,
		Meaning: "the permit of the rate limit expired before the connection was ready: nothing was sent",
		Fix:     "nothing, unless it lasts: then find out why connections to the endpoint take so long",
	},
	"ResourceUnavailable": {
		Class:   NotSent,
		Meaning: "refused: something that the task needs is not available",
		Fix:     "check the application in Tencent's console",
	},
	"ResourceInsufficient": {
		Class:   NotSent,
		Meaning: "refused: Tencent lacks resources at the moment",
		Fix:     "nothing, unless it lasts: then ask Tencent's support",
	},
	"ResourceInUse": {
		Class:   NotSent,
		Meaning: "refused: the resource is busy",
		Fix:     "nothing, unless it lasts: then look for another task on the same room",
	},
	"FailedOperation": {
		Class:   NotSent,
		Meaning: "refused: the operation failed",
		Fix:     "read the message; if it lasts, ask Tencent's support with the RequestId",
	},

	// The next call is signed with Tencent's time.
	codeClockSkew: {
		Class: Clock,
		Meaning: "this machine's clock is more than 5 minutes off Tencent's: requests are signed with Tencent's " +
			"time from now on",
		Fix: "nothing for the snapshots; set this machine's clock, by NTP",
	},

	// A person must act first.
	"ResourceUnavailable.NotRegistered": {
		Class:   Account,
		Meaning: "Interactive Whiteboard is not enabled for this account",
		Fix:     "enable it in Tencent's console",
	},
	"ResourceUnavailable.ServiceExpired": {
		Class:   Account,
		Meaning: "the service has expired or the account is in arrears",
		Fix:     "renew it or top up the account in Tencent's console",
	},
	"ResourceUnavailable.InterfaceUnAuthorized": {
		Class:   Account,
		Meaning: "the account has not been granted this API",
		Fix:     "ask Tencent to grant it",
	},
	"UnauthorizedOperation": {
		Class:   Account,
		Meaning: "the credentials lack the permission for this API",
		Fix:     "grant the user tiw:CreateSnapshotTask and tiw:DescribeSnapshotTask in CAM",
	},
	"UnauthorizedOperation.SdkAppId": {
		Class:   Account,
		Meaning: "the SdkAppId does not exist or belongs to another account",
		Fix:     "check the SdkAppId, and that the credentials are those of its account",
		OneApp:  true,
	},
	"AuthFailure": {
		Class:   Account,
		Meaning: "the credentials were refused",
		Fix:     "check SecretId, SecretKey and token",
	},
	"AuthFailure.UnauthorizedOperation": {
		Class:   Account,
		Meaning: "the credentials lack the permission for this API",
		Fix:     "grant the user tiw:CreateSnapshotTask and tiw:DescribeSnapshotTask in CAM",
	},
	codeSignatureExpire: {
		Class:   Account,
		Meaning: "the time of the request is more than 5 minutes off Tencent's",
		Fix:     "set this machine's clock, by NTP",
	},
	"AuthFailure.SignatureFailure": {
		Class: Account,
		Meaning: "the signature is wrong: the SecretKey does not belong to the SecretId, or a proxy changed the " +
			"request",
		Fix: "check the SecretKey, and that the endpoint is Tencent's own name",
	},
	"AuthFailure.TokenFailure": {
		Class:   Account,
		Meaning: "the token of temporary credentials is wrong or has expired",
		Fix:     "get new temporary credentials",
	},
	"AuthFailure.SecretIdNotFound": {
		Class:   Account,
		Meaning: "the SecretId does not exist: deleted, disabled or mistyped, or of Tencent's other site",
		Fix:     "check the SecretId in Tencent's console, and that the endpoint is that of the same site",
	},
	"AuthFailure.InvalidSecretId": {
		Class:   Account,
		Meaning: "the SecretId is not one for the API",
		Fix:     "use an API key from Tencent's CAM console",
	},
	"AuthFailure.InvalidAuthorization": {
		Class:   Account,
		Meaning: "the Authorization header is malformed",
		Fix:     "check the SecretId for stray characters",
	},
	"AuthFailure.MFAFailure": {
		Class:   Account,
		Meaning: "the account asks for multi-factor authentication",
		Fix:     "use a key of a user who needs none for this API",
	},
	"IpInBlacklist": {
		Class:   Account,
		Meaning: "this source address is on a blacklist",
		Fix:     "take it off the list in CAM or call from another address",
	},
	"IpNotInWhitelist": {
		Class:   Account,
		Meaning: "this source address is not on the whitelist",
		Fix:     "add it to the list in CAM",
	},
	"InvalidAction": {
		Class:   Account,
		Meaning: "the endpoint does not know the action",
		Fix:     "check the endpoint",
	},
	"NoSuchVersion": {
		Class:   Account,
		Meaning: "the endpoint does not know version 2019-09-19 of the API",
		Fix:     "check the endpoint",
	},
	"NoSuchProduct": {
		Class:   Account,
		Meaning: "the endpoint does not know the product",
		Fix:     "check the endpoint",
	},
	"ActionOffline": {
		Class:   Account,
		Meaning: "Tencent has withdrawn the API",
		Fix:     "look for its successor in Tencent's documents",
	},
	"UnsupportedProtocol": {
		Class:   Account,
		Meaning: "the endpoint does not accept the protocol",
		Fix:     "use https in the endpoint",
	},
	"UnsupportedRegion": {
		Class:   Account,
		Meaning: "the API does not exist in this region",
		Fix:     "check the region; the international site has ap-singapore only",
	},
	"InvalidParameter.CallbackAddressFormatError": {
		Class:   Account,
		Meaning: "the callback URL is not accepted, and all requests have the same base",
		Fix:     "check the public base URL of the callbacks",
	},
	codeBuildRequest: {
		// Caused by settings, never by the data of a room: JSON can encode all of it.
		Class:   Account,
		Meaning: "no request can be built from these settings",
		Fix:     "check SecretId and token for line ends and other stray characters",
	},

	// This request never succeeds.
	"InvalidParameter": {
		Class:   Permanent,
		Meaning: "a parameter is wrong",
		Fix:     "correct the room's parameters by the message",
	},
	"InvalidParameter.SdkAppIdNotFound": {
		Class:   Permanent,
		Meaning: "the SdkAppId does not exist",
		Fix:     "correct the SdkAppId",
	},
	"InvalidParameter.TaskNotFound": {
		Class:   Permanent,
		Meaning: "there is no such task for this SdkAppId, or it is too old",
		Fix: "retry the room, which creates a new task: " +
			"tiwsnap retry BATCH --failed --code InvalidParameter.TaskNotFound, or tiwsnap retry SNAPSHOT",
	},
	"InvalidParameterValue": {
		Class:   Permanent,
		Meaning: "the value of a parameter is wrong",
		Fix:     "correct the room's parameters by the message",
	},
	"MissingParameter": {
		Class:   Permanent,
		Meaning: "a required parameter is missing",
		Fix:     "add the parameter that the message names",
	},
	"UnknownParameter": {
		Class:   Permanent,
		Meaning: "a parameter that the API does not have",
		Fix:     "take out the parameter that the message names",
	},
	"InvalidRequest": {
		Class:   Permanent,
		Meaning: "the body of the request is malformed",
		Fix:     "report this as a bug of tiwsnap, with the RequestId",
	},
	"RequestSizeLimitExceeded": {
		Class:   Permanent,
		Meaning: "the request is too large",
		Fix:     "shorten the whiteboard's InitParams",
	},
	"ResourceNotFound": {
		Class:   Permanent,
		Meaning: "something that the request names does not exist",
		Fix:     "correct the room's parameters by the message",
	},
	"UnsupportedOperation": {
		Class:   Permanent,
		Meaning: "the operation is not supported for this room",
		Fix:     "read the message",
	},
	"DryRunOperation": {
		Class:   Permanent,
		Meaning: "the request would have worked, but was marked as a dry run",
		Fix:     "take out the parameter DryRun",
	},
}

// Label returns the label of an error code in metrics: "OK" for the empty code, a
// documented code, or "other", so that the number of labels is bounded.
func Label(code string) string {
	if code == "" {
		return "OK"
	}
	if _, ok := explanations[code]; !ok {
		return "other"
	}
	return code
}

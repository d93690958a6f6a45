package tiw

import "strings"

// Codes of this client's own, for calls that got no answer with a code of
// Tencent's. They follow the SDK's names where it has one.
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

	// CodeConnect is for a call that got no connection: nothing was sent.
	CodeConnect = clientError + ".ConnectError"
	// CodeResultTimeout is for a task whose result was not there in time. No
	// call ends with it.
	CodeResultTimeout = clientError + ".ResultTimeout"
	// CodeOddResult is for a task whose end Tencent has told in no way that it
	// documents. No call ends with it.
	CodeOddResult = clientError + ".OddResult"
	// CodeNoImage is for a task that worked and made no image. No call ends
	// with it, and it is no failure.
	CodeNoImage = clientError + ".NoImage"
	// CodeImageLost is for a snapshot that has an image that could not be copied
	// while Tencent had it. No call ends with it, and no snapshot fails with it.
	CodeImageLost = clientError + ".ImageLost"
	// CodeInvalidRoom is for a room that was accepted by another release of
	// tiwsnap and breaks the rules of this one. No call ends with it.
	CodeInvalidRoom = clientError + ".InvalidRoom"

	// Tencent's code for a time that is too far off. Where its answer helps to
	// set it right, the call ends with codeClockSkew instead.
	codeSignatureExpire = "AuthFailure.SignatureExpire"
)

func isClientError(code string) bool { return strings.HasPrefix(code, clientError) }

// Explanation is what an error code means and what a person can do about it.
type Explanation struct {
	Class   Class
	Meaning string
	Fix     string
	// OneApp is true when the fault lies in the SdkAppId of the request and
	// calls for other applications go on.
	OneApp bool
}

// Explain looks up an error code: the exact one, then the part before the
// first dot. A code that is in neither form in Tencent's documents is Unknown:
// it may come from behind the point where tasks are made, and a retry that is
// bounded and counted as a possible duplicate is the lesser harm.
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

// explanations has every code that Tencent documents for the two actions, the
// common ones of its API 3.0 and the client's own. Sources:
// https://www.tencentcloud.com/document/product/1176/55153 (the action),
// https://www.tencentcloud.com/document/product/1176/55215 (common codes),
// https://cloud.tencent.com/document/product/1278/109059 (frequency limits).
// The classes are this project's judgment.
var explanations = map[string]Explanation{
	// Quota. Tencent counts these calls before they reach the service.
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

	// The task may have been made.
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
		Meaning: "the answer was too large for Tencent's gateway, so what it said is lost",
		Fix:     "ask Tencent's support with the RequestId",
	},
	codeNetwork: {
		Class:   Unknown,
		Meaning: "the connection broke, or the time ran out, after the request may have been sent",
		Fix:     "look at the network between here and Tencent, and at the timeout",
	},
	codeIO: {
		Class:   Unknown,
		Meaning: "the answer could not be read to its end",
		Fix:     "look at the network between here and Tencent, and at the timeout",
	},
	codeParseJSON: {
		Class:   Unknown,
		Meaning: "the answer is not one of Tencent's API",
		Fix:     "check the endpoint, and what proxy stands in between",
	},
	codeHTTPStatus: {
		Class:   Unknown,
		Meaning: "an HTTP status other than 200, which Tencent's API never uses for a request that it has processed",
		Fix:     "check the endpoint, and what proxy stands in between",
	},
	codeIncomplete: {
		Class:   Unknown,
		Meaning: "the answer reports success but lacks what was asked for",
		Fix:     "ask Tencent's support with the RequestId",
	},
	clientError: {
		Class:   Unknown,
		Meaning: "the call failed in this client",
		Fix:     "read the message",
	},

	// Results of tasks rather than of calls.
	"InternalErr": {
		Class:   Permanent,
		Meaning: "Tencent made the task and failed to render the whiteboard",
		Fix:     "retry the room; if it fails again, ask Tencent's support with the TaskID",
	},
	CodeResultTimeout: {
		Class:   Permanent,
		Meaning: "the task was made and has not finished in time",
		Fix:     "ask Tencent's support with the TaskID",
	},
	CodeOddResult: {
		Class:   Permanent,
		Meaning: "the task was created, but Tencent reported its end in an undocumented way",
		Fix:     "look at the images, if there are any; else retry the room, or ask Tencent's support with the TaskID",
	},
	CodeNoImage: {
		Class:   Permanent,
		Meaning: "the task succeeded without an image: most likely nobody has marked a page of the board",
		Fix:     "see that the classroom application calls addSnapshotMark, then enqueue the room again",
	},
	CodeImageLost: {
		Class:   Permanent,
		Meaning: "an image could not be copied in the three days for which Tencent keeps it",
		Fix: "read the message about its host; a retry copies the image if Tencent still has it; " +
			"else enqueue the room again",
	},
	CodeInvalidRoom: {
		Class:   Permanent,
		Meaning: "the room breaks a rule that the release that enqueued it did not have: nothing was sent",
		Fix:     "correct the room as the message says, and enqueue it again",
	},

	// Certainly no task, and another time it may work.
	CodeConnect: {
		Class:   NotSent,
		Meaning: "no connection to the endpoint: nothing was sent",
		Fix:     "check the endpoint, DNS, firewall, proxy and the machine's certificates",
	},
	codeNotPermitted: {
		Class:   NotSent,
		Meaning: "the permit of the rate limit was void by the time there was a connection: nothing was sent",
		Fix:     "nothing, unless it lasts: then look why connections to the endpoint take so long",
	},
	"ResourceUnavailable": {
		Class:   NotSent,
		Meaning: "refused: something that the task needs is not available",
		Fix:     "check in Tencent's console that the application is in order",
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

	// Tencent's clock is known now, and the next call signed by it.
	codeClockSkew: {
		Class: Clock,
		Meaning: "this machine's clock is more than 5 minutes off Tencent's: requests are signed with Tencent's " +
			"time from now on",
		Fix: "nothing for the snapshots; set this machine's clock, by NTP",
	},

	// A person has to act first.
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
		// No request's own data can do this: it is JSON, which carries all.
		Class:   Account,
		Meaning: "no request can be built from these settings",
		Fix:     "check SecretId and token for line ends and other stray characters",
	},

	// This request will never work.
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
		Fix: "retry the room, which makes a new task: " +
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

// Label is an error code as a metric may have it: one that is documented, or
// "other", so that their number is bounded. The empty code is "OK".
func Label(code string) string {
	if code == "" {
		return "OK"
	}
	if _, ok := explanations[code]; !ok {
		return "other"
	}
	return code
}

package tiwtest

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"time"
)

const maxImageBytes = 64 << 20

// DefaultSecret is the default secret id and the default secret key.
const DefaultSecret = "simulator"

// Options configure a Server. With the zero value, responses are immediate, tasks
// end at once and there are no faults.
type Options struct {
	// Credentials are the keys by secret id. Default: simulator / simulator.
	Credentials map[string]Secret
	// Tokens are the X-TC-Token values by secret id. For a secret id without one,
	// requests with a token are rejected.
	Tokens map[string]Secret
	// StrictService accepts only the service "tiw" in a signature. By default the
	// first label of the host is accepted, too: SDKs take the service from it, which
	// is "127" for 127.0.0.1.
	StrictService bool
	// Regions are the accepted values of X-TC-Region. Empty: any.
	Regions []string
	// SdkAppIds are the applications of the account. Empty: any.
	SdkAppIds []uint64

	// Limit is the quota: requests per second for each action and secret id.
	// 0: 20, as documented; negative: no limit.
	Limit int
	// Window is how seconds are counted. Default: Calendar.
	Window Window
	// RejectedFree excludes rejected requests from the quota.
	RejectedFree bool

	// Delay is the median network delay before a request arrives and is counted,
	// DelaySigma the sigma of its lognormal distribution (0: constant). Requests may
	// overtake one another.
	Delay      time.Duration
	DelaySigma float64
	// Latency is the median time to a response, LatencySigma the sigma of its
	// lognormal distribution (0: constant).
	Latency      time.Duration
	LatencySigma float64
	// RejectLatency is the time to the response of a request that is rejected before
	// the backend.
	RejectLatency time.Duration

	// TaskDuration is the median duration of a task, TaskSigma the sigma of its
	// lognormal distribution.
	TaskDuration time.Duration
	TaskSigma    float64
	// TaskFailure is the probability that a task ends as InternalErr.
	TaskFailure float64
	// TaskRetention is how long a task is kept after its end, ImageRetention how long
	// its images are served. Default: 72 h.
	TaskRetention, ImageRetention time.Duration
	// Images is the number of images of a task, at most 255. Default: 1 to 4, by room.
	Images int
	// ImageBytes is the size that images are padded to, at most 64 MiB. 0: no padding.
	ImageBytes int
	// MaxTasks is the number of tasks kept; beyond it the oldest is evicted. Default:
	// 2,000,000.
	MaxTasks int
	// PublicURL is the base of the image URLs. Default: http:// and the Host header of
	// the request that created the task.
	PublicURL string

	// Envelope is the form of the callbacks. Default: EnvelopeTIW.
	Envelope Envelope
	// CallbackKey signs callbacks of EnvelopeTIW. Empty: they are not signed.
	CallbackKey Secret
	// CallbackTimeout is the timeout of a callback. Default: 5 s.
	CallbackTimeout time.Duration
	// CallbackSenders is the number of concurrent callbacks. Default: 32.
	CallbackSenders int

	// Faults are the injected faults at the start; SetFaults replaces them.
	Faults Faults
	// HoldLimit is how long an unanswered request is kept open (Faults.Silent,
	// ImageHang, ImageStall). Default: 2 min.
	HoldLimit time.Duration
	// SlowByte is the time between two bytes with Faults.SlowBody. Default: 100 ms.
	SlowByte time.Duration

	// RequestLog is the size of the log of CreateSnapshotTask requests. Default:
	// 100,000.
	RequestLog int
	// Seed is the seed of all random draws, which depend on it and on the order of
	// arrival alone. 0: a random seed, which State reports.
	Seed uint64
	// Clock is the server's clock. Default: time.Now.
	Clock func() time.Time
}

// Validate returns an error that lists all invalid options, or nil.
func (o *Options) Validate() error {
	errs := []error{o.Faults.Validate()}
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if o.Window != "" && o.Window != Calendar && o.Window != Sliding {
		bad("window is %q, it must be %s or %s", o.Window, Calendar, Sliding)
	}
	switch o.Envelope {
	case "", EnvelopeTIW, EnvelopeFlat, EnvelopeResult, EnvelopeEmpty:
	default:
		bad("callback envelope is %q, it must be %s, %s, %s or %s",
			o.Envelope, EnvelopeTIW, EnvelopeFlat, EnvelopeResult, EnvelopeEmpty)
	}
	if !(o.TaskFailure >= 0 && o.TaskFailure <= 1) {
		bad("task failure is %v, it must be from 0 to 1", o.TaskFailure)
	}
	for name, sigma := range map[string]float64{"delay": o.DelaySigma, "latency": o.LatencySigma, "task": o.TaskSigma} {
		if !(sigma >= 0 && sigma <= 5) {
			bad("%s sigma is %v, it must be from 0 to 5", name, sigma)
		}
	}
	for name, d := range map[string]time.Duration{
		"delay": o.Delay, "latency": o.Latency, "reject latency": o.RejectLatency, "task duration": o.TaskDuration,
		"task retention": o.TaskRetention, "image retention": o.ImageRetention,
		"callback timeout": o.CallbackTimeout, "hold limit": o.HoldLimit, "slow byte": o.SlowByte,
	} {
		if d < 0 {
			bad("%s is %v, it must not be negative", name, d)
		}
	}
	if o.Images < 0 || o.Images > math.MaxUint8 {
		bad("images is %d, it must be from 0 to %d", o.Images, math.MaxUint8)
	}
	if o.ImageBytes < 0 || o.ImageBytes > maxImageBytes {
		bad("image bytes is %d, it must be from 0 to %d", o.ImageBytes, maxImageBytes)
	}
	for name, n := range map[string]int{"max tasks": o.MaxTasks, "callback senders": o.CallbackSenders,
		"request log": o.RequestLog} {
		if n < 0 {
			bad("%s is %d, it must not be negative", name, n)
		}
	}
	return errors.Join(errs...)
}

func (o *Options) setDefaults() {
	if len(o.Credentials) == 0 {
		o.Credentials = map[string]Secret{DefaultSecret: DefaultSecret}
	}
	if o.Limit == 0 {
		o.Limit = 20
	}
	orDefault(&o.Window, Calendar)
	orDefault(&o.TaskRetention, 72*time.Hour)
	orDefault(&o.ImageRetention, 72*time.Hour)
	orDefault(&o.MaxTasks, 2_000_000)
	orDefault(&o.Envelope, EnvelopeTIW)
	orDefault(&o.CallbackTimeout, 5*time.Second)
	orDefault(&o.CallbackSenders, 32)
	orDefault(&o.HoldLimit, 2*time.Minute)
	orDefault(&o.SlowByte, 100*time.Millisecond)
	orDefault(&o.RequestLog, 100_000)
	if o.Seed == 0 {
		o.Seed = 1 + rand.Uint64N(1<<32) // few digits, easy to type
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	o.PublicURL = strings.TrimRight(o.PublicURL, "/")
}

func orDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

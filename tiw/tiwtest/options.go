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

// DefaultSecret is the secret id, and the secret key, where no credentials are
// given.
const DefaultSecret = "simulator"

// Options say how the server behaves. The zero value is a server that answers
// at once, whose tasks end at once and that never fails.
type Options struct {
	// Credentials are the keys by secret id. Default: simulator / simulator.
	Credentials map[string]Secret
	// Tokens are the X-TC-Token values by secret id. Of a secret id without
	// one no token is accepted.
	Tokens map[string]Secret
	// StrictService accepts only the service "tiw" in a signature. SDKs take
	// it from the first label of the endpoint, which is "127" for an address,
	// so by default that label is accepted too.
	StrictService bool
	// Regions are the accepted values of X-TC-Region. Empty: any.
	Regions []string
	// SdkAppIds are the applications of the account. Empty: any.
	SdkAppIds []uint64

	// Limit is the quota: calls in a second for each action and secret id.
	// 0: 20, as documented; negative: none.
	Limit int
	// Window is how seconds are drawn. Default: Calendar.
	Window Window
	// RejectedFree makes rejected calls take nothing from the quota.
	RejectedFree bool

	// Delay is the median time that each call is on its way before it arrives
	// and is counted, DelaySigma the sigma of its lognormal distribution (0:
	// always the same). Calls may overtake one another.
	Delay      time.Duration
	DelaySigma float64
	// Latency is the median time to an answer, LatencySigma the sigma of its
	// lognormal distribution (0: always the same).
	Latency      time.Duration
	LatencySigma float64
	// RejectLatency is the time to an answer of a call that is refused before
	// it reaches the backend.
	RejectLatency time.Duration

	// TaskDuration is the median time that a task runs, TaskSigma the sigma of
	// its lognormal distribution.
	TaskDuration time.Duration
	TaskSigma    float64
	// TaskFailure is the probability that a task ends as InternalErr.
	TaskFailure float64
	// TaskRetention and ImageRetention are how long a task is known and its
	// images are served after its end. Default: 72 h.
	TaskRetention, ImageRetention time.Duration
	// Images is how many images a task has, at most 255. Default: 1 to 4, by room.
	Images int
	// ImageBytes is the size that images are padded to, at most 64 MiB. Default: none.
	ImageBytes int
	// MaxTasks is how many tasks are kept; above, the oldest goes. Default: 2,000,000.
	MaxTasks int
	// PublicURL is the base of the image URLs. Default: http:// and the Host
	// of the call that created the task.
	PublicURL string

	// Envelope is the form of the callbacks. Default: EnvelopeTIW.
	Envelope Envelope
	// CallbackKey signs callbacks of EnvelopeTIW. Empty: they are not signed.
	CallbackKey Secret
	// CallbackTimeout bounds one callback. Default: 5 s.
	CallbackTimeout time.Duration
	// CallbackSenders is how many callbacks are sent at a time. Default: 32.
	CallbackSenders int

	// Faults are what goes wrong from the beginning; SetFaults changes them.
	Faults Faults
	// HoldLimit is how long a call with Faults.Silent, or an image that hangs, is
	// held. Default: 2 min.
	HoldLimit time.Duration
	// SlowByte is the time between two bytes with Faults.SlowBody. Default: 100 ms.
	SlowByte time.Duration

	// CallLog is how many CreateSnapshotTask calls Calls remembers. Default: 100,000.
	CallLog int
	// Seed makes everything that is drawn a function of the order of arrival.
	// 0: a random one, which State tells.
	Seed uint64
	// Clock is the server's clock. Default: time.Now.
	Clock func() time.Time
}

// Validate reports everything that is wrong with the options.
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
		"call log": o.CallLog} {
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
	orDefault(&o.CallLog, 100_000)
	if o.Seed == 0 {
		o.Seed = 1 + rand.Uint64N(1<<32) // few enough digits to be typed again
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

package tiwtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"
)

// Duration is a time.Duration that reads and writes "1m30s" in JSON.
type Duration time.Duration

func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// Period is a while that begins After and lasts For, both from the moment the
// faults were set.
type Period struct {
	After Duration `json:"after"`
	For   Duration `json:"for"`
}

// contains reports whether the time since the faults were set is in the
// period.
func (p Period) contains(since int64) bool {
	return since >= int64(p.After) && since-int64(p.After) < int64(p.For)
}

// Faults says what goes wrong, and how often. The rates are probabilities from
// 0 to 1; at most one of the rates of calls strikes a call, so their sum is at
// most 1. They strike a call that passed every check of ours.
type Faults struct {
	// InternalError answers InternalError; no task is created.
	InternalError float64 `json:"internalError"`
	// InternalErrorCreated answers InternalError; the task is created.
	InternalErrorCreated float64 `json:"internalErrorCreated"`
	// Cut creates the task and cuts the connection without an answer.
	Cut float64 `json:"cut"`
	// Silent creates the task and never answers, until the client leaves or
	// Options.HoldLimit is over.
	Silent float64 `json:"silent"`
	// HTML answers 502 with an HTML page; no task is created.
	HTML float64 `json:"html"`
	// CutJSON creates the task and answers with the first half of the JSON.
	CutJSON float64 `json:"cutJSON"`
	// Empty creates the task and answers {}.
	Empty float64 `json:"empty"`
	// SlowBody creates the task and answers byte by byte, one each
	// Options.SlowByte.
	SlowBody float64 `json:"slowBody"`
	// Redirect answers 302 to a page of the simulator that counts its visits
	// as "redirectFollowed"; no task is created.
	Redirect float64 `json:"redirect"`
	// Code answers the error code CodeName; no task is created.
	Code     float64 `json:"code"`
	CodeName string  `json:"codeName"`

	// Actions are the actions that the rates above apply to. Empty:
	// CreateSnapshotTask. For DescribeSnapshotTask nothing is created anyway.
	Actions []string `json:"actions,omitempty"`
	// During is when the rates above apply. A zero For: from After on, without end.
	During Period `json:"during"`

	// Arrears is when every call is refused with
	// ResourceUnavailable.ServiceExpired. A zero For: never.
	Arrears Period `json:"arrears"`
	// RoomCodes are error codes by RoomId, and AppCodes by SdkAppId: calls that
	// name one are answered the code, always, and no task is created.
	RoomCodes map[uint64]string `json:"roomCodes,omitempty"`
	AppCodes  map[uint64]string `json:"appCodes,omitempty"`
	// ForeignLoad is how many CreateSnapshotTask calls a second, 0 to 10,000,
	// somebody else sends on the same quota, evenly spread.
	ForeignLoad int `json:"foreignLoad"`

	// Shapes are the rates of tasks, by the shape in which their end is told;
	// their sum is at most 1.
	Shapes map[Shape]float64 `json:"shapes,omitempty"`
	// Images are the rates of requests for images, by what they are answered
	// instead; their sum is at most 1. ImagesFirst ends that after so many requests
	// since the faults were set; 0: never.
	Images      map[ImageFault]float64 `json:"images,omitempty"`
	ImagesFirst int                    `json:"imagesFirst"`
	// UnknownTask is the error code that a Describe of an unknown task is
	// answered with, or "nulls": an answer whose fields are null. Empty:
	// InvalidParameter.TaskNotFound.
	UnknownTask string `json:"unknownTask"`

	// CallbackLost is the rate of callbacks that are never sent.
	CallbackLost float64 `json:"callbackLost"`
	// CallbackDouble is the rate of callbacks that are sent twice.
	CallbackDouble float64 `json:"callbackDouble"`
	// CallbackEarly is the rate of tasks that end at once and whose callback
	// is sent before the answer to the call that created them.
	CallbackEarly float64 `json:"callbackEarly"`
	// CallbackDelay is how long after the end of the task its callback is sent.
	CallbackDelay Duration `json:"callbackDelay"`
	// CallbackRetries is how often a callback is sent again that was not
	// answered 2xx, and CallbackRetryAfter how long after each try.
	CallbackRetries    int      `json:"callbackRetries"`
	CallbackRetryAfter Duration `json:"callbackRetryAfter"`
}

const maxForeignLoad = 10_000

// unknownTaskNulls is the UnknownTask that is no error code.
const unknownTaskNulls = "nulls"

// Validate reports everything that is wrong with the faults.
func (f *Faults) Validate() error {
	var errs []error
	sum := 0.0
	for _, r := range f.rates() {
		sum += r.rate
		if !(r.rate >= 0 && r.rate <= 1) {
			errs = append(errs, fmt.Errorf("fault %s is %v, it must be from 0 to 1", r.fault, r.rate))
		}
	}
	if sum > 1+1e-9 {
		errs = append(errs, fmt.Errorf("the rates of the faults of calls add up to %v, at most 1 is possible", sum))
	}
	for name, rate := range map[string]float64{
		"callbackLost": f.CallbackLost, "callbackDouble": f.CallbackDouble, "callbackEarly": f.CallbackEarly,
	} {
		if !(rate >= 0 && rate <= 1) {
			errs = append(errs, fmt.Errorf("fault %s is %v, it must be from 0 to 1", name, rate))
		}
	}
	errs = append(errs, validateRates("shape", Shapes, f.Shapes), validateRates("image", ImageFaults, f.Images))
	if f.ImagesFirst < 0 {
		errs = append(errs, fmt.Errorf("imagesFirst is %d, it must not be negative", f.ImagesFirst))
	}
	if f.CallbackRetries < 0 {
		errs = append(errs, fmt.Errorf("callbackRetries is %d, it must not be negative", f.CallbackRetries))
	}
	if f.Code > 0 && f.CodeName == "" {
		errs = append(errs, errors.New("fault code needs codeName, the error code to answer"))
	}
	for name, codes := range map[string]map[uint64]string{"roomCodes": f.RoomCodes, "appCodes": f.AppCodes} {
		for id, code := range codes {
			if code == "" {
				errs = append(errs, fmt.Errorf("%s names no error code for %d", name, id))
			}
		}
	}
	for _, a := range f.Actions {
		if a != ActionCreate && a != ActionDescribe {
			errs = append(errs, fmt.Errorf("faults name the action %q, known are %s and %s",
				a, ActionCreate, ActionDescribe))
		}
	}
	if f.ForeignLoad < 0 || f.ForeignLoad > maxForeignLoad {
		errs = append(errs, fmt.Errorf("foreignLoad is %d, it must be from 0 to %d", f.ForeignLoad, maxForeignLoad))
	}
	if f.CallbackDelay < 0 || f.CallbackRetryAfter < 0 || f.During.After < 0 || f.During.For < 0 ||
		f.Arrears.After < 0 || f.Arrears.For < 0 {
		errs = append(errs, errors.New("a duration of the faults is negative"))
	}
	return errors.Join(errs...)
}

// validateRates reports what is wrong with rates by name, which are a share each.
func validateRates[Name ~string](what string, known []Name, rates map[Name]float64) error {
	var errs []error
	sum := 0.0
	for name, rate := range rates {
		sum += rate
		if !slices.Contains(known, name) {
			errs = append(errs, fmt.Errorf("fault %ss names %.40q, known are %s", what, name, known))
		}
		if !(rate >= 0 && rate <= 1) {
			errs = append(errs, fmt.Errorf("fault %s %s is %v, it must be from 0 to 1", what, name, rate))
		}
	}
	if sum > 1+1e-9 {
		errs = append(errs, fmt.Errorf("the rates of the %ss add up to %v, at most 1 is possible", what, sum))
	}
	return errors.Join(errs...)
}

// codeOf is the error code that calls for the application, or for the room, are
// answered, or empty.
func (f *Faults) codeOf(app, room uint64) string {
	if code := f.AppCodes[app]; code != "" {
		return code
	}
	return f.RoomCodes[room]
}

// fault is what strikes one call, by its name in JSON. Empty: nothing.
type fault string

const (
	faultInternalError        fault = "internalError"
	faultInternalErrorCreated fault = "internalErrorCreated"
	faultCut                  fault = "cut"
	faultSilent               fault = "silent"
	faultHTML                 fault = "html"
	faultCutJSON              fault = "cutJSON"
	faultEmpty                fault = "empty"
	faultSlowBody             fault = "slowBody"
	faultRedirect             fault = "redirect"
	faultCode                 fault = "code"
)

// creates reports whether the call does its work before the fault strikes.
func (f fault) creates() bool {
	switch f {
	case faultInternalError, faultHTML, faultRedirect, faultCode:
		return false
	}
	return true
}

type rate struct {
	fault fault
	rate  float64
}

func (f *Faults) rates() [10]rate {
	return [10]rate{
		{faultInternalError, f.InternalError},
		{faultInternalErrorCreated, f.InternalErrorCreated},
		{faultCut, f.Cut},
		{faultSilent, f.Silent},
		{faultHTML, f.HTML},
		{faultCutJSON, f.CutJSON},
		{faultEmpty, f.Empty},
		{faultSlowBody, f.SlowBody},
		{faultRedirect, f.Redirect},
		{faultCode, f.Code},
	}
}

// pick returns the fault that strikes a call of the action, since ns after the
// faults were set, for a u drawn from [0, 1).
func (f *Faults) pick(action string, since int64, u float64) fault {
	if len(f.Actions) == 0 && action != ActionCreate || len(f.Actions) > 0 && !slices.Contains(f.Actions, action) {
		return ""
	}
	if f.During.For > 0 && !f.During.contains(since) || since < int64(f.During.After) {
		return ""
	}
	for _, r := range f.rates() {
		if u < r.rate {
			return r.fault
		}
		u -= r.rate
	}
	return ""
}

// SetFaults replaces the faults; their periods begin now. The error says what
// is wrong with them, and then nothing changes.
func (s *Server) SetFaults(f Faults) error {
	if err := f.Validate(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults, s.faultsAt, s.asked = f, s.now(), 0
	for _, b := range s.buckets {
		b.last = s.faultsAt // foreign load begins now
	}
	return nil
}

func (s *Server) serveFaults(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	f := s.faults
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(f)
}

func (s *Server) serveSetFaults(w http.ResponseWriter, r *http.Request) {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10))
	d.DisallowUnknownFields()
	var f Faults
	err := d.Decode(&f)
	if err == nil {
		err = s.SetFaults(f)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.serveFaults(w, r)
}

func (s *Server) serveElsewhere(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	s.struck["redirectFollowed"]++
	s.mu.Unlock()
	io.WriteString(w, "a client of the API has no business here\n")
}

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

// Duration is a time.Duration that is a string such as "1m30s" in JSON.
type Duration time.Duration

func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// Period begins After the faults were set and lasts For.
type Period struct {
	After Duration `json:"after"`
	For   Duration `json:"for"`
}

// contains reports whether the period contains the time since ns after the faults
// were set.
func (p Period) contains(since int64) bool {
	return since >= int64(p.After) && since-int64(p.After) < int64(p.For)
}

// Faults are the injected faults. Rates are probabilities from 0 to 1. A request
// gets at most one fault, so the rates of request faults add up to at most 1. They
// apply to requests that pass all checks.
type Faults struct {
	// InternalError responds with InternalError; no task is created.
	InternalError float64 `json:"internalError"`
	// InternalErrorCreated responds with InternalError; the task is created.
	InternalErrorCreated float64 `json:"internalErrorCreated"`
	// Cut creates the task and closes the connection without a response.
	Cut float64 `json:"cut"`
	// Silent creates the task and sends no response. The connection closes after
	// Options.HoldLimit.
	Silent float64 `json:"silent"`
	// HTML responds with status 502 and an HTML page; no task is created.
	HTML float64 `json:"html"`
	// CutJSON creates the task and sends the first half of the JSON.
	CutJSON float64 `json:"cutJSON"`
	// Empty creates the task and responds with {}.
	Empty float64 `json:"empty"`
	// SlowBody creates the task and sends one byte each Options.SlowByte.
	SlowBody float64 `json:"slowBody"`
	// Redirect responds with status 302; no task is created. Its target is a page
	// of the simulator, which counts its requests as "redirectFollowed".
	Redirect float64 `json:"redirect"`
	// Code responds with the error code CodeName; no task is created.
	Code     float64 `json:"code"`
	CodeName string  `json:"codeName"`

	// Actions are the actions that the rates above apply to. Empty:
	// CreateSnapshotTask. DescribeSnapshotTask never creates a task.
	Actions []string `json:"actions,omitempty"`
	// During is the period in which the rates above apply. A zero For: from After
	// on, without end.
	During Period `json:"during"`

	// Arrears is the period in which every request is rejected with
	// ResourceUnavailable.ServiceExpired. A zero For: never.
	Arrears Period `json:"arrears"`
	// RoomCodes maps RoomIds, AppCodes SdkAppIds, to the error code of every
	// request for them. No task is created.
	RoomCodes map[uint64]string `json:"roomCodes,omitempty"`
	AppCodes  map[uint64]string `json:"appCodes,omitempty"`
	// ForeignLoad is the number of CreateSnapshotTask requests per second, 0 to
	// 10,000, that another client sends on the same quota, evenly spaced.
	ForeignLoad int `json:"foreignLoad"`

	// Shapes are the rates of tasks whose result has an undocumented shape; they
	// add up to at most 1.
	Shapes map[Shape]float64 `json:"shapes,omitempty"`
	// Images are the rates of image requests that fail, by fault; they add up to at
	// most 1. They apply to the first ImagesFirst image requests after the faults
	// were set; 0: to all.
	Images      map[ImageFault]float64 `json:"images,omitempty"`
	ImagesFirst int                    `json:"imagesFirst"`
	// UnknownTask is the error code of a Describe of an unknown task, or "nulls": a
	// response whose fields are null. Empty: InvalidParameter.TaskNotFound.
	UnknownTask string `json:"unknownTask"`

	// CallbackLost is the rate of callbacks that are never sent.
	CallbackLost float64 `json:"callbackLost"`
	// CallbackDouble is the rate of callbacks that are sent twice.
	CallbackDouble float64 `json:"callbackDouble"`
	// CallbackEarly is the rate of tasks that end at once and whose callback is sent
	// before the response to the request that created them.
	CallbackEarly float64 `json:"callbackEarly"`
	// CallbackDelay is the time from the end of a task to its callback.
	CallbackDelay Duration `json:"callbackDelay"`
	// CallbackRetries is the maximum number of retries of a callback that got no 2xx
	// response, CallbackRetryAfter the time before each retry.
	CallbackRetries    int      `json:"callbackRetries"`
	CallbackRetryAfter Duration `json:"callbackRetryAfter"`
}

const maxForeignLoad = 10_000

// unknownTaskNulls is the value of UnknownTask for a response of nulls.
const unknownTaskNulls = "nulls"

// Validate returns an error that lists all invalid faults, or nil.
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
		errs = append(errs, fmt.Errorf("the rates of the request faults add up to %v, they must not exceed 1", sum))
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
		errs = append(errs, errors.New("fault code needs codeName, the error code of the response"))
	}
	for name, codes := range map[string]map[uint64]string{"roomCodes": f.RoomCodes, "appCodes": f.AppCodes} {
		for id, code := range codes {
			if code == "" {
				errs = append(errs, fmt.Errorf("%s has no error code for %d", name, id))
			}
		}
	}
	for _, a := range f.Actions {
		if a != ActionCreate && a != ActionDescribe {
			errs = append(errs, fmt.Errorf("unknown action %q in the faults, it must be %s or %s",
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

// validateRates returns an error for unknown names, for rates outside 0 to 1 and
// for a sum beyond 1.
func validateRates[Name ~string](what string, known []Name, rates map[Name]float64) error {
	var errs []error
	sum := 0.0
	for name, rate := range rates {
		sum += rate
		if !slices.Contains(known, name) {
			errs = append(errs, fmt.Errorf("unknown %s fault %.40q, it must be one of %s", what, name, known))
		}
		if !(rate >= 0 && rate <= 1) {
			errs = append(errs, fmt.Errorf("%s fault %s is %v, it must be from 0 to 1", what, name, rate))
		}
	}
	if sum > 1+1e-9 {
		errs = append(errs, fmt.Errorf("the rates of the %s faults add up to %v, they must not exceed 1", what, sum))
	}
	return errors.Join(errs...)
}

// codeFor returns the error code that is set for the application or the room, or
// an empty string.
func (f *Faults) codeFor(app, room uint64) string {
	if code := f.AppCodes[app]; code != "" {
		return code
	}
	return f.RoomCodes[room]
}

// fault is the JSON name of a request fault. Empty: none.
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

// creates reports whether the task is created in spite of the fault.
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

// pick returns the fault of a request for the action, since ns after the faults
// were set. u is drawn from [0, 1).
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

// SetFaults replaces the faults; their periods begin now. If the faults are
// invalid, it returns the error of Validate and changes nothing.
func (s *Server) SetFaults(f Faults) error {
	if err := f.Validate(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults, s.faultsAt, s.imageRequests = f, s.now(), 0
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

func (s *Server) serveRedirected(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	s.faultCounts["redirectFollowed"]++
	s.mu.Unlock()
	io.WriteString(w, "A client of the API must not follow redirects.\n")
}

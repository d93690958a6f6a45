package gate

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"tiwsnap/tiw"
)

// Cause is what stops requests.
type Cause string

// The causes. Of those that open the breaker, Storm to Person, the later one prevails.
const (
	Application Cause = "application"  // Tencent refuses the SdkAppId: only its requests are stopped
	Storm       Cause = "storm"        // Tencent's API returns errors, or does not answer
	Connection  Cause = "connection"   // the endpoint cannot be reached
	Account     Cause = "account"      // Tencent refuses the account: arrears, credentials, a quota
	Person      Cause = "person"       // a person has stopped all sending
	PausedQueue Cause = "paused-queue" // a person has paused a queue in asynqmon
	NoReplica   Cause = "no-replica"   // replicas of Redis do not confirm intents, as the settings require
	NoWorker    Cause = "no-worker"    // no worker runs; never set by the gate itself
)

// Ended returns what had stopped sending, for the person who started it again: "it was stopped by a person". It is
// empty for an empty cause.
func (c Cause) Ended() string {
	why := string(c)
	switch c {
	case "":
		return ""
	case Person:
		why = "by a person"
	case Account:
		why = "because Tencent refused the account"
	case Connection:
		why = "because the endpoint was unreachable"
	case Storm:
		why = "because Tencent's API returned only errors"
	}
	return "it was stopped " + why
}

// Stop says why requests are not sent: all of them, or those of one application.
// Every place that shows the state shows this.
type Stop struct {
	What      string    `json:"what" doc:"What is stopped"`
	Cause     Cause     `json:"cause" enum:"application,storm,connection,account,person,paused-queue,no-replica,no-worker"`
	Queue     string    `json:"queue,omitempty" doc:"The paused queue"`
	App       uint64    `json:"sdk_app_id,omitempty" doc:"The suspended application"`
	Phase     string    `json:"phase" enum:"open,half-open" doc:"half-open: single requests are sent as trials"`
	Since     time.Time `json:"since,omitzero" doc:"Left out if unknown"`
	Why       string    `json:"why"`
	WaitsFor  string    `json:"waits_for" doc:"What ends it by itself, if anything"`
	NextTrial time.Time `json:"next_trial_at,omitzero" doc:"Time of the next trial, by the clock of Redis"`
	Trials    int       `json:"trials,omitempty" doc:"Failed trials"`
	Fix       string    `json:"fix" doc:"What a person can do"`
	Code      string    `json:"code,omitempty" doc:"Tencent's, or one that begins with ClientError"`
	Message   string    `json:"message,omitempty" doc:"Text of Tencent, the network or the person"`
	RequestID string    `json:"request_id,omitempty" doc:"Of the request that was refused"`
	By        string    `json:"by,omitempty" doc:"The person who stopped it"`
	Waiting   int       `json:"waiting,omitempty" doc:"Rooms that wait for the application"`

	pass  string
	probe string // describe | create
	trial string // id of the snapshot that may be sent
}

// NoWorkerRuns returns the Stop of the cause NoWorker.
func NoWorkerRuns() Stop {
	s := Stop{Cause: NoWorker, Phase: "open"}
	s.fillTexts()
	return s
}

// String returns all of it for people, on one line.
func (s Stop) String() string {
	since := ""
	if !s.Since.IsZero() {
		since = " since " + s.Since.UTC().Format(time.RFC3339)
	}
	waits := ""
	if s.WaitsFor != "" {
		waits = " It waits for " + s.WaitsFor + "."
	}
	return fmt.Sprintf("%s%s: %s.%s Fix: %s", s.What, since, s.Why, waits, s.Fix)
}

// allowsPolling reports whether Describe is still sent.
func (s Stop) allowsPolling() bool {
	return s.Cause == Storm || s.Cause == Account && s.probe != "describe"
}

// fillTexts fills in the fields for people.
func (s *Stop) fillTexts() {
	s.What, s.Why, s.WaitsFor, s.Fix = s.what(), s.why(), s.waitsFor(), s.fix()
}

func (s *Stop) what() string {
	switch {
	case s.Cause == PausedQueue:
		return "Queue " + s.Queue + " is paused"
	case s.Cause == NoWorker:
		return "No worker is running"
	case s.Cause == Application:
		return fmt.Sprintf("Application %d is suspended", s.App)
	case s.Phase == "half-open":
		return "Sending is being resumed"
	}
	return "Sending is stopped"
}

func (s *Stop) why() string {
	meaning := s.Code + ": " + tiw.Explain(s.Code).Meaning
	switch s.Cause {
	case PausedQueue:
		return "it was paused, most likely in asynqmon; its tasks wait"
	case NoWorker:
		return "queued rooms wait"
	case NoReplica:
		return "the replicas of Redis do not confirm writes, which TIWSNAP_REDIS_DURABILITY=replicated requires"
	case Person:
		return strings.TrimSuffix("stopped by "+s.By+": "+s.Message, ": ")
	case Connection:
		return "the endpoint of Tencent's API cannot be reached: " + cmp.Or(s.Message, s.Code)
	case Storm:
		return "Tencent's API returns only errors or does not answer: " + meaning
	}
	return meaning
}

func (s *Stop) waitsFor() string {
	at := ""
	if !s.NextTrial.IsZero() {
		at = ", next at " + s.NextTrial.UTC().Format(time.RFC3339)
	}
	switch {
	case s.Cause == NoWorker:
		return ""
	case s.Cause == NoReplica:
		return "the replicas, which are checked every few seconds"
	case s.Cause == Person, s.Cause == PausedQueue:
		return "tiwsnap start"
	case s.Cause == Application:
		return "an accepted request for it" + at
	case s.Phase == "half-open":
		return "accepted trial requests"
	case s.Cause == Account && s.probe == "describe":
		return "a DescribeSnapshotTask that is not refused for the account" + at
	}
	return "an accepted request" + at
}

func (s *Stop) fix() string {
	const start = "tiwsnap start tries again at once"
	x := tiw.Explain(s.Code)
	switch s.Cause {
	case NoWorker:
		return "start one with tiwsnap worker"
	case NoReplica:
		return "start the replicas of Redis, or check why they lag: INFO replication"
	case Person, PausedQueue:
		return "tiwsnap start, or the button on the first page"
	case Application:
		return x.Fix + "; " + start + "; then retry the failed rooms: tiwsnap retry BATCH --failed --code " + s.Code
	}
	return x.Fix + "; " + start
}

// parseStop parses the hash of the breaker. Without a cause nothing is stopped.
func parseStop(f map[string]string) Stop {
	if f["cause"] == "" {
		return Stop{}
	}
	s := parse(f)
	s.Cause, s.By, s.Trials = Cause(f["cause"]), f["by"], atoi(f["trials"])
	s.pass, s.probe = f["pass"], f["probe"]
	s.NextTrial = unixMilli(f["next_trial_at"])
	if f["ramp"] != "" || f["trial_until"] != "" {
		s.Phase = "half-open"
	}
	s.fillTexts()
	return s
}

func parse(f map[string]string) Stop {
	return Stop{
		Phase: "open", Since: unixMilli(f["since"]), trial: f["trial"],
		Code: f["code"], Message: f["message"], RequestID: f["request_id"],
	}
}

func unixMilli(s string) time.Time {
	ms, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

func atoi(s string) int {
	n, _ := strconv.Atoi(s) // a missing field is 0; only our scripts write these fields
	return n
}

// Stopped is the error of a call while its action is stopped.
type Stopped struct {
	Stop
	RetryIn time.Duration // until the next trial; 1 s if that is unknown
}

func (e *Stopped) Error() string { return "sending is stopped: " + e.Why }

// Suspended is the error of a call for a suspended application.
type Suspended struct {
	App uint64
}

func (e *Suspended) Error() string { return fmt.Sprintf("application %d is suspended", e.App) }

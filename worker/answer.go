package worker

import (
	"errors"
	"fmt"
	"time"

	"tiwsnap/ledger"
	"tiwsnap/tiw"
)

const (
	// The least time between two early polls, which use free quota, is
	// pollSpacing. From youngAge on it is the age of the task divided by
	// pollFraction.
	youngAge     = 2 * time.Minute
	pollSpacing  = time.Second
	pollFraction = 30
	// maxPollWait is the longest time between two polls of a task.
	maxPollWait = 15 * time.Minute
	// refusedWait is the delay before the next poll after the account is refused.
	refusedWait = time.Minute
	// resultTimeout is how long after acceptance a snapshot fails if it has no
	// result. Tencent keeps images for three days if no bucket is given.
	resultTimeout = 71 * time.Hour

	// maxRefusals is how often in a row Describe may refuse a TaskID that Create
	// returned: the task may not be visible yet.
	maxRefusals = 5
	// maxReportedRefusals is the same for a TaskID from a callback. It is lower, as
	// a callback comes after the end of its task.
	maxReportedRefusals = 3
	// maxEmptyAnswers is how often in a row a task may be Finished without a
	// result.
	maxEmptyAnswers = 3
	// oddTimeout is how long undocumented answers may come in a row.
	oddTimeout = 10 * time.Minute
	// maxRetryWait limits the wait after a refusal or an undocumented answer.
	maxRetryWait = time.Minute
)

// action is what to do after an answer.
type action int

const (
	postpone action = iota // poll again later
	settle                 // write the result
	claim                  // the reported task exists: assign it to the snapshot and judge the answer again
	discard                // the reported task does not belong to the snapshot
)

// verdict is the decision on an answer about a task.
type verdict struct {
	do     action
	result ledger.Result // for settle
	// For postpone: wait is the time until the next poll is due. early is the time
	// until free quota may be used for it (0: not before it is due). answer is the
	// kind that is counted.
	wait, early time.Duration
	answer      ledger.Answer
	// note is what was unusual, for the log; empty if nothing was.
	note string
}

// judge decides what to do after an answer of DescribeSnapshotTask, which is task, or
// err if that is not nil. s is the record before the poll. The answer is about its own
// task if s is accepted, otherwise about a task that a callback reported. after is the
// delay before the first poll.
func judge(s ledger.Snapshot, task tiw.Result, err error, after time.Duration, now time.Time) verdict {
	if err != nil {
		return judgeError(s, err, after, now)
	}
	finished := task.Status == tiw.StatusFinished
	switch {
	case s.State != ledger.Accepted && task.Status == "":
		return judgeRefusal(s, "an answer without a Status", verdict{do: discard}, after)
	case s.State != ledger.Accepted:
		return verdict{do: claim}
	case task.Status == tiw.StatusRunning:
		age := max(0, now.Sub(s.AcceptedAt))
		return verdict{wait: min(max(age, pollSpacing), maxPollWait), early: spacing(age), answer: ledger.Running}
	case finished && (task.Code != "" || len(task.Images) > 0):
		return verdict{do: settle, result: resultOf(task), note: countMismatch(task)}
	}
	// The task is Finished without a result, or its Status is undocumented.
	answer := fmt.Sprintf("Status %q, ErrorCode %q, ErrorMessage %q, %d images",
		task.Status, task.Code, task.Message, len(task.Images))
	count, since := streak(s, ledger.Odd, now)
	if finished && count >= maxEmptyAnswers || since >= oddTimeout {
		return verdict{do: settle, note: "its answer is not one that Tencent documents", result: ledger.Result{
			State: ledger.Failed, Images: task.Images, Total: task.Total, Code: tiw.CodeOddResult,
			Message: fmt.Sprintf("Tencent answers %s, %d times in %s", answer, count, since.Round(time.Second)),
		}}
	}
	v := verdict{wait: min(after, maxRetryWait), answer: ledger.Odd}
	if count == 1 {
		v.note = "an answer that Tencent does not document: " + answer
	}
	return v
}

// judgeError decides what to do after a failed call.
func judgeError(s ledger.Snapshot, err error, after time.Duration, now time.Time) verdict {
	var e *tiw.Error
	if !errors.As(err, &e) {
		e = &tiw.Error{Class: tiw.Unknown}
	}
	switch e.Class {
	case tiw.Throttled:
		return verdict{wait: time.Second}
	case tiw.Clock:
		return verdict{} // the next call is signed with Tencent's time
	case tiw.Account:
		return verdict{wait: refusedWait, note: err.Error()}
	case tiw.Permanent:
		end := verdict{do: discard}
		if s.State == ledger.Accepted {
			end = verdict{do: settle, result: ledger.Result{State: ledger.Failed, Code: e.Code, Message: e.Message}}
		}
		return judgeRefusal(s, err.Error(), end, after)
	}
	if s.State != ledger.Accepted {
		// No request is sent for the snapshot until this is decided. Tencent may
		// answer with any code if a task does not exist.
		v := verdict{wait: pollSpacing, note: err.Error()}
		if e.RequestID != "" {
			if _, since := streak(s, ledger.Odd, now); since >= oddTimeout {
				return verdict{do: discard, note: err.Error()}
			}
			v.wait, v.answer = min(after, maxRetryWait), ledger.Odd
		}
		return v
	}
	return verdict{wait: spacing(now.Sub(s.AcceptedAt)), note: err.Error()}
}

// judgeRefusal returns end once Tencent has refused the task too often. Before that it
// postpones.
func judgeRefusal(s ledger.Snapshot, note string, end verdict, after time.Duration) verdict {
	end.note = note
	count, _ := streak(s, ledger.Refused, time.Time{})
	switch accepted := s.State == ledger.Accepted; {
	case accepted && count >= maxRefusals, !accepted && count >= maxReportedRefusals:
		return end
	case accepted:
		return verdict{wait: min(after, maxRetryWait), answer: ledger.Refused, note: note}
	}
	return verdict{wait: time.Second << (count - 1), answer: ledger.Refused, note: note}
}

// streak returns how many answers of a kind have come in a row, this one included,
// and for how long.
func streak(s ledger.Snapshot, kind ledger.Answer, now time.Time) (count int, since time.Duration) {
	if s.Answer != kind {
		return 1, 0
	}
	return s.Answers + 1, now.Sub(s.AnswersSince)
}

// spacing returns the least time between two polls of a task of that age.
func spacing(age time.Duration) time.Duration {
	if age < youngAge {
		return pollSpacing
	}
	return min(age/pollFraction, maxPollWait)
}

// resultOf returns the result of a finished task. A task with images and no code has
// succeeded.
func resultOf(task tiw.Result) ledger.Result {
	r := ledger.Result{State: ledger.Succeeded, Images: task.Images, Total: task.Total}
	switch {
	case task.Code != "" && task.Code != tiw.ResultOK:
		r.State, r.Code, r.Message = ledger.Failed, task.Code, task.Message
	case len(task.Images) == 0:
		r.Code = tiw.CodeNoImage
	}
	return r
}

// countMismatch describes the difference if Tencent's count of the images is not their
// number.
func countMismatch(task tiw.Result) string {
	if task.Total == nil || *task.Total == len(task.Images) {
		return ""
	}
	return fmt.Sprintf("Tencent counts %d images and names %d", *task.Total, len(task.Images))
}

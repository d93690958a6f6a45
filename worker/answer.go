package worker

import (
	"errors"
	"fmt"
	"time"

	"tiwsnap/ledger"
	"tiwsnap/tiw"
)

const (
	// A finished task is known soon after its end where quota is free: while
	// it is young within a second, later within a thirtieth of its age.
	youngFor     = 2 * time.Minute
	pollSpacing  = time.Second
	pollFraction = 30
	// pollMax is the longest time between two polls of a task.
	pollMax = 15 * time.Minute
	// refusedWait is the time to the next poll where the account is refused.
	refusedWait = time.Minute
	// confirmWithin is how long after acceptance a result is waited for.
	// Tencent keeps images for three days where no bucket was given.
	confirmWithin = 71 * time.Hour

	// refusals is how often in a row Describe may refuse the TaskID that a
	// Create was answered with: the task may not be visible yet.
	refusals = 5
	// reportedRefusals is the same for a TaskID that a callback has named. It
	// comes when its task has ended, so there is less to wait for.
	reportedRefusals = 3
	// unfinishedAnswers is how often in a row a task may be Finished and have
	// no result.
	unfinishedAnswers = 3
	// oddFor is how long answers may come in a row from which nothing follows.
	oddFor = 10 * time.Minute
	// againMax bounds the wait after a refusal or an odd answer.
	againMax = time.Minute
)

// action is what follows from an answer.
type action int

const (
	postpone action = iota // poll again later
	settle                 // the result is there
	claim                  // the reported task exists: make it the snapshot's own, and judge the answer anew
	discard                // the reported task is not the snapshot's
)

// verdict is what an answer about a task means.
type verdict struct {
	do     action
	result ledger.Result // settle
	// postpone: until the next poll is due, until there may be one where quota
	// is free (0: not before it is due), and how the answer is counted.
	wait, early time.Duration
	answer      ledger.Answer
	// says is what is to be logged: what was out of the ordinary.
	says string
}

// judge says what an answer of DescribeSnapshotTask means: task, or err where
// that is not nil. s is the record as it was before, and the answer is about
// its own task if it is accepted, else about one that a callback has named.
// after is the delay before the first poll.
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
		return verdict{wait: min(max(age, pollSpacing), pollMax), early: spacing(age), answer: ledger.Running}
	case finished && (task.Code != "" || len(task.Images) > 0):
		return verdict{do: settle, result: resultOf(task), says: difference(task)}
	}
	// It has ended without a result, or stands in a way that nobody knows.
	came := fmt.Sprintf("Status %q, ErrorCode %q, ErrorMessage %q, %d images",
		task.Status, task.Code, task.Message, len(task.Images))
	count, since := inRow(s, ledger.Odd, now)
	if finished && count >= unfinishedAnswers || since >= oddFor {
		return verdict{do: settle, says: "its answer is not one that Tencent documents", result: ledger.Result{
			State: ledger.Failed, Images: task.Images, Total: task.Total, Code: tiw.CodeOddResult,
			Message: fmt.Sprintf("Tencent answers %s, %d times in %s", came, count, since.Round(time.Second)),
		}}
	}
	v := verdict{wait: min(after, againMax), answer: ledger.Odd}
	if count == 1 {
		v.says = "an answer that Tencent does not document: " + came
	}
	return v
}

// judgeError is judge for a call that failed.
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
		return verdict{wait: refusedWait, says: err.Error()}
	case tiw.Permanent:
		end := verdict{do: discard}
		if s.State == ledger.Accepted {
			end = verdict{do: settle, result: ledger.Result{State: ledger.Failed, Code: e.Code, Message: e.Message}}
		}
		return judgeRefusal(s, err.Error(), end, after)
	}
	if s.State != ledger.Accepted {
		// Nothing is sent for the snapshot until this is clear. A task that does
		// not exist may be answered with any code.
		v := verdict{wait: pollSpacing, says: err.Error()}
		if e.RequestID != "" {
			if _, since := inRow(s, ledger.Odd, now); since >= oddFor {
				return verdict{do: discard, says: err.Error()}
			}
			v.wait, v.answer = min(after, againMax), ledger.Odd
		}
		return v
	}
	return verdict{wait: spacing(now.Sub(s.AcceptedAt)), says: err.Error()}
}

// judgeRefusal is the end, if Tencent has refused the task often enough.
func judgeRefusal(s ledger.Snapshot, says string, end verdict, after time.Duration) verdict {
	end.says = says
	count, _ := inRow(s, ledger.Refused, time.Time{})
	switch accepted := s.State == ledger.Accepted; {
	case accepted && count >= refusals, !accepted && count >= reportedRefusals:
		return end
	case accepted:
		return verdict{wait: min(after, againMax), answer: ledger.Refused, says: says}
	}
	return verdict{wait: time.Second << (count - 1), answer: ledger.Refused, says: says}
}

// inRow returns how many answers of a kind have come in a row, this one
// included, and since when.
func inRow(s ledger.Snapshot, kind ledger.Answer, now time.Time) (count int, since time.Duration) {
	if s.Answer != kind {
		return 1, 0
	}
	return s.Answers + 1, now.Sub(s.AnswersSince)
}

// spacing is the least time between two polls of a task of an age.
func spacing(age time.Duration) time.Duration {
	if age < youngFor {
		return pollSpacing
	}
	return min(age/pollFraction, pollMax)
}

// resultOf is the result of a task that Tencent has told the end of. What has
// images and no code has worked.
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

// difference says by how much Tencent's count of the images is another than
// their number, if it is.
func difference(task tiw.Result) string {
	if task.Total == nil || *task.Total == len(task.Images) {
		return ""
	}
	return fmt.Sprintf("Tencent counts %d images and names %d", *task.Total, len(task.Images))
}

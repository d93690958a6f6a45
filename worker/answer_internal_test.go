package worker

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/ledger"
	"tiwsnap/tiw"
)

func TestJudge(t *testing.T) {
	now := time.Unix(1760000000, 0)
	const after = 30 * time.Second
	accepted := func(age time.Duration) ledger.Snapshot {
		return ledger.Snapshot{ID: "s", State: ledger.Accepted, TaskID: "t", AcceptedAt: now.Add(-age)}
	}
	young := accepted(45 * time.Second)
	reported := ledger.Snapshot{ID: "s", State: ledger.Unknown, ReportedTasks: map[int]string{1: "t"}}
	// inARow returns a snapshot whose task had n consecutive answers of this kind, the first one a duration ago.
	inARow := func(s ledger.Snapshot, kind ledger.Answer, n int, since time.Duration) ledger.Snapshot {
		s.Answer, s.Answers, s.AnswersSince = kind, n, now.Add(-since)
		return s
	}
	failure := func(code, requestID string) error {
		return &tiw.Error{Code: code, Class: tiw.Explain(code).Class, Message: "m", RequestID: requestID}
	}
	const noTask, storm = "InvalidParameter.TaskNotFound", "InternalError"
	finished := func(code string, total *int, images ...string) tiw.Result {
		return tiw.Result{Status: tiw.StatusFinished, Code: code, Message: "m", Total: total, Images: images}
	}
	succeeded := func(r ledger.Result) verdict {
		r.State = ledger.Succeeded
		return verdict{do: settle, result: r}
	}
	failed := func(r ledger.Result) verdict {
		r.State = ledger.Failed
		return verdict{do: settle, result: r}
	}
	running := tiw.Result{Status: tiw.StatusRunning}
	uv := []string{"u", "v"}

	for _, test := range []struct {
		name string
		s    ledger.Snapshot
		task tiw.Result
		err  error
		want verdict
	}{
		// A running task is polled again when it is twice as old, or earlier if quota is free: after a second while it
		// is young.
		{"running", young, running, nil, verdict{wait: 45 * time.Second, early: time.Second, answer: ledger.Running}},
		{"running, just claimed", accepted(0), running, nil,
			verdict{wait: time.Second, early: time.Second, answer: ledger.Running}},
		{"running, the clock of the worker is behind", accepted(-time.Hour), running, nil,
			verdict{wait: time.Second, early: time.Second, answer: ledger.Running}},
		{"running for two minutes", accepted(2 * time.Minute), running, nil,
			verdict{wait: 2 * time.Minute, early: 4 * time.Second, answer: ledger.Running}},
		{"running for an hour", accepted(time.Hour), running, nil,
			verdict{wait: 15 * time.Minute, early: 2 * time.Minute, answer: ledger.Running}},
		{"running for two days", accepted(48 * time.Hour), running, nil,
			verdict{wait: 15 * time.Minute, early: 15 * time.Minute, answer: ledger.Running}},

		// Results that Tencent documents.
		{"OK", young, finished("OK", new(2), uv...), nil, succeeded(ledger.Result{Images: uv, Total: new(2)})},
		{"failed", young, finished("InternalErr", nil), nil, failed(ledger.Result{Code: "InternalErr", Message: "m"})},

		// Undocumented results that are clear enough.
		{"images and no code", young, finished("", nil, uv...), nil, succeeded(ledger.Result{Images: uv})},
		{"OK without images", young, finished("OK", new(0)), nil,
			succeeded(ledger.Result{Code: tiw.CodeNoImage, Total: new(0)})},
		{"OK with fewer images than counted", young, finished("OK", new(5), uv...), nil,
			succeeded(ledger.Result{Images: uv, Total: new(5)})},
		{"failed with images", young, finished("InternalErr", new(2), uv...), nil,
			failed(ledger.Result{Code: "InternalErr", Message: "m", Images: uv, Total: new(2)})},

		// Undocumented results that are not clear.
		{"finished without a result", young, finished("", nil), nil, verdict{wait: after, answer: ledger.Odd}},
		{"finished without a result, again", inARow(young, ledger.Odd, 1, time.Minute), finished("", nil), nil,
			verdict{wait: after, answer: ledger.Odd}},
		{"finished without a result, three times", inARow(young, ledger.Odd, 2, time.Minute), finished("", new(1)), nil,
			failed(ledger.Result{Code: tiw.CodeOddResult, Total: new(1),
				Message: `Tencent answers Status "Finished", ErrorCode "", ErrorMessage "m", 0 images, 3 times in 1m0s`})},
		{"finished without a result after refusals", inARow(young, ledger.Refused, 4, time.Minute), finished("", nil), nil,
			verdict{wait: after, answer: ledger.Odd}},
		{"an unknown status", young, tiw.Result{Status: "Failed"}, nil, verdict{wait: after, answer: ledger.Odd}},
		{"an unknown status for nine minutes", inARow(young, ledger.Odd, 18, 9*time.Minute), tiw.Result{Status: "Failed"},
			nil, verdict{wait: after, answer: ledger.Odd}},
		{"an unknown status for ten minutes", inARow(young, ledger.Odd, 20, 10*time.Minute),
			tiw.Result{Status: "Failed", Images: uv}, nil,
			failed(ledger.Result{Code: tiw.CodeOddResult, Images: uv,
				Message: `Tencent answers Status "Failed", ErrorCode "", ErrorMessage "", 2 images, 21 times in 10m0s`})},
		{"nulls for ten minutes", inARow(young, ledger.Odd, 20, 10*time.Minute), tiw.Result{}, nil,
			failed(ledger.Result{Code: tiw.CodeOddResult,
				Message: `Tencent answers Status "", ErrorCode "", ErrorMessage "", 0 images, 21 times in 10m0s`})},

		// Five refusals in a row fail the snapshot.
		{"refused after many answers", inARow(young, ledger.Odd, 9, time.Minute), tiw.Result{}, failure(noTask, "r"),
			verdict{wait: after, answer: ledger.Refused}},
		{"refused four times", inARow(young, ledger.Refused, 3, time.Minute), tiw.Result{}, failure(noTask, "r"),
			verdict{wait: after, answer: ledger.Refused}},
		{"refused five times", inARow(young, ledger.Refused, 4, time.Minute), tiw.Result{}, failure(noTask, "r"),
			failed(ledger.Result{Code: noTask, Message: "m"})},

		// Errors that are not about the task do not count, and do not prolong the wait.
		{"throttled", inARow(accepted(time.Hour), ledger.Refused, 4, 0), tiw.Result{},
			failure("RequestLimitExceeded", "r"), verdict{wait: time.Second}},
		{"arrears", inARow(accepted(time.Hour), ledger.Refused, 4, 0), tiw.Result{},
			failure("ResourceUnavailable.ServiceExpired", "r"), verdict{wait: time.Minute}},
		{"clock skew", young, tiw.Result{}, failure("ClientError.ClockSkew", "r"), verdict{}},
		{"a storm", inARow(young, ledger.Refused, 4, 0), tiw.Result{}, failure(storm, "r"), verdict{wait: time.Second}},
		{"a storm, for an old task", accepted(time.Hour), tiw.Result{}, failure(storm, "r"), verdict{wait: 2 * time.Minute}},
		{"no answer", young, tiw.Result{}, failure("ClientError.NetworkError", ""), verdict{wait: time.Second}},
		{"no permit", young, tiw.Result{}, errors.New("closed"), verdict{wait: time.Second}},

		// A task that a callback has reported.
		{"reported, running", reported, running, nil, verdict{do: claim}},
		{"reported, finished", reported, finished("OK", new(2), uv...), nil, verdict{do: claim}},
		{"reported, an unknown status", reported, tiw.Result{Status: "Failed"}, nil, verdict{do: claim}},
		{"reported, refused", reported, tiw.Result{}, failure(noTask, "r"),
			verdict{wait: time.Second, answer: ledger.Refused}},
		{"reported, refused twice", inARow(reported, ledger.Refused, 1, 0), tiw.Result{}, failure(noTask, "r"),
			verdict{wait: 2 * time.Second, answer: ledger.Refused}},
		{"reported, refused three times", inARow(reported, ledger.Refused, 2, 0), tiw.Result{}, failure(noTask, "r"),
			verdict{do: discard}},
		{"reported, nulls three times", inARow(reported, ledger.Refused, 2, 0), tiw.Result{}, nil, verdict{do: discard}},
		{"reported, a storm", reported, tiw.Result{}, failure(storm, "r"), verdict{wait: after, answer: ledger.Odd}},
		{"reported, a storm for ten minutes", inARow(reported, ledger.Odd, 9, 10*time.Minute), tiw.Result{},
			failure(storm, "r"), verdict{do: discard}},
		{"reported, no answer for ten minutes", inARow(reported, ledger.Odd, 9, 10*time.Minute), tiw.Result{},
			failure("ClientError.NetworkError", ""), verdict{wait: time.Second}},
		{"reported, throttled", inARow(reported, ledger.Refused, 2, 0), tiw.Result{}, failure("RequestLimitExceeded", "r"),
			verdict{wait: time.Second}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := judge(test.s, test.task, test.err, after, now)
			got.note = ""
			if diff := cmp.Diff(fmt.Sprintf("%+v", plainVerdict(test.want)), fmt.Sprintf("%+v", plainVerdict(got))); diff != "" {
				t.Errorf("judge() (-want +got):\n%s", diff)
			}
		})
	}

	t.Run("returns notes for the log", func(t *testing.T) {
		for _, test := range []struct {
			s    ledger.Snapshot
			task tiw.Result
			err  error
			want string
		}{
			{young, finished("OK", new(2), uv...), nil, ""},
			{young, running, nil, ""},
			{young, finished("OK", new(5), uv...), nil, "Tencent counts 5 images and names 2"},
			{young, tiw.Result{Status: "Failed"}, nil,
				`an answer that Tencent does not document: Status "Failed", ErrorCode "", ErrorMessage "", 0 images`},
			{inARow(young, ledger.Odd, 1, 0), tiw.Result{Status: "Failed"}, nil, ""}, // not repeated
			{young, tiw.Result{}, failure(noTask, "r"), ": InvalidParameter.TaskNotFound: m (permanent, RequestId r)"},
		} {
			if got := judge(test.s, test.task, test.err, after, now).note; got != test.want {
				t.Errorf("judge(%+v, %v): note = %q, want %q", test.task, test.err, got, test.want)
			}
		}
	})
}

// plainVerdict returns a verdict without pointers, so that it can be compared and printed.
func plainVerdict(v verdict) any {
	total := -1
	if v.result.Total != nil {
		total = *v.result.Total
	}
	v.result.Total = nil
	return struct {
		verdict
		total int
	}{v, total}
}

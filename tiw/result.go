package tiw

import "time"

// Result is what DescribeSnapshotTask tells of a task, without pointers.
type Result struct {
	// Running is true until Tencent has told how the task ended: the status
	// is not Finished, or it is and the ErrorCode is missing.
	Running bool
	// OK is true when the task is Finished with the ErrorCode OK. A task that
	// is neither Running nor OK has failed for good.
	OK      bool
	Code    string // the ErrorCode of an ended task
	Message string // its ErrorMessage
	Images  []string
	// Total is the number of images by Tencent's own count.
	Total uint64
	// Created and Finished have a resolution of one second; zero when not told.
	Created, Finished time.Time
}

// ResultOf reads p. Everything in it may be nil, and p too.
func ResultOf(p *DescribeSnapshotTaskResponseParams) Result {
	if p == nil {
		p = &DescribeSnapshotTaskResponseParams{}
	}
	result := p.Result
	if result == nil {
		result = &SnapshotResult{}
	}
	r := Result{
		Code:     value(result.ErrorCode),
		Message:  value(result.ErrorMessage),
		Total:    value(result.Total),
		Created:  unix(p.CreateTime),
		Finished: unix(p.FinishTime),
	}
	for _, url := range result.Snapshots {
		if url != nil {
			r.Images = append(r.Images, *url)
		}
	}
	r.Running = value(p.Status) != "Finished" || r.Code == ""
	r.OK = !r.Running && r.Code == "OK"
	return r
}

// value is *p, or the zero value.
func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

func unix(seconds *uint64) time.Time {
	if value(seconds) == 0 {
		return time.Time{}
	}
	return time.Unix(int64(*seconds), 0)
}

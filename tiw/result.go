package tiw

// What Tencent documents as the Status of a task, and the ErrorCode of one
// that worked.
const (
	StatusRunning  = "Running"
	StatusFinished = "Finished"
	ResultOK       = "OK"
)

// Result is what DescribeSnapshotTask tells of a task, without nils in the
// middle. Tencent may leave out any of it.
type Result struct {
	// Status is StatusRunning, StatusFinished, a word that is not documented,
	// or empty where none came.
	Status string
	// Code is the ErrorCode: ResultOK, or why the task failed, or empty where
	// none came; Message is the ErrorMessage. Both are at most 256 bytes.
	Code, Message string
	Images        []string // URLs
	// Total is the number of images by Tencent's own count; nil where none came.
	Total *int
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
		Status:  clean(value(p.Status)),
		Code:    clean(value(result.ErrorCode)),
		Message: clean(value(result.ErrorMessage)),
	}
	if result.Total != nil {
		r.Total = new(int(*result.Total))
	}
	for _, url := range result.Snapshots {
		if value(url) != "" {
			r.Images = append(r.Images, *url)
		}
	}
	return r
}

// value is *p, or the zero value.
func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

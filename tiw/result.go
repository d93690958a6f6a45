package tiw

// The documented values of Status, and the ErrorCode of a successful task.
const (
	StatusRunning  = "Running"
	StatusFinished = "Finished"
	ResultOK       = "OK"
)

// Result is the response of DescribeSnapshotTask without nils. Tencent may leave out
// any field.
type Result struct {
	// Status is StatusRunning, StatusFinished, an undocumented word, or empty if missing.
	Status string
	// Code is the ErrorCode: ResultOK, the reason of the failure, or empty if missing.
	// Message is the ErrorMessage. Both have at most 256 bytes.
	Code, Message string
	Images        []string // URLs
	// Total is the number of images that Tencent counted; nil if missing.
	Total *int
}

// ResultOf converts p, which may be nil, as may all its fields.
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

// value returns *p, or the zero value if p is nil.
func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

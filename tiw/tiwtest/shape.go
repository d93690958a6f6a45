package tiwtest

import "encoding/binary"

// Shape is an undocumented form of DescribeSnapshotTask's response for a task that
// has ended. Tencent's page allows every field to be null and does not list the
// values of Status and ErrorCode. Callbacks keep their usual form.
type Shape string

// The shapes. The response for a running task keeps its documented form.
const (
	ShapeNullCode         Shape = "nullCode"         // ErrorCode null, with the images
	ShapeEmptyCode        Shape = "emptyCode"        // ErrorCode "", with the images
	ShapeMissingCode      Shape = "missingCode"      // no ErrorCode, with the images
	ShapeNoResult         Shape = "noResult"         // Finished, Result null
	ShapeNoImages         Shape = "noImages"         // OK, Total 0 and Snapshots []
	ShapeFewerImages      Shape = "fewerImages"      // OK, Total is three more than the number of Snapshots
	ShapeFailedWithImages Shape = "failedWithImages" // InternalErr, with the images
	ShapeStatusFailed     Shape = "statusFailed"     // Status Failed, Result null
	ShapeNulls            Shape = "nulls"            // all fields null, except RequestId
)

// Shapes lists all shapes.
var Shapes = []Shape{
	ShapeNullCode, ShapeEmptyCode, ShapeMissingCode, ShapeNoResult, ShapeNoImages, ShapeFewerImages,
	ShapeFailedWithImages, ShapeStatusFailed, ShapeNulls,
}

// shape returns the shape of a task. It is constant while the faults are.
func (f *Faults) shape(t *task) Shape {
	u := float64(binary.BigEndian.Uint32(t.id[:4])) / (1 << 32)
	for _, s := range Shapes { // a fixed order makes draws reproducible
		if u < f.Shapes[s] {
			return s
		}
		u -= f.Shapes[s]
	}
	return ""
}

// nullableDescribed is a response whose fields may be null.
type nullableDescribed struct {
	TaskID     *string
	Status     *string
	CreateTime *int64
	FinishTime *int64
	Result     any
	RequestId  string
}

// response returns the response for a task at a time (Unix ns): the documented form
// while it runs or if s is empty, otherwise the shape.
func (s Shape) response(t *task, now int64, requestID string) any {
	d := describe(t, now)
	d.RequestId = requestID
	if s == "" || d.Result == nil {
		return d
	}
	a := nullableDescribed{&d.TaskID, &d.Status, &d.CreateTime, d.FinishTime, d.Result, requestID}
	result := struct {
		ErrorCode    *string
		ErrorMessage string
		Total        int
		Snapshots    []string
	}{nil, "", int(t.pages), t.images()}
	switch s {
	case ShapeNullCode:
		a.Result = result
	case ShapeEmptyCode:
		result.ErrorCode = new("")
		a.Result = result
	case ShapeMissingCode:
		a.Result = struct {
			Total     int
			Snapshots []string
		}{int(t.pages), t.images()}
	case ShapeNoResult:
		a.Result = nil
	case ShapeNoImages:
		result.ErrorCode, result.Total, result.Snapshots = new(OK), 0, []string{}
		a.Result = result
	case ShapeFewerImages:
		result.ErrorCode, result.Total = new(OK), int(t.pages)+3
		a.Result = result
	case ShapeFailedWithImages:
		result.ErrorCode, result.ErrorMessage = new(InternalErr), "the snapshot server could not render every page"
		a.Result = result
	case ShapeStatusFailed:
		a.Status, a.Result = new("Failed"), nil
	case ShapeNulls:
		a = nullableDescribed{RequestId: requestID}
	}
	return a
}

package tiwtest

import "encoding/binary"

// Shape is how DescribeSnapshotTask tells of a task that has ended, where not
// in the documented way. Tencent's page allows every field to be null and does
// not list the values of Status and ErrorCode. A callback keeps its usual form.
type Shape string

// The shapes. A task that runs is told of as usual.
const (
	ShapeNullCode         Shape = "nullCode"         // ErrorCode null, with the images
	ShapeEmptyCode        Shape = "emptyCode"        // ErrorCode "", with the images
	ShapeMissingCode      Shape = "missingCode"      // no ErrorCode, with the images
	ShapeNoResult         Shape = "noResult"         // Finished, Result null
	ShapeNoImages         Shape = "noImages"         // OK, Total 0 and Snapshots []
	ShapeFewerImages      Shape = "fewerImages"      // OK, Total counts three more than there are Snapshots
	ShapeFailedWithImages Shape = "failedWithImages" // InternalErr, with the images
	ShapeStatusFailed     Shape = "statusFailed"     // Status Failed, Result null
	ShapeNulls            Shape = "nulls"            // every field null but RequestId
)

// Shapes are all of them.
var Shapes = []Shape{
	ShapeNullCode, ShapeEmptyCode, ShapeMissingCode, ShapeNoResult, ShapeNoImages, ShapeFewerImages,
	ShapeFailedWithImages, ShapeStatusFailed, ShapeNulls,
}

// shape is that of a task, the same each time as long as the faults are.
func (f *Faults) shape(t *task) Shape {
	u := float64(binary.BigEndian.Uint32(t.id[:4])) / (1 << 32)
	for _, s := range Shapes { // in a fixed order
		if u < f.Shapes[s] {
			return s
		}
		u -= f.Shapes[s]
	}
	return ""
}

// shaped is an answer whose fields may be null.
type shaped struct {
	TaskID     *string
	Status     *string
	CreateTime *int64
	FinishTime *int64
	Result     any
	RequestId  string
}

// answer is what is told of a task at a time: described as usual, or in the shape.
func (s Shape) answer(t *task, now int64, requestID string) any {
	d := describe(t, now)
	d.RequestId = requestID
	if s == "" || d.Result == nil {
		return d
	}
	a := shaped{&d.TaskID, &d.Status, &d.CreateTime, d.FinishTime, d.Result, requestID}
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
		a = shaped{RequestId: requestID}
	}
	return a
}

//lint:file-ignore SA5008 the SDK's own JSON encoder knows omitnil

package tiw

import (
	tchttp "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/http"
)

// The names, types and tags in this file are those of Tencent's generated package
// tencentcloud/tiw/v20190919, so that the official package can replace it.

const (
	service    = "tiw"
	apiVersion = "2019-09-19"

	actionCreate   = "CreateSnapshotTask"
	actionDescribe = "DescribeSnapshotTask"
)

// SnapshotWhiteboard is the whiteboard to draw. Every field is optional.
type SnapshotWhiteboard struct {
	// Pixels, 0..2560, default 1280.
	Width *uint64 `json:"Width,omitnil,omitempty" name:"Width"`
	// Pixels, 0..2560, default 720.
	Height *uint64 `json:"Height,omitnil,omitempty" name:"Height"`
	// A JSON document in a string, passed to the whiteboard SDK unchanged.
	InitParams *string `json:"InitParams,omitnil,omitempty" name:"InitParams"`
}

// SnapshotCOS is the bucket that receives the images.
type SnapshotCOS struct {
	// The account that owns the bucket.
	Uin *uint64 `json:"Uin,omitnil,omitempty" name:"Uin"`
	// Such as ap-guangzhou.
	Region *string `json:"Region,omitnil,omitempty" name:"Region"`
	// Name and APPID of the bucket: NAME-APPID.
	Bucket *string `json:"Bucket,omitnil,omitempty" name:"Bucket"`
	// The folder in the bucket; optional.
	TargetDir *string `json:"TargetDir,omitnil,omitempty" name:"TargetDir"`
	// The CDN domain of the image URLs; optional.
	Domain *string `json:"Domain,omitnil,omitempty" name:"Domain"`
}

// CreateSnapshotTaskRequest requests images of the marked pages of a room.
// Whiteboard, SdkAppId and RoomId are required; Whiteboard may be empty.
// https://www.tencentcloud.com/document/product/1176/55153
type CreateSnapshotTaskRequest struct {
	*tchttp.BaseRequest

	Whiteboard *SnapshotWhiteboard `json:"Whiteboard,omitnil,omitempty" name:"Whiteboard"`
	SdkAppId   *uint64             `json:"SdkAppId,omitnil,omitempty" name:"SdkAppId"`
	RoomId     *uint64             `json:"RoomId,omitnil,omitempty" name:"RoomId"`
	// Tencent posts the result here when the task ends; optional.
	CallbackURL *string `json:"CallbackURL,omitnil,omitempty" name:"CallbackURL"`
	// Without it the images are in Tencent's public bucket for three days.
	COS *SnapshotCOS `json:"COS,omitnil,omitempty" name:"COS"`
	// AllMarks (default): one image for each mark. LatestMarksOnly: one for
	// the newest mark of each page, with whiteboard SDK 2.6.8 or later.
	SnapshotMode *string `json:"SnapshotMode,omitnil,omitempty" name:"SnapshotMode"`
}

// NewCreateSnapshotTaskRequest returns an empty request.
func NewCreateSnapshotTaskRequest() *CreateSnapshotTaskRequest {
	r := &CreateSnapshotTaskRequest{BaseRequest: &tchttp.BaseRequest{}}
	r.Init().WithApiInfo(service, apiVersion, actionCreate)
	return r
}

// CreateSnapshotTaskResponseParams is the response of CreateSnapshotTask.
type CreateSnapshotTaskResponseParams struct {
	TaskID    *string `json:"TaskID,omitnil,omitempty" name:"TaskID"`
	RequestId *string `json:"RequestId,omitnil,omitempty" name:"RequestId"`
}

// CreateSnapshotTaskResponse is CreateSnapshotTaskResponseParams in
// the envelope of every response.
type CreateSnapshotTaskResponse struct {
	*tchttp.BaseResponse
	Response *CreateSnapshotTaskResponseParams `json:"Response"`
}

// NewCreateSnapshotTaskResponse returns an empty response to decode into.
func NewCreateSnapshotTaskResponse() *CreateSnapshotTaskResponse {
	return &CreateSnapshotTaskResponse{BaseResponse: &tchttp.BaseResponse{}}
}

// DescribeSnapshotTaskRequest requests the state of a task. Both fields are
// required. https://www.tencentcloud.com/document/product/1176/55152
type DescribeSnapshotTaskRequest struct {
	*tchttp.BaseRequest

	TaskID   *string `json:"TaskID,omitnil,omitempty" name:"TaskID"`
	SdkAppId *uint64 `json:"SdkAppId,omitnil,omitempty" name:"SdkAppId"`
}

// NewDescribeSnapshotTaskRequest returns an empty request.
func NewDescribeSnapshotTaskRequest() *DescribeSnapshotTaskRequest {
	r := &DescribeSnapshotTaskRequest{BaseRequest: &tchttp.BaseRequest{}}
	r.Init().WithApiInfo(service, apiVersion, actionDescribe)
	return r
}

// SnapshotResult is the result of a finished task. Tencent may leave every field null.
type SnapshotResult struct {
	// OK, or the reason why there are no images.
	ErrorCode    *string `json:"ErrorCode,omitnil,omitempty" name:"ErrorCode"`
	ErrorMessage *string `json:"ErrorMessage,omitnil,omitempty" name:"ErrorMessage"`
	// The number of images.
	Total *uint64 `json:"Total,omitnil,omitempty" name:"Total"`
	// The URLs of the images.
	Snapshots []*string `json:"Snapshots,omitnil,omitempty" name:"Snapshots"`
}

// DescribeSnapshotTaskResponseParams is the response of DescribeSnapshotTask.
// Tencent may leave every field null; see ResultOf.
type DescribeSnapshotTaskResponseParams struct {
	TaskID *string `json:"TaskID,omitnil,omitempty" name:"TaskID"`
	// Running or Finished.
	Status *string `json:"Status,omitnil,omitempty" name:"Status"`
	// Unix time in seconds.
	CreateTime *uint64 `json:"CreateTime,omitnil,omitempty" name:"CreateTime"`
	// Unix time in seconds.
	FinishTime *uint64         `json:"FinishTime,omitnil,omitempty" name:"FinishTime"`
	Result     *SnapshotResult `json:"Result,omitnil,omitempty" name:"Result"`
	RequestId  *string         `json:"RequestId,omitnil,omitempty" name:"RequestId"`
}

// DescribeSnapshotTaskResponse is DescribeSnapshotTaskResponseParams in
// the envelope of every response.
type DescribeSnapshotTaskResponse struct {
	*tchttp.BaseResponse
	Response *DescribeSnapshotTaskResponseParams `json:"Response"`
}

// NewDescribeSnapshotTaskResponse returns an empty response to decode into.
func NewDescribeSnapshotTaskResponse() *DescribeSnapshotTaskResponse {
	return &DescribeSnapshotTaskResponse{BaseResponse: &tchttp.BaseResponse{}}
}

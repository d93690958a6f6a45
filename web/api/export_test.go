package api

import "time"

// SetUpload makes the bounds of lists small enough to test.
func (o *Options) SetUpload(bytes int64, rows int) { o.maxUpload, o.maxRows = bytes, rows }

// SetUploadPace makes slow uploads end sooner.
func (o *Options) SetUploadPace(d time.Duration) { o.uploadPace = d }

const MaxOwnUploads = maxOwnUploads

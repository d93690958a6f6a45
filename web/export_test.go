package web

import "time"

// SetUpload makes the bounds of lists small enough to test.
func (o *APIOptions) SetUpload(bytes int64, rows int) { o.maxUpload, o.maxRows = bytes, rows }

// SetUploadPace makes slow uploads end sooner.
func (o *APIOptions) SetUploadPace(d time.Duration) { o.uploadPace = d }

// SetLinger makes the rest of a body be read for less time.
func (o *HandlerOptions) SetLinger(d time.Duration) { o.linger = d }

const MaxOwnConns = maxOwnConns

const MaxOwnUploads = maxOwnUploads

const MaxOwnStreams = maxOwnStreams

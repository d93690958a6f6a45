package api

import "time"

// SetUpload lowers the limits of an upload: its bytes and rows.
func (o *Options) SetUpload(bytes int64, rows int) { o.maxUpload, o.maxRows = bytes, rows }

// SetUploadPace sets the time within which the next bytes of an upload must arrive.
func (o *Options) SetUploadPace(d time.Duration) { o.uploadPace = d }

const MaxOwnUploads = maxOwnUploads

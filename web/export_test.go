package web

// SetUpload makes the bounds of lists small enough to test.
func (o *APIOptions) SetUpload(bytes int64, rows int) { o.maxUpload, o.maxRows = bytes, rows }

const MaxOwnStreams = maxOwnStreams

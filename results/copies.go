package results

import (
	"context"
	"fmt"
	"time"

	"tiwsnap/ledger"
)

// Copy is the copy of one image.
type Copy struct {
	// State is a ledger.CopyState, or gone: Tencent has deleted the image, and there is
	// no copy.
	State string `json:"state"`
	URL   string `json:"url,omitempty"` // of the copy
}

// gone is the state of a deleted image without a copy.
const gone = "gone"

// copies returns the copies of the images of a snapshot.
func copies(s ledger.Snapshot) []Copy {
	all := make([]Copy, len(s.Images))
	for i := range all {
		all[i].State = string(ledger.Remote)
		if i < len(s.Copies) {
			all[i].State = string(s.Copies[i].State)
		}
		if all[i].State == string(ledger.Remote) && s.Gone(time.Now()) {
			all[i].State = gone
		}
	}
	return all
}

// LocateCopies sets the function that returns the URL of the copy of image n (from 1)
// of a snapshot. The reader calls it for copied images only. Call LocateCopies before
// the reader is used concurrently.
func (r *Reader) LocateCopies(url func(ctx context.Context, s ledger.Snapshot, n int) string) {
	r.copyURL = url
}

// Explain is the function Explain, and sets the URLs of copies, see LocateCopies.
func (r *Reader) Explain(ctx context.Context, s ledger.Snapshot) Result {
	e := Explain(s)
	for i, c := range e.CopyList {
		if r.copyURL != nil && c.State == string(ledger.Copied) {
			e.CopyList[i].URL = r.copyURL(ctx, s, i+1)
		}
	}
	return e
}

// image returns the URL of image i (from 0) for people: "" if there is none, "gone" if
// Tencent has deleted it.
func (r Result) image(i int) string {
	switch {
	case i >= len(r.Images):
		return ""
	case r.Gone(time.Now()):
		return gone
	}
	return r.Images[i]
}

// Links returns the URLs of the images for people; "gone" if Tencent has deleted them.
func (r Result) Links() []string {
	urls := make([]string, len(r.Images))
	for i := range urls {
		urls[i] = r.image(i)
	}
	return urls
}

// Vanished reports whether image i (from 0) has no copy and was deleted by Tencent.
func (r Result) Vanished(i int) bool {
	return r.Gone(time.Now()) && (i >= len(r.CopyList) || r.CopyList[i].State != string(ledger.Copied))
}

// copyURL returns the URL of the copy of image i (from 0), or "".
func (r Result) copyURL(i int) string {
	if i >= len(r.CopyList) {
		return ""
	}
	return r.CopyList[i].URL
}

// Expiry describes the expiry of the images without a copy: "will be deleted in 2 days
// 4 h", or "gone". It is empty if all have copies, or the time is unknown.
func (r Result) Expiry(now time.Time) string {
	for _, c := range r.CopyList {
		if c.State == string(ledger.Copied) {
			continue
		}
		left := r.GoneAt.Sub(now)
		switch {
		case r.GoneAt.IsZero():
			return ""
		case left <= 0:
			return gone
		}
		return "will be deleted in " + daysAndHours(left)
	}
	return ""
}

// daysAndHours formats a duration as days and hours, hours and minutes, or minutes.
func daysAndHours(d time.Duration) string {
	minutes := int(d / time.Minute)
	days, hours, minutes := minutes/(24*60), minutes/60%24, minutes%60
	switch {
	case days == 1:
		return fmt.Sprintf("1 day %d h", hours)
	case days > 1:
		return fmt.Sprintf("%d days %d h", days, hours)
	case hours > 0:
		return fmt.Sprintf("%d h %d min", hours, minutes)
	}
	return fmt.Sprintf("%d min", minutes)
}

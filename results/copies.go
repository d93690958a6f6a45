package results

import (
	"context"
	"fmt"
	"time"

	"tiwsnap/ledger"
)

// Copy is what became of one image.
type Copy struct {
	// State is one of those of package ledger, or gone: Tencent has deleted the
	// image, and there is no copy.
	State string `json:"state"`
	URL   string `json:"url,omitempty"` // of the copy
}

// gone is the state of an image that nobody has any more.
const gone = "gone"

// copies is what became of the images of a snapshot.
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

// LocateCopies makes the URL of the copy of image n of a snapshot, from 1, for what is
// explained from now on. It is called for what is copied alone. Call it before others
// use the reader.
func (r *Reader) LocateCopies(url func(ctx context.Context, s ledger.Snapshot, n int) string) {
	r.copyURL = url
}

// Explain is Explain with the URLs of copies, as far as it is known where they are.
func (r *Reader) Explain(ctx context.Context, s ledger.Snapshot) Result {
	e := Explain(s)
	for i, c := range e.CopyList {
		if r.copyURL != nil && c.State == string(ledger.Copied) {
			e.CopyList[i].URL = r.copyURL(ctx, s, i+1)
		}
	}
	return e
}

// image is the URL of an image for people, from 0; it is empty where there is none,
// and no dead link.
func (r Result) image(i int) string {
	switch {
	case i >= len(r.Images):
		return ""
	case r.Gone(time.Now()):
		return gone
	}
	return r.Images[i]
}

// Links are the URLs of the images for people: "gone" where Tencent has deleted them.
func (r Result) Links() []string {
	urls := make([]string, len(r.Images))
	for i := range urls {
		urls[i] = r.image(i)
	}
	return urls
}

// Vanished reports whether nobody has an image any more, from 0: there is no copy,
// and Tencent has deleted it.
func (r Result) Vanished(i int) bool {
	return r.Gone(time.Now()) && (i >= len(r.CopyList) || r.CopyList[i].State != string(ledger.Copied))
}

// copyURL is the URL of the copy of an image, from 0, or empty.
func (r Result) copyURL(i int) string {
	if i >= len(r.CopyList) {
		return ""
	}
	return r.CopyList[i].URL
}

// Fate says for people what becomes of the images that have no copy: "will be deleted
// in 2 days 4 h", or "gone". It is empty where there are none, or nothing is known.
func (r Result) Fate(now time.Time) string {
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

// daysAndHours is a time for people: days and hours, hours and minutes, or minutes.
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

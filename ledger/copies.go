package ledger

import (
	"strconv"
	"strings"
	"time"
)

// TencentKeeps is how long Tencent keeps an image that is not in a bucket of
// one's own.
const TencentKeeps = 72 * time.Hour

// CopyState says where an image is.
type CopyState string

// The states of an image.
const (
	Remote  CopyState = "remote"  // only where its URL leads, and nobody copies it
	Pending CopyState = "pending" // the same, and it will be copied
	Copied  CopyState = "copied"
	Lost    CopyState = "lost" // it was to be copied, and that failed for as long as Tencent kept it
)

// Copy is what became of one image.
type Copy struct {
	State CopyState
	Name  string // Copied: in the store
}

// The field "copies" of a record: a letter for each image, then, where some are
// copied, a blank and their folder in the store, as in "ppx. monday/0017-3B".
var copyLetters = map[byte]Copy{
	'.': {Pending, ""}, 'x': {Lost, ""}, 'p': {Copied, "png"}, 'j': {Copied, "jpg"},
}

// parseCopies returns what became of each of n images.
func parseCopies(field string, n int) []Copy {
	letters, folder, _ := strings.Cut(field, " ")
	all := make([]Copy, n)
	for i := range all {
		all[i].State = Remote
		if i < len(letters) {
			all[i] = copyLetters[letters[i]]
		}
		if all[i].State == Copied {
			all[i].Name = folder + "/" + strconv.Itoa(i+1) + "." + all[i].Name
		}
	}
	return all
}

// GoneAt is when Tencent deletes the images of the snapshot, or has: reckoned
// from its acceptance, so that it is early by the time that the task has run.
// It is zero where they are in a bucket of the user's own.
func (s Snapshot) GoneAt() time.Time {
	if s.Room.COS != nil || s.AcceptedAt.IsZero() {
		return time.Time{}
	}
	return s.AcceptedAt.Add(TencentKeeps)
}

// Gone reports whether the images that have no copy are deleted by then.
func (s Snapshot) Gone(now time.Time) bool {
	at := s.GoneAt()
	return !at.IsZero() && !now.Before(at)
}

package tasks

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of a room's fields. Those of width, height and mode are the API's; the others are ours, so that no row of a
// class list fills Redis.
const (
	MaxSide        = 2560     // pixels
	MaxInitParams  = 16 << 10 // bytes
	MaxLabels      = 32
	MaxLabel       = 1 << 10 // bytes, name and value each
	MaxCallbackURL = 2 << 10 // bytes of a CallbackURL
	maxText        = 255     // bytes, in the other string fields
)

// MaxDocumentedRoomID is the largest RoomId that the API StartOnlineRecord accepts. The page of CreateSnapshotTask
// gives no bound, so a larger one is sent with a warning.
const MaxDocumentedRoomID = 1<<32 - 1

// The documented values of SnapshotMode.
const (
	ModeAllMarks        = "AllMarks"
	ModeLatestMarksOnly = "LatestMarksOnly"
)

// Room is one whiteboard to snapshot, in the field names of Tencent's
// CreateSnapshotTask. Optional fields left out take the API's defaults.
type Room struct {
	SdkAppId uint64 `json:",omitempty"`
	RoomId   uint64 `json:",omitempty"`
	// CallbackURL gets the result when Tencent's task has ended. Tencent calls it, or tiwsnap if Tencent calls tiwsnap;
	// the workers must allow its host then. At most 2048 bytes, http or https; it may contain a token.
	CallbackURL  string      `json:",omitempty"`
	Whiteboard   *Whiteboard `json:",omitempty"`
	SnapshotMode string      `json:",omitempty"`
	COS          *COS        `json:",omitempty"`
	// Label is the user's own text for the room. It is returned with the results and never sent to Tencent.
	Label map[string]string `json:",omitempty"`
}

// Whiteboard is the size (pixels, 0..2560, default 1280 by 720) and the
// parameters of the whiteboard; InitParams is a JSON document in a string.
type Whiteboard struct {
	Width      *uint64 `json:",omitempty"`
	Height     *uint64 `json:",omitempty"`
	InitParams string  `json:",omitempty"`
}

// COS is the bucket that receives the images. Without one they are in Tencent's public bucket for three days.
type COS struct {
	Uin       uint64 `json:",omitempty"`
	Region    string `json:",omitempty"`
	Bucket    string `json:",omitempty"`
	TargetDir string `json:",omitempty"`
	Domain    string `json:",omitempty"`
}

// FieldError is a fault of a room: the field by the API's name, and the reason.
type FieldError struct {
	Field  string
	Reason string
}

func (e FieldError) Error() string { return e.Field + " " + e.Reason }

// RoomError lists every fault of a room.
type RoomError struct{ Faults []FieldError }

func (e *RoomError) Error() string {
	s := make([]string, len(e.Faults))
	for i, f := range e.Faults {
		s[i] = f.Error()
	}
	return strings.Join(s, "; ")
}

// Validate checks the room against the documented rules of the API and our limits. The error is a *RoomError with all
// faults.
func (r *Room) Validate() error {
	var faults []FieldError
	bad := func(field, format string, args ...any) {
		faults = append(faults, FieldError{field, fmt.Sprintf(format, args...)})
	}
	text := func(field, s string, limit int) {
		if reason := badText(s, limit); reason != "" {
			bad(field, "%s", reason)
		}
	}
	if r.SdkAppId == 0 {
		bad("SdkAppId", "is missing")
	}
	if r.RoomId == 0 {
		bad("RoomId", "is missing")
	}
	if w := r.Whiteboard; w != nil {
		if w.Width != nil && *w.Width > MaxSide {
			bad("Whiteboard.Width", "is %d, it must be from 0 to %d", *w.Width, MaxSide)
		}
		if w.Height != nil && *w.Height > MaxSide {
			bad("Whiteboard.Height", "is %d, it must be from 0 to %d", *w.Height, MaxSide)
		}
		if w.InitParams != "" {
			text("Whiteboard.InitParams", w.InitParams, MaxInitParams)
			if len(w.InitParams) <= MaxInitParams && !json.Valid([]byte(w.InitParams)) {
				bad("Whiteboard.InitParams", "is not a JSON document")
			}
		}
	}
	if r.CallbackURL != "" {
		if err := CheckCallbackURL(r.CallbackURL); err != nil {
			bad("CallbackURL", "%s", err)
		}
	}
	switch r.SnapshotMode {
	case "", ModeAllMarks, ModeLatestMarksOnly:
	default:
		bad("SnapshotMode", "is %.40q, it must be %s or %s", r.SnapshotMode, ModeAllMarks, ModeLatestMarksOnly)
	}
	if c := r.COS; c != nil {
		if c.Uin == 0 {
			bad("COS.Uin", "is missing (a COS block needs Uin, Region and Bucket)")
		}
		if c.Region == "" {
			bad("COS.Region", "is missing (a COS block needs Uin, Region and Bucket)")
		}
		if c.Bucket == "" {
			bad("COS.Bucket", "is missing (a COS block needs Uin, Region and Bucket)")
		}
		text("COS.Region", c.Region, maxText)
		text("COS.Bucket", c.Bucket, maxText)
		text("COS.TargetDir", c.TargetDir, maxText)
		text("COS.Domain", c.Domain, maxText)
	}
	if len(r.Label) > MaxLabels {
		bad("Label", "has %d names, at most %d are allowed", len(r.Label), MaxLabels)
	}
	if r.badLabel() {
		for _, name := range slices.Sorted(maps.Keys(r.Label)) {
			switch reason := badText(name, MaxLabel); {
			case name == "":
				bad("Label", "has an empty name")
			case reason != "":
				bad("Label", "has a name that %s: %.40q", reason, name)
			default:
				text("Label."+name, r.Label[name], MaxLabel)
			}
		}
	}
	if faults == nil {
		return nil
	}
	return &RoomError{faults}
}

// CheckCallbackURL checks a CallbackURL: http or https (Tencent's rule for its other callbacks), at most
// MaxCallbackURL bytes, no spaces. The error continues a sentence that begins with the field. It does not contain the
// URL, which may have a token.
func CheckCallbackURL(s string) error {
	if reason := badText(s, MaxCallbackURL); reason != "" {
		return errors.New(reason)
	}
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http" ||
		strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
		return errors.New("must be a URL that begins with https:// or http://")
	}
	return nil
}

// Words returns the words by which the room can be found: its RoomId and the values of its labels.
func (r Room) Words() []string {
	return append([]string{strconv.FormatUint(r.RoomId, 10)}, slices.Collect(maps.Values(r.Label))...)
}

// Redacted returns the room with only scheme and host of its CallbackURL, because the rest may contain a token.
func (r Room) Redacted() Room {
	if u, err := url.Parse(r.CallbackURL); r.CallbackURL != "" {
		r.CallbackURL = "***"
		if err == nil && u.Host != "" {
			r.CallbackURL = u.Scheme + "://" + u.Host
		}
	}
	return r
}

// badLabel does not allocate if all labels are valid.
func (r *Room) badLabel() bool {
	for name, value := range r.Label {
		if name == "" || badText(name, MaxLabel) != "" || badText(value, MaxLabel) != "" {
			return true
		}
	}
	return false
}

func badText(s string, limit int) string {
	switch {
	case len(s) > limit:
		return fmt.Sprintf("is %d bytes long, at most %d are allowed", len(s), limit)
	case !utf8.ValidString(s):
		return "is not valid UTF-8"
	case strings.IndexByte(s, 0) >= 0:
		return "contains a NUL byte"
	}
	return ""
}

// Over returns the room with missing fields taken from defaults: COS and Whiteboard field by field, labels by name.
// The RoomId is never taken. Zero and empty fields count as missing; a size is missing if its pointer is nil. The
// result may share memory with both rooms.
func (r Room) Over(defaults Room) Room {
	r.SdkAppId = cmp.Or(r.SdkAppId, defaults.SdkAppId)
	r.CallbackURL = cmp.Or(r.CallbackURL, defaults.CallbackURL)
	r.SnapshotMode = cmp.Or(r.SnapshotMode, defaults.SnapshotMode)
	if d := defaults.Whiteboard; r.Whiteboard == nil {
		r.Whiteboard = d
	} else if d != nil {
		r.Whiteboard = &Whiteboard{
			Width:      cmp.Or(r.Whiteboard.Width, d.Width),
			Height:     cmp.Or(r.Whiteboard.Height, d.Height),
			InitParams: cmp.Or(r.Whiteboard.InitParams, d.InitParams),
		}
	}
	if d := defaults.COS; r.COS == nil {
		r.COS = d
	} else if d != nil {
		r.COS = &COS{
			Uin:       cmp.Or(r.COS.Uin, d.Uin),
			Region:    cmp.Or(r.COS.Region, d.Region),
			Bucket:    cmp.Or(r.COS.Bucket, d.Bucket),
			TargetDir: cmp.Or(r.COS.TargetDir, d.TargetDir),
			Domain:    cmp.Or(r.COS.Domain, d.Domain),
		}
	}
	if len(r.Label) == 0 {
		r.Label = defaults.Label
	} else if len(defaults.Label) > 0 {
		own := r.Label
		r.Label = maps.Clone(defaults.Label)
		maps.Copy(r.Label, own)
	}
	return r
}

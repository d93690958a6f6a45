package images

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"tiwsnap/ledger"
	"tiwsnap/tasks"
)

const (
	// singles is the folder of snapshots without a batch. No batch can have that id.
	singles = "_single"
	// maxFileName bounds the length of a name that fileName returns, in bytes. File systems allow 255.
	maxFileName = 60
)

// Folder returns the folder of the copies of a snapshot. No other snapshot has it.
//
//	FOLDER-OF-BATCH/ROW-LABELS      in a batch; the RoomId if there are no labels
//	_single/YYYY-MM-DD/LABELS-ID    by itself, by the day of its end in UTC
func Folder(s ledger.Snapshot) string {
	room := cmp.Or(fileName(labels(s.Room)), strconv.FormatUint(s.Room.RoomId, 10))
	if _, row, ok := tasks.SplitRowID(s.ID); ok {
		return path.Join(s.Folder, fmt.Sprintf("%04d-%s", row, room))
	}
	return path.Join(singles, s.EndedAt.UTC().Format("2006-01-02"), room+"-"+fileName(s.ID))
}

// Name returns the name of the copy of image n of a snapshot, from 1, or "" if there is no copy.
func Name(s ledger.Snapshot, n int) string {
	if n > len(s.Copies) {
		return ""
	}
	c := s.Copies[n-1]
	if c.State != ledger.Copied {
		return ""
	}
	return path.Join(Folder(s), strconv.Itoa(n)+"."+c.Format)
}

// labels joins the labels of a room in the order of their columns' names.
func labels(r tasks.Room) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(r.Label)) {
		if v := r.Label[name]; v != "" {
			all = append(all, v)
		}
	}
	return strings.Join(all, " ")
}

// fileName turns any text into a name that every file system accepts: letters and digits of any script, spaces and a
// few signs. It may be empty.
func fileName(s string) string {
	var b strings.Builder
	last := '-'
	for _, c := range norm.NFC.String(strings.ToValidUTF8(s, "-")) {
		switch {
		case unicode.IsLetter(c), unicode.IsNumber(c), unicode.IsMark(c), strings.ContainsRune("_.,()（）", c):
		case unicode.IsSpace(c):
			c = ' '
		default:
			c = '-'
		}
		if c == last && (c == '-' || c == ' ' || c == '.') {
			continue
		}
		if b.Len()+utf8.RuneLen(c) > maxFileName {
			break
		}
		b.WriteRune(c)
		last = c
	}
	return strings.Trim(b.String(), " .-")
}

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

// singles is the folder of snapshots that have no batch. No batch can have that
// id.
const singles = "_single"

// maxLabel is the length of a label in the name of a folder, in bytes. File
// systems allow 255 for a name.
const maxLabel = 60

// Folder is the folder of the copies of a snapshot: in that of its batch its row
// and its labels, or its RoomId where it has none; and by the day of its end where
// it has no batch. It follows from the snapshot alone and is its own.
func Folder(s ledger.Snapshot) string {
	room := cmp.Or(fileName(labels(s.Room)), strconv.FormatUint(s.Room.RoomId, 10))
	if _, row, ok := tasks.SplitRowID(s.ID); ok {
		return path.Join(s.Folder, fmt.Sprintf("%04d-%s", row, room))
	}
	return path.Join(singles, s.EndedAt.UTC().Format("2006-01-02"), room+"-"+fileName(s.ID))
}

// Name is the name of the copy of image n of a snapshot, from 1, or empty where it
// has none.
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

func labels(r tasks.Room) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(r.Label)) {
		if v := r.Label[name]; v != "" {
			all = append(all, v)
		}
	}
	return strings.Join(all, " ")
}

// fileName makes of any text a name that every file system takes: letters and
// digits of any script, blanks, and some signs. It may be empty.
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
		if b.Len()+utf8.RuneLen(c) > maxLabel {
			break
		}
		b.WriteRune(c)
		last = c
	}
	return strings.Trim(b.String(), " .-")
}

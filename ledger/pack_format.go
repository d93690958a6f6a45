package ledger

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
)

// An ended record is packed from a hash into one value, a fifth of its size:
//
//	1 byte   initial of the state
//	1 byte   packVersion
//	4 bytes  end (Unix s, most significant byte first)
//	the rest the other fields, compressed by DEFLATE with the dictionary packWords:
//	         names and values, each after its length (varint)
//
// Scripts read the head. Most of a record is UUIDs; they are stored as 16 bytes.

const (
	packVersion = 1
	packHead    = 6 // uncompressed bytes
	// maxUnpacked bounds an unpacked record, in bytes. The largest parts of one are a
	// room of up to half a million bytes and the body of a callback.
	maxUnpacked = 8 << 20
)

// packWords has what most records have in common, the most frequent last. It is part
// of the format: a change needs a new packVersion.
const packWords = `FailedOperation.RoomNotExistAuthFailureInvalidParameterResourceUnavailableUnauthorizedOperation` +
	`RequestLimitExceededClientError.WorkerLostClientError.NoImageInternalErrorattempts used up, a task may exist: ` +
	`{"SdkAppId":1400000000,"RoomId":,"Whiteboard":{"Width":1280,"Height":720},"SnapshotMode":"AllMarks",` +
	`"LatestMarksOnly"},"COS":{"Uin":1,"Region":"ap-guangzhou","Bucket":"boards-125","TargetDir":"Label":{"Class":"` +
	"\tfailed\tunknown\tqueued\tcanceled\x0acallback:1\x09callbacks\x06task:2\x06answer\x07answers\x09answer_at" +
	`["https://tiw-.cos.ap-singapore.myqcloud.com/snapshot/images/.png","/1.png","/2.png","/3.png"]` +
	"\x05try:2\x05total\x04code\x07message\x08failures\x06unsent\x0aretried_at\x07cancels\x0aunknown_at" +
	"\x0baccepted_at\x0d176\x07attempt\x011\x0acreated_at\x0d176\x08ended_at\x0d176\x06images" +
	"\x04made\x011\x0arequest_id\x11\x01" +
	"\x07sent_at\x0d176\x06task:1\x11\x01\x07task_id\x11\x01\x05try:1\taccepted\t\t"

// kept returns the fields of a record that are packed.
func kept(f map[string]string) map[string]string {
	kept := maps.Clone(f)
	for _, name := range []string{"state", "batch", "app", "token", "answer", "answers", "answer_at"} {
		delete(kept, name)
	}
	if f["relay"] == "" { // callbacks are not forwarded
		maps.DeleteFunc(kept, func(name, _ string) bool { return strings.HasPrefix(name, "callback:") })
	}
	return kept
}

// pack packs the fields of an ended record.
func pack(f map[string]string) []byte {
	var text []byte
	keep := kept(f)
	for _, name := range slices.Sorted(maps.Keys(keep)) {
		text = appendText(text, name)
		text = appendText(text, shortenUUIDs(keep[name]))
	}
	head := []byte{f["state"][0], packVersion}
	b := bytes.NewBuffer(binary.BigEndian.AppendUint32(head, uint32(unixMilli(f["ended_at"]).Unix())))
	w := packers.Get().(*flate.Writer)
	w.Reset(b)
	w.Write(text) // to a buffer: cannot fail
	w.Close()
	packers.Put(w)
	return b.Bytes()
}

var packers = sync.Pool{New: func() any {
	w, err := flate.NewWriterDict(nil, flate.BestCompression, []byte(packWords))
	if err != nil {
		panic(err) // the level is a constant
	}
	return w
}}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// unpack returns the fields of a packed record: the state and those of kept.
func unpack(packed string) (map[string]string, error) {
	if len(packed) < packHead || stateOf(packed) == "" {
		return nil, errors.New("not a packed record")
	}
	if packed[1] != packVersion {
		return nil, fmt.Errorf("packed by another release: version %d, this one knows %d", packed[1], packVersion)
	}
	u := unpackers.Get().(*unpacker)
	defer unpackers.Put(u)
	u.in.Reset(packed[packHead:])
	u.text.Reset()
	if err := u.r.(flate.Resetter).Reset(&u.in, []byte(packWords)); err != nil {
		return nil, err
	}
	n, err := u.text.ReadFrom(io.LimitReader(u.r, maxUnpacked+1))
	if err == nil && n > maxUnpacked {
		err = fmt.Errorf("larger than %d bytes", maxUnpacked)
	}
	if err != nil {
		return nil, err
	}
	f := map[string]string{"state": string(stateOf(packed))}
	for text := u.text.Bytes(); len(text) > 0; {
		var name, value []byte
		if name, text, err = cutText(text); err == nil {
			value, text, err = cutText(text)
		}
		if err != nil {
			return nil, err
		}
		f[string(name)] = restoreUUIDs(value)
	}
	return f, nil
}

// unpacker reads packed records. It is reused to save memory.
type unpacker struct {
	in   strings.Reader
	r    io.ReadCloser
	text bytes.Buffer
}

var unpackers = sync.Pool{New: func() any {
	u := new(unpacker)
	u.r = flate.NewReaderDict(&u.in, []byte(packWords))
	return u
}}

func cutText(b []byte) (text, rest []byte, err error) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) {
		return nil, nil, errors.New("cut off in the middle")
	}
	return b[size : size+int(n)], b[size+int(n):], nil
}

// stateOf returns the state of a packed record, or "" if it is not one.
func stateOf(packed string) State {
	for _, s := range []State{Succeeded, Failed, Canceled} {
		if packed != "" && packed[0] == s[0] {
			return s
		}
	}
	return ""
}

// In a shortened text, uuidFollows precedes the 16 bytes of a UUID, and escape
// precedes a byte of the text that is one of these two.
const (
	uuidFollows = 1
	escape      = 2
	uuidLength  = 36
)

// shortenUUIDs replaces the lower-case UUIDs in a text by their bytes.
func shortenUUIDs(s string) string {
	if strings.IndexByte(s, '-') < 0 && strings.IndexFunc(s, func(r rune) bool { return r <= escape }) < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		if raw, ok := parseUUID(s[i:]); ok {
			b.WriteByte(uuidFollows)
			b.Write(raw)
			i += uuidLength
			continue
		}
		if s[i] == uuidFollows || s[i] == escape {
			b.WriteByte(escape)
		}
		b.WriteByte(s[i])
		i++
	}
	return b.String()
}

// parseUUID returns the bytes of the UUID that a text begins with.
func parseUUID(s string) (raw []byte, ok bool) {
	if len(s) < uuidLength || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return nil, false
	}
	digits := s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:uuidLength]
	raw, err := hex.DecodeString(digits)
	return raw, err == nil && strings.ToLower(digits) == digits
}

// restoreUUIDs is the inverse of shortenUUIDs. It never fails on a truncated text.
func restoreUUIDs(text []byte) string {
	if bytes.IndexByte(text, uuidFollows) < 0 && bytes.IndexByte(text, escape) < 0 {
		return string(text)
	}
	b := make([]byte, 0, len(text)+64)
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == uuidFollows && i+16 < len(text):
			raw := text[i+1 : i+17]
			for n, c := range raw {
				if n == 4 || n == 6 || n == 8 || n == 10 {
					b = append(b, '-')
				}
				b = hex.AppendEncode(b, []byte{c})
			}
			i += 16
			continue
		case text[i] == escape && i+1 < len(text):
			i++
		}
		b = append(b, text[i])
	}
	return string(b)
}

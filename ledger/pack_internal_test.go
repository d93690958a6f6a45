package ledger

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// A packed record unpacks to the same bytes, whatever it contains.
func TestPack(t *testing.T) {
	text := rapid.OneOf(
		rapid.String(), rapid.StringOfN(rapid.RuneFrom([]rune("\x00\x01\x02ab-")), 0, 60, -1),
		rapid.StringMatching(`(https://h/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-fA-F]{12}/1\.png ){0,3}\x01?`),
	)
	rapid.Check(t, func(t *rapid.T) {
		f := rapid.MapOf(rapid.StringMatching(`[a-z]{1,8}(:[0-9])?`), text).Draw(t, "fields")
		f["state"] = string(rapid.SampledFrom([]State{Succeeded, Failed, Canceled}).Draw(t, "state"))
		f["relay"] = "1"
		got, err := unpack(string(pack(f)))
		if err != nil {
			t.Fatal(err)
		}
		want := kept(f)
		want["state"] = f["state"]
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("unpack(pack(fields)) (-want +got):\n%s", diff)
		}
	})
}

// Unpacking a damaged record, or one of another release, is an error.
func TestUnpackErrors(t *testing.T) {
	good := string(pack(map[string]string{"state": "failed", "code": "InvalidParameter"}))
	for _, bad := range []string{"", "s", "x\x01", "f\x02" + good[2:], good[:5], good[:len(good)-2], "f\x01junkjunk"} {
		if f, err := unpack(bad); err == nil {
			t.Errorf("unpack(%q) = %v, want an error", bad, f)
		}
	}
}

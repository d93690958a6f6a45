package tiw_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"tiwsnap/tiw"
)

const (
	newKey = "K3Y-new-0123456789-0123456789-0123456789"
	oldKey = "K3Y-old-0123456789-0123456789-0123456789"
)

// at is the expiry of the URLs in these tests.
var at = time.Unix(1_800_000_000, 0)

func TestCallbackURL(t *testing.T) {
	keys := tiw.NewCallbackKeys(newKey, oldKey)
	made := keys.URL("https://example.org/tiw", "monday.17", 3, at)
	path, ok := strings.CutPrefix(made, "https://example.org/tiw")
	if part := strings.Split(path, "/"); !ok || len(part) != 8 || part[1] != "cb" || part[2] != "v1" ||
		len(part[3]) != 8 ||
		part[4] != "monday.17" || part[5] != "3" || part[6] != "tro8w0" || len(part[7]) != 43 {
		t.Fatalf("got %s", made)
	}
	refused := func(t *testing.T, keys tiw.CallbackKeys, path string, now time.Time, why string) {
		t.Helper()
		snapshot, attempt, err := keys.Verify(path, now)
		if err == nil || err.Error() != why || snapshot != "" || attempt != 0 {
			t.Errorf("%s: got %q, %d, %v, want %q", path, snapshot, attempt, err, why)
		}
	}
	good := func(t *testing.T, keys tiw.CallbackKeys, path string, now time.Time) {
		t.Helper()
		if snapshot, attempt, err := keys.Verify(path, now); snapshot != "monday.17" || attempt != 3 || err != nil {
			t.Errorf("%s: got %q, %d, %v", path, snapshot, attempt, err)
		}
	}

	t.Run("it is good until it expires", func(t *testing.T) {
		good(t, keys, path, time.Unix(0, 0))
		good(t, keys, path, at)
		refused(t, keys, path, at.Add(time.Second), "expired")
	})

	t.Run("a proxy may leave the path of the base on", func(t *testing.T) {
		good(t, keys, "/tiw"+path, at)
	})

	t.Run("keys can be replaced while URLs are about", func(t *testing.T) {
		before, halfway, after := tiw.NewCallbackKeys(oldKey, ""), tiw.NewCallbackKeys(oldKey, newKey),
			tiw.NewCallbackKeys(newKey)
		old := before.URL("", "monday.17", 3, at)
		if old == path || halfway.URL("", "monday.17", 3, at) != old || after.URL("", "monday.17", 3, at) != path {
			t.Error("it is not the first key that signs")
		}
		for _, k := range []tiw.CallbackKeys{before, halfway, keys} {
			good(t, k, old, at)
		}
		for _, k := range []tiw.CallbackKeys{halfway, keys, after} {
			good(t, k, path, at)
		}
		refused(t, before, path, at, "signed with an unknown key")
		refused(t, after, old, at, "signed with an unknown key")
		refused(t, tiw.CallbackKeys{}, path, at, "signed with an unknown key")
	})

	t.Run("no byte of it can be changed, added or left out", func(t *testing.T) {
		for i := range path {
			for _, other := range []string{
				path[:i] + string(path[i]^1) + path[i+1:],
				path[:i] + string(path[i]^0x20) + path[i+1:],
				path[:i] + path[i+1:],
				path[:i] + "0" + path[i:],
				path[:i] + "/" + path[i:],
				path[:i],
				path[:i] + fmt.Sprintf("%%%02x", path[i]) + path[i+1:],
				path[:i] + fmt.Sprintf("%%%02X", path[i]) + path[i+1:],
			} {
				// Any path may precede the root: it is the path of the base URL.
				if strings.HasSuffix(other, path) {
					continue
				}
				if _, _, err := keys.Verify(other, at); err == nil {
					t.Errorf("%s is accepted", other)
				}
			}
		}
	})

	t.Run("what it was made for cannot be moved to another field", func(t *testing.T) {
		part := strings.Split(path, "/")
		for _, change := range []struct {
			i   int
			to  string
			why string
		}{
			{2, "v2", "not the path of a callback"},
			{4, "monday.18", "the signature is wrong"},
			{5, "4", "the signature is wrong"},
			{5, "03", "the signature is wrong"},
			{5, "+3", "the signature is wrong"},
			{5, "x", "not the path of a callback"},
			{6, strings.ToUpper(part[6]), "the signature is wrong"},
			{6, "zzzzzzz", "the signature is wrong"},
			{6, "zzzzzzzzzzzzzzz", "not the path of a callback"},
			{4, "%zz", "not the path of a callback"},
		} {
			other := append([]string{}, part...)
			other[change.i] = change.to
			refused(t, keys, strings.Join(other, "/"), at, change.why)
		}
		refused(t, keys, path+"/", at, "not the path of a callback")
		refused(t, keys, "", at, "not the path of a callback")
	})

	t.Run("keys are never printed", func(t *testing.T) {
		var out bytes.Buffer
		for _, v := range []any{keys, &keys, struct{ Keys tiw.CallbackKeys }{keys},
			struct{ keys tiw.CallbackKeys }{keys}, []tiw.CallbackKeys{keys}} {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
				fmt.Fprintf(&out, verb+"\n", v)
			}
			slog.New(slog.NewTextHandler(&out, nil)).Info("text", "v", v)
			slog.New(slog.NewJSONHandler(&out, nil)).Info("json", "v", v)
		}
		for _, form := range []string{"%s", "%x", "%d"} {
			if strings.Contains(out.String(), strings.Trim(fmt.Sprintf(form, []byte(newKey[:8])), "[]")) {
				t.Errorf("it shows the key as %s:\n%s", form, out.String())
			}
		}
	})
}

func FuzzCallbackURL(f *testing.F) {
	f.Add("monday.17", 1, int64(1_800_000_000), "/cb/v1/a/b/1/c/d")
	f.Add("a/b c%2f..", -7, int64(-5), "/cb/v1//////")
	f.Add("\xff\x00", 0, int64(1)<<62, "/cb/v1/")
	f.Fuzz(func(t *testing.T, snapshot string, attempt int, expires int64, other string) {
		keys := tiw.NewCallbackKeys(newKey)
		now := time.Unix(expires, 0)
		path := keys.URL("", snapshot, attempt, now)
		if s, a, err := keys.Verify(path, now); s != snapshot || a != attempt || err != nil {
			t.Errorf("%q, attempt %d: got %q, %d, %v", snapshot, attempt, s, a, err)
		}
		for _, p := range []string{other, path + other, path[:len(path)/2] + other} {
			if _, _, err := keys.Verify(p, now); err == nil && !strings.HasSuffix(p, path) {
				t.Errorf("%q is accepted", p)
			}
		}
	})
}

func TestParseCallback(t *testing.T) {
	for _, test := range []struct{ name, body, want string }{
		{"at the top", `{"TaskID":"t-1"}`, "t-1"},
		{"in the event that Tencent documents for other tasks",
			`{"EventType":"X","EventData":{"TaskId":"t-1","Status":"Finished"},"SdkAppId":1,"Timestamp":2,` +
				`"ExpireTime":3,"Sign":"s"}`, "t-1"},
		{"in the answer of a Describe", `{"Response":{"TaskID":"t-1","Result":{"Snapshots":["https://h/1.png"]}}}`, "t-1"},
		{"in JSON that is the text of a string", `{"EventData":" {\"Result\":{},\"task_id\":\"t-1\"}"}`, "t-1"},
		{"a lower-case name", `{"taskid":"t-1"}`, "t-1"},
		{"another case", `{"taskId":"t-1"}`, "t-1"},
		{"in an array", `[1,[{"TASK_ID":"t-1"}]]`, "t-1"},
		{"an array of them", `{"TaskID":["t-1","t-2"]}`, "t-1"},
		{"the exact name wins", `{"taskId":"t-2","x":{"TaskID":"t-1"},"task_id":"t-3"}`, "t-1"},
		{"the first of the same name wins", `{"TaskID":"t-1","TaskID":"t-2","x":{"TaskID":"t-3"}}`, "t-1"},
		{"an empty one, null, a number and an object are none",
			`{"TaskID":"","a":{"TaskID":null},"b":{"TaskID":12},"c":{"TaskID":{"d":"e"}},"f":{"TaskID":"t-1"}}`, "t-1"},
		{"of 128 characters", `{"TaskID":"` + strings.Repeat("a", 128) + `"}`, strings.Repeat("a", 128)},
		{"one that is too long", `{"TaskID":"` + strings.Repeat("a", 129) + `"}`, ""},
		{"one with a line break", `{"TaskID":"t-1\n"}`, ""},
		{"one that is not ASCII", `{"TaskID":"t-１"}`, ""},
		{"one that is not UTF-8", "{\"TaskID\":\"t-\xff\"}", ""},
		{"a field whose name only ends so", `{"ParentTaskID":"t-1"}`, ""},
		{"behind a number that no machine holds", `{"a":1e999999,"TaskID":"t-1"}`, "t-1"},
		{"behind a byte order mark", "\ufeff" + `{"TaskID":"t-1"}`, "t-1"},
		{"in the second of two documents", `{} {"TaskID":"t-1"}`, "t-1"},
		{"before the JSON breaks off", `{"TaskID":"t-1","Result":{"Snap`, "t-1"},
		{"where it breaks off itself", `{"TaskID":"t-1`, ""},
		{"32 levels down", strings.Repeat("[", 31) + `{"TaskID":"t-1"}`, "t-1"},
		{"33 levels down", strings.Repeat("[", 32) + `{"TaskID":"t-1"}`, ""},
		{"far down", strings.Repeat("[", 60_000) + `{"TaskID":"t-1"}`, ""},
		{"behind 64 KiB", `{"a":"` + strings.Repeat("a", tiw.MaxCallback) + `","TaskID":"t-1"}`, ""},
		{"nothing in it", `{}`, ""},
		{"a string", `"TaskID"`, ""},
		{"HTML", `<html>TaskID</html>`, ""},
		{"a form", `TaskID=t-1`, ""},
		{"nothing", ``, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := tiw.ParseCallback([]byte(test.body)); got.TaskID != test.want {
				t.Errorf("got %q, want %q", got.TaskID, test.want)
			}
		})
	}
}

func FuzzParseCallback(f *testing.F) {
	for _, body := range []string{
		`{"EventType":"X","EventData":{"TaskID":"t-1"},"SdkAppId":1,"Timestamp":2}`,
		`[{"task_id":"t"},"{\"TaskId\":1}"]`, "{", `"\ud800"`, "\ufeff{}", "[[[", `{"a":{"a":`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got := tiw.ParseCallback(body).TaskID
		for _, r := range got {
			if r <= ' ' || r > '~' {
				t.Errorf("%q is not printable", got)
			}
		}
		if len(got) > 128 {
			t.Errorf("it has %d bytes", len(got))
		}

		// The TaskID is found regardless of the rest of the envelope.
		text, err := json.Marshal(string(body))
		if err != nil || len(text) > tiw.MaxCallback/2 {
			return
		}
		envelope := fmt.Appendf(nil, `{"other":%s,"TaskID":"known"}`, text)
		inner := tiw.ParseCallback(envelope).TaskID
		if inner != "known" && !bytes.Contains(bytes.ToLower(body), []byte("id")) && !bytes.Contains(body, []byte(`\`)) {
			t.Errorf("%s: got %q", envelope, inner)
		}
		if inner == "" {
			t.Errorf("%s: nothing found", envelope)
		}
	})
}

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

// expiry is when the URLs of these tests expire.
var expiry = time.Unix(1_800_000_000, 0)

func TestCallbackURL(t *testing.T) {
	keys := tiw.NewCallbackKeys(newKey, oldKey)
	made := keys.URL("https://example.org/tiw", "monday.17", 3, expiry)
	path, ok := strings.CutPrefix(made, "https://example.org/tiw")
	if part := strings.Split(path, "/"); !ok || len(part) != 8 || part[1] != "cb" || part[2] != "v1" ||
		len(part[3]) != 8 ||
		part[4] != "monday.17" || part[5] != "3" || part[6] != "tro8w0" || len(part[7]) != 43 {
		t.Fatalf("URL() = %s", made)
	}
	wantRejected := func(t *testing.T, keys tiw.CallbackKeys, path string, now time.Time, reason string) {
		t.Helper()
		snapshot, attempt, err := keys.Verify(path, now)
		if err == nil || err.Error() != reason || snapshot != "" || attempt != 0 {
			t.Errorf("Verify(%s) = %q, %d, %v, want the error %q", path, snapshot, attempt, err, reason)
		}
	}
	wantAccepted := func(t *testing.T, keys tiw.CallbackKeys, path string, now time.Time) {
		t.Helper()
		if snapshot, attempt, err := keys.Verify(path, now); snapshot != "monday.17" || attempt != 3 || err != nil {
			t.Errorf("Verify(%s) = %q, %d, %v, want monday.17, 3", path, snapshot, attempt, err)
		}
	}

	t.Run("a URL is valid until it expires", func(t *testing.T) {
		wantAccepted(t, keys, path, time.Unix(0, 0))
		wantAccepted(t, keys, path, expiry)
		wantRejected(t, keys, path, expiry.Add(time.Second), "expired")
	})

	t.Run("a proxy may keep the path of the base URL", func(t *testing.T) {
		wantAccepted(t, keys, "/tiw"+path, expiry)
	})

	t.Run("keys can be rotated while URLs are in use", func(t *testing.T) {
		before, halfway, after := tiw.NewCallbackKeys(oldKey, ""), tiw.NewCallbackKeys(oldKey, newKey),
			tiw.NewCallbackKeys(newKey)
		old := before.URL("", "monday.17", 3, expiry)
		if old == path || halfway.URL("", "monday.17", 3, expiry) != old || after.URL("", "monday.17", 3, expiry) != path {
			t.Error("the URL is not signed with the first key")
		}
		for _, k := range []tiw.CallbackKeys{before, halfway, keys} {
			wantAccepted(t, k, old, expiry)
		}
		for _, k := range []tiw.CallbackKeys{halfway, keys, after} {
			wantAccepted(t, k, path, expiry)
		}
		wantRejected(t, before, path, expiry, "signed with an unknown key")
		wantRejected(t, after, old, expiry, "signed with an unknown key")
		wantRejected(t, tiw.CallbackKeys{}, path, expiry, "signed with an unknown key")
	})

	t.Run("no byte can be changed, added or removed", func(t *testing.T) {
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
				if _, _, err := keys.Verify(other, expiry); err == nil {
					t.Errorf("Verify(%s) accepted a changed path", other)
				}
			}
		}
	})

	t.Run("a signature is valid only for its fields", func(t *testing.T) {
		part := strings.Split(path, "/")
		for _, change := range []struct {
			i      int
			to     string
			reason string
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
			wantRejected(t, keys, strings.Join(other, "/"), expiry, change.reason)
		}
		wantRejected(t, keys, path+"/", expiry, "not the path of a callback")
		wantRejected(t, keys, "", expiry, "not the path of a callback")
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
				t.Errorf("the output contains the key in the format %s:\n%s", form, out.String())
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
			t.Errorf("Verify() = %q, %d, %v, want %q, %d", s, a, err, snapshot, attempt)
		}
		for _, p := range []string{other, path + other, path[:len(path)/2] + other} {
			if _, _, err := keys.Verify(p, now); err == nil && !strings.HasSuffix(p, path) {
				t.Errorf("Verify(%q) accepted a path that was not signed", p)
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
		{"in the response of a Describe", `{"Response":{"TaskID":"t-1","Result":{"Snapshots":["https://h/1.png"]}}}`, "t-1"},
		{"in JSON inside a string", `{"EventData":" {\"Result\":{},\"task_id\":\"t-1\"}"}`, "t-1"},
		{"a lower-case name", `{"taskid":"t-1"}`, "t-1"},
		{"a mixed-case name", `{"taskId":"t-1"}`, "t-1"},
		{"in an array", `[1,[{"TASK_ID":"t-1"}]]`, "t-1"},
		{"an array of task ids", `{"TaskID":["t-1","t-2"]}`, "t-1"},
		{"the exact name wins", `{"taskId":"t-2","x":{"TaskID":"t-1"},"task_id":"t-3"}`, "t-1"},
		{"the first of the same name wins", `{"TaskID":"t-1","TaskID":"t-2","x":{"TaskID":"t-3"}}`, "t-1"},
		{"empty, null, numeric and object values are ignored",
			`{"TaskID":"","a":{"TaskID":null},"b":{"TaskID":12},"c":{"TaskID":{"d":"e"}},"f":{"TaskID":"t-1"}}`, "t-1"},
		{"a task id of 128 characters", `{"TaskID":"` + strings.Repeat("a", 128) + `"}`, strings.Repeat("a", 128)},
		{"a task id of 129 characters", `{"TaskID":"` + strings.Repeat("a", 129) + `"}`, ""},
		{"a task id with a line break", `{"TaskID":"t-1\n"}`, ""},
		{"a task id that is not ASCII", `{"TaskID":"t-１"}`, ""},
		{"a task id that is not UTF-8", "{\"TaskID\":\"t-\xff\"}", ""},
		{"a field whose name only ends with TaskID", `{"ParentTaskID":"t-1"}`, ""},
		{"after a number that overflows", `{"a":1e999999,"TaskID":"t-1"}`, "t-1"},
		{"after a byte order mark", "\ufeff" + `{"TaskID":"t-1"}`, "t-1"},
		{"in the second of two documents", `{} {"TaskID":"t-1"}`, "t-1"},
		{"before the point where the JSON is truncated", `{"TaskID":"t-1","Result":{"Snap`, "t-1"},
		{"a truncated task id", `{"TaskID":"t-1`, ""},
		{"at nesting level 32", strings.Repeat("[", 31) + `{"TaskID":"t-1"}`, "t-1"},
		{"at nesting level 33", strings.Repeat("[", 32) + `{"TaskID":"t-1"}`, ""},
		{"60,000 nested arrays", strings.Repeat("[", 60_000) + `{"TaskID":"t-1"}`, ""},
		{"after 64 KiB", `{"a":"` + strings.Repeat("a", tiw.MaxCallback) + `","TaskID":"t-1"}`, ""},
		{"an empty object", `{}`, ""},
		{"a string", `"TaskID"`, ""},
		{"HTML", `<html>TaskID</html>`, ""},
		{"a form", `TaskID=t-1`, ""},
		{"an empty body", ``, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := tiw.ParseCallback([]byte(test.body)); got.TaskID != test.want {
				t.Errorf("TaskID = %q, want %q", got.TaskID, test.want)
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
				t.Errorf("TaskID %q has characters that are not printable", got)
			}
		}
		if len(got) > 128 {
			t.Errorf("TaskID has %d bytes, want at most 128", len(got))
		}

		// The TaskID is found regardless of the rest of the envelope.
		text, err := json.Marshal(string(body))
		if err != nil || len(text) > tiw.MaxCallback/2 {
			return
		}
		envelope := fmt.Appendf(nil, `{"other":%s,"TaskID":"known"}`, text)
		inner := tiw.ParseCallback(envelope).TaskID
		if inner != "known" && !bytes.Contains(bytes.ToLower(body), []byte("id")) && !bytes.Contains(body, []byte(`\`)) {
			t.Errorf("%s: TaskID = %q, want known", envelope, inner)
		}
		if inner == "" {
			t.Errorf("%s: no TaskID was found", envelope)
		}
	})
}

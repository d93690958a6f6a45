package cli

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/tiw/tiwtest"
)

// example is a room with all parameters of Tencent's API except CallbackURL.
const example = `"SdkAppId":1400124720,"RoomId":12345,
"Whiteboard":{"Width":1280,"Height":960,"InitParams":"{\"ratio\":\"4:3\"}"},
"COS":{"Uin":100000000001,"Region":"ap-guangzhou","Bucket":"notes-1250000000"},"SnapshotMode":"AllMarks"`

// callbacks configures the site's workers to receive Tencent's callbacks, and allows the host of the hook.
func (s site) receiveCallbacks(h *hook) {
	addr := redistest.FreeAddr(s.T)
	s.environ["TIWSNAP_CALLBACK_ADDR"] = addr
	s.environ["TIWSNAP_CALLBACK_URL"] = "http://" + addr
	s.environ["TIWSNAP_CALLBACK_KEY"] = callbackKey
	s.environ["TIWSNAP_WEBHOOK_ALLOW"] = strings.TrimPrefix(h.URL, "http://")
	delete(s.environ, "TIWSNAP_WEBHOOK_URL")
}

// Every input accepts Tencent's own example. Its CallbackURL is called by Tencent, or by tiwsnap if tiwsnap receives
// callbacks itself.
func TestCallbackURLOfRoom(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	for name, setUp := range map[string]func(site, *hook){
		"called by Tencent": func(s site, _ *hook) { delete(s.environ, "TIWSNAP_WEBHOOK_URL") },
		"called by tiwsnap": site.receiveCallbacks,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, tiwtest.Options{})
			h := newHook(s)
			setUp(s, h)
			s.startWorker()
			row := "{" + strings.ReplaceAll(example, "\n", "") + `,"CallbackURL":"` + h.URL + `/cb?token=S3CR3T"}` + "\n"
			inputs := map[string]func() (code int, stdout, stderr string){
				"JSON lines": func() (int, string, string) { return s.run(row, "enqueue", "batch", "-", "--name", "lines") },
				"CSV": func() (int, string, string) {
					return s.run("SdkAppId,RoomId,CallbackURL\n1400124720,12345,"+h.URL+"/cb?token=S3CR3T\n", "enqueue",
						"batch", "-", "--name", "csv")
				},
				"a flag of a batch": func() (int, string, string) {
					return s.run("SdkAppId,RoomId\n1400124720,12345\n", "enqueue", "batch", "-", "--name", "flag",
						"--callback-url", h.URL+"/cb?token=S3CR3T")
				},
				"a flag of a room": func() (int, string, string) {
					return s.run("", "enqueue", "room", "--app", "1400124720", "--room", "12345",
						"--callback-url", h.URL+"/cb?token=S3CR3T")
				},
			}
			for input, enqueue := range inputs {
				code, id, stderr := enqueue()
				if code != exitOK || strings.Contains(stderr, "bad row") {
					t.Fatalf("%s: exit code %d, %s", input, code, stderr)
				}
				s.mustRun("wait", strings.TrimSpace(id))
			}
			for range inputs {
				var body struct {
					EventType string
					EventData struct {
						TaskID string
						Result struct{ ErrorCode string }
					}
				}
				raw := h.nextBody(t)
				if err := json.Unmarshal([]byte(raw), &body); err != nil || body.EventData.TaskID == "" ||
					body.EventData.Result.ErrorCode != "OK" {
					t.Errorf("callback %s, want a TaskID and ErrorCode OK (%v)", raw, err)
				}
			}
			shown := s.mustRun("status", "lines.1", "-o", "json")
			if strings.Contains(shown, "S3CR3T") || !strings.Contains(shown, h.URL) {
				t.Errorf("status shows a secret, or not the host of the CallbackURL: %s", shown)
			}
		})
	}
}

func TestCallbackURLNotAllowed(t *testing.T) {
	s := newSite(t, tiwtest.Options{})
	h := newHook(s)
	s.receiveCallbacks(h)
	const reason = `leads to "elsewhere.example", which is not in TIWSNAP_WEBHOOK_ALLOW (tiwsnap calls it, as ` +
		`Tencent calls TIWSNAP_CALLBACK_URL)`
	const list = "SdkAppId,RoomId,CallbackURL\n1,2,https://elsewhere.example/S3CR3T\n1,3,\n"
	for _, args := range [][]string{
		{"enqueue", "batch", "-"}, {"enqueue", "batch", "-", "--strict"},
		{"enqueue", "batch", "-", "--callback-url", "https://elsewhere.example/S3CR3T"},
		{"enqueue", "room", "--app", "1", "--room", "2", "--callback-url", "https://elsewhere.example/S3CR3T"},
	} {
		code, _, stderr := s.run(list, args...)
		if want := exitUsage; len(args) > 3 && code != want {
			t.Errorf("%v: exit code %d, want %d", args, code, want)
		}
		if !strings.Contains(stderr, reason) || strings.Contains(stderr, "S3CR3T") {
			t.Errorf("%v: stderr %q, want the reason %q and no secret", args, stderr, reason)
		}
	}
	for callback, want := range map[string]string{
		"ftp://elsewhere.example":           "--callback-url must be a URL that begins with https:// or http://",
		"https://user:pw@elsewhere.example": "must not contain a user or a password",
		"https://10.1.2.3/":                 "10.1.2.3",
	} {
		s.checkRun(exitUsage, want, "enqueue", "room", "--app", "1", "--room", "2", "--callback-url", callback)
	}
	s.environ["TIWSNAP_WEBHOOK_ALLOW"] += ",10.1.2.3"
	s.checkRun(exitUsage, "leads to a private address: TIWSNAP_WEBHOOK_PRIVATE allows it", "enqueue", "room", "--app", "1",
		"--room", "2", "--callback-url", "https://10.1.2.3/")
	s.environ["TIWSNAP_WEBHOOK_HTTP"] = "false"
	s.checkRun(exitUsage, "must be https://: TIWSNAP_WEBHOOK_HTTP=true also allows http://", "enqueue", "room",
		"--app", "1", "--room", "2", "--callback-url", h.URL)
	s.environ["TIWSNAP_CONFIG"] = s.file("c.yml",
		`schedules: [{name: a, cron: "@daily", rooms: {list: [1]}, defaults: {SdkAppId: 1, CallbackURL: `+
			`"https://elsewhere.example/S3CR3T"}}]`)
	s.checkRun(exitConfig, "schedule a: defaults: CallbackURL "+reason, "schedule", "run", "a")
}

// A producer without these settings can enqueue a CallbackURL whose host is not allowed. The callback becomes a dead
// webhook. It can be resent when the host is allowed.
func TestDeadCallback(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	h := newHook(s)
	s.receiveCallbacks(h)
	s.environ["TIWSNAP_WEBHOOK_ALLOW"] = "elsewhere.example"
	stop := s.startWorker()
	producer := s
	producer.environ = map[string]string{"TIWSNAP_REDIS_URL": s.environ["TIWSNAP_REDIS_URL"]}
	producer.mustRun("enqueue", "room", "--app", "1", "--room", "2", "--callback-url", h.URL+"/S3CR3T")
	dead := s.waitForDeadWebhooks(1)[0]
	host := strings.TrimPrefix(h.URL, "http://")
	want := deadWebhook{ID: dead.ID, Event: "callback", Ref: dead.Ref, Receiver: host, Tries: dead.Tries,
		Error: host + ": not among the hosts that webhooks may go to", EndedAt: dead.EndedAt, DiedAt: dead.DiedAt}
	if diff := cmp.Diff(want, dead); diff != "" {
		t.Errorf("dead webhook (-want +got):\n%s", diff)
	}
	stop()
	h.status.Store(http.StatusOK)
	s.environ["TIWSNAP_WEBHOOK_ALLOW"] = host
	s.startWorker()
	s.mustRun("webhooks", "resend", dead.ID)
	if body := h.nextBody(t); !strings.Contains(body, `"SnapshotTaskFinished"`) {
		t.Errorf("callback %s, want SnapshotTaskFinished", body)
	}
}

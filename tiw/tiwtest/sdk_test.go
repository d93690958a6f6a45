package tiwtest_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common"
	tcerrors "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/errors"
	tchttp "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/http"
	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/profile"

	"tiwsnap/internal/needs"
	"tiwsnap/tiw/tiwtest"
)

// goSDK returns a client of Tencent's Go SDK that sends to the server.
func goSDK(srv *tiwtest.Server, unsigned bool) *common.Client {
	p := profile.NewClientProfile()
	p.HttpProfile.Endpoint = hostOf(srv)
	p.HttpProfile.Scheme = "HTTP"
	p.HttpProfile.ReqTimeout = 10
	p.UnsignedPayload = unsigned
	return common.NewCommonClient(common.NewCredential("simulator", "simulator"), "ap-singapore", p)
}

func send(t *testing.T, c *common.Client, action string, params map[string]any) (response, error) {
	t.Helper()
	req := tchttp.NewCommonRequest("tiw", "2019-09-19", action)
	if err := req.SetActionParameters(params); err != nil {
		t.Fatal(err)
	}
	resp := tchttp.NewCommonResponse()
	if err := c.Send(req, resp); err != nil {
		return response{}, err
	}
	return parse(t, 200, resp.GetBody()), nil
}

func TestGoSDK(t *testing.T) {
	for _, unsigned := range []bool{false, true} {
		name := map[bool]string{false: "with the payload signed", true: "with the payload unsigned"}[unsigned]
		t.Run(name, func(t *testing.T) {
			srv := tiwtest.Start(t, tiwtest.Options{TaskDuration: time.Hour})
			c := goSDK(srv, unsigned)
			room := map[string]any{"SdkAppId": uint64(1400124720), "RoomId": 7,
				"Whiteboard": map[string]any{"InitParams": `{"a":"<&>白板"}`}}
			first, err := send(t, c, create, room)
			if err != nil {
				t.Fatal(err)
			}
			second, err := send(t, c, create, room)
			if err != nil {
				t.Fatal(err)
			}
			if first.TaskID == second.TaskID || first.TaskID == "" {
				t.Errorf("two equal requests got the TaskIDs %q and %q, want two different ones", first.TaskID, second.TaskID)
			}
			d, err := send(t, c, describe, map[string]any{"SdkAppId": uint64(1400124720), "TaskID": first.TaskID})
			if err != nil {
				t.Fatal(err)
			}
			if d.TaskID != first.TaskID || d.Status != "Running" || d.FinishTime != nil || d.Result != nil {
				t.Errorf("Describe returned %+v, want a running task", d)
			}
			delete(room, "RoomId")
			_, err = send(t, c, create, room)
			var sdk *tcerrors.TencentCloudSDKError
			if !errors.As(err, &sdk) || sdk.Code != "MissingParameter" || sdk.RequestId == "" {
				t.Errorf("request without RoomId: got %v, want MissingParameter", err)
			}
		})
	}
}

// nodeClient returns the folder of the Node client. It skips the test if Node or the client is missing.
func nodeClient(t *testing.T) string {
	t.Helper()
	dir := filepath.Join("testdata", "node")
	needs.Program(t, "node")
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "tencentcloud-sdk-nodejs-common")); err != nil {
		needs.Skip(t, "no Node client of Tencent's (npm ci --prefix tiw/tiwtest/testdata/node)")
	}
	return dir
}

func TestNodeSDK(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	dir := nodeClient(t)
	srv := tiwtest.Start(t, tiwtest.Options{TaskDuration: 250 * time.Millisecond})
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "client.mjs")
	cmd.Dir = dir
	for _, v := range os.Environ() {
		// The client would send even loopback traffic through a proxy.
		if name, _, _ := strings.Cut(strings.ToLower(v), "="); !strings.HasSuffix(name, "_proxy") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, "TIW_ENDPOINT="+hostOf(srv), "TIW_SECRET_ID=simulator", "TIW_SECRET_KEY=simulator")
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = errors.New(string(exit.Stderr))
		}
		t.Fatalf("node client.mjs: %v", err)
	}
	var got struct {
		Created, Described response
		Rejected           struct{ Code, RequestID string }
	}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got.Created.TaskID == "" || got.Described.TaskID != got.Created.TaskID {
		t.Errorf("created task %q, described %q, want the same", got.Created.TaskID, got.Described.TaskID)
	}
	r := got.Described.Result
	if got.Described.Status != "Finished" || r == nil || r.ErrorCode != "OK" || r.Total == 0 ||
		r.Total != len(r.Snapshots) {
		t.Errorf("Describe returned %+v, want a finished task with images", got.Described)
	}
	if got.Rejected.Code != "InvalidParameter" || len(got.Rejected.RequestID) != 36 {
		t.Errorf("the invalid request got %+v, want InvalidParameter", got.Rejected)
	}
	if st := srv.State(); st.Codes["AuthFailure.SignatureFailure"] != 0 || st.Tasks.Created != 1 ||
		st.Tasks.Succeeded != 1 {
		t.Errorf("codes %v, tasks %+v, want valid signatures and one successful task", st.Codes, st.Tasks)
	}
}

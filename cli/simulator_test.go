package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common"
	tcerrors "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/errors"
	tchttp "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/http"
	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/profile"

	"tiwsnap/tiw/tiwtest"
)

// startSimulator runs the command on a free port. stop ends it and returns its exit code and its stderr.
func startSimulator(t *testing.T, environ map[string]string, args ...string) (url string, stop func() (int, string)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	out, in := io.Pipe()
	var stderr bytes.Buffer
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, append([]string{"simulator", "--addr", "127.0.0.1:0"}, args...),
			env{strings.NewReader(""), in, &stderr, variables(environ)})
		in.Close()
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the simulator printed no address: %v, exit code %d: %s", err, <-code, stderr.String())
	}
	return strings.TrimSpace(line), func() (int, string) {
		cancel()
		return <-code, stderr.String()
	}
}

func getJSON(t *testing.T, url string, v any) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
		t.Fatal(err)
	}
}

// createCode creates a snapshot task with Tencent's Go SDK and returns the error code.
func createCode(t *testing.T, url, id, key, token string) string {
	t.Helper()
	p := profile.NewClientProfile()
	p.HttpProfile.Endpoint = strings.TrimPrefix(url, "http://")
	p.HttpProfile.Scheme = "HTTP"
	c := common.NewCommonClient(common.NewTokenCredential(id, key, token), "ap-singapore", p)
	req := tchttp.NewCommonRequest("tiw", "2019-09-19", tiwtest.ActionCreate)
	if err := req.SetActionParameters(map[string]any{"SdkAppId": 1400124720, "RoomId": 7,
		"Whiteboard": map[string]any{}}); err != nil {
		t.Fatal(err)
	}
	err := c.Send(req, tchttp.NewCommonResponse())
	var sdk *tcerrors.TencentCloudSDKError
	if errors.As(err, &sdk) {
		return sdk.Code
	}
	if err != nil {
		t.Fatal(err)
	}
	return tiwtest.OK
}

func TestSimulator(t *testing.T) {
	t.Run("prints what it is, and a summary at its end", func(t *testing.T) {
		url, stop := startSimulator(t, nil)
		if code := createCode(t, url, "simulator", "simulator", ""); code != tiwtest.OK {
			t.Errorf("code %s, want OK", code)
		}
		code, stderr := stop()
		if code != exitOK {
			t.Errorf("exit code %d", code)
		}
		for _, want := range []string{"NOT Tencent", url, "20 requests per calendar second",
			"1 request; CreateSnapshotTask: 1, rejected 0", "tasks 1"} {
			if !strings.Contains(stderr, want) {
				t.Errorf("stderr lacks %q:\n%s", want, stderr)
			}
		}
	})
	t.Run("secrets from the environment are not printed", func(t *testing.T) {
		url, stop := startSimulator(t, map[string]string{
			"TENCENTCLOUD_SECRET_ID": "canary-id", "TENCENTCLOUD_SECRET_KEY": "canary-key", "TENCENTCLOUD_TOKEN": "canary-token",
		})
		if code := createCode(t, url, "canary-id", "canary-key", "canary-token"); code != tiwtest.OK {
			t.Errorf("with these secrets: code %s", code)
		}
		if code := createCode(t, url, "simulator", "simulator", ""); code != "AuthFailure.SecretIdNotFound" {
			t.Errorf("with the default secret: code %s", code)
		}
		if _, stderr := stop(); strings.Contains(stderr, "canary") {
			t.Errorf("stderr shows a secret:\n%s", stderr)
		}
	})
	t.Run("flags reach the server", func(t *testing.T) {
		url, _ := startSimulator(t, nil, "--limit", "7", "--window", "sliding", "--seed", "5", "--sdk-app-id", "1,2")
		var st tiwtest.State
		getJSON(t, url+"/state", &st)
		if st.Limit != 7 || st.Window != tiwtest.Sliding || st.Seed != 5 {
			t.Errorf("state %+v, want the values of the flags", st)
		}
		if code := createCode(t, url, "simulator", "simulator", ""); code != "UnauthorizedOperation.SdkAppId" {
			t.Errorf("code %s, want UnauthorizedOperation.SdkAppId", code)
		}
	})
	t.Run("every fault has a flag", func(t *testing.T) {
		var args []string
		var want tiwtest.Faults
		n := 0
		setEach(t, &n, "fault", reflect.ValueOf(&want).Elem(), &args)
		url, _ := startSimulator(t, nil, args...)
		var got tiwtest.Faults
		getJSON(t, url+"/admin/faults", &got)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%v (-want +got):\n%s", args, d)
		}
	})
}

// setEach sets every field to a distinct value and appends the matching flags.
func setEach(t *testing.T, n *int, prefix string, v reflect.Value, args *[]string) {
	t.Helper()
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		name = strings.ReplaceAll(name, "JSON", "Json")
		flag := prefix + "-" + strings.ToLower(regexp.MustCompile(`[A-Z]`).ReplaceAllString(name, "-$0"))
		*n++
		var value string
		switch f := v.Field(i); f.Interface().(type) {
		case tiwtest.Period:
			setEach(t, n, flag, f, args)
			continue
		case float64:
			f.SetFloat(float64(*n) / 1000)
			value = fmt.Sprint(f.Float())
		case int:
			f.SetInt(int64(*n))
			value = fmt.Sprint(*n)
		case string:
			f.SetString("FailedOperation")
			value = f.String()
		case []string:
			f.Set(reflect.ValueOf([]string{tiwtest.ActionCreate, tiwtest.ActionDescribe}))
			value = tiwtest.ActionCreate + "," + tiwtest.ActionDescribe
		case map[tiwtest.Shape]float64:
			f.Set(reflect.ValueOf(map[tiwtest.Shape]float64{tiwtest.ShapeNoImages: .5, tiwtest.ShapeNulls: .25}))
			value = "noImages=0.5,nulls=0.25"
		case map[tiwtest.ImageFault]float64:
			f.Set(reflect.ValueOf(map[tiwtest.ImageFault]float64{tiwtest.ImageCut: .5, tiwtest.ImageForbidden: .25}))
			value = "cut=0.5,403=0.25"
		case map[uint64]string:
			f.Set(reflect.ValueOf(map[uint64]string{7: "FailedOperation", 8: "UnauthorizedOperation"}))
			value = "7=FailedOperation,8=UnauthorizedOperation"
		case tiwtest.Duration:
			f.SetInt(int64(*n) * 1e9)
			value = fmt.Sprint(*n, "s")
		default:
			t.Fatalf("setEach has no value for %s", flag)
		}
		*args = append(*args, "--"+flag+"="+strings.ReplaceAll(value, " ", ""))
	}
}

func TestSimulatorRejectsFlags(t *testing.T) {
	url, _ := startSimulator(t, nil)
	for _, test := range []struct {
		name    string
		environ map[string]string
		args    []string
		code    int
		want    string
	}{
		{"address in use", nil, []string{"--addr", strings.TrimPrefix(url, "http://")}, exitUnavailable, "--addr"},
		{"unknown window", nil, []string{"--window", "rolling"}, exitUsage, `"rolling"`},
		{"limit 0", nil, []string{"--limit", "0"}, exitUsage, "--limit 0"},
		{"retention 0", nil, []string{"--task-retention", "0"}, exitUsage, "--task-retention 0"},
		{"rate above 1", nil, []string{"--fault-cut", "2"}, exitUsage, "fault cut is 2"},
		{"unknown shape", nil, []string{"--fault-shapes", "round=1"}, exitUsage, `"round"`},
		{"shape without a rate", nil, []string{"--fault-shapes", "nulls=often"}, exitUsage, `"often" is not a rate`},
		{"unknown image fault", nil, []string{"--fault-images", "500=1"}, exitUsage, `"500"`},
		{"images too large", nil, []string{"--image-bytes", "100000000"}, exitUsage, "image bytes is 100000000"},
		{"room is not a number", nil, []string{"--fault-room-codes", "x=FailedOperation"}, exitUsage,
			`"x" is not a number`},
		{"secret id without key", map[string]string{"TENCENTCLOUD_SECRET_ID": "x"}, nil, exitConfig,
			"TENCENTCLOUD_SECRET_KEY"},
		{"unexpected argument", nil, []string{"x"}, exitUsage, "x"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), append([]string{"simulator", "--addr", "127.0.0.1:0"}, test.args...),
				env{strings.NewReader(""), &stdout, &stderr, variables(test.environ)})
			if code != test.code || !strings.Contains(stderr.String(), test.want) {
				t.Errorf("exit code %d, want %d: %s", code, test.code, stderr.String())
			}
		})
	}
}

func TestSimulatorHelp(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"simulator", "--help"},
		env{strings.NewReader(""), &stdout, &stderr, variables(nil)}); code != exitOK {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	for _, want := range []string{"NOT Tencent", "renders no whiteboards", "/state/tasks", "/admin/faults",
		"TENCENTCLOUD_SECRET_KEY"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("the help lacks %q", want)
		}
	}
}

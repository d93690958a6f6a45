package tiw_test

import (
	"io"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/tiw"
)

func TestResults(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, body string
		want       tiw.Result
	}{
		{"a running task with null fields",
			`{"TaskID":"task-1","Status":"Running","CreateTime":1600000000,"FinishTime":null,"Result":null}`,
			tiw.Result{Status: "Running"}},
		{"a running task without these fields", `{"Status":"Running"}`, tiw.Result{Status: "Running"}},
		{"a successful task", `{"Status":"Finished","CreateTime":1600000000,"FinishTime":1600001028,
			"Result":{"ErrorCode":"OK","ErrorMessage":"","Total":2,
			"Snapshots":["https://b/1/t/0.png",null,"","https://b/1/t/1.png"]}}`,
			tiw.Result{Status: "Finished", Code: "OK", Total: new(2),
				Images: []string{"https://b/1/t/0.png", "https://b/1/t/1.png"}}},
		{"a room without marks", `{"Status":"Finished","Result":{"ErrorCode":"OK","Total":0,"Snapshots":[]}}`,
			tiw.Result{Status: "Finished", Code: "OK", Total: new(0)}},
		{"a failed task",
			`{"Status":"Finished","Result":{"ErrorCode":"InternalErr","ErrorMessage":"render: ` +
				`timeout","Total":null,"Snapshots":null}}`,
			tiw.Result{Status: "Finished", Code: "InternalErr", Message: "render: timeout"}},
		{"a finished task without a result", `{"Status":"Finished","Result":null}`, tiw.Result{Status: "Finished"}},
		{"a finished task without a code", `{"Status":"Finished","Result":{"Total":1}}`,
			tiw.Result{Status: "Finished", Total: new(1)}},
		{"a running task with a result", `{"Status":"Running","Result":{"ErrorCode":"OK"}}`,
			tiw.Result{Status: "Running", Code: "OK"}},
		{"an undocumented status", `{"Status":"Pau\u0007sed"}`, tiw.Result{Status: "Pau sed"}},
		{"only null fields",
			`{"TaskID":null,"Status":null,"CreateTime":null,"FinishTime":null,"Result":null,"RequestId":"req-1"}`, tiw.Result{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				io.WriteString(w, `{"Response":`+test.body+`}`)
			})
			got, err := describe(t.Context(), newClient(t, tiw.Options{Endpoint: s.URL}))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
	t.Run("no response", func(t *testing.T) {
		if diff := cmp.Diff(tiw.Result{}, tiw.ResultOf(nil)); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
	for name, body := range map[string]string{
		"a body without Response": `{}`,
		"an empty Response":       `{"Response":{}}`,
	} {
		t.Run(name+" is an error", func(t *testing.T) {
			t.Parallel()
			s := serve(t, respond(200, body))
			_, err := describe(t.Context(), newClient(t, tiw.Options{Endpoint: s.URL}))
			if e := apiError(t, err); e.Code != "ClientError.IncompleteResponse" || e.Action != "DescribeSnapshotTask" {
				t.Errorf("got %v, want ClientError.IncompleteResponse of DescribeSnapshotTask", e)
			}
		})
	}
}

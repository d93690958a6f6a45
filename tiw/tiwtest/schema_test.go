package tiwtest_test

import (
	"strings"
	"testing"

	"tiwsnap/tiw/tiwtest"
)

func TestCreateSchema(t *testing.T) {
	srv := newServer(t, tiwtest.Options{Limit: -1})
	c := newCaller("h")
	for _, test := range []struct{ name, body, want, message string }{
		{name: "required fields only", body: room7, want: "OK"},
		{name: "every field", want: "OK", body: `{"SdkAppId":1400124720,"RoomId":4294967295,
			"CallbackURL":"https://192.0.2.1/x","SnapshotMode":"LatestMarksOnly",
			"Whiteboard":{"Width":2560,"Height":0,"InitParams":"{\"ratio\":\"16:9\"}"},
			"COS":{"Uin":100000000000,"Region":"ap-guangzhou","Bucket":"b-1","TargetDir":"d","Domain":"e"}}`},
		{name: "null is the same as a missing field", want: "OK",
			body: `{"SdkAppId":1,"RoomId":7,"Whiteboard":{"Width":null},"COS":null}`},
		{name: "an empty body", body: ``, want: "MissingParameter"},
		{name: "not JSON", body: `{`, want: "InvalidParameter"},
		{name: "not an object", body: `[]`, want: "InvalidParameter"},
		{name: "null", body: `null`, want: "InvalidParameter"},
		{name: "two objects", body: room7 + room7, want: "InvalidParameter"},
		{name: "no SdkAppId", body: `{"RoomId":7,"Whiteboard":{}}`, want: "MissingParameter", message: "`SdkAppId`"},
		{name: "no RoomId", body: `{"SdkAppId":1,"Whiteboard":{}}`, want: "MissingParameter", message: "`RoomId`"},
		{name: "no Whiteboard", body: `{"SdkAppId":1,"RoomId":7}`, want: "MissingParameter", message: "`Whiteboard`"},
		{name: "a null RoomId", body: `{"SdkAppId":1,"RoomId":null,"Whiteboard":{}}`, want: "MissingParameter",
			message: "`RoomId`"},
		{name: "an unknown field", body: `{"SdkAppId":1,"RoomId":7,"Whiteboard":{},"Roomid":7}`,
			want: "UnknownParameter", message: "`Roomid`"},
		{name: "an unknown nested field", body: `{"SdkAppId":1,"RoomId":7,"Whiteboard":{"width":7}}`,
			want: "UnknownParameter", message: "`Whiteboard.width`"},
		{name: "a RoomId in quotes", body: `{"SdkAppId":1,"RoomId":"7","Whiteboard":{}}`, want: "InvalidParameter",
			message: "`RoomId`"},
		{name: "a negative RoomId", body: `{"SdkAppId":1,"RoomId":-7,"Whiteboard":{}}`, want: "InvalidParameter",
			message: "`RoomId`"},
		{name: "a fractional RoomId", body: `{"SdkAppId":1,"RoomId":7.5,"Whiteboard":{}}`, want: "InvalidParameter",
			message: "`RoomId`"},
		{name: "a RoomId of 0", body: `{"SdkAppId":1,"RoomId":0,"Whiteboard":{}}`, want: "InvalidParameter",
			message: "`RoomId`"},
		{name: "a RoomId of 2^32", body: `{"SdkAppId":1,"RoomId":4294967296,"Whiteboard":{}}`, want: "InvalidParameter",
			message: "`RoomId`"},
		{name: "an SdkAppId over 2^64", body: `{"SdkAppId":18446744073709551616,"RoomId":7,"Whiteboard":{}}`,
			want: "InvalidParameter", message: "`SdkAppId`"},
		{name: "a Whiteboard that is a list", body: `{"SdkAppId":1,"RoomId":7,"Whiteboard":[]}`,
			want: "InvalidParameter", message: "`Whiteboard`"},
		{name: "a Width over 2560", body: `{"SdkAppId":1,"RoomId":7,"Whiteboard":{"Width":2561}}`,
			want: "InvalidParameter", message: "`Whiteboard.Width`"},
		{name: "a Height over 2560", body: `{"SdkAppId":1,"RoomId":7,"Whiteboard":{"Height":2561}}`,
			want: "InvalidParameter", message: "`Whiteboard.Height`"},
		{name: "InitParams that are not a string", body: `{"SdkAppId":1,"RoomId":7,"Whiteboard":{"InitParams":{}}}`,
			want: "InvalidParameter", message: "`Whiteboard.InitParams`"},
		{name: "an unknown SnapshotMode",
			body: `{"SdkAppId":1,"RoomId":7,"Whiteboard":{},"SnapshotMode":"allmarks"}`, want: "InvalidParameter",
			message: "`SnapshotMode`"},
		{name: "a CallbackURL with another scheme", body: `{"SdkAppId":1,"RoomId":7,"Whiteboard":{},"CallbackURL":"ftp://x"}`,
			want: "InvalidParameter", message: "`CallbackURL`"},
		{name: "COS without Bucket", body: `{"SdkAppId":1,"RoomId":7,"Whiteboard":{},"COS":{"Uin":1,"Region":"r"}}`,
			want: "MissingParameter", message: "`COS.Bucket`"},
		{name: "COS without Region", body: `{"SdkAppId":1,"RoomId":7,"Whiteboard":{},"COS":{"Uin":1,"Bucket":"b"}}`,
			want: "MissingParameter", message: "`COS.Region`"},
		{name: "COS without Uin", body: `{"SdkAppId":1,"RoomId":7,"Whiteboard":{},"COS":{"Region":"r","Bucket":"b"}}`,
			want: "MissingParameter", message: "`COS.Uin`"},
		{name: "COS with an empty Bucket",
			body: `{"SdkAppId":1,"RoomId":7,"Whiteboard":{},"COS":{"Uin":1,"Region":"r","Bucket":""}}`,
			want: "InvalidParameter", message: "`COS.Bucket`"},
		{name: "more than 10 MB", body: `{"x":"` + strings.Repeat("x", 10<<20) + `"}`, want: "RequestSizeLimitExceeded"},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := srv.State().Tasks.Created
			got := serve(t, srv, c.request(t, create, test.body))
			if got.code() != test.want {
				t.Fatalf("got %s, want %s", got.code(), test.want)
			}
			if got.Error == nil {
				if got.TaskID == "" {
					t.Error("the response has no TaskID")
				}
				return
			}
			if !strings.Contains(got.Error.Message, test.message) {
				t.Errorf("message is %q, want it to mention %s", got.Error.Message, test.message)
			}
			if srv.State().Tasks.Created != before {
				t.Error("the invalid request created a task")
			}
		})
	}
}

func TestDescribeSchema(t *testing.T) {
	srv := newServer(t, tiwtest.Options{Limit: -1})
	c := newCaller("h")
	id := serve(t, srv, c.request(t, create, room7)).TaskID
	for _, test := range []struct{ name, body, want string }{
		{"a task", `{"TaskID":"` + id + `","SdkAppId":1400124720}`, "OK"},
		{"a task of another application", `{"TaskID":"` + id + `","SdkAppId":1}`, "InvalidParameter.TaskNotFound"},
		{"a task that does not exist", `{"TaskID":"00000000-0000-4000-8000-000000000000","SdkAppId":1}`,
			"InvalidParameter.TaskNotFound"},
		{"a TaskID that is not a UUID", `{"TaskID":"x","SdkAppId":1}`, "InvalidParameter.TaskNotFound"},
		{"no TaskID", `{"SdkAppId":1}`, "MissingParameter"},
		{"TaskId instead of TaskID", `{"TaskId":"` + id + `","SdkAppId":1400124720}`, "UnknownParameter"},
		{"no SdkAppId", `{"TaskID":"` + id + `"}`, "MissingParameter"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := serve(t, srv, c.request(t, describe, test.body)).code(); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

package rooms_test

import (
	"strings"
	"testing"

	"tiwsnap/internal/rooms"
)

func TestJSONLines(t *testing.T) {
	runTests(t, rooms.Options{}, []readTest{
		{"nested names, as in the API",
			`{"SdkAppId":1400123480,"RoomId":12345,"SnapshotMode":"AllMarks","Whiteboard":{"Width":0,"Height":2560,` +
				`"InitParams":"{\"ratio\":\"4:3\"}"},"COS":{"Uin":100000000001,"Region":"ap-guangzhou",` +
				`"Bucket":"notes-1250000000","TargetDir":"monday","Domain":"cdn.example.com"},"Label":{"School":"No. 1","老师":"王"}}`,
			[]string{`1 {"SdkAppId":1400123480,"RoomId":12345,"Whiteboard":{"Width":0,"Height":2560,` +
				`"InitParams":"{\"ratio\":\"4:3\"}"},"SnapshotMode":"AllMarks","COS":{"Uin":100000000001,` +
				`"Region":"ap-guangzhou","Bucket":"notes-1250000000","TargetDir":"monday",` +
				`"Domain":"cdn.example.com"},"Label":{"School":"No. 1","老师":"王"}}`}},
		{"dotted names, as in CSV",
			`{"SdkAppId":1,"RoomId":2,"Whiteboard.Width":3,"Label.A.B":"x","Label":{"C":""},"COS":{}}`,
			[]string{`1 {"SdkAppId":1,"RoomId":2,"Whiteboard":{"Width":3},"Label":{"A.B":"x","C":""}}`}},
		{"whitespace, escapes and null",
			"\ufeff\n \t\r\n { \"SdkAppId\" :\t1 , \"Room\\u0049d\": 2 , \"COS\": null, " +
				"\"SnapshotMode\":null,\"Label\" : { \"\\\"\" : \"a\\n\\u00e9\\\\\" , \"b\":\"{\\\"}\" } } \r\n" +
				"{\"SdkAppId\":1,\"RoomId\":3}",
			[]string{`3 {"SdkAppId":1,"RoomId":2,"Label":{"\"":"a\né\\","b":"{\"}"}}`, room(4, 3)}},
	})
}

func TestJSONFaults(t *testing.T) {
	mega := strings.Repeat("m", 1<<20)
	runTests(t, rooms.Options{}, []readTest{
		{"syntax", strings.Join([]string{
			`{"SdkAppId":1,"RoomId":2`, `{"SdkAppId":1,"RoomId":2} {}`, `{"SdkAppId":1 "RoomId":2}`, `[1]`, `5`, `null`,
			`{"RoomId":01}`, `{}`,
			`{"x":` + strings.Repeat("[", 20_000), `{"SdkAppId":1,"RoomId":2}`}, "\n"),
			[]string{
				"line 1, column 24: the line is not one whole JSON object: unexpected end of JSON input",
				"line 2, column 27: the line is not one whole JSON object: invalid character '{' after top-level value",
				`line 3, column 15: the line is not one whole JSON object: invalid character '"' after object key:value pair`,
				"line 4, column 1: the line is [1], it must be a JSON object",
				"line 5, column 1: the line is 5, it must be a JSON object",
				"line 6, column 1: the line is null, it must be a JSON object",
				"line 7, column 12: the line is not one whole JSON object: invalid character '1' after object key:value pair",
				"line 8: SdkAppId is missing; RoomId is missing",
				"line 9, column 10005: the line is not one whole JSON object: invalid character '[' exceeded max depth",
				room(10, 2)}},
		{"unknown names", strings.Join([]string{
			`{"SdkAppId":1,"RoomNr":2}`, `{"SdkAppId":1,"RoomId":2,"Whiteboard":{"With":5}}`,
			`{"SdkAppId":1,"RoomId":2,"teacher":"x"}`,
			`{"SdkAppId":1,"RoomId":2,"callback":""}`, `{"SdkAppId":1,"RoomId":2,"":""}`,
			`{"SdkAppId":1,"RoomId":2,"Label":{"":"x"}}`}, "\n"),
			[]string{
				`line 1, column 24: "RoomNr" is not a known name, did you mean RoomId`,
				`line 2, column 47: "Whiteboard.With" is not a known name, did you mean Whiteboard.Width`,
				`line 3, column 36: "teacher" is not a known name, a label has a name like Label.teacher`,
				`line 4, column 37: "callback" is not a known name, did you mean CallbackURL`,
				`line 5, column 29: "" is no name, name it or delete it`,
				`line 6, column 38: "Label." is not a known name, labels are called Label.NAME`}},
		{"duplicate names", strings.Join([]string{
			`{"SdkAppId":1,"RoomId":2,"RoomId":3}`, `{"SdkAppId":1,"RoomId":2,"Label":{"A":"a"},"Label.A":"b"}`,
			`{"SdkAppId":1,"RoomId":2,"COS":{"Uin":1},"COS":{"Uin":2}}`}, "\n"),
			[]string{
				"line 1, column 35: RoomId appears twice",
				"line 2, column 54: Label.A appears twice",
				"line 3: COS.Region is missing (a COS block needs Uin, Region and Bucket); COS.Bucket is missing (a " +
					"COS block needs Uin, Region and Bucket); column 55: COS.Uin appears twice"}},
		{"wrong types", strings.Join([]string{
			`{"SdkAppId":1,"RoomId":"12345"}`, `{"SdkAppId":1,"RoomId":true}`, `{"SdkAppId":1,"RoomId":[2]}`,
			`{"SdkAppId":1,"RoomId":1.2e3}`,
			`{"SdkAppId":1,"RoomId":-2}`, `{"SdkAppId":1,"RoomId":2,"SnapshotMode":1}`,
			`{"SdkAppId":1,"RoomId":2,"Whiteboard":5}`,
			`{"SdkAppId":1,"RoomId":2,"Label":{"A":{"B":"c"}}}`,
			`{"SdkAppId":1,"RoomId":2,"Whiteboard":{"InitParams":["4:3"]}}`}, "\n"),
			[]string{
				`line 1, column 24: RoomId is the text "12345", it must be a number without quotes`,
				"line 2, column 24: RoomId is true, it must be a number",
				"line 3, column 24: RoomId is [2], it must be a number",
				`line 4, column 24: RoomId is "1.2e3", spreadsheets shorten long numbers: format the ` +
					`column as text and save again`,
				`line 5, column 24: RoomId is "-2", it must not be negative`,
				"line 6, column 41: SnapshotMode is 1, it must be a text in quotes",
				"line 7, column 39: Whiteboard is 5, it must be an object",
				`line 8, column 39: Label.A is {"B":"c"}, it must be a text in quotes`,
				`line 9, column 53: Whiteboard.InitParams is ["4:3"], it must be a text in quotes`}},
		{"rules and duplicates",
			`{"SdkAppId":1,"RoomId":2,"Whiteboard":{"Width":2561}}` + "\n" + `{"SdkAppId":1,"RoomId":2}` + "\n" +
				`{"RoomId":2,"SdkAppId":1}`,
			[]string{"line 1, column 48: Whiteboard.Width is 2561, it must be from 0 to 2560", room(2, 2),
				"line 3, column 11: RoomId 2 of SdkAppId 1 is already on line 2"}},
		{"1 MB in one line", `{"SdkAppId":1,"RoomId":2,"Label":{"A":"` + mega + `"}}` + "\n" + `{"SdkAppId":1,"RoomId":3}`,
			[]string{"line 1: the line is longer than 128 KiB", room(2, 3)}},
		{"1 MB at the end", `{"SdkAppId":1,"RoomId":3}` + "\n{" + mega,
			[]string{room(1, 3), "line 2: the line is longer than 128 KiB"}},
		{"text that is not UTF-8", `{"SdkAppId":1,"RoomId":3}` + "\n{\"Label.A\":\"\xb8\xff\"}",
			[]string{room(1, 3),
				`line 2: the text is not UTF-8, and its encoding is not clear: name it (--encoding, or encoding= in ` +
					`a URL), or save the file as "CSV UTF-8"`}},
	})
}

package rooms_test

import (
	"strings"
	"testing"

	"tiwsnap/internal/rooms"
)

func TestJSONArrays(t *testing.T) {
	mega := strings.Repeat("m", 1<<20)
	runTests(t, rooms.Options{}, []readTest{
		{"on one line", ` [{"SdkAppId":1,"RoomId":2},{"SdkAppId":1,"RoomId":3}] `, []string{room(1, 2), room(1, 3)}},
		{"indented",
			"\ufeff[\r\n  {\r\n    \"SdkAppId\": 1,\r\n    \"RoomId\": 2,\r\n    \"Label\": {\"A\": \"]},\\\"[{\"}\r\n  },\r\n" +
				"  {\"SdkAppId\":1,\"RoomId\":3}\r\n]\r\n",
			[]string{`2 {"SdkAppId":1,"RoomId":2,"Label":{"A":"]},\"[{"}}`, room(7, 3)}},
		{"indented objects", "{\n  \"SdkAppId\": 1,\n  \"RoomId\": 2\n}\n{\n  \"SdkAppId\": 1,\n  \"RoomId\": 3\n}\n",
			[]string{room(1, 2), room(5, 3)}},
		{"InitParams as an indented object",
			"[{\"SdkAppId\":1,\"RoomId\":2,\"Whiteboard\":{\"InitParams\":{\n\t\"a\": [1, 2.50],\n\t\"b\": \"x  y\"\n}}}]",
			[]string{`1 {"SdkAppId":1,"RoomId":2,"Whiteboard":{"InitParams":"{\"a\":[1,2.50],\"b\":\"x  y\"}"}}`}},
		{"faults have a column if the value is on one line",
			"[\n  {\"SdkAppId\":1,\"RoomId\":0}, {\"SdkAppId\":1,\"RoomId\":-1},\n" +
				"  {\n\"SdkAppId\":1,\"RoomId\":0},\n  {\"SdkAppId\":1,\"RoomId\":2}\n]\n",
			[]string{"line 2, column 26: RoomId is 0, it must be 1 or more",
				`line 2, column 53: RoomId is "-1", it must not be negative`,
				"line 3: RoomId is 0, it must be 1 or more", room(5, 2)}},
		{"other values", "[1, \"a,b]\", null, [2], true,\n{\"SdkAppId\":1,\"RoomId\":2}]", []string{
			"line 1, column 2: the line is 1, it must be a JSON object",
			`line 1, column 5: the line is "a,b]", it must be a JSON object`,
			"line 1, column 13: the line is null, it must be a JSON object",
			"line 1, column 19: the line is [2], it must be a JSON object",
			"line 1, column 24: the line is true, it must be a JSON object", room(2, 2)}},
		{"an invalid object", "[{\"SdkAppId\":1 \"RoomId\":2},\n{\"SdkAppId\":1,\"RoomId\":3}]", []string{
			`line 1, column 16: the line is not one whole JSON object: invalid character '"' after object key:value pair`,
			room(2, 3)}},
		{"truncated between rooms", "[\n{\"SdkAppId\":1,\"RoomId\":2},\n", []string{room(2, 2),
			"line 2: the JSON array is never closed: the file is cut off"}},
		{"truncated in a room", "[\n{\"SdkAppId\":1,\"RoomId\":2},\n{\"SdkAppId\":1,", []string{room(2, 2),
			"line 3: the JSON value is never closed: the file is cut off"}},
		{"data after the end", "[{\"SdkAppId\":1,\"RoomId\":2}]\n[{\"SdkAppId\":1,\"RoomId\":3}]", []string{room(1, 2),
			"line 2: there is more behind the end of the JSON array"}},
		{"an extra bracket", "{\n\"SdkAppId\":1,\"RoomId\":2}\n]\n", []string{room(1, 2),
			"line 3: there is more behind the end of the JSON array"}},
		{"an empty array", "[]", []string{"the file has a header and no rows"}},
		{"1 MB in one object", `[{"SdkAppId":1,"RoomId":2,"Label":{"A":"` + mega + `"}},{"SdkAppId":1,"RoomId":0}]`,
			[]string{"line 1: the object is longer than 128 KiB", "line 1, column 1048644: RoomId is 0, it must be 1 or more"}},
		{"a character across two reads of a long line", `[{"SdkAppId":1,"RoomId":2},` + strings.Repeat(" ",
			128<<10-70) + `{"SdkAppId":1,"RoomId":3,"Label":{"A":"` + strings.Repeat("三", 20) + `"}}]`,
			[]string{room(1, 2), `1 {"SdkAppId":1,"RoomId":3,"Label":{"A":"` + strings.Repeat("三", 20) + `"}}`}},
	})
}

package rooms_test

import (
	"strings"
	"testing"

	"tiwsnap/internal/rooms"
	"tiwsnap/tasks"
)

// Rooms above 2^32-1 are distinguished, even if their lower 32 bits are the same.
func TestLargeRooms(t *testing.T) {
	const file = "SdkAppId,RoomId\n1,5\n1,4294967301\n1,8589934597\n2,4294967301\n1,4294967301\n1,5\n"
	got := readWithNotes(strings.NewReader(file), rooms.Options{})
	checkLines(t, []string{room(2, 5), room(3, 4294967301), room(4, 8589934597), `5 {"SdkAppId":2,"RoomId":4294967301}`,
		"line 6, column 2: RoomId 4294967301 of SdkAppId 1 is already on line 3",
		"line 7, column 2: RoomId 5 of SdkAppId 1 is already on line 2",
		"note: line 3: the first of 3 rooms with a RoomId above 4294967295, which other whiteboard APIs do not take"}, got)
}

func TestDefaults(t *testing.T) {
	defaults := tasks.Room{SdkAppId: 9, COS: &tasks.COS{Uin: 1, Region: "ap-guangzhou"},
		Label: map[string]string{"Term": "autumn"}}
	runTests(t, rooms.Options{Defaults: defaults}, []readTest{
		{"rows are validated with the defaults but do not contain them",
			"RoomId,COS.Bucket,COS.TargetDir,Label.A\n2,b-1,d,\n3,,d,x\n",
			[]string{`2 {"RoomId":2,"COS":{"Bucket":"b-1","TargetDir":"d"}}`,
				"line 3, column 2: COS.Bucket is missing (a COS block needs Uin, Region and Bucket)"}},
		{"duplicates by the default SdkAppId", "SdkAppId,RoomId,COS.Bucket\n,2,b\n9,2,b\n8,2,b\n",
			[]string{`2 {"RoomId":2,"COS":{"Bucket":"b"}}`,
				"line 3, column 2: RoomId 2 of SdkAppId 9 is already on line 2",
				`4 {"SdkAppId":8,"RoomId":2,"COS":{"Bucket":"b"}}`}},
		{"an SdkAppId of 0 is not replaced by the default", "SdkAppId,RoomId,COS.Bucket\n0,2,b\n",
			[]string{"line 2, column 1: SdkAppId is 0, it must be 1 or more"}},
	})
	wide := rooms.Options{Defaults: tasks.Room{SdkAppId: 9, Whiteboard: &tasks.Whiteboard{Width: new(uint64(2561))}}}
	runTests(t, wide, []readTest{
		{"an invalid default is reported unless the row overrides it", "RoomId,Whiteboard.Width\n2,\n3,5\n",
			[]string{"line 2, column 2: Whiteboard.Width is 2561, it must be from 0 to 2560",
				`3 {"RoomId":3,"Whiteboard":{"Width":5}}`}},
	})
}

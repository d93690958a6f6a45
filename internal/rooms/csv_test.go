package rooms_test

import (
	"strings"
	"testing"

	"tiwsnap/internal/needs"
	"tiwsnap/internal/rooms"
)

func TestCSV(t *testing.T) {
	runTests(t, rooms.Options{}, []readTest{
		{"every field",
			"SdkAppId,RoomId,SnapshotMode,Whiteboard.Width,Whiteboard.Height,Whiteboard.InitParams,COS.Uin," +
				"COS.Region,COS.Bucket,COS.TargetDir,COS.Domain,Label.School,Label.老师\n" +
				`1400123480,12345,LatestMarksOnly,0,2560,"{""ratio"":""4:3""}",100000000001,ap-guangzhou,` +
				`notes-1250000000,monday,cdn.example.com,No. 1,王` + "\n",
			[]string{`2 {"SdkAppId":1400123480,"RoomId":12345,"Whiteboard":{"Width":0,"Height":2560,` +
				`"InitParams":"{\"ratio\":\"4:3\"}"},"SnapshotMode":"LatestMarksOnly","COS":{"Uin":100000000001,` +
				`"Region":"ap-guangzhou","Bucket":"notes-1250000000","TargetDir":"monday",` +
				`"Domain":"cdn.example.com"},"Label":{"School":"No. 1","老师":"王"}}`}},
		{"empty fields are omitted", "RoomId,SdkAppId,Whiteboard.Width,COS.Uin,SnapshotMode,Label.A,Label.B\n2,1,,,,,b\n",
			[]string{`2 {"SdkAppId":1,"RoomId":2,"Label":{"B":"b"}}`}},
		{"only labels keep spaces", "SdkAppId , RoomId,SnapshotMode,Label.A\n 1,\t2 , AllMarks\u00a0, a \n",
			[]string{`2 {"SdkAppId":1,"RoomId":2,"SnapshotMode":"AllMarks","Label":{"A":" a "}}`}},
		{"a byte order mark", "\ufeffSdkAppId,RoomId\n1,2\n", []string{room(2, 2)}},
		{"a byte order mark before a quote", "\ufeff\"SdkAppId\",RoomId\n1,2\n", []string{room(2, 2)}},
		{"CRLF", "SdkAppId,RoomId\r\n1,2\r\n1,3\r\n", []string{room(2, 2), room(3, 3)}},
		{"CR alone", "SdkAppId,RoomId\r1,2\r1,3\r", []string{room(2, 2), room(3, 3)}},
		{"mixed line ends", "SdkAppId,RoomId\r1,2\n\r1,3\r\n1,4\r\r\n1,5",
			[]string{room(2, 2), room(4, 3), room(5, 4), room(7, 5)}},
		{"no final line end", "SdkAppId,RoomId\n1,2", []string{room(2, 2)}},
		{"no final line end after a long line", "SdkAppId,RoomId,Label.A\n1,2,0123456789abcdefghijklmnopqrstuvwxyz",
			[]string{`2 {"SdkAppId":1,"RoomId":2,"Label":{"A":"0123456789abcdefghijklmnopqrstuvwxyz"}}`}},
		{"semicolons", "SdkAppId;RoomId;Label.A\n1;2;a,b\n", []string{`2 {"SdkAppId":1,"RoomId":2,"Label":{"A":"a,b"}}`}},
		{"tabs", "SdkAppId\tRoomId\tLabel.A\n1\t2\ta,b;c\n", []string{`2 {"SdkAppId":1,"RoomId":2,"Label":{"A":"a,b;c"}}`}},
		{"delimiters in a quoted field of the header", "SdkAppId;RoomId;\"Label.a,b,c,d\"\n1;2;x\n",
			[]string{`2 {"SdkAppId":1,"RoomId":2,"Label":{"a,b,c,d":"x"}}`}},
		{"blank lines and empty rows", "\n \nSdkAppId,RoomId\n\n1,2\n,\n , \t\n1,3\n\n\n", []string{room(5, 2), room(8, 3)}},
		{"line numbers count newlines in quoted fields",
			"SdkAppId,RoomId,Label.A\n1,2,\"x\r\ny\n\n\"\"z\"\"\"\n1,0,\n1,4,\"\"\n",
			[]string{`2 {"SdkAppId":1,"RoomId":2,"Label":{"A":"x\ny\n\n\"z\""}}`,
				"line 6, column 2: RoomId is 0, it must be 1 or more",
				room(7, 4)}},
		{"a newline in a quoted field of the header", "SdkAppId,RoomId,\"Label.a\nb\"\n1,2,x\n",
			[]string{`3 {"SdkAppId":1,"RoomId":2,"Label":{"a\nb":"x"}}`}},
	})
}

func TestCSVFaults(t *testing.T) {
	runTests(t, rooms.Options{}, []readTest{
		{"RoomId missing", "SdkAppId,RoomId\n1,\n1,3\n", []string{"line 2, column 2: RoomId is missing", room(3, 3)}},
		{"RoomId not a number", "SdkAppId,RoomId\n1,maths\n1,3\n",
			[]string{`line 2, column 2: RoomId is "maths", it must be a whole number`, room(3, 3)}},
		{"numbers in other notations", "SdkAppId;RoomId\n" + strings.Join([]string{
			"1.4E+09;2", "1;1.23e+09", "1;12345.5", "1;12,345", "1;12 345", "1;12'345", "1;-5", "1;+5", "1;0", "1;0x1F",
			"1;十二", "1;NaN",
			"1;18446744073709551616", "1;99999999999999999999", "1;-1e5", "1;=A1\x1b[31m"}, "\n"),
			[]string{
				`line 2, column 1: SdkAppId is "1.4E+09", spreadsheets shorten long numbers: format the ` +
					`column as text and save again`,
				`line 3, column 2: RoomId is "1.23e+09", spreadsheets shorten long numbers: format the ` +
					`column as text and save again`,
				`line 4, column 2: RoomId is "12345.5", it must be a whole number`,
				`line 5, column 2: RoomId is "12,345", it must have no thousands separators`,
				`line 6, column 2: RoomId is "12 345", it must have no thousands separators`,
				`line 7, column 2: RoomId is "12'345", it must have no thousands separators`,
				`line 8, column 2: RoomId is "-5", it must not be negative`,
				`line 9, column 2: RoomId is "+5", it must be a whole number`,
				`line 10, column 2: RoomId is 0, it must be 1 or more`,
				`line 11, column 2: RoomId is "0x1F", it must be a whole number`,
				`line 12, column 2: RoomId is "十二", it must be a whole number`,
				`line 13, column 2: RoomId is "NaN", it must be a whole number`,
				`line 14, column 2: RoomId is "18446744073709551616", that is too large`,
				`line 15, column 2: RoomId is "99999999999999999999", that is too large`,
				`line 16, column 2: RoomId is "-1e5", it must not be negative`,
				`line 17, column 2: RoomId is "=A1\x1b[31m", it must be a whole number`,
			}},
		{"width over 2560", "SdkAppId,RoomId,Whiteboard.Width\n1,2,2561\n1,3,2560\n",
			[]string{"line 2, column 3: Whiteboard.Width is 2561, it must be from 0 to 2560",
				`3 {"SdkAppId":1,"RoomId":3,"Whiteboard":{"Width":2560}}`}},
		{"unknown SnapshotMode", "SdkAppId,RoomId,SnapshotMode\n1,2,allmarks\n",
			[]string{`line 2, column 3: SnapshotMode is "allmarks", it must be AllMarks or LatestMarksOnly`}},
		{"COS without a bucket", "SdkAppId,RoomId,COS.Uin,COS.Region,COS.Bucket\n1,2,100,ap-guangzhou,\n",
			[]string{"line 2, column 5: COS.Bucket is missing (a COS block needs Uin, Region and Bucket)"}},
		{"COS without a column for the bucket", "SdkAppId,RoomId,COS.Uin,COS.Region\n1,2,100,ap-guangzhou\n",
			[]string{"line 2: COS.Bucket is missing (a COS block needs Uin, Region and Bucket)"}},
		{"a row's faults in column order", "RoomId,COS.Uin,SnapshotMode,SdkAppId\nx,5,y,z\n",
			[]string{`line 2: COS.Region is missing (a COS block needs Uin, Region and Bucket); COS.Bucket is ` +
				`missing (a COS block needs Uin, Region and Bucket); ` +
				`column 1: RoomId is "x", it must be a whole number; column 3: SnapshotMode is "y", it must be ` +
				`AllMarks or LatestMarksOnly; column 4: SdkAppId is "z", it must be a whole number`}},
		{"InitParams that are not JSON", "SdkAppId,RoomId,Whiteboard.InitParams\n1,2,ratio=4:3\n",
			[]string{"line 2, column 3: Whiteboard.InitParams is not a JSON document"}},
		{"duplicate rooms", "SdkAppId,RoomId\n1,2\n2,2\n1,3\n1,2\n2,2\n1,2\n",
			[]string{room(2, 2), `3 {"SdkAppId":2,"RoomId":2}`, room(4, 3),
				"line 5, column 2: RoomId 2 of SdkAppId 1 is already on line 2",
				"line 6, column 2: RoomId 2 of SdkAppId 2 is already on line 3",
				"line 7, column 2: RoomId 2 of SdkAppId 1 is already on line 2"}},
		{"an invalid row does not count for duplicates", "SdkAppId,RoomId,SnapshotMode\n1,2,x\n1,2,\n",
			[]string{`line 2, column 3: SnapshotMode is "x", it must be AllMarks or LatestMarksOnly`, room(3, 2)}},
		{"too few and too many fields", "SdkAppId,RoomId,Label.A\n1,2\n1\n1,2,a,b\n1,3,\n",
			[]string{"line 2: the row has 2 fields, the header has 3",
				"line 3: the row has 1 field, the header has 3",
				"line 4: the row has 4 fields, the header has 3 (a field that contains ',' must be in quotes)",
				room(5, 3)}},
		{"misplaced quotes", "SdkAppId,RoomId,Label.A\n1,2,5\" x\n1,3,\"a\"b\n1,4,\"a\" ,\n1,5,x,\"y\"z\n1,6,\n",
			[]string{"line 2, column 3: Label.A has a quote in the middle: put the whole field in quotes and double " +
				"those inside",
				"line 3, column 3: Label.A goes on after its closing quote: double the quotes inside a quoted field",
				"line 4, column 3: Label.A goes on after its closing quote: double the quotes inside a quoted field",
				"line 5, column 4: the field goes on after its closing quote: double the quotes inside a quoted field",
				room(6, 6)}},
		{"an unclosed quote", "SdkAppId,RoomId,Label.A,Label.B\n1,2,\"a\na\",\"b\n1,3,,\n",
			[]string{"line 3, column 4: Label.B has a quote that is never closed, so the rest of the file cannot be read"}},
		{"a NUL byte", "SdkAppId,RoomId,Label.A\n1,2,a\x00b\n", []string{"line 2, column 3: Label.A contains a NUL byte"}},
		{"a long label", "SdkAppId,RoomId,Label.A\n1,2," + strings.Repeat("a", 1025) + "\n",
			[]string{"line 2, column 3: Label.A is 1025 bytes long, at most 1024 are allowed"}},
		{"terminal escapes in a label name", "SdkAppId,RoomId,Label.\x1b[2J\n1,2,\"a\"b\n",
			[]string{"line 2, column 3: Label.\ufffd[2J goes on after its closing quote: double the quotes inside a " +
				"quoted field"}},
	})
}

func TestCSVTooLong(t *testing.T) {
	mega := strings.Repeat("m", 1<<20)
	rows := strings.Repeat("1,7,x\n", 50_000)
	const header = "SdkAppId,RoomId,Label.A,Label.B\n"
	skipRow := []string{"line 2, column 3: Label.A makes the row longer than 128 KiB", room(3, 3)}
	runTests(t, rooms.Options{}, []readTest{
		{"1 MB in one field", header + "1,2," + mega + ",\n1,3,,\n", skipRow},
		{"1 MB in a quoted field", header + "1,2,\"" + mega + "\",\n1,3,,\n", skipRow},
		{"1 MB of doubled quotes", header + "1,2,\"" + strings.Repeat(`""`, 1<<19) + "\",\n1,3,,\n", skipRow},
		{"1 MB of doubled quotes, one byte later",
			header + "11,2,\"" + strings.Repeat(`""`, 1<<19) + "\",\n1,3,,\n", skipRow},
		{"a quoted newline after 1 MB", header + "1,2," + mega + ",\"\n1,9,,\n\"\n1,3,,\n",
			[]string{skipRow[0], room(5, 3)}},
		{"misplaced quotes after 1 MB", header + "1,2," + mega + "\" \"\",x\"\"\n1,3,,\n", skipRow},
		{"lines in a quoted field are not rows", header + "1,2,\"\n" + rows + "\",\n1,3,,\n",
			[]string{skipRow[0], room(50_004, 3)}},
		{"1 MB after an unclosed quote", header + "1,2,\"\n" + rows,
			[]string{"line 2, column 3: Label.A has a quote that is never closed, so the rest of the file cannot be read"}},
		{"1 MB at the end of the file", header + "1,3,,\n1,2," + mega,
			[]string{room(2, 3), "line 3, column 3: Label.A makes the row longer than 128 KiB"}},
		{"a bare quote before 1 MB", header + "1,2,a\"," + mega + "\n1,3,,\n",
			[]string{"line 2, column 3: Label.A has a quote in the middle: put the whole field in quotes and double " +
				"those inside", room(3, 3)}},
		{"1 MB of spaces", header + strings.Repeat(" ", 1<<20) + "\n1,3,,\n",
			[]string{"line 2, column 1: SdkAppId makes the row longer than 128 KiB", room(3, 3)}},
		{"1 MB of header", "SdkAppId,RoomId," + mega + "\n1,2,3\n",
			[]string{"line 1, column 3: the field makes the row longer than 128 KiB"}},
	})
	t.Run("lengths around the limit", func(t *testing.T) {
		needs.Time(t)
		for n := rooms.MaxRowBytes - 20; n < rooms.MaxRowBytes+5; n++ {
			for _, tail := range []string{"\n", "\r", "\r\n", ",\n", ",\"a\nb\"\r\n"} {
				for _, quote := range []string{"", `"`} {
					file := "SdkAppId,RoomId,Label.A\n1,2," + quote + strings.Repeat("m", n) + quote + tail + "1,3,\n"
					got := read(strings.NewReader(file), rooms.Options{})
					line := 3 + strings.Count(tail, "\nb")
					if len(got) != 2 || !strings.HasPrefix(got[0], "line 2") || got[1] != room(line, 3) {
						t.Fatalf("%d bytes, quote %q, line end %q: got %q, want an error and the next row", n, quote, tail, got)
					}
				}
			}
		}
	})
}

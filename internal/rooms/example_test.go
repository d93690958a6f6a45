package rooms_test

import (
	"errors"
	"fmt"
	"strings"

	"tiwsnap/internal/rooms"
	"tiwsnap/tasks"
)

func Example() {
	const list = `RoomId;Whiteboard.Width;Label.Class
101;1920;Maths 3b
102;19200;Maths 3b
1.03E+02;;Maths 3b
101;;Physics 2a
`
	options := rooms.Options{Defaults: tasks.Room{SdkAppId: 1400123480}}
	for row, err := range rooms.Read(strings.NewReader(list), options) {
		var rowErr *rooms.RowError
		switch {
		case err == nil:
			fmt.Printf("room %d of %s\n", row.Room.RoomId, row.Room.Label["Class"])
		case errors.As(err, &rowErr):
			fmt.Println(err)
		default:
			fmt.Println("the file cannot be read:", err)
		}
	}
	// Output:
	// room 101 of Maths 3b
	// line 3, column 2: Whiteboard.Width is 19200, it must be from 0 to 2560
	// line 4, column 1: RoomId is "1.03E+02", spreadsheets shorten long numbers: format the column as text and save again
	// line 5, column 1: RoomId 101 of SdkAppId 1400123480 is already on line 2
}

package tiwtest_test

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"tiwsnap/tiw/tiwtest"
)

func TestShapes(t *testing.T) {
	const images = `"Snapshots":["https://i/images/7/ID/1.png"`
	for shape, want := range map[tiwtest.Shape][]string{
		tiwtest.ShapeNullCode:         {`"Status":"Finished"`, `"ErrorCode":null`, images},
		tiwtest.ShapeEmptyCode:        {`"Status":"Finished"`, `"ErrorCode":""`, images},
		tiwtest.ShapeMissingCode:      {`"Status":"Finished"`, `"Result":{"Total":`, images},
		tiwtest.ShapeNoResult:         {`"Status":"Finished"`, `"Result":null`},
		tiwtest.ShapeNoImages:         {`"ErrorCode":"OK"`, `"Total":0,"Snapshots":[]`},
		tiwtest.ShapeFewerImages:      {`"ErrorCode":"OK"`, `"Total":N`, images},
		tiwtest.ShapeFailedWithImages: {`"ErrorCode":"InternalErr"`, images},
		tiwtest.ShapeStatusFailed:     {`"Status":"Failed"`, `"Result":null`},
		tiwtest.ShapeNulls: {`{"Response":{"TaskID":null,"Status":null,"CreateTime":null,` +
			`"FinishTime":null,"Result":null,"RequestId":"`},
	} {
		t.Run(string(shape), func(t *testing.T) {
			clk := newClock(time.Unix(1760000000, 0))
			srv := newServer(t, tiwtest.Options{
				Clock: clk.now, TaskDuration: time.Second, PublicURL: "https://i",
				Faults: tiwtest.Faults{Shapes: map[tiwtest.Shape]float64{shape: 1}},
			})
			c := newCaller("h")
			c.now = clk.now
			id := serve(t, srv, c.request(t, create, room7)).TaskID
			if d := serve(t, srv, c.request(t, describe, describeBody(id))); d.Status != "Running" {
				t.Errorf("the running task is described as %+v", d)
			}
			clk.advance(time.Second)
			w := httptest.NewRecorder()
			srv.ServeHTTP(w, c.request(t, describe, describeBody(id)))
			pages := 0
			for task := range srv.Tasks() {
				pages = task.Images
			}
			for _, part := range want {
				part = strings.NewReplacer("ID", id, ":N", fmt.Sprint(":", pages+3)).Replace(part)
				if strings.HasPrefix(part, `{"Response"`) {
					part = want[0]
				}
				if !strings.Contains(w.Body.String(), part) {
					t.Errorf("the response is %s, want it to contain %s", w.Body, part)
				}
			}
		})
	}
	t.Run("rates", func(t *testing.T) {
		srv := newServer(t, tiwtest.Options{Limit: -1, Seed: 1, Faults: tiwtest.Faults{
			Shapes: map[tiwtest.Shape]float64{tiwtest.ShapeNoImages: .25, tiwtest.ShapeStatusFailed: .5},
		}})
		c := newCaller("h")
		none, failed := 0, 0
		for range 400 {
			id := serve(t, srv, c.request(t, create, room7)).TaskID
			d := serve(t, srv, c.request(t, describe, describeBody(id)))
			switch {
			case d.Status == "Failed":
				failed++
			case len(d.Result.Snapshots) == 0:
				none++
			}
		}
		if none < 70 || none > 130 || failed < 160 || failed > 240 {
			t.Errorf("of 400 tasks %d had no images and %d failed, want about 100 and 200", none, failed)
		}
	})
}

package api_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/web/api"
	"tiwsnap/web/webtest"
)

// generatedList generates a list of rooms while it is read. Each room has 4 kB of text that compresses badly.
type generatedList struct {
	left int // bytes
	n    int
	row  []byte
	text string // longer than the window of flate
}

func (r *generatedList) Read(p []byte) (int, error) {
	if len(r.row) == 0 {
		if r.left <= 0 {
			return 0, io.EOF
		}
		r.n++
		r.row = fmt.Appendf(r.row, `{"SdkAppId":7,"RoomId":%d,"Label":{`, r.n)
		for i := range 8 {
			at := rand.N(len(r.text) - 512)
			r.row = fmt.Appendf(r.row, `"L%d":"%s",`, i, r.text[at:at+512])
		}
		r.row = append(r.row[:len(r.row)-1], "}}\n"...)
		r.left -= len(r.row)
	}
	n := copy(p, r.row)
	r.row = r.row[n:]
	if len(r.row) == 0 {
		r.row = nil
	}
	return n, nil
}

// An upload is streamed: the heap of client and server together grows by less than the size of the list.
func TestUploadMemoryUse(t *testing.T) {
	needs.Time(t)
	const size, most = 48 << 20, 40 << 20
	s := webtest.Serve(t, redistest.RealClient(t))
	s.Client.Timeout = 0
	heap := func() int64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	runtime.GC()
	before := heap()
	var peak atomic.Int64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			peak.Store(max(peak.Load(), heap()))
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
	}()
	text := make([]byte, 1<<20)
	for i := range text {
		text[i] = "0123456789abcdefghijklmnopqrstuvwxyz"[rand.N(36)]
	}
	list := &generatedList{left: size, text: string(text)}
	r := s.Request("POST", "/v1/batches", "", "Content-Type", "application/x-ndjson")
	r.Body, r.ContentLength = io.NopCloser(list), -1
	var got api.Enqueued
	s.Do(r).Want(http.StatusAccepted, &got)
	close(stop)
	<-stopped
	if grown := peak.Load() - before; got.Rooms != list.n || grown > most {
		t.Errorf("enqueued %d of %d rooms; the heap grew by %d MB for a list of %d MB",
			got.Rooms, list.n, grown>>20, size>>20)
	} else {
		t.Logf("the heap grew by %d MB for a list of %d MB", grown>>20, size>>20)
	}
}

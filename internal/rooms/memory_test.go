package rooms_test

import (
	"io"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/internal/needs"
	"tiwsnap/internal/rooms"
)

// generatedFile is a file of n rows that are generated while it is read.
type generatedFile struct {
	row     func(b []byte, i int) []byte
	i, n    int
	pending []byte
}

func (g *generatedFile) Read(p []byte) (int, error) {
	for len(g.pending) < len(p) && g.i < g.n {
		g.pending = g.row(g.pending, g.i)
		g.i++
	}
	if len(g.pending) == 0 {
		return 0, io.EOF
	}
	n := copy(p, g.pending)
	g.pending = append(g.pending[:0], g.pending[n:]...)
	return n, nil
}

func TestMemoryUse(t *testing.T) {
	needs.Time(t)
	scattered := func(i int) uint64 { return uint64(uint32(i+1) * 2654435769) } // the factor is odd: no room twice
	for _, tt := range []struct {
		name   string
		rows   int
		limit  uint64
		header string
		row    func(b []byte, i int) []byte
	}{
		{"2 million rows of CSV", 2_000_000, 64 << 20, "SdkAppId,RoomId,Label.Class\n", func(b []byte, i int) []byte {
			return append(strconv.AppendUint(append(b, "1400123480,"...), scattered(i), 10), ",3\n"...)
		}},
		{"200,000 lines of JSON", 200_000, 16 << 20, "\n", func(b []byte, i int) []byte {
			return append(strconv.AppendUint(append(b, `{"SdkAppId":1400123480,"RoomId":`...), scattered(i), 10), "}\n"...)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			runtime.GC()
			var before, now runtime.MemStats
			runtime.ReadMemStats(&before)
			file := io.MultiReader(strings.NewReader(tt.header), &generatedFile{row: tt.row, n: tt.rows})
			n, peak := 0, uint64(0)
			for _, err := range rooms.Read(file, rooms.Options{}) {
				if err != nil {
					t.Fatal(err)
				}
				if n++; n%10_000 == 0 {
					runtime.ReadMemStats(&now)
					peak = max(peak, now.HeapAlloc-min(now.HeapAlloc, before.HeapAlloc))
				}
			}
			t.Logf("%d rows, %d MB of heap at most", n, peak>>20)
			if n != tt.rows || peak == 0 || peak > tt.limit {
				t.Errorf("read %d rows with %d bytes of heap, want %d with at most %d", n, peak, tt.rows, tt.limit)
			}
		})
	}
	t.Run("16 MB in one quoted field", func(t *testing.T) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		block := []byte(strings.Repeat("222222222222,3\n", 1<<12))
		file := io.MultiReader(strings.NewReader("SdkAppId,RoomId\n1,\""),
			&generatedFile{n: 256, row: func(b []byte, _ int) []byte { return append(b, block...) }})
		got := read(file, rooms.Options{})
		runtime.ReadMemStats(&after)
		if want := []string{"line 2, column 2: RoomId has a quote that is never closed, so the rest of the file " +
			"cannot be read"}; !cmp.Equal(got, want) {
			t.Errorf("Read() = %q, want %q", got, want)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 8<<20 {
			t.Errorf("Read() allocated %d MB, want at most 8", n>>20)
		}
	})
}

// Errors about duplicate rooms name the first line only within the first four million lines.
func TestDuplicatesInLongFile(t *testing.T) {
	needs.Time(t)
	blank := strings.Repeat("\n", 1<<22)
	got := read(strings.NewReader("SdkAppId,RoomId\n1,2\n"+blank+"1,3\n1,2\n1,3\n"), rooms.Options{})
	want := []string{
		`2 {"SdkAppId":1,"RoomId":2}`,
		`4194307 {"SdkAppId":1,"RoomId":3}`,
		"line 4194308, column 2: RoomId 2 of SdkAppId 1 is already on line 2",
		"line 4194309, column 2: RoomId 3 of SdkAppId 1 is already further up",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

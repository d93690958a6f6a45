package rooms_test

import (
	"bytes"
	"fmt"
	"testing"

	"tiwsnap/internal/rooms"
)

const benchRows = 100_000

func BenchmarkCSV(b *testing.B) {
	b.Run("plain", func(b *testing.B) {
		bench(b, "SdkAppId,RoomId\n", func(i int) string {
			return fmt.Sprintf("1400123480,%d\n", 100_000+i)
		})
	})
	b.Run("four labels", func(b *testing.B) {
		bench(b, "SdkAppId,RoomId,Label.School,Label.Class,Label.Teacher,Label.EndsAt\n", func(i int) string {
			return fmt.Sprintf("1400123480,%d,南京市第一中学,高二（3）班,王老师,2026-11-23T10:45:00+08:00\n", 100_000+i)
		})
	})
	b.Run("quoted", func(b *testing.B) {
		bench(b, "SdkAppId,RoomId\n", func(i int) string {
			return fmt.Sprintf("\"1400123480\",\"%d\"\n", 100_000+i)
		})
	})
}

func BenchmarkJSON(b *testing.B) {
	b.Run("plain", func(b *testing.B) {
		bench(b, "", func(i int) string {
			return fmt.Sprintf(`{"SdkAppId":1400123480,"RoomId":%d}`+"\n", 100_000+i)
		})
	})
	b.Run("four labels", func(b *testing.B) {
		bench(b, "", func(i int) string {
			return fmt.Sprintf(`{"SdkAppId":1400123480,"RoomId":%d,"Label":{"School":"南京市第一中学","Class":"高二（3）班",`+
				`"Teacher":"王老师","EndsAt":"2026-11-23T10:45:00+08:00"}}`+"\n", 100_000+i)
		})
	})
}

func bench(b *testing.B, header string, row func(i int) string) {
	file := []byte(header)
	for i := range benchRows {
		file = append(file, row(i)...)
	}
	b.SetBytes(int64(len(file)))
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for _, err := range rooms.Read(bytes.NewReader(file), rooms.Options{}) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n != benchRows {
			b.Fatalf("got %d rows, want %d", n, benchRows)
		}
	}
	b.ReportMetric(benchRows*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

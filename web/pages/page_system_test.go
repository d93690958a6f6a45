package pages_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"tiwsnap/internal/keys"
	"tiwsnap/internal/rdb"
	"tiwsnap/internal/redistest"
	"tiwsnap/web/webtest"
)

// The totals of Redis are in groups, the most important first, also those of a newer version.
// The embedded Redis reports nothing. The page says so, and does not show an empty card.
func TestRedisThatReportsNothing(t *testing.T) {
	c, closeRedis, err := rdb.Open(redistest.Embedded(t).URL())
	if err != nil {
		t.Fatal(err)
	}
	defer closeRedis()
	h := webtest.NewPages(t, c)
	body := webtest.Ask(t, h, "GET", "/redis", "Accept", "text/html").Body.String()
	if !strings.Contains(body, "reports neither its memory nor its settings") {
		t.Errorf("the page does not say that the server reports nothing:\n%s", body)
	}
}

func TestTotalsAreOrderedByImportance(t *testing.T) {
	rdb := redistest.Client(t)
	for name, n := range map[string]int{
		"accepted": 70, "canceled": 3, "failed": 5, "images": 120, "missing_images": 2, "packed": 9, "sending": 1234567,
		"succeeded": 60, "waiting": 8, "zebras": 1,
	} {
		if err := rdb.HSet(t.Context(), keys.Default.Totals(), name, n).Err(); err != nil {
			t.Fatal(err)
		}
	}
	h := webtest.NewPages(t, rdb)
	for lang, want := range map[string][]string{
		"en": {
			"Totals, most important first", "Now", "rooms waiting", "8", "Snapshots", "succeeded", "60", "failed", "5",
			"canceled", "3", "Images", "images", "120", "images missing", "2", "Requests", "started", "1,234,567",
			"accepted by Tencent", "70", "Records in Redis", "compact records", "9", "Other counters", "zebras", "1",
		},
		"zh-CN": {
			"累计（按重要性排列）", "当前", "等待的房间", "8", "快照", "成功", "60", "失败", "5", "已取消", "3", "图片", "图片", "120",
			"缺少的图片", "2", "请求", "已开始", "1,234,567", "腾讯云受理", "70", "Redis 中的记录", "压缩的记录", "9", "其他计数", "zebras", "1",
		},
	} {
		body := webtest.Ask(t, h, "GET", "/redis", "Accept", "text/html", "Accept-Language", lang).Body.String()
		section := regexp.MustCompile(`(?s)<section id="totals".*?</section>`).FindString(body)
		var got []string
		for _, m := range regexp.MustCompile(`<(?:h2|h3|dt|dd)[^>]*>([^<]*)<`).FindAllStringSubmatch(section, -1) {
			got = append(got, m[1])
		}
		if !slices.Equal(got, want) {
			t.Errorf("the totals in %s are %q, want %q", lang, got, want)
		}
	}
}

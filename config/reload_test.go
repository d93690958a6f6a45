package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/config"
)

func TestChanged(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	key := file("key", "K3Y")
	const list = "schedules:\n- {name: a, cron: '0 1 * * *', rooms: {list: [{SdkAppId: 7, RoomId: 1}]}}\n"
	src := config.Source{
		Environ: []string{"TENCENTCLOUD_SECRET_ID=id", "TENCENTCLOUD_SECRET_KEY_FILE=" + key},
		File:    file("a.yml", "log: {level: warn}\n"+list),
	}
	before := load(t, src)
	if got := config.Changed(before, load(t, src)); got != nil {
		t.Errorf("Changed() of the same settings = %v", got)
	}
	file("a.yml", "# moved down\n\nlog: {level: warn}\n"+list)
	if got := config.Changed(before, load(t, src)); got != nil {
		t.Errorf("Changed() after a new comment = %v", got)
	}
	file("key", "N3W")
	file("a.yml", "log: {level: debug}\nrate: {limit: 19}\n"+strings.Replace(list, "0 1 *", "0 2 *", 1))
	want := []string{"tencentcloud.secret_key", "rate.limit", "log.level", "schedules"}
	if diff := cmp.Diff(want, config.Changed(before, load(t, src))); diff != "" {
		t.Errorf("Changed() (-want +got):\n%s", diff)
	}
}

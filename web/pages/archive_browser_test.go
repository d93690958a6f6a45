package pages_test

import (
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"tiwsnap/images"
	"tiwsnap/internal/needs"
	"tiwsnap/ledger"
	"tiwsnap/results"
	"tiwsnap/tasks"
	"tiwsnap/web/webtest"
)

// archive exports a small batch into a folder: images, lists and the page. It returns the URL of the page.
func archive(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	store, err := images.OpenStore("file://"+dir, images.Credentials{})
	if err != nil {
		t.Fatal(err)
	}
	var all []results.Result
	hostile := `3B <img src="https://elsewhere.test/x.png" onerror="alert(1)">`
	for i, label := range []string{"高二（3）班 数学", hostile, "../../3C", ""} {
		row := i + 1
		s := ledger.Snapshot{
			ID: tasks.RowID("monday", row), Batch: "monday", Folder: "monday", State: ledger.Succeeded,
			Room:   tasks.Room{SdkAppId: 1400123480, RoomId: uint64(20100 + row)},
			Images: []string{"https://elsewhere.test/1.png", "https://elsewhere.test/2.png"},
		}
		if label != "" {
			s.Room.Label = map[string]string{"Class": label}
		}
		r := results.Explain(s)
		for n := range s.Images {
			if row == 3 && n == 1 {
				r.CopyList[n].State = string(ledger.Lost)
				continue
			}
			name := fmt.Sprintf("%s/%d.png", images.Folder(s), n+1)
			board := image.NewPaletted(image.Rect(0, 0, 1280, 720), color.Palette{color.White, color.RGBA{31, 91, 181, 255}})
			blue := &image.Uniform{board.Palette[1]}
			draw.Draw(board, image.Rect(100*row, 100, 100*row+300, 500), blue, image.Point{}, draw.Src)
			err := store.Put(t.Context(), name, "image/png", func(w io.Writer) error { return png.Encode(w, board) })
			if err != nil {
				t.Fatal(err)
			}
			r.CopyList[n] = results.Copy{State: string(ledger.Copied), URL: name[len("monday/"):]}
		}
		all = append(all, r)
	}
	failed := results.Explain(ledger.Snapshot{
		ID: "monday.5", Batch: "monday", State: ledger.Failed, Code: "InternalErr",
		Room: tasks.Room{SdkAppId: 1400123480, RoomId: 20105},
	})
	all = append(all, failed)
	b := ledger.Batch{
		ID: "monday", Total: 5, Succeeded: 4, Failed: 1, Images: 8, Labels: []string{"Class"}, EndedAt: time.Now(),
	}
	err = images.WriteLists(t.Context(), store, "monday", b, func(yield func(results.Result, error) bool) {
		for _, r := range all {
			if !yield(r, nil) {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return "file://" + filepath.Join(dir, "monday", "index.html")
}

// The page beside the images opens from the folder and loads nothing from elsewhere. It can be searched by label, in
// English and Chinese, on a desktop and on a phone.
func TestArchiveInABrowser(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	page := archive(t)
	b := webtest.NewBrowser(t, page)
	b.Do(chromedp.Navigate(page), chromedp.WaitVisible(chromedp.CSS(`#search`)))
	b.Until(`[...document.images].length === 7`)
	b.Until(`[...document.images].every((i) => { i.loading = 'eager'; return i.complete && i.naturalWidth === 1280 })`)
	b.Until(`[...document.querySelectorAll('a')].every((a) => a.href.startsWith('file:'))`)
	for _, words := range []string{"7 images", "1 images lost", "1 failed"} {
		b.Until(`document.querySelector('header').innerText.includes('` + words + `')`)
	}
	b.Until(`document.querySelectorAll('article h2')[1].textContent.includes('<img src=')`)
	b.Shots("archive")

	search := func(words string, shown int) {
		t.Helper()
		b.Until(`(document.querySelector('#search').value = '', true)`)
		b.Do(chromedp.SendKeys(chromedp.CSS(`#search`), words+" "))
		seen := `[...document.querySelectorAll('article')].filter((a) => a.offsetHeight > 0).length`
		b.Until(fmt.Sprintf(`%s === %d`, seen, shown))
		b.Until(fmt.Sprintf(`document.querySelector('#count').value === '%d / 5'`, shown))
	}
	search("高二 数学", 1)
	search("3b", 1)
	search("20105", 1)
	search("physics", 0)
	b.Until(`document.querySelector('#nothing').innerText === 'No room matches.'`)

	// Switch to Chinese and back.
	b.Do(chromedp.Click(chromedp.CSS(`#language`)))
	b.Until(`document.documentElement.lang === 'zh' && document.querySelector('#nothing').innerText === '没有符合的房间'`)
	b.Until(`document.querySelector('header').innerText.includes('张丢失')`)
	search("", 5)
	b.Do(chromedp.Click(chromedp.CSS(`#language`)))
	b.Until(`document.documentElement.lang === 'en' && document.querySelector('header').innerText.includes('images lost')`)

	// The page fits the width of a phone in both languages.
	b.Do(webtest.Call(emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: 390, Height: 844, DeviceScaleFactor: 1, Mobile: true,
	}))
	for range 2 {
		b.Until(`document.scrollingElement.scrollWidth <= 390`)
		b.Do(chromedp.Click(chromedp.CSS(`#language`)))
	}
	b.Do(chromedp.Click(chromedp.CSS(`article a`)))
	b.Until(`location.href.endsWith('/1.png') && document.images[0].naturalWidth === 1280`)
}

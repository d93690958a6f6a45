package pages

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/redis/go-redis/v9"

	"tiwsnap/ledger"
	"tiwsnap/web"
	"tiwsnap/web/api"
)

// The page of the API in Chinese has no English text. Names, paths, fields and media types stay as they are.
func TestTheDescriptionOfTheAPIIsTranslated(t *testing.T) {
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"}) // it is not used
	defer rdb.Close()
	a := api.New(api.Options{Redis: rdb, Ledger: ledger.New(rdb, ledger.Options{})})
	defer a.Close()
	unused := map[string]bool{}
	for text := range apiTexts {
		unused[text] = true
	}
	check := func(operation, text string) {
		if text == "" {
			return
		}
		delete(unused, text)
		if !strings.ContainsFunc(chinese.ofAPI(text), han) {
			t.Errorf("%s: %q is not in Chinese: words_api.go", operation, text)
		}
		if got := english.ofAPI(text); got != text {
			t.Errorf("%q in English is %q", text, got)
		}
	}
	operations := 0
	for _, item := range a.OpenAPI().Paths {
		for _, op := range []*huma.Operation{item.Get, item.Post} {
			if op == nil {
				continue
			}
			operations++
			if op.Summary == "" {
				t.Errorf("%s has no summary", op.OperationID)
			}
			check(op.OperationID, op.Summary)
			check(op.OperationID, op.Description)
			if op.RequestBody != nil {
				check(op.OperationID, op.RequestBody.Description)
			}
			for _, p := range op.Parameters {
				if p.Description == "" {
					t.Errorf("%s: the parameter %s has no description", op.OperationID, p.Name)
				}
				check(op.OperationID, p.Description)
			}
		}
	}
	if operations < 30 {
		t.Errorf("%d operations, want 30 or more", operations)
	}
	for text := range unused {
		t.Errorf("%q is in words_api.go and not used", text)
	}

	auth, err := web.NewAuth(web.AuthOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p := New(Options{Auth: auth, API: a, Log: slog.New(slog.DiscardHandler)})
	h := web.NewHandler(web.HandlerOptions{Auth: auth}, p.docsRoutes()...)
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1/docs", nil)
	r.Header.Set("Accept-Language", "zh-CN")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	_, main, _ := strings.Cut(w.Body.String(), `<main`)
	main, _, ok := strings.Cut(main, `</main>`)
	if w.Code != http.StatusOK || !ok {
		t.Fatalf("status %d, want 200:\n%s", w.Code, w.Body)
	}
	for _, m := range regexp.MustCompile(`<(?:p|th|td|dt|dd)[^>]*>([^<]*)<`).FindAllStringSubmatch(main, -1) {
		text := strings.TrimSpace(m[1])
		if text != "" && !strings.ContainsFunc(text, han) {
			t.Errorf("the page in Chinese says %q", text)
		}
	}
}

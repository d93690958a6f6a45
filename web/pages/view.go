package pages

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"tiwsnap/ledger"
	"tiwsnap/web"
)

// Cookies with settings. They hold no secret.
const (
	langCookie  = "tiwsnap_lang"
	zoneCookie  = "tiwsnap_zone" // templates/page.js sets it, too
	flashCookie = "tiwsnap_said"
)

// zoneOf returns the time zone that the user has chosen, or that the script has found in the browser.
func zoneOf(r *http.Request) (zone *time.Location, known bool) {
	if c, err := r.Cookie(zoneCookie); err == nil && c.Value != "" && c.Value != "Local" {
		name, _ := url.QueryUnescape(c.Value)
		if zone, err := time.LoadLocation(name); err == nil {
			return zone, true
		}
	}
	return time.UTC, false
}

// view is the data of a template.
type view struct {
	Title string
	Nav   string        // current line of the navigation
	Who   web.Principal // without a name: not logged in
	Login bool          // there is a session to end
	Lang  lang
	Here  string // path and query of this page
	Live  string // URL of the stream that updates it; empty: none
	Flash *text  // what the last form has done
	Data  any    // of the page

	Site  web.Site   // where the server has several
	Sites []web.Site // all of them, where there are several

	ZoneKnown bool
	base      string
	zone      *time.Location
	now       time.Time
}

func newView(r *http.Request, title string, data any) view {
	who := web.PrincipalOf(r.Context())
	zone, known := zoneOf(r)
	return view{
		Title: title, Who: who, Login: who.Session, Lang: langOf(r), Data: data,
		Here: strings.TrimPrefix(r.URL.RequestURI(), "/live"),
		Site: web.SiteOf(r), Sites: web.SitesOf(r), ZoneKnown: known, base: web.BaseOf(r), zone: zone, now: time.Now(),
	}
}

// MayChange reports whether the viewer may cancel what by has enqueued.
func (v view) MayChange(by string) bool {
	return v.Who.May(web.RoleOperate) || v.Who.May(web.RoleProduce) && by == v.Who.Key()
}

// Link returns the URL of a page. Each %s of the format stands for a value, which is escaped.
func (v view) Link(format string, values ...any) string {
	for i, value := range values {
		values[i] = strings.ReplaceAll(url.QueryEscape(fmt.Sprint(value)), "+", "%20")
	}
	return v.base + fmt.Sprintf(format, values...)
}

// With returns the URL of this page with one parameter of the query changed.
func (v view) With(name string, value any) string {
	u, err := url.Parse(v.Here)
	if err != nil {
		return v.base
	}
	q := u.Query()
	for _, page := range []string{"cursor", "from"} {
		q.Del(page) // another list starts at its first page
	}
	if s := fmt.Sprint(value); s == "" {
		q.Del(name)
	} else {
		q.Set(name, s)
	}
	u.RawQuery = q.Encode()
	return v.base + u.String()
}

// Zone returns the name of the viewer's time zone.
func (v view) Zone() string { return v.zone.String() }

// At formats a time in the viewer's zone, to the minute.
func (v view) At(t time.Time) template.HTML {
	if t.IsZero() {
		return ""
	}
	return v.time(t, v.clock(t))
}

// Second is At to the second.
func (v view) Second(t time.Time) template.HTML {
	if t.IsZero() {
		return ""
	}
	return v.time(t, t.In(v.zone).Format("2006-01-02 15:04:05"))
}

// Milli is At to the millisecond.
func (v view) Milli(t time.Time) template.HTML {
	if t.IsZero() {
		return ""
	}
	return v.time(t, t.In(v.zone).Format("2006-01-02 15:04:05.000"))
}

// When formats a time relative to now if it is within a day.
func (v view) When(t time.Time) template.HTML {
	if t.IsZero() {
		return ""
	}
	d := v.now.Sub(t)
	key := "time.ago"
	if d < 0 {
		d, key = -d, "time.in"
	}
	switch {
	case d < time.Minute && key == "time.ago":
		return v.time(t, v.Lang.say("time.now"))
	case v.Near(t):
		return v.time(t, v.Lang.say(key, v.Lang.roughly(d)))
	}
	return v.time(t, v.clock(t))
}

// Near reports whether When is relative to now.
func (v view) Near(t time.Time) bool { return v.now.Sub(t).Abs() < 24*time.Hour }

// Detail formats the detail of an entry of the audit log.
func (v view) Detail(s string) any {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return v.At(t)
	}
	return v.Lang.translate(s)
}

func (v view) clock(t time.Time) string { return t.In(v.zone).Format("2006-01-02 15:04") }

func (v view) time(t time.Time, words string) template.HTML {
	// The other values have no special characters of HTML.
	return template.HTML(fmt.Sprintf(`<time datetime="%s" title="%s %s">%s</time>`,
		t.UTC().Format(time.RFC3339), t.In(v.zone).Format("2006-01-02 15:04:05"), v.zone, template.HTMLEscapeString(words)))
}

// functions are the functions of the templates in a language.
func functions(l lang) template.FuncMap {
	return template.FuncMap{
		"asset":      func(name string) string { return assets[name] },
		"icon":       icon,
		"t":          l.say,
		"n":          l.number,
		"text":       func(t text) string { return l.say(t.Key, t.Args...) },
		"count":      count,
		"sentence":   func(s string) string { return strings.TrimRight(s, ".") + [languages]string{".", "。"}[l] },
		"left":       l.left,
		"roughly":    l.roughly,
		"code":       breakable,
		"shown":      shown,
		"translate":  l.translate,
		"api":        l.ofAPI,
		"skew":       skew,
		"total":      func(name string) string { return l.known("total."+name, name) },
		"via":        func(name string) string { return l.known("via."+name, name) },
		"did":        func(name string) string { return l.known("did."+name, name) },
		"span":       func(a, b time.Time) string { return l.left(b.Sub(a)) },
		"explain":    l.explain,
		"navigation": navigation,
		"percent":    func(n, of int) string { return strconv.FormatFloat(100*float64(n)/float64(max(of, 1)), 'f', 2, 64) },
		"whole":      func(n, of int) string { return strconv.Itoa(100 * n / max(of, 1)) }, // never 100 before the end
		"plus": func(all ...int) (sum int) {
			for _, n := range all {
				sum += n
			}
			return
		},
		"bytes":     bytesOf,
		"share":     func(n, of int64) string { return fmt.Sprintf("%.2f", 100*float64(n)/float64(max(of, 1))) },
		"big":       func(n int64) string { return count(int(n)) },
		"states":    func() []ledger.State { return allStates },
		"of":        ofState,
		"languages": func() []lang { return []lang{english, chinese} },
		"fields":    func(pairs ...any) []any { return pairs },
	}
}

var allStates = []ledger.State{
	ledger.Queued, ledger.Sending, ledger.Unknown, ledger.Accepted, ledger.Succeeded, ledger.Failed, ledger.Canceled,
}

// ofState returns how many snapshots of a batch are in a state.
func ofState(b ledger.Batch, s ledger.State) int {
	return map[ledger.State]int{
		ledger.Queued: b.Queued, ledger.Sending: b.Sending, ledger.Unknown: b.Unknown, ledger.Accepted: b.Accepted,
		ledger.Succeeded: b.Succeeded, ledger.Failed: b.Failed, ledger.Canceled: b.Canceled,
	}[s]
}

// breakable lets a narrow column break an error code after a dot.
func breakable(code string) template.HTML {
	return template.HTML(strings.ReplaceAll(template.HTMLEscapeString(code), ".", ".<wbr>"))
}

// skew formats how many seconds a clock is ahead.
func skew(s float64) string {
	if text := fmt.Sprintf("%+.2f", s); strings.Trim(text, "+-0.") != "" {
		return text
	}
	return "0.00"
}

// shown formats the value of a label: a time in RFC 3339 is shortened, in its own zone.
func shown(value string) string {
	if t, err := time.Parse(time.RFC3339, value); err == nil {
		return t.Format("2006-01-02 15:04")
	}
	return value
}

// bytesOf formats a size in its greatest unit.
func bytesOf(n int64) string {
	f, units := float64(n), []string{"B", "kB", "MB", "GB", "TB"}
	for f >= 1000 && len(units) > 1 {
		f, units = f/1000, units[1:]
	}
	if f >= 100 || units[0] == "B" {
		return fmt.Sprintf("%.0f %s", f, units[0])
	}
	return fmt.Sprintf("%.1f %s", f, units[0])
}

// setFlash lets the next page show what was done.
func setFlash(w http.ResponseWriter, r *http.Request, said text) {
	for i, a := range said.Args { // JSON would return it as a float
		if n, ok := a.(int); ok {
			said.Args[i] = count(n)
		}
	}
	b, err := json.Marshal(said)
	if said.Key == "" || err != nil || len(b) > 2000 {
		return
	}
	http.SetCookie(w, &http.Cookie{
		Name: flashCookie, Value: base64.RawURLEncoding.EncodeToString(b), Path: "/", MaxAge: 60,
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: web.OverTLS(r),
	})
}

// takeFlash shows the text of setFlash, once.
func (v *view) takeFlash(w http.ResponseWriter, r *http.Request) {
	c, err := r.Cookie(flashCookie)
	if err != nil {
		return
	}
	var said text
	b, err := base64.RawURLEncoding.DecodeString(c.Value)
	if err == nil && json.Unmarshal(b, &said) == nil && catalog[said.Key] != [languages]string{} {
		v.Flash = &said
	}
	http.SetCookie(w, &http.Cookie{Name: flashCookie, Path: "/", MaxAge: -1, HttpOnly: true,
		SameSite: http.SameSiteStrictMode})
}

// icons are the paths of icons, in a box of 24 by 24.
var icons = map[string]string{
	"now":       "M3 12h4l3-8 4 16 3-8h4",
	"batches":   "M4 6h16M4 12h16M4 18h10",
	"failures":  "M12 8v5m0 3v.5M12 3l9.5 17h-19z",
	"held":      "M9 6v12M15 6v12",
	"schedules": "M12 7v5l3 2M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z",
	"webhooks":  "M4 12h13m-5-6 6 6-6 6",
	"limit":     "M4 18a9 9 0 1 1 16 0M12 14l4-5",
	"workers":   "M4 5h16v6H4zM4 13h16v6H4zM8 8h.01M8 16h.01",
	"redis":     "M4 7c0-4 16-4 16 0v10c0 4-16 4-16 0zM4 7c0 4 16 4 16 0M4 12c0 4 16 4 16 0",
	"audit":     "M6 3h9l4 4v14H6zM9 11h7M9 15h7",
	"queues":    "M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z",
	"api":       "M8 8l-4 4 4 4M16 8l4 4-4 4M13 5l-2 14",
	"find":      "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM16 16l5 5",
	"image":     "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M9 9h.01",
	"download":  "M12 4v11m-5-5 5 5 5-5M5 20h14",
	"new":       "M12 5v14M5 12h14",
	"menu":      "M4 7h16M4 12h16M4 17h16",
}

// icon returns an icon for beside a text.
func icon(name string) template.HTML {
	return template.HTML(`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true"><path d="` + icons[name] + `"/></svg>`)
}

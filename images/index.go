package images

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"tiwsnap/ledger"
	"tiwsnap/results"
)

var (
	//go:embed index.html
	indexSource string
	//go:embed index.css
	indexStyle string
	//go:embed index.js
	indexScript string

	// The page is written card by card, because a batch may have a million.
	indexPage = template.Must(template.New("").Parse(indexSource))
)

// indexPolicy allows the page to load only the images beside it. It has file: because a page that is opened from a
// folder has no origin for 'self'.
var indexPolicy = "default-src 'none'; base-uri 'none'; form-action 'none'; img-src 'self' file:; style-src '" +
	digest(indexStyle) + "'; script-src '" + digest(indexScript) + "'"

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// card is a snapshot on the page.
type card struct {
	results.Result
	Row    string
	Labels []label
	Search string  // the text that the search field matches, lower case
	Boards []board // images with a copy
	counts
}

// counts are the images of a batch or snapshot: on the page, lost, and not copied yet.
type counts struct{ Shown, Lost, Remote int }

func (n *counts) add(r results.Result) {
	for _, c := range r.CopyList {
		switch c.State {
		case string(ledger.Copied):
			n.Shown++
		case string(ledger.Lost), "gone":
			n.Lost++
		default:
			n.Remote++
		}
	}
}

type label struct{ Name, Value string }

// board is an image on the page.
type board struct {
	N   int
	URL string
}

func newCard(r results.Result) card {
	c := card{Result: r, Row: r.ID[strings.LastIndex(r.ID, ".")+1:]}
	words := []string{r.ID, strconv.FormatUint(r.Room.RoomId, 10)}
	for _, name := range slices.Sorted(maps.Keys(r.Room.Label)) {
		c.Labels = append(c.Labels, label{name, r.Room.Label[name]})
		words = append(words, r.Room.Label[name])
	}
	for i, copy := range r.CopyList {
		if copy.State == string(ledger.Copied) {
			c.Boards = append(c.Boards, board{i + 1, copy.URL})
		}
	}
	c.add(r)
	c.Search = strings.ToLower(strings.Join(words, " "))
	return c
}

// writeIndex writes index.html of a batch. each calls its argument for every result in order.
func writeIndex(w io.Writer, b ledger.Batch, n counts, each func(func(results.Result) error) error) error {
	var out bytes.Buffer
	flush := func(name string, data any) error {
		out.Reset()
		if err := indexPage.ExecuteTemplate(&out, name, data); err != nil {
			return err
		}
		_, err := w.Write(out.Bytes())
		return err
	}
	head := map[string]any{
		"Batch": b, "Images": n, "Policy": indexPolicy, "Style": template.CSS(indexStyle),
		"Failed": b.Failed + b.Canceled, "Ended": b.EndedAt.UTC().Format("2006-01-02 15:04"),
	}
	if err := flush("head", head); err != nil {
		return err
	}
	if err := each(func(r results.Result) error { return flush("card", newCard(r)) }); err != nil {
		return err
	}
	return flush("foot", map[string]any{"Script": template.JS(indexScript)})
}

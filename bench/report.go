package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// report is what a run measured.
type report struct {
	At      time.Time `json:"at"`
	Machine string    `json:"machine"`
	Short   bool      `json:"short,omitempty"`
	Figures []figure  `json:"figures"`
	Missing []string  `json:"missing"` // rows about software that is not there
	Broken  []string  `json:"broken"`  // promises
}

// figure is one number of a row.
type figure struct {
	Row   string  `json:"row"`
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	Reach reach   `json:"reach,omitzero"`
	Load  float64 `json:"load"` // of the machine, over the minute before
}

// reach is what a figure is to reach. At most one of its fields is set.
type reach struct {
	AtMost  *float64 `json:"at_most,omitempty"`
	AtLeast *float64 `json:"at_least,omitempty"`
}

func atMost(v float64) reach  { return reach{AtMost: &v} }
func atLeast(v float64) reach { return reach{AtLeast: &v} }

// noted is for figures that are there to be known.
var noted reach

func (r reach) String() string {
	switch {
	case r.AtMost != nil:
		return "≤ " + number(*r.AtMost)
	case r.AtLeast != nil:
		return "≥ " + number(*r.AtLeast)
	}
	return ""
}

// verdict is "ok", "short" where the figure does not reach what it is to, or
// empty where nothing is to be reached.
func (f figure) verdict() string {
	switch {
	case f.Reach == noted:
		return ""
	case f.Reach.AtMost != nil && f.Value <= *f.Reach.AtMost, f.Reach.AtLeast != nil && f.Value >= *f.Reach.AtLeast:
		return "ok"
	}
	return "short"
}

// table prints figures line by line as they come, beside those of another run
// where there is one.
type table struct {
	w      io.Writer
	before map[string]float64
}

// newTable prints the head of a table. before may be nil.
func newTable(w io.Writer, before *report) *table {
	t := &table{w: w}
	last := ""
	if before != nil {
		t.before = before.values()
		last = "RATIO"
	}
	t.line("ROW", "FIGURE", "VALUE", "TO REACH", "", "LOAD", last)
	return t
}

// add prints a line.
func (t *table) add(f figure) {
	ratio := ""
	if t.before != nil {
		ratio = "new"
		if v, ok := t.before[f.key()]; ok {
			ratio = ratioOf(f.Value, v)
		}
	}
	t.line(f.Row, f.Name, strings.TrimSpace(number(f.Value)+" "+f.Unit), f.Reach.String(), f.verdict(),
		fmt.Sprintf("%.1f", f.Load), ratio)
}

func (t *table) line(words ...string) {
	var b strings.Builder
	for i, width := range []int{9, 66, 16, 10, 6, 5, 6} {
		b.WriteString(words[i])
		b.WriteString(strings.Repeat(" ", max(1, 1+width-len([]rune(words[i])))))
	}
	fmt.Fprintln(t.w, strings.TrimRight(b.String(), " "))
}

func (f figure) key() string { return f.Row + "\t" + f.Name + "\t" + f.Unit }

func (r *report) values() map[string]float64 {
	all := make(map[string]float64)
	for _, f := range r.Figures {
		all[f.key()] = f.Value
	}
	return all
}

// ratioOf is a figure over what it was before, in words. Two zeros are the same.
func ratioOf(now, before float64) string {
	switch {
	case now == before:
		return "1.00"
	case before == 0:
		return "from 0"
	}
	return strconv.FormatFloat(now/before, 'f', 2, 64)
}

// number writes a figure with three digits or more.
func number(v float64) string {
	switch {
	case v == float64(int64(v)):
		return grouped(strconv.FormatInt(int64(v), 10))
	case v >= 100 || v <= -100:
		return grouped(strconv.FormatFloat(v, 'f', 0, 64))
	case v >= 10 || v <= -10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// grouped puts a comma before every third digit.
func grouped(s string) string {
	sign := ""
	if s[0] == '-' {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// write writes the report to a file, for readReport.
func (r *report) write(name string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(name, append(b, '\n'), 0o644)
}

// readReport reads a report that write has written.
func readReport(name string) (*report, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var r report
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("%s is not the report of a bench: %w", name, err)
	}
	return &r, nil
}

package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// table prints figures line by line, beside those of an earlier run if there is one.
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
	t.line("ROW", "FIGURE", "VALUE", "TARGET", "", "LOAD", last)
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
	t.line(f.Row, f.Name, strings.TrimSpace(number(f.Value)+" "+f.Unit), f.Target.String(), f.verdict(),
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

func (r *report) values() map[string]float64 {
	all := make(map[string]float64)
	for _, f := range r.Figures {
		all[f.key()] = f.Value
	}
	return all
}

func (f figure) key() string { return f.Row + "\t" + f.Name + "\t" + f.Unit }

// ratioOf returns the ratio of a figure to the earlier one, as text. Two zeros have the ratio 1.
func ratioOf(now, before float64) string {
	switch {
	case now == before:
		return "1.00"
	case before == 0:
		return "from 0"
	}
	return strconv.FormatFloat(now/before, 'f', 2, 64)
}

// number formats a figure with at least three digits.
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

// grouped formats the digits of a number in groups of three.
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

package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestVerdict(t *testing.T) {
	for _, test := range []struct {
		value  float64
		target target
		want   string
	}{
		{29.8, atMost(29.8), "ok"},
		{29.81, atMost(29.8), "missed"},
		{95, atLeast(95), "ok"},
		{94.9, atLeast(95), "missed"},
		{0, atMost(0), "ok"},
		{1, noTarget, ""},
	} {
		if got := (figure{Value: test.value, Target: test.target}).verdict(); got != test.want {
			t.Errorf("verdict of %v with target %v = %q, want %q", test.value, test.target, got, test.want)
		}
	}
}

func TestNumber(t *testing.T) {
	for value, want := range map[float64]string{
		0: "0", 1.234: "1.23", 12.345: "12.3", 123.4: "123", 600: "600", 1_000: "1,000",
		123_456.7: "123,457", 1_000_000: "1,000,000", -1_234: "-1,234", -0.5: "-0.50",
	} {
		if got := number(value); got != want {
			t.Errorf("number(%v) = %q, want %q", value, got, want)
		}
	}
}

func TestRatio(t *testing.T) {
	for _, test := range []struct {
		now, before float64
		want        string
	}{
		{30, 20, "1.50"}, {10, 20, "0.50"}, {0, 0, "1.00"}, {3, 0, "from 0"}, {0, 3, "0.00"},
	} {
		if got := ratioOf(test.now, test.before); got != test.want {
			t.Errorf("ratioOf(%v, %v) = %q, want %q", test.now, test.before, got, test.want)
		}
	}
}

// A run compares each figure with the report of an earlier run.
func TestCompare(t *testing.T) {
	before := &report{Machine: "2 cores", Figures: []figure{
		{Row: "drain", Name: "rejected", Value: 2, Target: atMost(0), Load: 0.5},
		{Row: "drain", Name: "wall", Value: 40, Unit: "s"},
	}}
	file := filepath.Join(t.TempDir(), "before.json")
	if err := before.write(file); err != nil {
		t.Fatal(err)
	}
	read, err := readReport(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, read); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}

	var out strings.Builder
	table := newTable(&out, read)
	table.add(figure{Row: "drain", Name: "rejected", Value: 1, Target: atMost(0)})
	table.add(figure{Row: "drain", Name: "wall", Value: 30, Unit: "s"})
	table.add(figure{Row: "drain", Name: "wall", Value: 30, Unit: "ms"})
	var last []string
	for line := range strings.Lines(out.String()) {
		words := strings.Fields(line)
		last = append(last, words[len(words)-1])
	}
	if diff := cmp.Diff([]string{"RATIO", "0.50", "0.75", "new"}, last); diff != "" {
		t.Errorf("last column (-want +got):\n%s\n%s", diff, out.String())
	}
	if _, err := readReport("report_test.go"); err == nil {
		t.Error("readReport() accepts a file that is not a report")
	}
}

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// report is the result of a run.
type report struct {
	At      time.Time `json:"at"`
	Program string    `json:"program"` // that was measured: the output of tiwsnap version
	Machine string    `json:"machine"`
	Short   bool      `json:"short,omitempty"`
	Figures []figure  `json:"figures"`
	Missing []string  `json:"missing"` // rows that need software that is not installed
	Broken  []string  `json:"broken"`  // promises
}

// figure is one number of a row.
type figure struct {
	Row    string  `json:"row"`
	Name   string  `json:"name"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`
	Target target  `json:"reach,omitzero"`
	Load   float64 `json:"load"` // load average of the machine over the last minute
}

// target bounds a figure. At most one of its fields is set.
type target struct {
	AtMost  *float64 `json:"at_most,omitempty"`
	AtLeast *float64 `json:"at_least,omitempty"`
}

func atMost(v float64) target  { return target{AtMost: &v} }
func atLeast(v float64) target { return target{AtLeast: &v} }

// noTarget is the target of figures without one.
var noTarget target

func (r target) String() string {
	switch {
	case r.AtMost != nil:
		return "≤ " + number(*r.AtMost)
	case r.AtLeast != nil:
		return "≥ " + number(*r.AtLeast)
	}
	return ""
}

// verdict returns "ok", "missed" if the figure misses its target, or "" if there is no target.
func (f figure) verdict() string {
	switch {
	case f.Target == noTarget:
		return ""
	case f.Target.AtMost != nil && f.Value <= *f.Target.AtMost, f.Target.AtLeast != nil && f.Value >= *f.Target.AtLeast:
		return "ok"
	}
	return "missed"
}

// write writes the report to a file, for readReport.
func (r *report) write(name string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(name, append(b, '\n'), 0o644)
}

// readReport reads a report of write.
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

package tiw

import (
	"maps"
	"slices"
)

// Codes returns the codes that the error table explains.
func Codes() []string { return slices.Sorted(maps.Keys(explanations)) }

// ChineseCodes returns the codes that have a Chinese explanation.
func ChineseCodes() []string { return slices.Sorted(maps.Keys(chinese)) }

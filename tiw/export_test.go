package tiw

import (
	"maps"
	"slices"
)

// Codes are the codes that the error table explains.
func Codes() []string { return slices.Sorted(maps.Keys(explanations)) }

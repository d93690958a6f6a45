package tiw

import (
	"maps"
	"slices"
)

// Codes are the codes that the error table explains.
func Codes() []string { return slices.Sorted(maps.Keys(explanations)) }

// ChineseCodes are the codes that are explained in Chinese.
func ChineseCodes() []string { return slices.Sorted(maps.Keys(chinese)) }

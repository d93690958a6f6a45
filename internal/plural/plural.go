// Package plural writes counts in English.
package plural

import (
	"fmt"
	"strings"
)

// Of returns a number with its noun, which has a regular plural: 1 room, 2 rooms, 3 batches.
func Of(n int, noun string) string {
	switch {
	case n == 1:
		return "1 " + noun
	case strings.HasSuffix(noun, "ch"):
		return fmt.Sprintf("%d %ses", n, noun)
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

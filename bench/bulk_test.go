package main

import "testing"

func TestScattered(t *testing.T) {
	seen := make(map[uint32]bool)
	for i := range uint32(100_000) {
		seen[scattered(i+1)] = true
	}
	if len(seen) != 100_000 || seen[0] {
		t.Errorf("%d different numbers of 100,000, 0 among them: %t", len(seen), seen[0])
	}
}

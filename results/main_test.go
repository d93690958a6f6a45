package results_test

import (
	"testing"

	"go.uber.org/goleak"

	"tiwsnap/internal/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(redistest.Both(m)) }

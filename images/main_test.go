package images_test

import (
	"testing"

	"go.uber.org/goleak"

	"tiwsnap/internal/needs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(needs.Reporting(m)) }

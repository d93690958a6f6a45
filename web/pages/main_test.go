package pages_test

import (
	"testing"

	"tiwsnap/web/webtest"
)

func TestMain(m *testing.M) { webtest.Main(m) }

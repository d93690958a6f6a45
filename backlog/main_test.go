package backlog_test

import (
	"os"
	"testing"

	"tiwsnap/internal/redistest"
)

func TestMain(m *testing.M) { os.Exit(redistest.Both(m).Run()) }

package ledger_test

import (
	"os"
	"testing"

	"tiwsnap/redistest"
)

func TestMain(m *testing.M) { os.Exit(redistest.Both(m).Run()) }

package rdb_test

import (
	"log"
	"os"
	"testing"

	"tiwsnap/internal/needs"
)

// binDir is the folder for the binary that build creates.
var binDir string

func TestMain(m *testing.M) {
	var err error
	if binDir, err = os.MkdirTemp("", "tiwsnap-test"); err != nil {
		log.Fatal(err)
	}
	code := needs.Reporting(m).Run()
	os.RemoveAll(binDir)
	os.Exit(code)
}

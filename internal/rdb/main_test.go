package rdb_test

import (
	"os"
	"testing"

	"tiwsnap/internal/needs"
)

func TestMain(m *testing.M) { os.Exit(needs.Reporting(m).Run()) }

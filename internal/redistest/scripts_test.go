package redistest_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tiwsnap/internal/redistest"
)

func TestMain(m *testing.M) { os.Exit(redistest.Both(m).Run()) }

// The embedded Redis has its own Lua, which does not compile everything that the Lua of Redis does.
func TestScriptsCompile(t *testing.T) {
	c := redistest.Client(t)
	prelude, err := os.ReadFile("../../ledger/prelude.lua")
	if err != nil {
		t.Fatal(err)
	}
	scripts := 0
	err = filepath.WalkDir(filepath.Join("..", ".."), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".lua" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		script := string(text)
		if filepath.Dir(path) == filepath.Join("..", "..", "ledger") && filepath.Base(path) != "prelude.lua" {
			script = string(prelude) + script
		}
		scripts++
		if err := c.ScriptLoad(t.Context(), script).Err(); err != nil {
			t.Errorf("SCRIPT LOAD of %s: %v", path, err)
		}
		// SCRIPT LOAD may only parse. Eval also compiles.
		if err := c.Eval(t.Context(), "local function script()\n"+script+"\nend\nreturn 1", nil).Err(); err != nil {
			t.Errorf("EVAL of %s: %s", path, strings.SplitN(err.Error(), "\n", 2)[0])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if scripts < 20 {
		t.Errorf("found only %d scripts, want 20 or more", scripts)
	}
}

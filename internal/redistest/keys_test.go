package redistest_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/yuin/gopher-lua/ast"
	"github.com/yuin/gopher-lua/parse"
)

// Every key that a script passes to Redis is one of its KEYS, because proxies and hosted Redis route by them. A script
// must not build a key, or read one from Redis or ARGV.
func TestScriptsDeclareTheirKeys(t *testing.T) {
	scripts, calls := 0, 0
	err := filepath.WalkDir(filepath.Join("..", ".."), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".lua" {
			return err
		}
		text := ""
		for _, name := range []string{"prelude.lua", "copies.lua", filepath.Base(path)} { // in this order
			b, err := os.ReadFile(filepath.Join(filepath.Dir(path), name))
			if err != nil && name == filepath.Base(path) {
				return err
			}
			if name == filepath.Base(path) || !slices.Contains([]string{"prelude.lua", "copies.lua"}, filepath.Base(path)) {
				text += string(b) + "\n"
			}
		}
		if filepath.Base(path) == "copies.lua" {
			return nil // checked with the scripts that include it
		}
		faults, n, err := undeclaredKeys(text)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		for _, f := range faults {
			t.Errorf("%s: %s", path, f)
		}
		scripts, calls = scripts+1, calls+n
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if scripts < 30 || calls < 300 {
		t.Errorf("found only %d scripts with %d calls, want 30 and 300 or more", scripts, calls)
	}
}

func TestUndeclaredKeys(t *testing.T) {
	for text, want := range map[string]int{
		`redis.call('GET', KEYS[1])`:                                                         0,
		`local a, b = KEYS[1], KEYS[2] redis.call('RENAME', a, b)`:                           0,
		`for _, k in ipairs({KEYS[1], KEYS[2]}) do redis.call('DEL', k) end`:                 0,
		`for i = 2, #KEYS do redis.call('DEL', KEYS[i]) end`:                                 0,
		`redis.call('UNLINK', unpack(KEYS, 2))`:                                              0,
		`local function get(k, f) return redis.call('HGET', k, f) end get(KEYS[1], ARGV[1])`: 0,
		`redis.call('TIME')`:                                                                                           0,
		`redis.call('GET', ARGV[1])`:                                                                                   1,
		`redis.call('GET', 'tiwsnap:x')`:                                                                               1,
		`redis.call('GET', KEYS[1] .. ':x')`:                                                                           1,
		`local k = ARGV[1] .. 'x' redis.call('GET', k)`:                                                                1,
		`local k = redis.call('LPOP', KEYS[1]) redis.call('DEL', k)`:                                                   1,
		`local k = KEYS[1] k = ARGV[1] redis.call('DEL', k)`:                                                           1,
		`redis.call('RENAME', KEYS[1], ARGV[1])`:                                                                       1,
		`redis.call('DEL', KEYS[1], ARGV[1])`:                                                                          1,
		`for _, k in ipairs(redis.call('SMEMBERS', KEYS[1])) do redis.call('DEL', k) end`:                              1,
		`for _, k in ipairs({KEYS[1], ARGV[1]}) do redis.call('DEL', k) end`:                                           1,
		`redis.pcall('UNLINK', unpack(ARGV))`:                                                                          1,
		`local function get(k) return redis.call('GET', k) end get(KEYS[1]) get(ARGV[1])`:                              1,
		`local function try(...) return redis.pcall(...) end try('GET', KEYS[1]) try('GET', ARGV[1])`:                  1,
		`local KEYS = {ARGV[1]} redis.call('GET', KEYS[1])`:                                                            1,
		`if redis.call('EXISTS', KEYS[1]) == 1 then return {redis.call('GET', 'a'), {redis.call('GET', ARGV[1])}} end`: 2,
	} {
		faults, _, err := undeclaredKeys(text)
		if err != nil || len(faults) != want {
			t.Errorf("%s: %d faults, want %d: %q, %v", text, len(faults), want, faults, err)
		}
	}
}

func newKeyScan() *keyScan {
	return &keyScan{
		values: map[string][]ast.Expr{}, params: map[string][]string{},
		calls: map[string][][]ast.Expr{}, wrappers: map[string]bool{},
	}
}

// undeclaredKeys returns the calls of Redis in a script with a key that is not one of KEYS, and the number of calls. A
// variable is a key if all its values are keys.
func undeclaredKeys(text string) (faults []string, calls int, err error) {
	chunk, err := parse.Parse(strings.NewReader(text), "script")
	if err != nil {
		return nil, 0, err
	}
	s := newKeyScan()
	s.statements(chunk)
	for _, c := range s.redis {
		calls++
		for _, key := range keyArguments(c) {
			if !s.isKey(key, nil) {
				name := "a command"
				if cmd, ok := c[0].(*ast.StringExpr); ok {
					name = cmd.Value
				}
				faults = append(faults, fmt.Sprintf("line %d: a key of %s is not in KEYS", c[0].Line(), name))
			}
		}
	}
	return faults, calls, nil
}

// keyArguments returns the arguments of a call that are keys. For a command that is not listed here, that is the first.
func keyArguments(args []ast.Expr) []ast.Expr {
	name := ""
	if cmd, ok := args[0].(*ast.StringExpr); ok {
		name = strings.ToUpper(cmd.Value)
	}
	rest := args[1:]
	switch name {
	case "TIME", "INFO":
		return nil
	case "DEL", "UNLINK", "EXISTS":
		return rest
	case "RENAME", "RPOPLPUSH":
		return rest[:2]
	}
	if len(rest) == 0 {
		return []ast.Expr{args[0]} // the command is not a literal, or it has no key
	}
	return rest[:1]
}

// keyScan has the variables and functions of a script by name, regardless of scope.
type keyScan struct {
	values   map[string][]ast.Expr   // all values of a variable; nil is a value that is not a key
	params   map[string][]string     // parameters of functions, by name
	calls    map[string][][]ast.Expr // arguments of the calls of functions, by name
	wrappers map[string]bool         // functions that pass all their arguments to Redis
	redis    [][]ast.Expr            // arguments of the calls of Redis
}

func (s *keyScan) assign(name string, e ast.Expr) { s.values[name] = append(s.values[name], e) }

func (s *keyScan) statements(all []ast.Stmt) {
	for _, stmt := range all {
		switch x := stmt.(type) {
		case *ast.LocalAssignStmt:
			for i, name := range x.Names {
				var e ast.Expr
				if i < len(x.Exprs) {
					e = x.Exprs[i]
				}
				if f, ok := e.(*ast.FunctionExpr); ok {
					s.function(name, f)
				} else if name == "KEYS" || e != nil || len(x.Exprs) > 0 {
					s.assign(name, e)
				}
			}
			s.expressions(x.Exprs...)
		case *ast.AssignStmt:
			for i, left := range x.Lhs {
				if name, ok := left.(*ast.IdentExpr); ok {
					var e ast.Expr
					if i < len(x.Rhs) {
						e = x.Rhs[i]
					}
					s.assign(name.Value, e)
				}
			}
			s.expressions(append(slices.Clone(x.Lhs), x.Rhs...)...)
		case *ast.FuncCallStmt:
			s.expressions(x.Expr)
		case *ast.DoBlockStmt:
			s.statements(x.Stmts)
		case *ast.WhileStmt:
			s.expressions(x.Condition)
			s.statements(x.Stmts)
		case *ast.RepeatStmt:
			s.expressions(x.Condition)
			s.statements(x.Stmts)
		case *ast.IfStmt:
			s.expressions(x.Condition)
			s.statements(x.Then)
			s.statements(x.Else)
		case *ast.NumberForStmt:
			s.assign(x.Name, nil)
			s.expressions(x.Init, x.Limit, x.Step)
			s.statements(x.Stmts)
		case *ast.GenericForStmt:
			s.loop(x)
			s.expressions(x.Exprs...)
			s.statements(x.Stmts)
		case *ast.FuncDefStmt:
			if name, ok := x.Name.Func.(*ast.IdentExpr); ok {
				s.function(name.Value, x.Func)
			}
			s.expressions(x.Func)
		case *ast.ReturnStmt:
			s.expressions(x.Exprs...)
		}
	}
}

// loop records the elements of the table as values of x in "for _, x in ipairs({...})".
func (s *keyScan) loop(x *ast.GenericForStmt) {
	call, ok := x.Exprs[0].(*ast.FuncCallExpr)
	if ok && len(x.Names) == 2 && len(call.Args) == 1 {
		if table, ok := call.Args[0].(*ast.TableExpr); ok {
			for _, f := range table.Fields {
				s.assign(x.Names[1], f.Value)
			}
			return
		}
		if isKEYS(call.Args[0]) {
			return // all of them are keys
		}
	}
	for _, name := range x.Names {
		s.assign(name, nil)
	}
}

func (s *keyScan) function(name string, f *ast.FunctionExpr) {
	s.params[name] = f.ParList.Names
	if f.ParList.HasVargs {
		s.wrappers[name] = forwardsArguments(f)
	}
}

// forwardsArguments reports whether a function calls Redis with exactly its own arguments.
func forwardsArguments(f *ast.FunctionExpr) bool {
	inner := newKeyScan()
	inner.statements(f.Stmts)
	return slices.ContainsFunc(inner.redis, func(args []ast.Expr) bool {
		_, ok := args[0].(*ast.Comma3Expr)
		return ok
	})
}

func (s *keyScan) expressions(all ...ast.Expr) {
	for _, e := range all {
		switch x := e.(type) {
		case *ast.FuncCallExpr:
			s.call(x)
			s.expressions(x.Args...)
			s.expressions(x.Func, x.Receiver)
		case *ast.AttrGetExpr:
			s.expressions(x.Object, x.Key)
		case *ast.TableExpr:
			for _, f := range x.Fields {
				s.expressions(f.Key, f.Value)
			}
		case *ast.LogicalOpExpr:
			s.expressions(x.Lhs, x.Rhs)
		case *ast.RelationalOpExpr:
			s.expressions(x.Lhs, x.Rhs)
		case *ast.StringConcatOpExpr:
			s.expressions(x.Lhs, x.Rhs)
		case *ast.ArithmeticOpExpr:
			s.expressions(x.Lhs, x.Rhs)
		case *ast.UnaryMinusOpExpr:
			s.expressions(x.Expr)
		case *ast.UnaryNotOpExpr:
			s.expressions(x.Expr)
		case *ast.UnaryLenOpExpr:
			s.expressions(x.Expr)
		case *ast.FunctionExpr:
			s.statements(x.Stmts)
		}
	}
}

func (s *keyScan) call(x *ast.FuncCallExpr) {
	switch f := x.Func.(type) {
	case *ast.AttrGetExpr:
		object, ok := f.Object.(*ast.IdentExpr)
		name, named := f.Key.(*ast.StringExpr)
		if ok && named && object.Value == "redis" && (name.Value == "call" || name.Value == "pcall") {
			s.redis = append(s.redis, x.Args)
		}
	case *ast.IdentExpr:
		if s.wrappers[f.Value] {
			s.redis = append(s.redis, x.Args)
			return
		}
		s.calls[f.Value] = append(s.calls[f.Value], x.Args)
	}
}

func isKEYS(e ast.Expr) bool {
	name, ok := e.(*ast.IdentExpr)
	return ok && name.Value == "KEYS"
}

// isKey reports whether an expression is always one or several of KEYS. within are the variables that are being
// resolved.
func (s *keyScan) isKey(e ast.Expr, within []string) bool {
	switch x := e.(type) {
	case *ast.AttrGetExpr:
		return isKEYS(x.Object) && s.values["KEYS"] == nil
	case *ast.FuncCallExpr: // unpack(KEYS, n)
		name, ok := x.Func.(*ast.IdentExpr)
		return ok && name.Value == "unpack" && isKEYS(x.Args[0]) && s.values["KEYS"] == nil
	case *ast.LogicalOpExpr: // a and K or L
		return s.isKey(x.Rhs, within) && (x.Operator == "and" || s.isKey(x.Lhs, within))
	case *ast.Comma3Expr:
		return true // in a wrapper, whose calls are checked
	case *ast.IdentExpr:
		if slices.Contains(within, x.Value) {
			return true
		}
		within = append(slices.Clone(within), x.Value)
		known := false
		for _, value := range s.values[x.Value] {
			if known = true; value == nil || !s.isKey(value, within) {
				return false
			}
		}
		for function, params := range s.params {
			at := slices.Index(params, x.Value)
			for _, args := range s.calls[function] {
				if at < 0 {
					break
				}
				if known = true; at >= len(args) || !s.isKey(args[at], within) {
					return false
				}
			}
		}
		return known
	}
	return false
}

package laws

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strings"
	"testing"
)

// world is what a package of pkg must not touch by itself: a library is given
// its streams, its environment and its end by who calls it.
var world = map[string][]string{
	"os":  {"Stdin", "Stdout", "Stderr", "Getenv", "LookupEnv", "Environ", "ExpandEnv", "Setenv", "Unsetenv", "Exit", "Args"},
	"fmt": {"Print", "Printf", "Println", "Scan", "Scanf", "Scanln"},
}

// quiet: pkg touches no stream, environment or log, and has no init.
func quiet(t *tree) []finding {
	var bad []finding
	say := func(n ast.Node, text string) { bad = append(bad, finding{at: t.at(n), text: text}) }
	for _, f := range t.code("pkg") {
		for _, i := range f.imports() {
			if within(i.path, "log") || i.path == "flag" {
				say(i.node, "pkg does not import "+i.path+"; tell it as an error, or as a store.Event to the Sink of the options")
			}
		}
		f.funcs(func(name string, d *ast.FuncDecl) {
			if name == "init" {
				say(d, "no init in pkg; do it where it is needed, or in a constructor that can fail")
			}
		})
		ast.Inspect(f.ast, func(n ast.Node) bool {
			for from, all := range world {
				if name := f.selector(n, from); slices.Contains(all, name) {
					say(n, fmt.Sprintf("pkg does not use %s.%s; take it as a field of the options, and let internal/cli fill it", from, name))
				}
			}
			return true
		})
	}
	return bad
}

// exits: the program ends in cmd.
func exits(t *tree) []finding {
	var bad []finding
	for _, f := range t.code("internal") {
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if f.selector(n, "os") == "Exit" {
				bad = append(bad, finding{at: t.at(n), text: "os.Exit is called in cmd alone, so that deferred work is done; return an error"})
			}
			return true
		})
	}
	return bad
}

// clock: pkg takes the time from its options. As the default of a field or
// variable called Now, time.Now may stand as a value.
func clock(t *tree) []finding {
	var bad []finding
	for _, f := range t.code("pkg") {
		fine := map[ast.Node]bool{}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			markDefaults(n, fine)
			switch name := f.selector(n, "time"); name {
			case "Now", "Since", "Until":
				if !fine[n] {
					bad = append(bad, finding{at: t.at(n), key: f.path + ":" + f.in(n), what: "clock", text: fmt.Sprintf(
						"time.%s in pkg: take `Now func() time.Time` as an option with time.Now as its default, so that no result depends on the hour", name)})
				}
			}
			return true
		})
	}
	return bad
}

// markDefaults notes the right sides of `Now = …` and `Now: …`.
func markDefaults(n ast.Node, fine map[ast.Node]bool) {
	isNow := func(e ast.Expr) bool {
		s := types.ExprString(e)
		return s == "Now" || s == "now" || strings.HasSuffix(s, ".Now") || strings.HasSuffix(s, ".now")
	}
	switch n := n.(type) {
	case *ast.AssignStmt:
		for i, l := range n.Lhs {
			if len(n.Lhs) == len(n.Rhs) && isNow(l) {
				fine[n.Rhs[i]] = true
			}
		}
	case *ast.KeyValueExpr:
		if isNow(n.Key) {
			fine[n.Value] = true
		}
	}
}

// fixed are calls whose result nobody can change.
var fixed = []string{
	"errors.New", "fmt.Errorf", "regexp.MustCompile", "strings.NewReplacer", "sync.OnceValue", "sync.OnceValues",
}

// variables: pkg has no package variable that may change. Errors and what is
// compiled once are fine; so is an unexported table that nobody writes to.
func variables(t *tree) []finding {
	var bad []finding
	for _, f := range t.code("pkg") {
		for _, decl := range f.ast.Decls {
			g, ok := decl.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, spec := range g.Specs {
				bad = append(bad, t.judge(f, spec.(*ast.ValueSpec))...)
			}
		}
	}
	return bad
}

func (t *tree) judge(f *file, spec *ast.ValueSpec) []finding {
	var bad []finding
	for i, id := range spec.Names {
		var init ast.Expr
		if i < len(spec.Values) {
			init = spec.Values[i]
		}
		text := ""
		switch form := formOf(init); {
		case id.Name == "_" || form == "fixed" && t.changed()[t.typed().Defs[id]] == "":
			continue
		case form == "":
			text = "it has no value of a form that stays as it is"
		case t.changed()[t.typed().Defs[id]] != "":
			text = "it is changed at " + t.changed()[t.typed().Defs[id]]
		case id.IsExported():
			text = "it is exported, so anybody can change it; export a function or a constant"
		default:
			continue
		}
		bad = append(bad, finding{at: t.at(id), key: f.path + ":" + id.Name, what: "var", text: fmt.Sprintf(
			"package variable %s: %s; make it a constant, a field or a parameter", id.Name, text)})
	}
	return bad
}

// formOf is "fixed", "table" for values that could be changed in place, or "".
func formOf(init ast.Expr) string {
	switch e := init.(type) {
	case *ast.CompositeLit:
		if s := types.ExprString(e.Type); strings.HasPrefix(s, "sync.") || strings.HasPrefix(s, "atomic.") {
			return ""
		}
		return "table"
	case *ast.CallExpr:
		if _, ok := e.Fun.(*ast.ArrayType); ok { // a conversion such as []byte("…")
			return "table"
		}
		if slices.Contains(fixed, types.ExprString(e.Fun)) {
			return "fixed"
		}
	case *ast.UnaryExpr:
		if _, ok := e.X.(*ast.CompositeLit); ok && e.Op == token.AND {
			return formOf(e.X)
		}
	}
	return ""
}

// changed says where each package variable of pkg is written to, or where its
// address is taken.
func (t *tree) changed() map[types.Object]string {
	if t.writes != nil {
		return t.writes
	}
	t.writes = map[types.Object]string{}
	info := t.typed()
	mark := func(e ast.Expr) {
		for _, id := range roots(e) {
			if o := info.Uses[id]; o != nil {
				t.writes[o] = t.at(id)
			}
		}
	}
	for _, f := range t.files {
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.AssignStmt:
				if n.Tok != token.DEFINE {
					for _, l := range n.Lhs {
						mark(l)
					}
				}
			case *ast.IncDecStmt:
				mark(n.X)
			case *ast.UnaryExpr:
				if n.Op == token.AND {
					mark(n.X)
				}
			case *ast.CallExpr:
				if id, ok := n.Fun.(*ast.Ident); ok && len(n.Args) > 0 && (id.Name == "delete" || id.Name == "clear" || id.Name == "copy") {
					mark(n.Args[0])
				}
			}
			return true
		})
	}
	return t.writes
}

// roots are the names that a write to e may change: v in v[i].f and *v, and
// Var too in pkg.Var.
func roots(e ast.Expr) []*ast.Ident {
	switch x := e.(type) {
	case *ast.Ident:
		return []*ast.Ident{x}
	case *ast.SelectorExpr:
		return append(roots(x.X), x.Sel)
	case *ast.IndexExpr:
		return roots(x.X)
	case *ast.StarExpr:
		return roots(x.X)
	case *ast.ParenExpr:
		return roots(x.X)
	case *ast.SliceExpr:
		return roots(x.X)
	}
	return nil
}

func TestQuiet(t *testing.T)     { hold(t, "quiet", quiet) }
func TestExits(t *testing.T)     { hold(t, "exits", exits) }
func TestClock(t *testing.T)     { hold(t, "clock", clock) }
func TestVariables(t *testing.T) { hold(t, "variables", variables) }

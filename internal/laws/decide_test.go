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

const storePath = module + "/pkg/store"

// deciders are the functions of strings, bytes and regexp that answer a question.
var deciders = []string{"Contains", "HasPrefix", "HasSuffix", "Index", "LastIndex", "EqualFold", "Compare", "Count", "Cut", "Match", "Find"}

// errorText: nothing is decided by what an error says.
func errorText(t *tree) []finding {
	var bad []finding
	for _, f := range t.code() {
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if decides(n) {
				bad = append(bad, finding{at: t.at(n), text: "decides by the text of an error; use errors.Is with a sentinel of pkg/store, or errors.As, and let whoever makes the error wrap it"})
			}
			return true
		})
	}
	return bad
}

func decides(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.CallExpr:
		s, ok := n.Fun.(*ast.SelectorExpr)
		return ok && slices.ContainsFunc(n.Args, isErrorText) &&
			slices.ContainsFunc(deciders, func(d string) bool { return strings.HasPrefix(s.Sel.Name, d) })
	case *ast.BinaryExpr:
		return (n.Op == token.EQL || n.Op == token.NEQ) && (isErrorText(n.X) || isErrorText(n.Y))
	case *ast.SwitchStmt:
		return n.Tag != nil && isErrorText(n.Tag)
	}
	return false
}

// isErrorText says whether e is X.Error(), perhaps inside another call such as strings.ToLower.
func isErrorText(e ast.Expr) bool {
	call, ok := e.(*ast.CallExpr)
	if !ok {
		return false
	}
	if s, ok := call.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "Error" && len(call.Args) == 0 {
		return true
	}
	return slices.ContainsFunc(call.Args, isErrorText)
}

// assertions: what a store can do is data (Support), never its Go type.
func assertions(t *tree) []finding {
	var bad []finding
	for _, f := range t.code() {
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.TypeAssertExpr:
				if contractType(t, n.X) {
					bad = append(bad, finding{at: t.at(n), text: "asks a store for its Go type; ask Support(), or add the method to store.Store and storetest"})
				} else if n.Type != nil && concrete(f, n.Type) {
					bad = append(bad, finding{at: t.at(n), text: "reaches behind store.Store for one of its implementations; ask Support(), or add the method to store.Store"})
				}
			case *ast.TypeSwitchStmt:
				for _, c := range n.Body.List {
					if slices.ContainsFunc(c.(*ast.CaseClause).List, func(e ast.Expr) bool { return concrete(f, e) }) {
						bad = append(bad, finding{at: t.at(c), text: "reaches behind store.Store for one of its implementations; ask Support(), or add the method to store.Store"})
					}
				}
			}
			return true
		})
	}
	return bad
}

// contractType says whether e is one of the interfaces of pkg/store.
func contractType(t *tree, e ast.Expr) bool {
	named, ok := types.Unalias(t.typed().Types[e].Type).(*types.Named)
	return ok && types.IsInterface(named) && named.Obj().Pkg() != nil && named.Obj().Pkg().Path() == storePath
}

// concrete says whether e is a type, or a pointer to one, of a package that implements stores.
func concrete(f *file, e ast.Expr) bool {
	if s, ok := e.(*ast.StarExpr); ok {
		e = s.X
	} else if f.localName(storePath) == "" {
		return false
	}
	return f.selector(e, module+"/pkg/remote") != "" || f.selector(e, module+"/pkg/local") != ""
}

// fallbacks: whether another way is taken is decided by a function named
// choose…. It tells of it, or the function that asked it does; a method named
// fallback may do the telling for those.
func fallbacks(t *tree) []finding {
	var bad []finding
	for _, f := range t.code("pkg", "internal") {
		if f.dir == "pkg/store" {
			continue
		}
		fine := map[string]bool{}
		f.funcs(func(name string, d *ast.FuncDecl) { fine[name] = chooses(d) })
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if n == nil || !tells(f, n) {
				return n != nil
			}
			if fn := f.in(n); !fine[fn] && !(lastName(fn) == "fallback" && !isCall(n)) {
				bad = append(bad, finding{at: t.at(n), text: "a fallback outside a function named choose…; let one such function return the choice and its reason, and tell of it where it is asked"})
			}
			return true
		})
	}
	return bad
}

// chooses says whether a function is named choose… or calls one that is.
func chooses(d *ast.FuncDecl) bool {
	named := func(s string) bool { return strings.HasPrefix(strings.ToLower(lastName(s)), "choose") }
	found := named(d.Name.Name)
	ast.Inspect(d, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok && named(types.ExprString(call.Fun)) {
			found = true
		}
		return !found
	})
	return found
}

// lastName is the part of a selector after its last dot.
func lastName(s string) string { return s[strings.LastIndex(s, ".")+1:] }

func isCall(n ast.Node) bool { _, ok := n.(*ast.CallExpr); return ok }

// tells says whether n makes a fallback known: an event with that kind, or in
// pkg a call of fallback. Renderers read the kind; that is neither.
func tells(f *file, n ast.Node) bool {
	switch n := n.(type) {
	case *ast.KeyValueExpr:
		return types.ExprString(n.Key) == "Kind" && f.selector(n.Value, storePath) == "Fallback"
	case *ast.AssignStmt:
		return slices.ContainsFunc(n.Rhs, func(e ast.Expr) bool { return f.selector(e, storePath) == "Fallback" })
	case *ast.CallExpr:
		return within(f.dir, "pkg") && lastName(types.ExprString(n.Fun)) == "fallback"
	}
	return false
}

// sentinels: errors that callers may ask for are declared in one file.
func sentinels(t *tree) []finding {
	var bad []finding
	for _, f := range t.code("pkg") {
		if f.path == "pkg/store/errors.go" {
			continue
		}
		for _, id := range errorVars(f) {
			bad = append(bad, finding{at: t.at(id), text: fmt.Sprintf("%s is a sentinel outside pkg/store/errors.go; wrap one of those with %%w, or declare it there and give it a row in internal/cli/explain.go", id.Name)})
		}
	}
	return bad
}

// errorVars are the package variables called Err….
func errorVars(f *file) []*ast.Ident {
	var out []*ast.Ident
	for _, decl := range f.ast.Decls {
		g, ok := decl.(*ast.GenDecl)
		if !ok || g.Tok != token.VAR {
			continue
		}
		for _, spec := range g.Specs {
			for _, id := range spec.(*ast.ValueSpec).Names {
				if strings.HasPrefix(id.Name, "Err") {
					out = append(out, id)
				}
			}
		}
	}
	return out
}

// defaults: the default of a flag is a named constant, so that it stands once.
func defaults(t *tree) []finding {
	var bad []finding
	for _, f := range t.code("internal/cli") {
		ast.Inspect(f.ast, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if lit, ok := flagDefault(call).(*ast.BasicLit); ok && lit.Value != `""` && lit.Value != "0" {
				bad = append(bad, finding{at: t.at(call), text: fmt.Sprintf("the default %s of a flag is written out; make it a named constant beside the flag, and use the name wherever it is meant", lit.Value)})
			}
			return true
		})
	}
	return bad
}

// flagDefault is the default in a pflag definition such as fs.IntVarP(&v, "name", "n", 3, "usage"), or nil.
func flagDefault(call *ast.CallExpr) ast.Expr {
	s, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || len(call.Args) < 3 {
		return nil
	}
	kind, isP := strings.CutSuffix(s.Sel.Name, "P")
	kind, isVar := strings.CutSuffix(kind, "Var")
	if !slices.Contains([]string{"String", "Int", "Int64", "Uint", "Uint64", "Float64", "Duration", "Count", "StringSlice", "StringArray"}, kind) {
		return nil
	}
	want := 3
	for _, more := range []bool{isP, isVar} {
		if more {
			want++
		}
	}
	if len(call.Args) != want {
		return nil
	}
	return call.Args[want-2]
}

func TestErrorText(t *testing.T)  { hold(t, "errortext", errorText) }
func TestAssertions(t *testing.T) { hold(t, "assertions", assertions) }
func TestFallbacks(t *testing.T)  { hold(t, "fallbacks", fallbacks) }
func TestSentinels(t *testing.T)  { hold(t, "sentinels", sentinels) }
func TestDefaults(t *testing.T)   { hold(t, "defaults", defaults) }

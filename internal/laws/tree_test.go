package laws

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/stet-oci/stet"

// tree is what the laws look at: the files of the repository, or of an example.
type tree struct {
	fset  *token.FileSet
	files []*file           // Go files, sorted by path
	other map[string][]byte // go.mod, docs, scripts and lists by path
	typed func() *types.Info
	// writes is where package variables are changed, once changed() was asked.
	writes map[types.Object]string
}

// file is one Go file.
type file struct {
	path      string // slash-separated, from the top
	dir       string
	test      bool
	nested    bool // belongs to another module below the top, such as internal/interop
	generated bool
	lines     int
	ast       *ast.File
	err       error
}

// finding is one place where a law does not hold.
type finding struct {
	at   string // path, or path:line
	text string // what is wrong and what to do
	key  string // how allow.txt names it: path or path:name; "" where nothing can allow it
	what string // the second word in allow.txt: var, clock, lines or params
	size int    // of lines and params
}

func (f finding) String() string { return f.at + ": " + f.text }

// readTree reads every file that a law may ask for.
func readTree(fsys fs.FS) (*tree, error) {
	t := &tree{fset: token.NewFileSet(), other: map[string][]byte{}}
	err := fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if p != "." && (strings.HasPrefix(d.Name(), ".") || p == "bin" || p == "dist" || p == "internal/laws/testdata") {
				return fs.SkipDir
			}
			return nil
		}
		switch ext := path.Ext(p); {
		case ext == ".go" && !strings.Contains(p, "/testdata/"):
			return t.addGo(fsys, p)
		case ext == ".mod" || ext == ".md" || ext == ".txtar" || p == "internal/laws/allow.txt":
			t.other[p], err = fs.ReadFile(fsys, p)
		}
		return err
	})
	for _, f := range t.files {
		f.nested = t.moduleDir(f.dir) != "."
	}
	t.typed = sync.OnceValue(t.check)
	return t, err
}

func (t *tree) addGo(fsys fs.FS, p string) error {
	raw, err := fs.ReadFile(fsys, p)
	if err != nil {
		return err
	}
	f := &file{path: p, dir: path.Dir(p), test: strings.HasSuffix(p, "_test.go"), lines: strings.Count(string(raw), "\n")}
	f.ast, f.err = parser.ParseFile(t.fset, p, raw, parser.ParseComments|parser.SkipObjectResolution)
	if f.ast == nil {
		f.ast = &ast.File{Name: ast.NewIdent("_")}
	}
	f.generated = ast.IsGenerated(f.ast)
	t.files = append(t.files, f)
	return nil
}

// moduleDir is the directory of the go.mod that dir belongs to.
func (t *tree) moduleDir(dir string) string {
	for dir != "." && t.other[path.Join(dir, "go.mod")] == nil {
		dir = path.Dir(dir)
	}
	return dir
}

// code gives the files that end up in the program, below any of the directories.
func (t *tree) code(dirs ...string) []*file {
	var out []*file
	for _, f := range t.files {
		if !f.test && !f.nested && (len(dirs) == 0 || slices.ContainsFunc(dirs, func(d string) bool { return within(f.dir, d) })) {
			out = append(out, f)
		}
	}
	return out
}

// within says whether dir is top or below it.
func within(dir, top string) bool { return dir == top || strings.HasPrefix(dir, top+"/") }

func (t *tree) at(n ast.Node) string {
	p := t.fset.Position(n.Pos())
	return fmt.Sprintf("%s:%d", p.Filename, p.Line)
}

// imported is one import of a file.
type imported struct {
	node *ast.ImportSpec
	path string
	own  string // the directory, when it is a package of this module; "" otherwise
}

func (f *file) imports() []imported {
	var out []imported
	for _, spec := range f.ast.Imports {
		p, _ := strconv.Unquote(spec.Path.Value)
		own, _ := strings.CutPrefix(p, module+"/")
		if own == p {
			own = ""
		}
		out = append(out, imported{spec, p, own})
	}
	return out
}

// localName is the name under which the file knows an import; "" when it does not import it.
func (f *file) localName(importPath string) string {
	for _, i := range f.imports() {
		if i.path != importPath {
			continue
		}
		if i.node.Name != nil {
			return i.node.Name.Name
		}
		return path.Base(importPath)
	}
	return ""
}

// selector gives "name" when n is pkg.name for the import of that path.
func (f *file) selector(n ast.Node, importPath string) string {
	s, ok := n.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	if x, ok := s.X.(*ast.Ident); ok && x.Name == f.localName(importPath) && x.Name != "" {
		return s.Sel.Name
	}
	return ""
}

// funcs calls visit for every top-level function with its name, Recv.Name for methods.
func (f *file) funcs(visit func(name string, d *ast.FuncDecl)) {
	for _, decl := range f.ast.Decls {
		if d, ok := decl.(*ast.FuncDecl); ok {
			visit(funcName(d), d)
		}
	}
}

func funcName(d *ast.FuncDecl) string {
	if d.Recv == nil || len(d.Recv.List) == 0 {
		return d.Name.Name
	}
	recv := types.ExprString(d.Recv.List[0].Type)
	recv, _, _ = strings.Cut(strings.TrimPrefix(recv, "*"), "[")
	return recv + "." + d.Name.Name
}

// in names the top-level function around a position, or "".
func (f *file) in(n ast.Node) string {
	name := ""
	f.funcs(func(fn string, d *ast.FuncDecl) {
		if d.Pos() <= n.Pos() && n.End() <= d.End() {
			name = fn
		}
	})
	return name
}

// repository reads the real tree once for all laws.
var repository = sync.OnceValues(func() (*tree, error) { return readTree(os.DirFS("../..")) })

// hold tries a law on its example of bad code, then on the repository.
func hold(t *testing.T, name string, law func(*tree) []finding) {
	t.Helper()
	t.Run("example", func(t *testing.T) { tryExample(t, "testdata/bad/"+name+".txtar", law) })
	t.Run("tree", func(t *testing.T) {
		tr, err := repository()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range tr.permit(law(tr)) {
			t.Error(f)
		}
	})
}

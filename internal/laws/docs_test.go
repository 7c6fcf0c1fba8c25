package laws

import (
	"go/ast"
	"os"
	"regexp"
	"strings"
	"testing"
)

var codeName = regexp.MustCompile("`([A-Za-z]+(?:\\.[A-Za-z]+)?)`")

// The walk through the code in docs/architecture.md names what is there: each
// name in backquotes between the heading and the next is declared somewhere.
func TestArchitectureNamesWhatIsThere(t *testing.T) {
	page, err := os.ReadFile("../../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	_, walk, found := strings.Cut(string(page), "\n## `push`, in ten steps\n")
	if !found {
		t.Fatal("docs/architecture.md does not follow push through the code")
	}
	walk, _, _ = strings.Cut(walk, "\n## ")
	tr, err := repository()
	if err != nil {
		t.Fatal(err)
	}
	declared := map[string]bool{}
	for _, f := range append(append(tr.code("cmd"), tr.code("internal")...), tr.code("pkg")...) {
		for _, decl := range f.ast.Decls {
			declare(declared, decl)
		}
	}
	names := codeName.FindAllStringSubmatch(walk, -1)
	if len(names) < 15 {
		t.Errorf("the walk names %d functions only", len(names))
	}
	for _, n := range names {
		if name := lastName(n[1]); !declared[name] && name != "go" { // a file is no name
			t.Errorf("docs/architecture.md names %s, which is declared nowhere", n[1])
		}
	}
}

func declare(names map[string]bool, decl ast.Decl) {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		names[d.Name.Name] = true
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			if s, ok := spec.(*ast.TypeSpec); ok {
				names[s.Name.Name] = true
			}
		}
	}
}

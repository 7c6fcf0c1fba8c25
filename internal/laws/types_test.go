package laws

import (
	"go/ast"
	"go/types"
	"path"
	"strings"
)

// check type-checks the module's packages with their in-package tests. What is
// imported from elsewhere is an empty package, and errors are ignored: the
// laws ask only about the module's own variables and types.
func (t *tree) check() *types.Info {
	c := &checker{t: t, done: map[string]*types.Package{}, info: &types.Info{
		Uses:  map[*ast.Ident]types.Object{},
		Defs:  map[*ast.Ident]types.Object{},
		Types: map[ast.Expr]types.TypeAndValue{},
	}}
	for _, f := range t.files {
		c.pkg(f.dir)
	}
	return c.info
}

type checker struct {
	t    *tree
	done map[string]*types.Package // by import path
	info *types.Info
}

// Import is types.Importer.
func (c *checker) Import(p string) (*types.Package, error) {
	if dir, ok := strings.CutPrefix(p, module+"/"); ok {
		return c.pkg(dir), nil
	}
	if c.done[p] == nil {
		c.done[p] = types.NewPackage(p, path.Base(p))
		c.done[p].MarkComplete()
	}
	return c.done[p], nil
}

func (c *checker) pkg(dir string) *types.Package {
	p := module + "/" + dir
	if c.done[p] != nil {
		return c.done[p]
	}
	c.done[p] = types.NewPackage(p, path.Base(dir)) // ends a cycle that tests may close
	var files []*ast.File
	for _, f := range c.t.files {
		if f.dir == dir && !strings.HasSuffix(f.ast.Name.Name, "_test") {
			files = append(files, f.ast)
		}
	}
	conf := types.Config{Importer: c, Error: func(error) {}, FakeImportC: true}
	if pkg, _ := conf.Check(p, c.t.fset, files, c.info); pkg != nil {
		c.done[p] = pkg
	}
	return c.done[p]
}

package laws

import (
	"fmt"
	"go/ast"
	"testing"
)

// What fits into a head. Tests are lists of cases and may be longer.
const (
	maxFile     = 400
	maxTestFile = 600
	maxFunc     = 70
	maxParams   = 5
)

// sizes: files, functions and parameter lists stay small.
func sizes(t *tree) []finding {
	var bad []finding
	for _, f := range t.files {
		limit := maxFile
		if f.test {
			limit = maxTestFile
		}
		if f.generated {
			continue
		}
		if f.lines > limit {
			bad = append(bad, finding{at: f.path, key: f.path, what: "lines", size: f.lines, text: fmt.Sprintf(
				"%d lines, at most %d; split it by what its parts are about, or give the reason in %s", f.lines, limit, allowFile)})
		}
		f.funcs(func(name string, d *ast.FuncDecl) {
			key := f.path + ":" + name
			lines := t.fset.Position(d.End()).Line - t.fset.Position(d.Pos()).Line + 1
			if d.Body != nil && lines > maxFunc && !f.test {
				bad = append(bad, finding{at: t.at(d), key: key, what: "lines", size: lines, text: fmt.Sprintf(
					"%s has %d lines, at most %d; name its steps, or give the reason in %s", name, lines, maxFunc, allowFile)})
			}
			if n := d.Type.Params.NumFields(); n > maxParams {
				bad = append(bad, finding{at: t.at(d), key: key, what: "params", size: n, text: fmt.Sprintf(
					"%s has %d parameters, at most %d; what goes together is a struct", name, n, maxParams)})
			}
		})
	}
	return bad
}

func TestSizes(t *testing.T) { hold(t, "sizes", sizes) }

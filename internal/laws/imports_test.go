package laws

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"
)

// house is the map: which packages of this module each package may import,
// apart from those below itself. Longest match wins; tests may import more.
var house = map[string][]string{
	"cmd":                 {"internal/cli"},
	"pkg/store":           {},
	"pkg/store/storetest": {"pkg/store"},
	"pkg/local":           {"pkg/store", "internal/lockfile"},
	"pkg/artifact":        {"pkg/store"},
	"pkg/graph":           {"pkg/store"},
	"pkg/remote":          {"pkg/store", "internal/wire", "internal/lockfile"},
	"pkg/serve":           {"pkg/store", "internal/wire"},
	"pkg/mirror":          {"pkg/store", "pkg/graph"},
	"internal/wire":       {},
	"internal/lockfile":   {"pkg/store"},
	"internal/ui":         {"pkg/store"},
	"internal/cli":        {"pkg", "internal/ui", "internal/wire"},
	"internal/laws":       {},
}

// contract is what pkg/store may import from outside the standard library
// (docs/decisions/0004-reference-parser.md).
var contract = []string{
	"github.com/opencontainers/go-digest",
	"github.com/opencontainers/image-spec",
	"github.com/distribution/reference",
}

// imports: packages import each other only as the map allows.
func imports(t *tree) []finding {
	var bad []finding
	for _, f := range t.code() {
		room := roomOf(f.dir)
		if room == "" {
			bad = append(bad, finding{at: f.path, text: fmt.Sprintf("is in %s, which is not on the map; put it where it belongs, or draw the package in docs/architecture.md and in the house map of internal/laws/imports_test.go", f.dir)})
			continue
		}
		for _, i := range f.imports() {
			if i.own == "" || within(i.own, room) && roomOf(i.own) == room {
				continue
			}
			if !slices.ContainsFunc(house[room], func(ok string) bool { return i.own == ok || ok == "pkg" && within(i.own, ok) }) {
				bad = append(bad, finding{at: t.at(i.node), text: fmt.Sprintf("%s must not import %s, only %v; hand over what is needed as a value, or move the code to the package that may", room, i.own, house[room])})
			}
		}
	}
	return bad
}

// roomOf is the entry of the map that a directory belongs to.
func roomOf(dir string) string {
	for ; dir != "."; dir = path.Dir(dir) {
		if _, ok := house[dir]; ok {
			return dir
		}
	}
	return ""
}

// outside: some packages from elsewhere have one place, and some have none.
func outside(t *tree) []finding {
	var bad []finding
	for _, f := range t.files {
		for _, i := range f.imports() {
			if text := misplaced(f, i); text != "" {
				bad = append(bad, finding{at: t.at(i.node), text: text})
			}
		}
	}
	return bad
}

// templates: the program does not link text/template. It calls methods by
// name, so that the linker keeps every exported method of every type, 1.9 MB
// (docs/decisions/0006-templates.md). Its parser is another package, and tests
// may compare with it.
func templates(t *tree) []finding {
	var bad []finding
	for _, f := range t.code() {
		for _, i := range f.imports() {
			if i.path == "text/template" || within(i.path, "html/template") {
				bad = append(bad, finding{at: t.at(i.node), text: i.path + " makes the binary a sixth larger; internal/ui executes templates, and text/template/parse reads them"})
			}
		}
	}
	return bad
}

func misplaced(f *file, i imported) string {
	has := func(top string) bool { return within(i.path, top) }
	interop := f.test && (within(f.dir, "internal/interop") || within(f.dir, "internal/bench"))
	switch {
	case i.own == "internal/cli" && !within(f.dir, "cmd") && f.dir != "internal/cli" && !interop:
		return "only cmd imports internal/cli; what two packages need belongs in neither's way: move it down"
	case has("github.com/spf13/cobra") || has("github.com/spf13/pflag"):
		if f.dir != "internal/cli" {
			return "cobra and pflag stay in internal/cli; take a plain struct of options here"
		}
	case has("github.com/docker/cli"):
		if !has("github.com/docker/cli/cli/config") {
			return "of docker/cli only cli/config and what is below it; the rest brings half an engine"
		}
		if f.dir != "pkg/remote" && !f.nested {
			return "docker/cli's configuration is read in pkg/remote alone"
		}
	case i.path == "C":
		return "no cgo: the program is one static binary for every platform"
	case within(f.dir, "pkg/store") && !f.test && !within(f.dir, "pkg/store/storetest") && i.own == "" && strings.Contains(strings.Split(i.path, "/")[0], "."):
		if !slices.ContainsFunc(contract, has) {
			return fmt.Sprintf("pkg/store is the contract; from outside it imports only %v", contract)
		}
	}
	return ""
}

// banned are names that say nothing of what is inside.
var banned = []string{
	"util", "utils", "common", "shared", "helper", "helpers", "base", "type", "types", "model", "models",
	"manager", "managers", "global", "globals",
}

// names: a package is called by what it is about.
func names(t *tree) []finding {
	seen := map[string]bool{}
	var bad []finding
	for _, f := range t.files {
		name := strings.TrimSuffix(f.ast.Name.Name, "_test")
		for _, n := range []string{name, path.Base(f.dir)} {
			if slices.Contains(banned, n) && !seen[f.dir] {
				seen[f.dir] = true
				bad = append(bad, finding{at: f.dir, text: fmt.Sprintf("a package called %s collects whatever has no home; name it after what it is about, or put each thing beside its only user", n)})
			}
		}
	}
	return bad
}

// parses: every file is Go.
func parses(t *tree) []finding {
	var bad []finding
	for _, f := range t.files {
		if f.err != nil {
			bad = append(bad, finding{at: f.path, text: fmt.Sprintf("cannot be read, so no law was tried on all of it: %v", f.err)})
		}
	}
	return bad
}

func TestParses(t *testing.T)       { hold(t, "parses", parses) }
func TestImports(t *testing.T)      { hold(t, "imports", imports) }
func TestOutside(t *testing.T)      { hold(t, "outside", outside) }
func TestTemplates(t *testing.T)    { hold(t, "templates", templates) }
func TestPackageNames(t *testing.T) { hold(t, "names", names) }

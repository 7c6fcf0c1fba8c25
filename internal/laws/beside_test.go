package laws

import (
	"bytes"
	"fmt"
	"go/ast"
	"path"
	"slices"
	"strings"
	"testing"
)

// explained: every sentinel has an exit code and a remedy.
func explained(t *tree) []finding {
	const table = "internal/cli/explain.go"
	at := func(p string) int { return slices.IndexFunc(t.files, func(f *file) bool { return f.path == p }) }
	contract, explain := at("pkg/store/errors.go"), at(table)
	if len(t.code("internal/cli")) == 0 || contract < 0 {
		return nil // no command line yet
	}
	rows := map[string]bool{}
	if explain >= 0 {
		ast.Inspect(t.files[explain].ast, func(n ast.Node) bool {
			rows[t.files[explain].selector(n, storePath)] = true
			return true
		})
	}
	var bad []finding
	for _, id := range errorVars(t.files[contract]) {
		if !rows[id.Name] {
			bad = append(bad, finding{at: t.at(id), text: fmt.Sprintf("store.%s has no row in %s; say there which exit code it is and what the user can do", id.Name, table)})
		}
	}
	return bad
}

// scripts: every command has a script in cmd/stet/testdata. docs/commands is
// generated from the commands, so its file names are the list of them.
func scripts(t *tree) []finding {
	var commands []string
	for p := range t.other {
		if rest, ok := strings.CutPrefix(p, "docs/commands/stet_"); ok {
			commands = append(commands, strings.TrimSuffix(rest, ".md"))
		}
	}
	slices.Sort(commands)
	var bad []finding
	for _, c := range commands {
		group := slices.ContainsFunc(commands, func(o string) bool { return strings.HasPrefix(o, c+"_") })
		if !group && !t.hasScript(c) {
			bad = append(bad, finding{at: "docs/commands/stet_" + c + ".md", text: fmt.Sprintf(
				"no script runs this command; write cmd/stet/testdata/%s.txtar, which starts with the sentence that it guards", c)})
		}
	}
	return bad
}

// hasScript says whether there is NAME.txtar or NAME_….txtar; for a command in
// a group, a script of the group that calls it will do.
func (t *tree) hasScript(command string) bool {
	noun, _, nested := strings.Cut(command, "_")
	call := []byte(" " + strings.ReplaceAll(command, "_", " "))
	for p, raw := range t.other {
		name, ok := strings.CutPrefix(p, "cmd/stet/testdata/")
		name, isScript := strings.CutSuffix(name, ".txtar")
		if !ok || !isScript {
			continue
		}
		if name == command || strings.HasPrefix(name, command+"_") {
			return true
		}
		if nested && (name == noun || strings.HasPrefix(name, noun+"_")) && bytes.Contains(raw, call) {
			return true
		}
	}
	return false
}

// dependencies: a module comes in with its reason. The table is
// docs/decisions/0002-dependencies.md, a row per module with its path in
// backquotes; a row under "The program" whose module has gone goes as well.
func dependencies(t *tree) []finding {
	const page = "docs/decisions/0002-dependencies.md"
	rows, program := map[string]bool{}, false
	var inProgram []string
	for line := range strings.Lines(string(t.other[page])) {
		if heading, ok := strings.CutPrefix(line, "## "); ok {
			program = strings.TrimSpace(heading) == "The program"
		}
		if !strings.HasPrefix(line, "|") {
			continue
		}
		for i, cell := range strings.Split(strings.Split(line, "|")[1], "`") {
			if i%2 == 0 {
				continue
			}
			rows[cell] = true
			if program {
				inProgram = append(inProgram, cell)
			}
		}
	}
	var bad []finding
	direct := t.direct("go.mod")
	for p := range t.other {
		if path.Base(p) != "go.mod" {
			continue
		}
		for _, m := range t.direct(p) {
			if !rows[m] {
				bad = append(bad, finding{at: p, text: fmt.Sprintf("%s has no row in %s; say there what it is for, why this one, and what was rejected", m, page)})
			}
		}
	}
	for _, m := range inProgram {
		if !slices.Contains(direct, m) {
			bad = append(bad, finding{at: page, text: m + " is not required directly by go.mod; delete its row"})
		}
	}
	return bad
}

// direct are the modules that a go.mod requires directly, but for this project's own.
func (t *tree) direct(p string) []string {
	var out []string
	block := ""
	for line := range strings.Lines(string(t.other[p])) {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "//") {
			continue
		}
		switch {
		case len(words) == 2 && words[1] == "(":
			block = words[0]
			continue
		case words[0] == ")":
			block = ""
			continue
		case block == "" && words[0] == "require":
			words = words[1:]
		case block != "require":
			continue
		}
		if len(words) >= 2 && !strings.Contains(line, "// indirect") && !within(words[0], module) {
			out = append(out, words[0])
		}
	}
	return out
}

func TestExplained(t *testing.T)    { hold(t, "explained", explained) }
func TestScripts(t *testing.T)      { hold(t, "scripts", scripts) }
func TestDependencies(t *testing.T) { hold(t, "dependencies", dependencies) }

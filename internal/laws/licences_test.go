package laws

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/licences.md anew")

// mayLink are the licences of docs/decisions/0002-dependencies.md. All of them
// let a program be passed on by anybody, as long as their text goes with it.
var mayLink = []string{"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "MIT"}

// marks tell licences apart by what their texts say. Those that must not come in
// are here too, so that they are called by their names.
var marks = map[string][]string{
	"AGPL":         {"gnu affero general public license"},
	"Apache-2.0":   {"apache license", "version 2.0"},
	"BSD-3-Clause": {"redistribution and use in source and binary forms", "neither the name"},
	"GPL":          {"gnu general public license"},
	"ISC":          {"permission to use, copy, modify, and/or distribute this software"},
	"LGPL":         {"gnu lesser general public license"},
	"MIT":          {"permission is hereby granted, free of charge, to any person obtaining a copy"},
	"MPL-2.0":      {"mozilla public license"},
	"Unlicense":    {"this is free and unencumbered software"},
}

// licencesIn are the licences whose texts stand in a file; one file may have several.
func licencesIn(text string) []string {
	text = strings.ToLower(strings.Join(strings.Fields(text), " "))
	var found []string
	for name, phrases := range marks {
		if !slices.ContainsFunc(phrases, func(p string) bool { return !strings.Contains(text, p) }) {
			found = append(found, name)
		}
	}
	if strings.Contains(text, marks["BSD-3-Clause"][0]) && !slices.Contains(found, "BSD-3-Clause") {
		found = append(found, "BSD-2-Clause")
	}
	slices.Sort(found)
	return found
}

// isLicence says whether a file of a module's directory is about its code;
// LICENSE.docs, for one, is not.
func isLicence(name string) bool {
	switch ext := strings.ToLower(filepath.Ext(name)); ext {
	case "", ".txt", ".md":
		name = strings.ToUpper(strings.TrimSuffix(name, filepath.Ext(name)))
	default:
		return false
	}
	return slices.ContainsFunc([]string{"LICENSE", "LICENCE", "COPYING"}, func(word string) bool {
		return strings.HasPrefix(name, word) || strings.HasSuffix(name, word)
	})
}

// linked are the directories of the modules in a released binary, by path.
func linked(t *testing.T) map[string]string {
	dirs := map[string]string{}
	for _, system := range []string{"linux", "darwin", "windows"} {
		cmd := exec.Command("go", "list", "-deps", "-json=Module", "./cmd/stet")
		cmd.Dir = "../.."
		cmd.Env = append(os.Environ(), "GOOS="+system, "GOARCH=amd64", "CGO_ENABLED=0")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go list: %v; `go mod download` may help\n%s", err, &stderr)
		}
		for dec := json.NewDecoder(bytes.NewReader(out)); ; {
			var p struct {
				Module *struct {
					Path, Dir string
					Main      bool
				}
			}
			if err := dec.Decode(&p); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			if p.Module != nil && !p.Module.Main {
				dirs[p.Module.Path] = p.Module.Dir
			}
		}
	}
	return dirs
}

// row is what docs/licences.md says of a module, or a finding.
func row(module, dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("%s: %w; `go mod download` may help", module, err)
	}
	var files, found []string
	for _, e := range entries {
		if e.Name() == "NOTICE" {
			files = append(files, e.Name())
		}
		if !isLicence(e.Name()) {
			continue
		}
		raw, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return "", err
		}
		licences := licencesIn(string(raw))
		if len(licences) == 0 {
			return "", fmt.Errorf("%s: %s is no licence that is known here; read it, and add what it says to marks", module, e.Name())
		}
		files, found = append(files, e.Name()), append(found, licences...)
	}
	slices.Sort(found)
	found = slices.Compact(found)
	if len(found) == 0 {
		return "", fmt.Errorf("%s has no licence: it must not be linked", module)
	}
	for _, l := range found {
		if !slices.Contains(mayLink, l) {
			return "", fmt.Errorf("%s is under %s; docs/decisions/0002-dependencies.md allows %q in the binary", module, l, mayLink)
		}
	}
	return fmt.Sprintf("| `%s` | %s | %s |\n", module, strings.Join(found, ", "), strings.Join(files, ", ")), nil
}

// Every module in the binaries has a licence under which they may be passed on,
// docs/licences.md lists them all, and the decision about dependencies says why
// each is there, also where another one has brought it.
func TestLicences(t *testing.T) {
	const page = "../../docs/licences.md"
	var want strings.Builder
	want.WriteString(`# Licences

What is linked into the binaries for Linux, macOS and Windows, beside Go's own
library (BSD-3-Clause), and the files of each module that say so. stet itself is
under Apache-2.0. A test writes this page (` + "`make licences`" + `) and refuses any
other licence; docs/decisions/0002-dependencies.md says why each module is there.

| module | licence | files |
|---|---|---|
`)
	modules := linked(t)
	reasons, err := os.ReadFile("../../docs/decisions/0002-dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, module := range slices.Sorted(maps.Keys(modules)) {
		line, err := row(module, modules[module])
		if err != nil {
			t.Error(err)
		}
		want.WriteString(line)
		if !bytes.Contains(reasons, []byte("`"+module+"`")) {
			t.Errorf("%s is linked, and has no row in docs/decisions/0002-dependencies.md", module)
		}
	}
	if *update && !t.Failed() {
		if err := os.WriteFile(page, []byte(want.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(page); err != nil || string(got) != want.String() {
		t.Errorf("docs/licences.md is not up to date (%v); run `make licences`", err)
	}
}

// The classifier knows what must not come in, and what says nothing.
func TestLicencesAreToldApart(t *testing.T) {
	bsd := "Redistribution and use in source and\n  binary forms, with or without modification"
	for text, want := range map[string]string{
		"GNU GENERAL PUBLIC LICENSE\nVersion 3": "GPL",
		"GNU AFFERO GENERAL PUBLIC LICENSE":     "AGPL",
		"Mozilla Public License Version 2.0":    "MPL-2.0",
		bsd:                                     "BSD-2-Clause",
		bsd + " * Neither the name of":          "BSD-3-Clause",
		"Apache License\n Version 2.0, January 2004\n------\n" + bsd: "Apache-2.0, BSD-2-Clause",
		"All rights reserved.": "",
	} {
		if got := strings.Join(licencesIn(text), ", "); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
	dir := t.TempDir()
	if _, err := row("example.com/m", dir); err == nil {
		t.Error("a module without a licence is let in")
	}
	for name, text := range map[string]string{"COPYING": "GNU GENERAL PUBLIC LICENSE", "LICENSE": "as you like"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if line, err := row("example.com/m", dir); err == nil {
			t.Errorf("%s was let in: %s", name, line)
		}
	}
}

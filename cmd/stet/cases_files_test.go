package main

import (
	"fmt"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// titled is a registry with app:v1, which has files of these titles.
func titled(t *testing.T, titles ...string) *hostile {
	t.Helper()
	s := newShelf()
	var layers []store.Descriptor
	for _, title := range titles {
		layers = append(layers, s.file(title, "from the registry, as "+title+"\n"))
	}
	s.artifact(layers, "v1")
	return newHostile(t, s.ServeHTTP)
}

// nested puts the working directory into one that must stay as it is, and
// gives that.
func (d *desk) nested() string {
	d.t.Helper()
	outer := d.t.TempDir()
	d.Dir = filepath.Join(outer, "work")
	if err := os.Mkdir(d.Dir, 0o755); err != nil {
		d.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(outer, "victim"), []byte("victim\n"), 0o644); err != nil {
		d.t.Fatal(err)
	}
	return outer
}

// untouched wants that nothing but the working directory lies in outer beside
// the victim, which is as it was.
func (d *desk) untouched(outer string) {
	d.t.Helper()
	raw, err := os.ReadFile(filepath.Join(outer, "victim"))
	if err != nil || string(raw) != "victim\n" {
		d.t.Errorf("the victim is now %q, %v", raw, err)
	}
	entries, err := os.ReadDir(outer)
	if err != nil || len(entries) != 2 {
		d.t.Errorf("beside the working directory are %v, %v", entries, err)
	}
}

// Case 69: titles with .., absolute, backslash, NUL, ".", long, newline: inside or
// exit ≠ 0; no forged output.
func TestCase69Titles(t *testing.T) {
	t.Parallel()
	for _, title := range []string{
		"../victim", "a/../../victim", "..", "a/..", "./../victim", "/victim", "//victim", "OUTER/victim", `..\victim`, `\victim`, `C:\victim`, "C:victim",
		"vic\x00tim", ".", "./", "", "/", "a/", "a//b", "./a", strings.Repeat("x", 300), strings.Repeat("x/", 3000) + "x", strings.Repeat("x/", 1000) + "x", strings.Repeat("x/", 200) + "x", strings.Repeat("é", 127) + "x",
		"a\nstet: forged", "a\r\x1b[2Kforged", "a\x1b]0;forged\x07", "a\u202egpj.exe", "a\u2028b", "\u009b31mforged", "..\u2215victim", "\u002e\u002e/victim", " ..", ".. /victim", "...", "~/victim", "$HOME", "-rf", "con", "NUL.txt", "a:b",
	} {
		t.Run(fmt.Sprintf("%.20q", title), func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			outer := d.nested()
			h := titled(t, "good.txt", strings.ReplaceAll(title, "OUTER", outer))
			o := d.stet(quick("pull", h.Name()+"/app:v1")...)
			d.untouched(outer)
			o.never("\x1b", "\x07", "\nstet: forged", "\r", "\u202e", "\u2028", "\u009b", "\x00")
			if o.Code != 0 {
				o.fails(2, 6, 7)
				d.leftAlone()
				return
			}
			if d.read("good.txt") == "" {
				t.Errorf("%s\nis done, and good.txt is not there", o)
			}
		})
	}
	// Two titles for one path are an error before anything is written.
	for name, two := range map[string][]string{
		"the same": {"a", "a"}, "spelled otherwise": {"a", "./a"}, "below a file": {"a", "a/b"}, "above a file": {"a/b", "a"}, "by slashes": {"a/b", "a//b"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShelf()
			s.artifact([]store.Descriptor{s.file("first", "1\n"), s.file(two[0], "2\n"), s.file(two[1], "3\n")}, "v1")
			h := newHostile(t, s.ServeHTTP)
			d := newDesk(t)
			d.stet(quick("pull", h.Name()+"/app:v1")...).fails(6, 7)
			d.leftAlone()
			if got := h.heard("GET", "/v2/app/blobs/"); len(got) > 0 {
				t.Errorf("asked for %v before it refused", got)
			}
		})
	}
}

// Case 70: symlink in the output directory (file, directory, dangling): never
// written through.
func TestCase70Symlinks(t *testing.T) {
	t.Parallel()
	h := titled(t, "link", "dir/x")
	partial := func(title string) string {
		return partialName(path.Base(title), digest.FromString("from the registry, as "+title+"\n"))
	}
	for name, links := range map[string]map[string]string{
		"to a file":            {"link": "../victim"},
		"dangling":             {"link": "../new"},
		"to itself":            {"link": "link"},
		"absolute":             {"link": "OUTER/victim"},
		"to a directory":       {"link": ".."},
		"directory":            {"dir": ".."},
		"absolute directory":   {"dir": "OUTER"},
		"dangling directory":   {"dir": "../new"},
		"directory inside":     {"dir": "other"},
		"in place of partial":  {partial("link"): "../victim"},
		"dangling partial":     {partial("link"): "../new"},
		"partial in directory": {"dir/" + partial("dir/x"): "../../victim"},
		"chain":                {"dir": "a", "a": "b", "b": ".."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			outer := d.nested()
			for _, dir := range []string{"other", "dir"} {
				if _, taken := links[dir]; !taken {
					if err := os.Mkdir(filepath.Join(d.Dir, dir), 0o755); err != nil {
						t.Fatal(err)
					}
				}
			}
			for from, to := range links {
				if err := os.Symlink(strings.ReplaceAll(to, "OUTER", outer), filepath.Join(d.Dir, from)); err != nil {
					t.Fatal(err)
				}
			}
			o := d.stet(quick("pull", h.Name()+"/app:v1")...)
			d.untouched(outer)
			if entries, _ := os.ReadDir(filepath.Join(d.Dir, "other")); len(entries) > 0 {
				t.Errorf("%s\nwrote through a link, inside", o)
			}
			if o.Code != 0 {
				o.fails(6, 7)
				return
			}
			if info, err := os.Lstat(filepath.Join(d.Dir, "link")); err != nil || !info.Mode().IsRegular() {
				t.Errorf("%s\nlink is %v, %v", o, info, err)
			}
		})
	}
	// The output directory itself is the user's word: a link to it is followed.
	d := newDesk(t)
	outer := d.nested()
	if err := os.Symlink(".", filepath.Join(d.Dir, "here")); err != nil {
		t.Fatal(err)
	}
	d.stet(quick("pull", "-o", "here", h.Name()+"/app:v1")...).ok()
	d.untouched(outer)
}

// Case 75: old file and a failing pull: old file intact. Case 78: one of two
// files cannot be had: exit ≠ 0; decide: all or none. It is none.
func TestCase75And78FailingPull(t *testing.T) {
	t.Parallel()
	s := newShelf()
	first, second := s.file("first.txt", "new first\n"), s.file("second.txt", "new second\n")
	s.artifact([]store.Descriptor{first, second}, "v1")
	bad := "/v2/app/blobs/" + second.Digest.String()
	for name, fault := range map[string]http.HandlerFunc{
		"404": status(404), "403": status(403), "500": status(500), "reset": drop(true), "flipped": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "new sekond\n") },
		"short": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "new") },
		"cut":   func(w http.ResponseWriter, _ *http.Request) { cutAt(w, "new second\n", 5, true) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHostile(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == bad {
					fault(w, r)
					return
				}
				s.ServeHTTP(w, r)
			})
			d := newDesk(t)
			d.write("first.txt", "old first\n")
			d.write("second.txt", "old second\n")
			d.stet(quick("pull", h.Name()+"/app:v1")...).fails(4, 5, 7, 8)
			if d.read("first.txt") != "old first\n" || d.read("second.txt") != "old second\n" {
				t.Errorf("now %q and %q", d.read("first.txt"), d.read("second.txt"))
			}
			e := newDesk(t)
			e.stet(quick("pull", h.Name()+"/app:v1")...).fails(4, 5, 7, 8)
			e.leftAlone()
			// blob fetch writes a file as well.
			d.stet(quick("blob", "fetch", "-o", "second.txt", h.Name()+"/app@"+second.Digest.String())...).fails(4, 5, 7, 8)
			if d.read("second.txt") != "old second\n" {
				t.Errorf("blob fetch left %q", d.read("second.txt"))
			}
		})
	}
}

// Case 79: mode of pulled files: 0644 under umask 022.
func TestCase79Modes(t *testing.T) {
	t.Parallel()
	h := titled(t, "a.txt", "dir/b.txt")
	for mask, want := range map[string][2]os.FileMode{"022": {0o644, 0o755}, "077": {0o600, 0o700}, "002": {0o664, 0o775}} {
		d := newDesk(t)
		d.wrap("umask " + mask + "\nexec \"$STET\" \"$@\"")
		d.stet(quick("pull", "-o", "out", h.Name()+"/app:v1")...).ok()
		for name, mode := range map[string]os.FileMode{"out/a.txt": want[0], "out/dir/b.txt": want[0], "out/dir": want[1], "out": want[1]} {
			if info, err := os.Stat(filepath.Join(d.Dir, name)); err != nil || info.Mode().Perm() != mode {
				t.Errorf("umask %s: %s is %v, %v", mask, name, info.Mode(), err)
			}
		}
		d.stet(quick("cp", h.Name()+"/app:v1", "tar:a.tar:v1")...).ok()
		d.stet(quick("blob", "fetch", "-o", "blob", h.Name()+"/app@"+store.EmptyJSON().Digest.String())...).ok()
		if info, err := os.Stat(filepath.Join(d.Dir, "blob")); err != nil || info.Mode().Perm() != want[0] {
			t.Errorf("umask %s: blob is %v, %v", mask, info.Mode(), err)
		}
	}
}

// wrap makes the desk run the program through a shell script, which finds it in
// $STET.
func (d *desk) wrap(script string) {
	d.t.Helper()
	file := filepath.Join(d.t.TempDir(), "wrapped")
	if err := os.WriteFile(file, []byte("#!/bin/sh\nSTET='"+d.bin+"'\n"+script+"\n"), 0o755); err != nil {
		d.t.Fatal(err)
	}
	d.bin = file
}

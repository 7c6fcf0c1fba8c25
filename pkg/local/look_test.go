package local_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stet-oci/stet/pkg/local"
	"github.com/stet-oci/stet/pkg/store"
)

// What lies at a path is told of directories and tars alike.
func TestLook(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	put(t, openLayout(t, in("one")), manifest("a"), "v1")
	put(t, repository(t, openLayouts(t, in("many")), "team/app"), manifest("a"), "v1")
	one := openArchive(t, in("one.tar"))
	put(t, one, manifest("a"), "v1")
	closed(t, one)
	many := openArchives(t, in("many.tar"))
	put(t, repository(t, many, "team/app"), manifest("a"), "v1")
	closed(t, many)
	if err := os.Mkdir(in("empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]local.Found{
		"one": local.FoundLayout, "one.tar": local.FoundLayout, "many": local.FoundLayouts, "many.tar": local.FoundLayouts,
		"empty": local.FoundNothing, "none": local.FoundNothing, "none.tar": local.FoundNothing,
	} {
		if got, err := local.Look(t.Context(), in(name)); err != nil || got != want {
			t.Errorf("%s: %v, %v, want %v", name, got, err, want)
		}
	}
	write(t, "no tar", in("bad.tar"))
	_, err := local.Look(t.Context(), in("bad.tar"))
	wants(t, err, store.ErrInvalid)
	if err := os.Mkdir(in("dir.tar"), 0o755); err != nil {
		t.Fatal(err)
	}
	if local.IsArchive(in("dir.tar")) || !local.IsArchive(in("new.tar")) || !local.IsArchive(in("bad.tar")) || local.IsArchive(in("new")) {
		t.Error("a directory is no archive, a file is one, and else the name decides")
	}
}

// Every change in any repository is refused.
func TestReadOnlyRegistry(t *testing.T) {
	reg := newMemoryRegistry(t)
	put(t, repository(t, reg, "app"), manifest("a"), "v1")
	s := repository(t, store.ReadOnlyRegistry(reg), "app")
	if _, err := s.Resolve(t.Context(), "v1"); err != nil {
		t.Error(err)
	}
	wants(t, s.PutManifest(t.Context(), manifest("b"), "v2"), store.ErrUnsupported)
	_, err := s.PutBlob(t.Context(), text("x"))
	wants(t, err, store.ErrUnsupported)
}

// A name that is a file's becomes one that a repository can have.
func TestRepositoryName(t *testing.T) {
	for name, want := range map[string]string{
		"app": "app", "team/app": "team/app", "My Backup": "my-backup", "a__b": "a__b", "_x_": "x", "…": "layout", "": "layout", "v1.2": "v1.2",
	} {
		if got := local.RepositoryName(name); got != want {
			t.Errorf("%q becomes %q, want %q", name, got, want)
		}
	}
}

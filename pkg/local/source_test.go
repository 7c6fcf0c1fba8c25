package local_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stet-oci/stet/pkg/local"
	"github.com/stet-oci/stet/pkg/store"
)

func backupOf(name string) local.LayoutOptions {
	return local.LayoutOptions{Source: func(string) string { return name }}
}

// Two backups that begin at one time, both before anything is there: the second
// that writes is refused, whether it is of another repository or of another form,
// and what the first wrote is as it was.
func TestBackupsAtOneTime(t *testing.T) {
	type opener func(t *testing.T, path string) store.Store
	one := func(name string) opener {
		return func(t *testing.T, path string) store.Store {
			open := local.OpenLayout
			if strings.HasSuffix(path, ".tar") {
				open = local.OpenArchive
			}
			s, err := open(path, backupOf(name))
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
	}
	many := func(t *testing.T, path string) store.Store {
		reg, err := local.OpenRegistry(path, backupOf("h/app"))
		if err != nil {
			t.Fatal(err)
		}
		s, err := reg.Repository(t.Context(), "app")
		if err != nil {
			t.Fatal(err)
		}
		return closing{s, reg}
	}
	for name, pair := range map[string][2]opener{
		"another repository": {one("h/a"), one("h/b")},
		"one, then many":     {one("h/a"), many},
		"many, then one":     {many, one("h/a")},
	} {
		for _, file := range []string{"b", "b.tar"} {
			t.Run(name+" "+file, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), file)
				first, second := pair[0](t, path), pair[1](t, path)
				b := store.NewBlob("text/plain", []byte("hello"))
				m := store.NewManifest("application/vnd.example.unknown", []byte("{}"))
				if _, err := first.PutBlob(t.Context(), b); err != nil {
					t.Fatal(err)
				}
				if err := first.PutManifest(t.Context(), m, "v1"); err != nil {
					t.Fatal(err)
				}
				if err := first.Close(); err != nil {
					t.Fatal(err)
				}
				if _, err := second.PutBlob(t.Context(), store.NewBlob("text/plain", []byte("other"))); !errors.Is(err, store.ErrExists) {
					t.Errorf("PutBlob: %v", err)
				}
				if err := second.PutManifest(t.Context(), m, "v1"); !errors.Is(err, store.ErrExists) {
					t.Errorf("PutManifest: %v", err)
				}
				if err := second.Close(); err != nil {
					t.Fatal(err)
				}
				again := pair[0](t, path)
				if d, err := again.Resolve(t.Context(), "v1"); err != nil || d.Digest != m.Digest {
					t.Errorf("%v, %v", d, err)
				}
				if err := again.Close(); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
}

// closing is a store that closes its registry, too.
type closing struct {
	store.Store
	reg store.Registry
}

func (c closing) Close() error { return errors.Join(c.Store.Close(), c.reg.Close()) }

// What other tools wrote into index.json stays, and a directory with somebody's
// files in it is refused before anything is read for it.
func TestBackupSource(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("index.json", `{"schemaVersion":2,"x":1.0,"annotations":{"k":"v"},"manifests":[]}`)
	write("oci-layout", `{"imageLayoutVersion":"1.0.0"}`)
	s, err := local.OpenLayout(dir, backupOf("h/a"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.PutBlob(t.Context(), store.NewBlob("text/plain", []byte("hello"))); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "index.json"))
	want := `{"schemaVersion":2,"x":1.0,"annotations":{"k":"v","io.github.stet-oci.repository":"h/a"},"manifests":[]}`
	if err != nil || string(raw) != want {
		t.Errorf("%s, %v", raw, err)
	}
	if _, err := local.OpenLayout(dir, backupOf("h/b")); !errors.Is(err, store.ErrExists) {
		t.Errorf("of another repository: %v", err)
	}
	opts := backupOf("h/b")
	opts.Replace = true
	if _, err := local.OpenLayout(dir, opts); err != nil {
		t.Errorf("with Replace: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "oci-layout")); err != nil {
		t.Fatal(err)
	}
	write("somebody.txt", "hello")
	if _, err := local.OpenLayout(dir, backupOf("h/a")); !errors.Is(err, store.ErrExists) {
		t.Errorf("among other files: %v", err)
	}
}

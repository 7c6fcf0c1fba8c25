package local_test

import (
	"path/filepath"
	"testing"

	"github.com/stet-oci/stet/pkg/local"
	"github.com/stet-oci/stet/pkg/store"
	"github.com/stet-oci/stet/pkg/store/storetest"
)

func TestStores(t *testing.T) {
	memory := newMemory
	layout := func(t *testing.T) store.Store { return openLayout(t, filepath.Join(t.TempDir(), "layout")) }
	for name, open := range map[string]storetest.Open{
		"memory": memory,
		"layout": layout,
		"archive": func(t *testing.T) store.Store {
			s, err := local.OpenArchive(filepath.Join(t.TempDir(), "a.tar"), local.LayoutOptions{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
			return s
		},
		"repository in memory": func(t *testing.T) store.Store {
			return repository(t, newMemoryRegistry(t), "team/app")
		},
		"repository in layouts": func(t *testing.T) store.Store {
			return repository(t, openLayouts(t, t.TempDir()), "team/app")
		},
		"repository in an archive": func(t *testing.T) store.Store {
			return repository(t, openArchives(t, filepath.Join(t.TempDir(), "a.tar")), "team/app")
		},
		"verify memory": func(t *testing.T) store.Store { return store.Verify(memory(t)) },
		"observe verify memory": func(t *testing.T) store.Store {
			return store.Observe(store.Verify(memory(t)), func(store.Event) {})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.Run(t, open)
		})
	}
}

func openLayout(t testing.TB, dir string) store.Store {
	t.Helper()
	s, err := local.OpenLayout(dir, local.LayoutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func openLayouts(t *testing.T, dir string) store.Registry {
	t.Helper()
	r, err := local.OpenLayouts(dir, local.LayoutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// openArchives opens a registry that the end of the test closes, if nothing does before.
func openArchives(t *testing.T, file string) store.Registry {
	t.Helper()
	r, err := local.OpenArchives(file, local.LayoutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func repository(t *testing.T, r store.Registry, name string) store.Store {
	t.Helper()
	s, err := r.Repository(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newMemory(*testing.T) store.Store { return local.NewMemory() }

func newMemoryRegistry(*testing.T) store.Registry { return local.NewMemoryRegistry() }

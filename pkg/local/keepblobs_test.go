package local

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stet-oci/stet/pkg/store"
)

// TestArchiveKeepsBlobs: a blob alone is written only where that is asked for,
// so that a push which fails leaves no file.
func TestArchiveKeepsBlobs(t *testing.T) {
	for _, keep := range []bool{false, true} {
		file := filepath.Join(t.TempDir(), "a.tar")
		b := store.NewBlob("text/plain", []byte("hello"))
		s, err := OpenArchive(file, LayoutOptions{KeepBlobs: keep})
		if err != nil {
			t.Fatal(err)
		}
		if put, err := s.PutBlob(t.Context(), b); err != nil || put.How != store.Sent {
			t.Fatalf("%v, %v", put, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(file); keep != (err == nil) {
			t.Errorf("keep %v: %v", keep, err)
		}
		if !keep {
			continue
		}
		if s, err = OpenArchive(file, LayoutOptions{}); err != nil {
			t.Fatal(err)
		}
		kept, err := s.Blob(t.Context(), b.Descriptor)
		if err != nil {
			t.Fatal(err)
		}
		if raw, err := store.ReadBlob(t.Context(), kept, b.Size); err != nil || string(raw) != "hello" {
			t.Errorf("%q, %v", raw, err)
		}
		if _, err := s.Resolve(t.Context(), "v1"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%v, want ErrNotFound", err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

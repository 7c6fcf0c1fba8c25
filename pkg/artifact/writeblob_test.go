package artifact

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stet-oci/stet/pkg/store"
)

// opened makes b tell at which offsets it was opened.
func opened(b store.Blob, at *[]int64) store.Blob {
	open := b.Open
	b.Open = func(ctx context.Context, offset int64) (io.ReadCloser, error) {
		*at = append(*at, offset)
		return open(ctx, offset)
	}
	return b
}

func TestWriteBlob(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	raw := []byte(strings.Repeat("stet", 1000))
	good := store.NewBlob("text/plain", raw)
	if err := os.WriteFile(file, []byte("old"), 0o666); err != nil {
		t.Fatal(err)
	}
	bad := good
	bad.Open = store.NewBlob("", bytes.ToUpper(raw)).Open
	if err := WriteBlob(t.Context(), bad, file); !errors.Is(err, store.ErrMismatch) {
		t.Errorf("%v, want ErrMismatch", err)
	}
	wantFiles(t, dir, "old")

	// A transfer that breaks leaves what it got, and the next goes on from there.
	cut := good
	cut.Open = func(context.Context, int64) (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(bytes.NewReader(raw[:1500]), errorReader{})), nil
	}
	if err := WriteBlob(t.Context(), cut, file); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("%v, want ErrUnavailable", err)
	}
	var at []int64
	if err := WriteBlob(t.Context(), opened(good, &at), file); err != nil || len(at) != 1 || at[0] != 1500 {
		t.Errorf("%v, opened at %v, want 1500", err, at)
	}
	wantFiles(t, dir, string(raw))

	if err := WriteBlob(t.Context(), good, dir); err == nil || !strings.Contains(err.Error(), "directory") {
		t.Errorf("over a directory: %v", err)
	}
	if err := WriteBlob(t.Context(), good, filepath.Join(dir, "no", "f")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in no directory: %v", err)
	}
	wantFiles(t, dir, string(raw))
}

type errorReader struct{}

func (errorReader) Read([]byte) (int, error) { return 0, store.ErrUnavailable }

// wantFiles: the file f has the content, and nothing else is in dir.
func wantFiles(t *testing.T, dir, content string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "f"))
	if err != nil || string(raw) != content || len(entries) != 1 {
		t.Errorf("f is %.20q, %v; %d entries", raw, err, len(entries))
	}
}

// TestCopyBlobHoldsBack: of content that proves wrong the end is never written.
func TestCopyBlobHoldsBack(t *testing.T) {
	raw := []byte(strings.Repeat("stet", 100_000))
	good := store.NewBlob("text/plain", raw)
	var out bytes.Buffer
	if err := CopyBlob(t.Context(), &out, good); err != nil || !bytes.Equal(out.Bytes(), raw) {
		t.Errorf("%v, %d bytes", err, out.Len())
	}
	out.Reset()
	bad := good
	bad.Open = store.NewBlob("", append(bytes.Clone(raw[1:]), 'x')).Open
	if err := CopyBlob(t.Context(), &out, bad); !errors.Is(err, store.ErrMismatch) || out.Len() >= len(raw) {
		t.Errorf("%v, %d of %d bytes", err, out.Len(), len(raw))
	}
}

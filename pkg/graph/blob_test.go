package graph

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/local"
	"github.com/stet-oci/stet/pkg/store"
)

// TestPutBlobProvesWhatIsThere: stores do not read a blob whose digest they
// have; the digest that somebody gave is proven all the same.
func TestPutBlobProvesWhatIsThere(t *testing.T) {
	s := local.NewMemory()
	good := store.NewBlob("text/plain", []byte("good"))
	if put, err := PutBlob(t.Context(), good, s, BlobOptions{}); err != nil || put.How != store.Sent {
		t.Fatalf("%v, %v", put, err)
	}
	bad := good
	bad.Open = store.NewBlob("", []byte("evil")).Open
	var events []store.EventKind
	sink := func(e store.Event) { events = append(events, e.Kind) }
	if put, err := PutBlob(t.Context(), bad, s, BlobOptions{Events: sink}); !errors.Is(err, store.ErrMismatch) || put.Digest != "" {
		t.Errorf("%v, %v, want ErrMismatch", put, err)
	}
	if n := len(events); n == 0 || events[n-1] != store.Failed {
		t.Errorf("%v, want the last to be %s", events, store.Failed)
	}
	if put, err := PutBlob(t.Context(), good, s, BlobOptions{}); err != nil || put.How != store.Present {
		t.Errorf("%v, %v, want it present", put, err)
	}
}

// TestPutBlobReadsOnce: what can be read once is not read for its digest.
func TestPutBlobReadsOnce(t *testing.T) {
	raw := strings.Repeat("x", largeBlob+1)
	for _, once := range []bool{true, false} {
		reads := 0
		b := store.Blob{Descriptor: store.Descriptor{Size: int64(len(raw))}}
		b.Open = func(context.Context, int64) (io.ReadCloser, error) {
			reads++
			return io.NopCloser(strings.NewReader(raw)), nil
		}
		put, err := PutBlob(t.Context(), b, local.NewMemory(), BlobOptions{Once: once})
		if err != nil || put.Digest != digest.FromString(raw) || put.Size != int64(len(raw)) {
			t.Errorf("%v, %v", put, err)
		}
		if once != (reads == 1) {
			t.Errorf("once %v: read %d times", once, reads)
		}
	}
}

// TestCopyBlobMounts: within a registry nothing is read.
func TestCopyBlobMounts(t *testing.T) {
	reg := local.NewMemoryRegistry()
	from, _ := reg.Repository(t.Context(), "from")
	to, _ := reg.Repository(t.Context(), "to")
	b := store.NewBlob("text/plain", bytes.Repeat([]byte("x"), 100))
	if _, err := from.PutBlob(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	d := store.Descriptor{Digest: b.Digest, Size: store.UnknownSize}
	for _, want := range []store.How{store.Mounted, store.Present} {
		put, err := CopyBlob(t.Context(), from, to, d, nil)
		if err != nil || put.How != want || put.Size != b.Size {
			t.Errorf("%v, %v, want %s", put, err, want)
		}
	}
	d.Digest = digest.FromString("none")
	var side *Error
	if _, err := CopyBlob(t.Context(), from, to, d, nil); !errors.Is(err, store.ErrNotFound) || !errors.As(err, &side) || side.Side != Source {
		t.Errorf("%v, want ErrNotFound at the source", err)
	}
}

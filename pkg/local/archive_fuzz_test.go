package local_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/local"
	"github.com/stet-oci/stet/pkg/store"
)

// tarOf packs entries of a name, a link target and a content.
func tarOf(entries ...[3]string) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e[0], Size: int64(len(e[2])), Mode: 0o644}
		if e[1] != "" {
			h.Typeflag, h.Linkname = tar.TypeSymlink, e[1]
		}
		_ = w.WriteHeader(h) // of what the format cannot say there is nothing
		_, _ = w.Write([]byte(e[2]))
	}
	_ = w.Close()
	return b.Bytes()
}

// Whatever a tar holds, in its headers and in the layout that it is: opening it
// ends, with a class for what is wrong, and no blob has another content than its
// digest says once it was verified. A file beside it is never read through a link.
func FuzzOpenArchive(f *testing.F) {
	blob := digest.FromString("hello")
	name := "blobs/sha256/" + blob.Encoded()
	layout := [3]string{"oci-layout", "", `{"imageLayoutVersion":"1.0.0"}`}
	index := `{"schemaVersion":2,"manifests":[{"mediaType":"text/plain","digest":"` + blob.String() + `","size":5,"annotations":{"org.opencontainers.image.ref.name":"v1"}}]}`
	for _, seed := range [][]byte{
		tarOf(layout, [3]string{"index.json", "", index}, [3]string{name, "", "hello"}),
		tarOf(layout, [3]string{"index.json", "", index}, [3]string{name, "../../beside", ""}),
		tarOf(layout, [3]string{"index.json", "", index}, [3]string{"x", name, ""}, [3]string{name, "x", ""}),
		tarOf(layout, layout, [3]string{"index.json", "", `{"manifests":null}`}),
		tarOf([3]string{"a/oci-layout", "", "{}"}, [3]string{"a/index.json", "", "[]"}, [3]string{"/index.json", "", index}),
		tarOf(layout)[:600], []byte("\x1f\x8b"), nil,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		dir := t.TempDir()
		file := filepath.Join(dir, "a.tar")
		if err := errors.Join(os.WriteFile(file, raw, 0o600), os.WriteFile(filepath.Join(dir, "beside"), []byte("hello"), 0o600)); err != nil {
			t.Fatal(err)
		}
		s, err := local.OpenArchive(file, local.LayoutOptions{})
		if err != nil {
			if !errors.Is(err, store.ErrInvalid) && !errors.Is(err, store.ErrMismatch) && !errors.Is(err, store.ErrTooLarge) {
				t.Fatalf("%v has no class", err)
			}
			return
		}
		defer s.Close()
		checked := store.Verify(s)
		b, err := checked.Blob(t.Context(), store.Descriptor{Digest: blob, Size: -1})
		if err != nil {
			return
		}
		rc, err := b.Open(t.Context(), 0)
		if err != nil {
			return
		}
		defer rc.Close()
		if got, err := io.ReadAll(rc); err == nil && string(got) != "hello" {
			t.Fatalf("the blob is %q", got)
		}
		for tag, err := range checked.Tags(t.Context(), "") {
			if err != nil {
				return
			}
			if m, err := checked.Manifest(t.Context(), tag); err == nil && digest.FromBytes(m.Raw) != m.Digest {
				t.Fatalf("the tag %q is %s, and its bytes are not", tag, m.Digest)
			}
		}
	})
}

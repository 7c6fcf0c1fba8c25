package local_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// What is there already is not written again.
func TestLayoutWritesOnlyChanges(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "layout")
	s := openLayout(t, dir)
	put(t, s, manifest("a"), "v1", "v2")
	b := store.NewBlob("text/plain", []byte("hello"))
	if _, err := s.PutBlob(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	stat := func() (list []os.FileInfo) {
		for _, name := range files(t, dir) {
			info, err := os.Stat(filepath.Join(dir, filepath.FromSlash(name)))
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, info)
		}
		return list
	}
	before := stat()
	put(t, s, manifest("a"))
	put(t, s, manifest("a"), "v2", "v1")
	if _, err := s.PutBlob(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	b.Digest = "" // learnt to be there only when it was read
	if got, err := s.PutBlob(t.Context(), b); err != nil || got.How != store.Present {
		t.Errorf("got %v, %v", got.How, err)
	}
	now := stat()
	if len(now) != len(before) {
		t.Fatalf("%d files, there were %d", len(now), len(before))
	}
	for i, after := range now {
		if !os.SameFile(before[i], after) {
			t.Errorf("%s was written again", after.Name())
		}
	}
}

// Other tools leave one tag at two manifests: the later one has it, and a
// change of the tag takes it from both.
func TestLayoutTagTwice(t *testing.T) {
	a, b, c := manifest("a"), manifest("b"), manifest("c")
	names := map[digest.Digest]string{a.Digest: "a", b.Digest: "b", c.Digest: "c"}
	entry := func(m store.Manifest) string {
		return `{"mediaType":"` + m.MediaType + `","digest":"` + m.Digest.String() + `","size":` + fmt.Sprint(m.Size) +
			`,"annotations":{"org.opencontainers.image.ref.name":"v1"}}`
	}
	index := `{"schemaVersion":2,"manifests":[` + entry(a) + "," + entry(b) + `]}`
	blobs := []string{string(a.Raw), string(b.Raw)}

	dir := foreign(t, index, blobs...)
	s := openLayout(t, dir)
	d, err := s.Resolve(t.Context(), "v1")
	if diff := cmp.Diff(b.Descriptor, d); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if tags, err := store.Collect(s.Tags(t.Context(), "")); err != nil || len(tags) != 1 {
		t.Errorf("tags %q, %v", tags, err)
	}
	put(t, s, c, "v1")
	if got := entries(t, dir, names); got != "a b c:v1" {
		t.Errorf("after a move: %s", got)
	}

	dir = foreign(t, index, blobs...)
	s = openLayout(t, dir)
	if err := s.Untag(t.Context(), "v1"); err != nil {
		t.Fatal(err)
	}
	if got := entries(t, dir, names); got != "a b" {
		t.Errorf("after Untag: %s", got)
	}
	if err := s.Untag(t.Context(), "v1"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Untag again: %v", err)
	}
	if err := s.Untag(t.Context(), ""); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Untag of nothing: %v", err)
	}
}

// What another tool removed is gone, also where it was read before.
func TestLayoutSeesWhatOthersRemove(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "layout")
	s := openLayout(t, dir)
	subject, _ := json.Marshal(manifest("subject").Descriptor)
	m := store.NewManifest(store.MediaTypeImage, []byte(`{"subject":`+string(subject)+`}`))
	put(t, s, m, "v1")
	for _, want := range []int{1, 0} {
		list, err := store.Collect(s.Referrers(t.Context(), manifest("subject").Digest, ""))
		if err != nil || len(list) != want {
			t.Errorf("%d referrers, want %d: %v", len(list), want, err)
		}
		_ = os.Remove(filepath.Join(dir, "blobs", "sha256", m.Digest.Encoded()))
	}
	_, err := s.Resolve(t.Context(), "v1")
	wants(t, err, store.ErrNotFound)
	put(t, s, m, "v1")
	if _, err := s.Resolve(t.Context(), "v1"); err != nil {
		t.Error(err)
	}
	write(t, emptyIndex, dir, "index.json")
	_, err = s.Resolve(t.Context(), "v1")
	wants(t, err, store.ErrNotFound)
}

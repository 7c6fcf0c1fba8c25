//go:build !windows

package artifact

import (
	"archive/tar"
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/stet-oci/stet/pkg/store"
)

// No title and no entry has the name of a partial file or stage: its content would
// come to stand under the name of another file.
func TestUnpackNamesOfPartials(t *testing.T) {
	for name, at := range map[string]func(good store.Descriptor) string{
		"the partial file":     func(d store.Descriptor) string { return partialName("b", d.Digest) },
		"in capitals":          func(d store.Descriptor) string { return strings.ToUpper(partialName("b", d.Digest)) },
		"a stage":              func(d store.Descriptor) string { return stageName(partialName("b", d.Digest)) },
		"below a stage":        func(d store.Descriptor) string { return stageName(partialName("b", d.Digest)) + "/x" },
		"in another directory": func(d store.Descriptor) string { return "sub/" + partialName("b", d.Digest) + "/x" },
		"by another way":       func(d store.Descriptor) string { return "../out/" + partialName("b", d.Digest) },
	} {
		s, top := &source{}, t.TempDir()
		good := s.add("b", "good")
		evil := s.add(at(good), "evil")
		o := UnpackOptions{Dir: top + "/out", AllowTraversal: strings.HasPrefix(at(good), "..")}
		if _, err := Unpack(context.Background(), s, manifest(t, evil, good), o); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("title, %s: %v, want ErrInvalid", name, err)
		}
		if got := tree(t, top); len(got) > 0 || len(s.offsets) > 0 {
			t.Errorf("title, %s: left %v, read %v", name, got, s.offsets)
		}
		if o.AllowTraversal {
			continue // entries never have ".."
		}
		for _, h := range []*tar.Header{file("d/"+at(good), "evil"), link(tar.TypeSymlink, "d/"+at(good), "x")} {
			d := s.packed(t, "d", Gzip, makeTar(t, h))
			if _, err := Unpack(context.Background(), s, manifest(t, d, good), o); !errors.Is(err, store.ErrInvalid) {
				t.Errorf("entry, %s: %v, want ErrInvalid", name, err)
			}
			if got := tree(t, top); len(got) > 0 {
				t.Errorf("entry, %s: left %v", name, got)
			}
		}
	}
}

// Only the file that was proven gets the name, also where another one has come to
// stand under its name meanwhile.
func TestCommitOnlyProven(t *testing.T) {
	s, dir := &source{}, t.TempDir()
	a := s.add("a", "proven")
	s.closed = func() {
		name := dir + "/" + partialName("a", a.Digest)
		if err := errors.Join(os.Remove(name), os.WriteFile(name, []byte("evil"), 0o666)); err != nil {
			t.Error(err)
		}
	}
	if _, err := Unpack(context.Background(), s, manifest(t, a), UnpackOptions{Dir: dir}); !errors.Is(err, store.ErrExists) {
		t.Errorf("%v, want ErrExists", err)
	}
	if got := tree(t, dir); got["a"] != "" {
		t.Errorf("files %v", got)
	}
}

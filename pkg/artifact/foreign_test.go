//go:build !windows

package artifact

import (
	"archive/tar"
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
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

// What another account laid there is fetched and replaced, also where it has the right
// content: its owner could change it afterwards.
func TestUnpackFilesOfAnother(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can make a file of another account")
	}
	const nobody = 65534
	dir := makeTree(t)
	write(t, dir+"/f", "a file")
	packed, raw := packTree(t, PackRequest{Dir: dir})
	s := &source{blobs: map[digest.Digest][]byte{packed.Digest: raw}}
	m := manifest(t, s.add("f", "a file"), packed)
	unpack := func(keep bool) (Result, error) {
		return Unpack(context.Background(), s, m, UnpackOptions{Dir: dir, KeepOld: keep})
	}
	if got, err := unpack(true); err != nil || got.Files[0].Outcome != Skipped || got.Files[1].Outcome != Skipped {
		t.Fatalf("what is there already: %v, %v", got.Files, err)
	}
	for _, name := range []string{dir + "/f", dir + "/tree/run.sh"} {
		if err := os.Chown(name, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := unpack(true); !errors.Is(err, store.ErrExists) {
		t.Errorf("where nothing may be replaced: %v, want ErrExists", err)
	}
	if got, err := unpack(false); err != nil || got.Files[0].Outcome != Downloaded || got.Files[1].Outcome != Downloaded {
		t.Errorf("%v, %v", got.Files, err)
	}
	for _, name := range []string{"f", "tree/run.sh"} {
		if info, err := os.Lstat(dir + "/" + name); err != nil || !isMine(info) {
			t.Errorf("%s is not the user's: %v", name, err)
		}
	}
}

// A stage that cannot be removed, as that of another account in /tmp, does not make
// every pull fail.
func TestStageInTheWay(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root can remove it")
	}
	s, dir := &source{}, t.TempDir()
	d := s.packed(t, "d", Gzip, makeTar(t, file("d/a", "1")))
	locked := dir + "/" + stageName(partialName("d", d.Digest)) + "/locked"
	write(t, locked+"/x", "")
	if err := os.Chmod(locked, 0o500); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(locked, 0o700) })
	if _, err := Unpack(context.Background(), s, manifest(t, d), UnpackOptions{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	if got := tree(t, dir); got["d/a"] != "1" || len(got) != 5 {
		t.Errorf("files %v", got)
	}
}

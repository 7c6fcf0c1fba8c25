//go:build !windows

package artifact

import (
	"archive/tar"
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"github.com/stet-oci/stet/pkg/store"
)

// A packed directory lands as a whole or not at all, also where something is in
// the way of one of its last entries.
func TestStageAllOrNothing(t *testing.T) {
	raw := makeTar(t, file("d/a", "new a"), file("d/new/x", "new x"), file("d/z", "new z"))
	for name, c := range map[string]struct {
		before map[string]string // beside "d/a" and "f"; a name with a slash at its end is a directory
		spoil  func(s *source, last *store.Descriptor, cancel func())
		want   error
	}{
		"a directory in the way": {map[string]string{"d/z/": ""}, nil, store.ErrExists},
		"a file in the way":      {map[string]string{"d/new": "old"}, nil, store.ErrExists},
		"another layer is bad": {nil, func(s *source, last *store.Descriptor, _ func()) {
			s.blobs[last.Digest] = []byte("bad")
		}, store.ErrMismatch},
		"cut": {nil, func(s *source, _ *store.Descriptor, cancel func()) {
			s.opened = func() {
				if len(s.offsets) == 2 { // the directory is extracted
					cancel()
				}
			}
		}, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			s, dir := &source{}, t.TempDir()
			write(t, dir+"/d/a", "old a")
			write(t, dir+"/f", "old f")
			for name, content := range c.before {
				if strings.HasSuffix(name, "/") {
					name += "in"
				}
				write(t, dir+"/"+name, content)
			}
			want := tree(t, dir)
			d, f := s.packed(t, "d", Gzip, raw), s.add("f", "new f")
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			if c.spoil != nil {
				c.spoil(s, &f, cancel)
			}
			_, err := Unpack(ctx, s, manifest(t, d, f), UnpackOptions{Dir: dir, Concurrency: 1})
			if !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			got := tree(t, dir)
			delete(got, partialName("d", d.Digest)) // kept where the pull was cut
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
		})
	}
}

// Over what is there, entries are moved one by one: links stay links, hard links
// stay one file, other files stay, and it works a second time where modes
// forbid to write.
func TestStageMerges(t *testing.T) {
	raw := makeTar(
		t, file("d/a", "1"), link(tar.TypeLink, "d/hard", "d/a"), link(tar.TypeSymlink, "d/sub/up", "../a"), file("d/sub/x", "2"),
		&tar.Header{Name: "d/closed", Typeflag: tar.TypeDir, Mode: 0o555}, file("d/closed/f", "3"),
		&tar.Header{Name: "d/closed/in", Typeflag: tar.TypeDir, Mode: 0o500}, file("d/closed/in/f", "4"),
	)
	s, dir := &source{}, t.TempDir()
	d := s.packed(t, "d", Gzip, raw)
	write(t, dir+"/d/kept", "kept")
	write(t, dir+"/d/sub/kept", "kept too")
	t.Cleanup(func() { _ = errors.Join(os.Chmod(dir+"/d/closed", 0o755), os.Chmod(dir+"/d/closed/in", 0o755)) })
	want := map[string]string{
		"d/": "", "d/kept": "kept", "d/a": "1", "d/hard": "1", "d/sub/": "", "d/sub/up": "-> ../a", "d/sub/x": "2", "d/sub/kept": "kept too",
		"d/closed/": "", "d/closed/f": "3", "d/closed/in/": "", "d/closed/in/f": "4",
	}
	for range 2 {
		if _, err := Unpack(context.Background(), s, manifest(t, d), UnpackOptions{Dir: dir}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, tree(t, dir)); diff != "" {
			t.Errorf("files (-want +got):\n%s", diff)
		}
		for name, mode := range map[string]fs.FileMode{"d/closed": 0o555, "d/closed/in": 0o500} {
			if info, err := os.Stat(dir + "/" + name); err != nil || info.Mode().Perm() != mode {
				t.Errorf("%s: %v, %v, want mode %o", name, info.Mode(), err, mode)
			}
		}
		one, err1 := os.Stat(dir + "/d/a")
		two, err2 := os.Stat(dir + "/d/hard")
		if err1 != nil || err2 != nil || !os.SameFile(one, two) {
			t.Errorf("the hard link is a file of its own: %v, %v", err1, err2)
		}
	}
}

// An artifact whose directories lie in each other, or in the output directory
// itself, comes out whole.
func TestStageNested(t *testing.T) {
	s, dir := &source{}, t.TempDir()
	layers := []store.Descriptor{
		s.packed(t, ".", Gzip, makeTar(t, file("top", "1"), file("d/a", "2"))),
		s.packed(t, "d", Gzip, makeTar(t, file("d/b", "3"), file("d/e/c", "4"))),
		s.packed(t, "d/e", Gzip, makeTar(t, file("d/e/f", "5"))),
		s.add("d/e/g", "6"),
	}
	if _, err := Unpack(context.Background(), s, manifest(t, layers...), UnpackOptions{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"top": "1", "d/": "", "d/a": "2", "d/b": "3", "d/e/": "", "d/e/c": "4", "d/e/f": "5", "d/e/g": "6"}
	if diff := cmp.Diff(want, tree(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

// An entry cannot take the place of a partial file, whose content is proven
// already.
func TestStageLeavesPartials(t *testing.T) {
	s, dir := &source{}, t.TempDir()
	f := s.add("f", "proven")
	d := s.packed(t, ".", Gzip, makeTar(t, file(partialName("f", f.Digest), "evil")))
	if _, err := Unpack(context.Background(), s, manifest(t, d, f), UnpackOptions{Dir: dir}); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("%v, want ErrInvalid", err)
	}
	if got := tree(t, dir); len(got) > 0 {
		t.Errorf("left %v", got)
	}
}

// What pulls that were killed left goes with the next one that succeeds, also
// where the tag names other content by then. What is somebody else's stays.
func TestUnpackSweeps(t *testing.T) {
	s, dir := &source{}, t.TempDir()
	f, d := s.add("sub/f", "new"), s.packed(t, "d", Gzip, makeTar(t, file("d/a", "1")))
	old := digest.FromString("old")
	stale := []string{
		partialName("sub/f", old), partialName("sub/f", f.Digest), partialName("d", old),
		stageName(partialName("d", old)) + "/a", stageName(partialName("d", d.Digest)) + "/deep/junk",
	}
	kept := map[string]string{
		"sub/.f.notes.partial": "", "sub/.f.0123456789ab": "", "sub/.g.0123456789ab.partial": "", ".f.0123456789ab.partial": "",
		"sub/.f.x.0123456789ab.partial": "",
		// Names of a user: nothing but the last digits tells them from the names of pull.
		"sub/.f.0123456789abcdef.partial": "", ".d.0123456789abcdef.partial": "", ".d.fedcba9876543210.dir.partial/notes": "", "d/.probe.dir.partial": "",
	}
	for range 2 { // the second time there is nothing to fetch for f
		for _, name := range stale {
			write(t, dir+"/"+name, "stale")
		}
		for name := range kept {
			write(t, dir+"/"+name, "")
		}
		if _, err := Unpack(context.Background(), s, manifest(t, f, d), UnpackOptions{Dir: dir}); err != nil {
			t.Fatal(err)
		}
		want := maps.Clone(kept)
		maps.Copy(want, map[string]string{"sub/": "", "sub/f": "new", "d/": "", "d/a": "1", ".d.fedcba9876543210.dir.partial/": ""})
		if diff := cmp.Diff(want, tree(t, dir)); diff != "" {
			t.Errorf("files (-want +got):\n%s", diff)
		}
	}
}

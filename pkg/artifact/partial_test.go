//go:build !windows

package artifact

import (
	"context"
	"os"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"github.com/stet-oci/stet/pkg/store"
)

// After kill -9 the next pull goes on with what is proven to be right, and
// starts over where it is not.
func TestUnpackResumes(t *testing.T) {
	content := strings.Repeat("0123456789", 100)
	for _, c := range []struct {
		name, left string
		opens      []int64
	}{
		{"nothing", "", []int64{0}},
		{"the half", content[:500], []int64{500}},
		{"everything", content, nil},
		{"too much", content + "x", []int64{0}},
		{"other bytes", strings.Repeat("x", 500), []int64{500, 0}},
		{"all other bytes", strings.Repeat("x", 1000), []int64{0}},
	} {
		s := &source{}
		d := s.add("f", content)
		dir := t.TempDir()
		write(t, dir+"/"+partialName("f", d.Digest), c.left)
		_, err := Unpack(context.Background(), s, manifest(t, d), UnpackOptions{Dir: dir})
		if err != nil {
			t.Errorf("%s left: %v", c.name, err)
		}
		if diff := cmp.Diff(c.opens, s.offsets); diff != "" {
			t.Errorf("%s left: opened at (-want +got):\n%s", c.name, diff)
		}
		if diff := cmp.Diff(map[string]string{"f": content}, tree(t, dir)); diff != "" {
			t.Errorf("%s left: files differ:\n%s", c.name, diff)
		}
	}
}

// A partial file that another process is at work on is left alone.
func TestPartialLocked(t *testing.T) {
	dir := t.TempDir()
	s := &source{}
	d := s.add("f", "content")
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	other, err := openPartial(root, "f", d.Digest, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.file.WriteString("conXXXX"); err != nil {
		t.Fatal(err)
	}
	if _, err := Unpack(context.Background(), s, manifest(t, d), UnpackOptions{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"f": "content", other.name: "conXXXX"}
	if diff := cmp.Diff(want, tree(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	other.discard()
	if diff := cmp.Diff(map[string]string{"f": "content"}, tree(t, dir)); diff != "" {
		t.Errorf("after discard (-want +got):\n%s", diff)
	}
}

// Many pulls into one directory are all whole.
func TestUnpackTogether(t *testing.T) {
	dir := t.TempDir()
	s := &source{}
	layers := []store.Descriptor{s.add("a", strings.Repeat("a", 1<<20)), s.add("d/b", strings.Repeat("b", 1<<20))}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := Unpack(context.Background(), s, manifest(t, layers...), UnpackOptions{Dir: dir}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	want := map[string]string{"a": strings.Repeat("a", 1<<20), "d/": "", "d/b": strings.Repeat("b", 1<<20)}
	if got := tree(t, dir); !cmp.Equal(want, got) {
		t.Errorf("%d files", len(got))
	}
}

func TestPartialName(t *testing.T) {
	d := digest.FromString("x")
	if got := partialName("sub/a.txt", d); got != "sub/.a.txt."+d.Encoded()[:12]+seal(".a.txt.", d.Encoded()[:12])+".partial" {
		t.Error(got)
	}
	for _, name := range []string{strings.Repeat("n", 255), strings.Repeat("ö", 127)} {
		if got := partialName(name, d); len(got) > maxName || !utf8.ValidString(got) {
			t.Errorf("%d bytes: %q", len(got), got)
		}
	}
}

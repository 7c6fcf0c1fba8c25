package local_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stet-oci/stet/pkg/local"
	"github.com/stet-oci/stet/pkg/store"
)

// writerDir names, in a process of its own, the layout that it writes to.
const (
	writerDir  = "STET_TEST_WRITER_DIR"
	writerName = "STET_TEST_WRITER_NAME"
	tagsEach   = 6
)

// writeTags pushes artifacts as a process of its own would: it opens the
// layout for itself.
func writeTags(dir, name string, push func(s store.Store, m store.Manifest, tag string) error) error {
	s, err := local.OpenLayout(dir, local.LayoutOptions{})
	if err != nil {
		return err
	}
	for i := range tagsEach {
		tag := fmt.Sprintf("%s-%d", name, i)
		if err := push(s, manifest(tag), tag); err != nil {
			return err
		}
	}
	return s.Close()
}

func push(t *testing.T) func(store.Store, store.Manifest, string) error {
	return func(s store.Store, m store.Manifest, tag string) error {
		_, shared := s.PutBlob(t.Context(), store.NewBlob("text/plain", []byte("shared by all")))
		_, own := s.PutBlob(t.Context(), store.NewBlob("text/plain", []byte(tag)))
		return errors.Join(shared, own, s.PutManifest(t.Context(), m, tag))
	}
}

// TestWriterProcess is the other process of TestLayoutProcesses.
func TestWriterProcess(t *testing.T) {
	dir := os.Getenv(writerDir)
	if dir == "" {
		t.Skip("only as a process of TestLayoutProcesses")
	}
	if err := writeTags(dir, os.Getenv(writerName), push(t)); err != nil {
		t.Fatal(err)
	}
}

// Processes that write one layout at a time lose nothing, also when none of
// them finds it there.
func TestLayoutProcesses(t *testing.T) {
	t.Parallel()
	exe, err := os.Executable()
	if err != nil {
		t.Skip(err)
	}
	dir := filepath.Join(t.TempDir(), "layout")
	const processes = 4
	failed := make(chan error, processes)
	for i := range processes {
		cmd := exec.CommandContext(t.Context(), exe, "-test.run=^TestWriterProcess$")
		cmd.Env = append(os.Environ(), writerDir+"="+dir, fmt.Sprintf("%s=p%d", writerName, i))
		go func() {
			out, err := cmd.CombinedOutput()
			if err != nil {
				err = fmt.Errorf("%w: %s", err, out)
			}
			failed <- err
		}()
	}
	for range processes {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
	holdsTags(t, dir, "p", processes)
}

func TestLayoutHandles(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "layout")
	const handles = 16
	failed := make(chan error, handles)
	for i := range handles {
		go func() { failed <- writeTags(dir, fmt.Sprintf("h%d", i), push(t)) }()
	}
	for range handles {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
	holdsTags(t, dir, "h", handles)
}

func holdsTags(t *testing.T, dir, prefix string, writers int) {
	t.Helper()
	s := openLayout(t, dir)
	tags, err := store.Collect(s.Tags(t.Context(), ""))
	if err != nil || len(tags) != writers*tagsEach {
		t.Errorf("%d tags of %d, %v", len(tags), writers*tagsEach, err)
	}
	for i := range writers {
		for j := range tagsEach {
			tag := fmt.Sprintf("%s%d-%d", prefix, i, j)
			m, err := store.Verify(s).Manifest(t.Context(), tag)
			if err != nil || m.Digest != manifest(tag).Digest {
				t.Errorf("%s: %s, %v", tag, m.Digest, err)
			}
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, ".stet", "ingest-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left over: %q, %v", left, err)
	}
}

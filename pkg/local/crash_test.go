package local_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// stuckDir names, in a process of its own, the layout that it writes to until
// it is killed.
const stuckDir = "STET_TEST_STUCK_DIR"

// stuck gives half of its content, says so, and goes on when it is let.
type stuck struct {
	half, rest io.Reader
	halfway    func() // returns when the rest may be read
}

func (r *stuck) Read(p []byte) (int, error) {
	if n, err := r.half.Read(p); err == nil {
		return n, nil
	}
	if r.halfway != nil {
		r.halfway()
		r.halfway = nil
	}
	return r.rest.Read(p)
}

// stuckBlob is a blob of which only half comes until halfway returns.
func stuckBlob(content string, halfway func()) store.Blob {
	b := store.NewBlob("text/plain", []byte(content))
	b.Open = func(context.Context, int64) (io.ReadCloser, error) {
		n := len(content) / 2
		return io.NopCloser(&stuck{strings.NewReader(content[:n]), strings.NewReader(content[n:]), halfway}), nil
	}
	return b
}

// large is content that is on the disk in part when half of it was read.
func large(note string) string { return strings.Repeat(note, 1<<20) }

// TestStuckProcess is the process that TestLayoutAfterKill kills.
func TestStuckProcess(t *testing.T) {
	dir := os.Getenv(stuckDir)
	if dir == "" {
		t.Skip("only as a process of TestLayoutAfterKill")
	}
	_, err := openLayout(t, dir).PutBlob(t.Context(), stuckBlob(large("x"), func() {
		fmt.Println("halfway")
		_, _ = io.Copy(io.Discard, os.Stdin) // ends when the parent does, if it did not kill
		os.Exit(1)
	}))
	t.Fatalf("it went on: %v", err)
}

// killedWriter starts a process that writes a blob, and kills it halfway.
func killedWriter(t *testing.T, dir string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Skip(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, "-test.run=^TestStuckProcess$")
	cmd.Env = append(os.Environ(), stuckDir+"="+dir)
	_, inErr := cmd.StdinPipe()
	out, outErr := cmd.StdoutPipe()
	if inErr != nil || outErr != nil {
		t.Fatal(inErr, outErr)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, readErr := bufio.NewReader(out).ReadString('\n')
	killErr := cmd.Process.Kill()
	_ = cmd.Wait() // says that it was killed
	if line != "halfway\n" || killErr != nil {
		t.Fatalf("the writer said %q, %v; kill: %v", line, readErr, killErr)
	}
}

// left lists the files of writers that have not finished.
func left(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, ".stet", "ingest-*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// What kill -9 leaves of a blob is removed by the next write, be it of a blob
// or of a manifest.
func TestLayoutAfterKill(t *testing.T) {
	t.Parallel()
	for name, next := range map[string]func(*testing.T, store.Store){
		"blob": func(t *testing.T, s store.Store) {
			if _, err := s.PutBlob(t.Context(), store.NewBlob("text/plain", []byte("hello"))); err != nil {
				t.Fatal(err)
			}
		},
		"manifest": func(t *testing.T, s store.Store) { put(t, s, manifest("a"), "v1") },
		"the same blob": func(t *testing.T, s store.Store) {
			b := store.NewBlob("text/plain", []byte(large("x")))
			if got, err := s.PutBlob(t.Context(), b); err != nil || got.How != store.Sent {
				t.Fatalf("got %v, %v", got.How, err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "layout")
			killedWriter(t, dir)
			killedWriter(t, dir)
			// The second writer swept before it wrote, so only its own is left.
			if names := left(t, dir); len(names) != 1 {
				t.Fatalf("two killed writers left %q, want one file", names)
			}
			next(t, openLayout(t, dir))
			if names := left(t, dir); len(names) > 0 {
				t.Errorf("still there: %q", names)
			}
		})
	}
}

// Who clears away after the dead leaves alone what living writers write, in
// this process and by other handles.
func TestLayoutSparesTheLiving(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "layout")
	const writers = 4
	halfway, goOn, done := make(chan bool), make(chan bool), make(chan error)
	for i := range writers {
		go func() {
			_, err := openLayout(t, dir).PutBlob(t.Context(), stuckBlob(large(fmt.Sprint(i)), func() {
				halfway <- true
				<-goOn
			}))
			done <- err
		}()
	}
	for range writers {
		<-halfway
	}
	write(t, "of a dead writer", dir, ".stet", "ingest-DEAD")
	put(t, openLayout(t, dir), manifest("a"), "v1")
	if names := left(t, dir); len(names) != writers {
		t.Errorf("%d files of %d living writers are there: %q", len(names), writers, names)
	}
	close(goOn)
	for range writers {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	for i := range writers {
		content := large(fmt.Sprint(i))
		if got := read(t, dir, "blobs", "sha256", digest.FromString(content).Encoded()); got != content {
			t.Errorf("blob %d has %d bytes of %d, or others", i, len(got), len(content))
		}
	}
	if names := left(t, dir); len(names) > 0 {
		t.Errorf("left over: %q", names)
	}
}

// Only files of the writers' names are cleared away, and nothing that they lead to.
func TestLayoutSweepsOnlyItsOwn(t *testing.T) {
	dir := foreign(t, emptyIndex, "hello")
	write(t, "kept", dir, ".stet", "other")
	write(t, "kept", dir, ".stet", "ingest-DIR", "inside")
	if err := os.Symlink("../blobs/sha256/"+digest.FromString("hello").Encoded(), filepath.Join(dir, ".stet", "ingest-LINK")); err != nil {
		t.Skip(err)
	}
	put(t, openLayout(t, dir), manifest("a"), "v1")
	read(t, dir, ".stet", "other")
	read(t, dir, ".stet", "ingest-DIR", "inside")
	if got := read(t, dir, ".stet", "ingest-LINK"); got != "hello" {
		t.Errorf("the blob is %q", got)
	}
}

// damage changes one byte of a blob in a layout, and nothing that a look at
// its name, size or time would tell.
func damage(t *testing.T, dir string, d digest.Digest) {
	t.Helper()
	name := filepath.Join(dir, "blobs", d.Algorithm().String(), d.Encoded())
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	raw := []byte(read(t, name))
	raw[len(raw)/2] ^= 1
	write(t, string(raw), name)
	if err := os.Chtimes(name, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
}

// Bytes that were read and proven take the place of damaged ones.
func TestLayoutMendsDamagedBlob(t *testing.T) {
	for name, change := range map[string]func(*store.Blob){
		"without digest": func(b *store.Blob) { b.Digest = "" },
		"without both":   func(b *store.Blob) { b.Digest, b.Size = "", store.UnknownSize },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "layout")
			s := store.Verify(openLayout(t, dir))
			b := store.NewBlob("text/plain", []byte("hello"))
			d := b.Descriptor
			if _, err := s.PutBlob(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			damage(t, dir, d.Digest)
			wants(t, readBlob(t, s, d), store.ErrMismatch)
			change(&b)
			if got, err := s.PutBlob(t.Context(), b); err != nil || got.How != store.Sent {
				t.Errorf("got %v, %v", got.How, err)
			}
			if err := readBlob(t, s, d); err != nil {
				t.Errorf("after the second put: %v", err)
			}
		})
	}
}

// A known digest is taken for present by its size, unread; deleted and put
// again it is right.
func TestLayoutTrustsSizes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "layout")
	s := store.Verify(openLayout(t, dir))
	b := store.NewBlob("text/plain", []byte("hello"))
	for i, want := range []store.How{store.Sent, store.Present} {
		if got, err := s.PutBlob(t.Context(), b); err != nil || got.How != want {
			t.Fatalf("got %v, %v, want %v", got.How, err, want)
		}
		if i == 0 {
			damage(t, dir, b.Digest)
		}
	}
	wants(t, readBlob(t, s, b.Descriptor), store.ErrMismatch)
	if err := s.DeleteBlob(t.Context(), b.Descriptor); err != nil {
		t.Fatal(err)
	}
	if _, err := s.PutBlob(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if err := readBlob(t, s, b.Descriptor); err != nil {
		t.Error(err)
	}
}

func readBlob(t *testing.T, s store.Store, d store.Descriptor) error {
	t.Helper()
	b, err := s.Blob(t.Context(), d)
	if err != nil {
		return err
	}
	rc, err := b.Open(t.Context(), 0)
	if err != nil {
		return err
	}
	defer rc.Close()
	_, err = io.Copy(io.Discard, rc)
	return err
}

func TestLayoutMendsDamagedManifest(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, dir string, m store.Manifest){
		"other bytes": func(t *testing.T, dir string, m store.Manifest) { damage(t, dir, m.Digest) },
		"cut": func(t *testing.T, dir string, m store.Manifest) {
			write(t, string(m.Raw[:9]), dir, "blobs", "sha256", m.Digest.Encoded())
		},
		"longer": func(t *testing.T, dir string, m store.Manifest) {
			write(t, string(m.Raw)+" ", dir, "blobs", "sha256", m.Digest.Encoded())
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "layout")
			s := openLayout(t, dir)
			m := manifest("a")
			put(t, s, m, "v1")
			spoil(t, dir, m)
			_, err := s.Manifest(t.Context(), "v1")
			wants(t, err, store.ErrMismatch)
			put(t, s, m, "v1")
			if got, err := s.Manifest(t.Context(), "v1"); err != nil || !bytes.Equal(got.Raw, m.Raw) {
				t.Errorf("after the second put: %q, %v", got.Raw, err)
			}
		})
	}
}

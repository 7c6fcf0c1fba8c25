//go:build !windows

package local_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stet-oci/stet/pkg/local"
	"github.com/stet-oci/stet/pkg/store"
)

// What has the name of the lock, or of the archive, and is no file, is neither waited
// for nor followed.
func TestArchiveLockIsNoFile(t *testing.T) {
	for name, lay := range map[string]func(lock string) error{
		"a pipe":           func(lock string) error { return syscall.Mkfifo(lock, 0o666) },
		"a link elsewhere": func(lock string) error { return os.Symlink("../made", lock) },
		"a link to a pipe": func(lock string) error {
			return errors.Join(syscall.Mkfifo(lock+"2", 0o666), os.Symlink("a.tar.lock2", lock))
		},
		"a link to a file": func(lock string) error {
			return errors.Join(os.WriteFile(lock+"2", nil, 0o666), os.Symlink("a.tar.lock2", lock))
		},
		"a directory": func(lock string) error { return os.Mkdir(lock, 0o777) },
	} {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			dir := filepath.Join(top, "in")
			if err := errors.Join(os.Mkdir(dir, 0o777), lay(dir+"/a.tar.lock")); err != nil {
				t.Fatal(err)
			}
			before := files(t, top)
			s := openArchive(t, dir+"/a.tar")
			inTime(t, func() { wants(t, s.PutManifest(t.Context(), manifest("a"), "v1"), store.ErrInvalid, "a.tar.lock") })
			if diff := cmp.Diff(before, files(t, top)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
		})
	}
	pipe := filepath.Join(t.TempDir(), "a.tar")
	if err := syscall.Mkfifo(pipe, 0o666); err != nil {
		t.Fatal(err)
	}
	inTime(t, func() {
		_, err := local.OpenArchive(pipe, local.LayoutOptions{})
		wants(t, err, store.ErrInvalid, "not a regular file")
	})
}

// So is what has the name of a layout's lock.
func TestLayoutLockIsNoFile(t *testing.T) {
	for name, lay := range map[string]func(lock string) error{
		"a pipe":                 func(lock string) error { return syscall.Mkfifo(lock, 0o666) },
		"a link elsewhere":       func(lock string) error { return os.Symlink("../../made", lock) },
		"a link into the layout": func(lock string) error { return os.Symlink("../blobs/made", lock) },
		"a link to a pipe": func(lock string) error {
			return errors.Join(syscall.Mkfifo(lock+"2", 0o666), os.Symlink("lock2", lock))
		},
		"a directory":               func(lock string) error { return os.Mkdir(lock, 0o777) },
		"in a directory that leads": func(lock string) error { return leadOut(filepath.Dir(lock)) },
	} {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			dir := filepath.Join(top, "layout")
			put(t, openLayout(t, dir), manifest("first"), "v0")
			lock := filepath.Join(dir, ".stet", "lock")
			if err := errors.Join(os.Remove(lock), lay(lock)); err != nil {
				t.Fatal(err)
			}
			before := files(t, top)
			inTime(t, func() {
				if err := openLayout(t, dir).Untag(t.Context(), "v0"); err == nil {
					t.Error("it took the lock")
				}
			})
			if diff := cmp.Diff(before, files(t, top)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
		})
	}
}

// leadOut makes dir a link to a directory beside the layout that holds it.
func leadOut(dir string) error {
	out := filepath.Join(dir, "..", "..", "out")
	return errors.Join(os.RemoveAll(dir), os.Mkdir(out, 0o777), os.Symlink("../out", dir))
}

// inTime fails where something waits for what nobody will do.
func inTime(t *testing.T, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); do() }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("it hangs")
	}
}

// An archive has the mode that the umask leaves a new file, and keeps the mode that it
// was given. So it is while it is written.
func TestArchiveMode(t *testing.T) {
	for _, c := range []struct{ umask, given, want fs.FileMode }{
		{0o022, 0, 0o644},
		{0o077, 0, 0o600},
		{0o002, 0, 0o664},
		{0o022, 0o600, 0o600},
		{0o022, 0o440, 0o440},
		{0o077, 0o664, 0o664},
	} {
		func() {
			defer syscall.Umask(syscall.Umask(int(c.umask)))
			dir := t.TempDir()
			file := filepath.Join(dir, "a.tar")
			if c.given != 0 {
				s := openArchive(t, file)
				put(t, s, manifest("first"), "v0")
				closed(t, s)
				if err := os.Chmod(file, c.given); err != nil {
					t.Fatal(err)
				}
			}
			s := openArchive(t, file)
			putBlob(t, s, text("content"))
			put(t, s, manifest("a"), "v1")
			half, _ := filepath.Glob(dir + "/.a.tar.*.partial")
			if len(half) != 1 {
				t.Fatalf("%d files while it is written", len(half))
			}
			if info, err := os.Stat(half[0]); err != nil || info.Mode().Perm()&^c.want != 0 {
				t.Errorf("%+v: mode %v while it is written, %v", c, info.Mode(), err)
			}
			closed(t, s)
			if info, err := os.Stat(file); err != nil || info.Mode().Perm() != c.want {
				t.Errorf("%+v: mode %v, %v", c, info.Mode(), err)
			}
		}()
	}
}

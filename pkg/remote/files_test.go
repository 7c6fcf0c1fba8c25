//go:build !windows

package remote_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stet-oci/stet/pkg/remote"
	"github.com/stet-oci/stet/pkg/serve"
	"github.com/stet-oci/stet/pkg/store"
)

// laid are what somebody may lay in the place of a file whose name can be foreseen.
var laid = map[string]func(name string) error{
	"a pipe":            func(name string) error { return syscall.Mkfifo(name, 0o666) },
	"a link elsewhere":  func(name string) error { return os.Symlink("victim", name) },
	"a link to nothing": func(name string) error { return os.Symlink("made", name) },
	"a link to a pipe": func(name string) error {
		return errors.Join(syscall.Mkfifo(name+"2", 0o666), os.Symlink(filepath.Base(name)+"2", name))
	},
}

// lay puts it there, beside a file that has to stay as it is.
func lay(t *testing.T, what, name string) (untouched func()) {
	t.Helper()
	victim := filepath.Join(filepath.Dir(name), "victim")
	if err := errors.Join(os.RemoveAll(name), os.WriteFile(victim, []byte("mine"), 0o600), laid[what](name)); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		raw, err := os.ReadFile(victim)
		_, made := os.Stat(filepath.Join(filepath.Dir(name), "made"))
		if err != nil || !bytes.Equal(raw, []byte("mine")) || made == nil {
			t.Errorf("it went through the link: %q, %v, %v", raw, err, made)
		}
	}
}

// soon fails where do waits for what nobody will do.
func soon(t *testing.T, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); do() }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("it hangs")
	}
}

// The lock of a file of credentials is a file, or is not taken.
func TestCredentialsLockIsNoFile(t *testing.T) {
	t.Parallel()
	for what := range laid {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "config.json")
			untouched := lay(t, what, path+".lock")
			soon(t, func() {
				f, err := remote.LoadFiles(remote.FilesOptions{Paths: []string{path}})
				if err == nil {
					_, err = f.Store(t.Context(), "reg.example", remote.Credential{Username: "a", Password: "b"})
				}
				if !errors.Is(err, store.ErrInvalid) {
					t.Errorf("got %v", err)
				}
			})
			untouched()
			if _, err := os.Stat(path); err == nil {
				t.Error("the file was written without its lock")
			}
		})
	}
}

// What lies in the place of a note, its lock or its next state is neither waited for
// nor followed: the upload begins anew at worst.
func TestNotesAreFiles(t *testing.T) {
	t.Parallel()
	big := thirtyMiB()
	for what := range laid {
		for _, suffix := range []string{"", ".lock", ".new"} {
			t.Run(what+suffix, func(t *testing.T) {
				t.Parallel()
				c := startCutter(t, serve.Quirks{}, big.Size/2)
				dir := cutOff(t, c, big)
				entries, _ := filepath.Glob(filepath.Join(dir, "uploads", "*"))
				if len(entries) == 0 {
					t.Fatal("nothing was noted")
				}
				name := entries[0][:len(entries[0])-len(filepath.Ext(entries[0]))]
				untouched := lay(t, what, name+suffix)
				soon(t, func() {
					if _, err := c.open(t, remote.Options{CacheDir: dir}).PutBlob(t.Context(), big); err != nil {
						t.Errorf("got %v", err)
					}
				})
				untouched()
			})
		}
	}
}

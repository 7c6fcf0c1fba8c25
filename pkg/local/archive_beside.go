package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gofrs/flock"

	"github.com/stet-oci/stet/internal/lockfile"
	"github.com/stet-oci/stet/pkg/store"
)

// The files beside an archive: its lock, and what is not whole yet. Others may be
// allowed to write into their directory, as into /tmp.

// takeLock takes FILE.lock, which is made where it is not there.
func (f *archiveFile) takeLock(ctx context.Context) (*flock.Flock, error) {
	name := f.file + ".lock"
	lock, err := lockfile.New(name)
	if err != nil {
		return nil, err
	}
	bound, cancel := context.WithTimeout(ctx, f.wait)
	defer cancel()
	if ok, err := lock.TryLockContext(bound, lockPoll); !ok {
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case bound.Err() == nil:
			return nil, err // no such directory, say
		}
		return nil, fmt.Errorf("%w: another process did not let go of %s within %v", store.ErrLocked, name, f.wait)
	}
	return lock, nil
}

// temp makes a file beside the archive, where a rename will do. Only who holds
// the lock makes them. Who may not read the archive may not read them either.
func (f *archiveFile) temp() (*os.File, error) {
	mode, err := f.oldMode()
	if err != nil {
		return nil, err
	}
	for range 100 {
		name := "." + filepath.Base(f.file) + "." + strconv.FormatUint(rand.Uint64(), 10) + partialSuffix
		made, err := os.OpenFile(filepath.Join(filepath.Dir(f.file), name), os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
		if !errors.Is(err, fs.ErrExist) {
			return made, err
		}
	}
	return nil, fmt.Errorf("%w: no name is free beside %s", store.ErrExists, f.file)
}

// oldMode is what a file in place of the archive may be read by: as the old one, or as
// any new file.
func (f *archiveFile) oldMode() (fs.FileMode, error) {
	if f.old == nil {
		return 0o666, nil
	}
	info, err := f.old.Stat()
	if err != nil {
		return 0, err
	}
	return info.Mode().Perm(), nil
}

// keepMode gives the new file the mode of the old one. A new archive has what the
// umask left of it.
func (f *archiveFile) keepMode() error {
	if f.old == nil {
		return nil
	}
	mode, err := f.oldMode()
	if err != nil {
		return err
	}
	return f.made.Chmod(mode)
}

// sweep removes what writers that died have left: whoever holds the lock has
// none of its own yet. What cannot be removed stays, and does no harm.
func (f *archiveFile) sweep() {
	dir, base := filepath.Split(f.file)
	entries, _ := os.ReadDir(filepath.Clean(dir))
	for _, e := range entries {
		// Only digits in between: a.tar.b, beside a.tar, has files of its own.
		random, ok := strings.CutPrefix(e.Name(), "."+base+".")
		random, ends := strings.CutSuffix(random, partialSuffix)
		if ok && ends && strings.Trim(random, "0123456789") == "" && e.Type().IsRegular() {
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

// Package lockfile opens the files that keep processes apart. Their names can be
// foreseen, and others may be allowed to write into their directories, as into /tmp.
// It decides what may be opened, not how long to wait.
package lockfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/gofrs/flock"

	"github.com/stet-oci/stet/pkg/store"
)

// New is the lock at path, which is made by who takes it where it is not there. What is
// there and is no file is ErrInvalid: a link would make a file elsewhere, and a pipe
// would be waited for.
func New(path string) (*flock.Flock, error) { return open(path, os.O_CREATE) }

// There is New of a lock that somebody has made.
func There(path string) (*flock.Flock, error) { return open(path, 0) }

func open(path string, flags int) (*flock.Flock, error) {
	switch info, err := os.Lstat(path); {
	case err == nil && !info.Mode().IsRegular():
		return nil, fmt.Errorf("%w: %s is not a regular file", store.ErrInvalid, path)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	// NFS grants an exclusive lock only on a file that is open for writing.
	return flock.New(path, flock.SetFlag(flags|os.O_RDWR|NoFollow|NoWait)), nil
}

//go:build !windows

package artifact

import (
	"errors"
	"os"
	"syscall"
)

// lockFile takes the whole file for this process, without waiting. The lock
// ends when the file is closed or the process dies, so that kill -9 leaves no
// stale lock.
func lockFile(f *os.File) (bool, error) {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, syscall.EWOULDBLOCK):
		return false, nil
	}
	return false, &os.PathError{Op: "flock", Path: f.Name(), Err: err}
}

// closeBeforeRename: an open file can be renamed, and keeps its lock meanwhile.
const closeBeforeRename = false
